"""Total variation."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from adorym.registry import register
from adorym.regularizers.base import Regularizer
from adorym.wrapper.base import Array, Backend


@register("regularizer", "total_variation")
class TotalVariation(Regularizer):
    r"""Isotropic total variation :math:`\gamma \sum_r \sqrt{|\partial_y O|^2 + |\partial_x O|^2 + \epsilon^2}`.

    Rudin, Osher & Fatemi, Physica D 60, 259 (1992), eq. (2.1), with forward differences; the last row and column have
    no forward neighbour and are left out.

    Attributes:
        weight: :math:`\gamma`.
        epsilon: Keeps the gradient finite where the object is flat.
    """

    halo_px: ClassVar[int | None] = 1
    weight: float = Field(gt=0)
    epsilon: float = Field(1e-3, gt=0)

    def value(self, xp: Backend, obj: Array) -> Array:
        inner = obj[:-1, :-1]
        squared = xp.abs2(obj[1:, :-1] - inner) + xp.abs2(obj[:-1, 1:] - inner)
        return self.weight * xp.sum(xp.sqrt(squared + self.epsilon**2))
