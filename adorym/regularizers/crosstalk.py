"""Suppression of crosstalk between the slices of an object."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from adorym.registry import register
from adorym.regularizers.base import Regularizer
from adorym.regularizers.variation import differences, neighbors
from adorym.wrapper.base import Array, Backend


@register("regularizer", "slice_crosstalk")
class SliceCrosstalk(Regularizer):
    r"""An edge belongs to one slice: :math:`\gamma \sum_r \sum_{z < z'} |\nabla u_z|\, |\nabla u_{z'}|`.

    The gradients' magnitudes are made sparse *across* the slices: half of
    :math:`(\sum_z |\nabla u_z|)^2 - \sum_z |\nabla u_z|^2`, the exclusive lasso (Zhou, Jin & Hoi, AISTATS 2010)
    less its diagonal. What crosstalk copies from one slice into another has its edges in the same place in both; true
    features of different planes rarely do. No effect on an object of one slice.

    Attributes:
        weight: :math:`\gamma`.
        epsilon: Rounds the magnitudes off near zero.
    """

    halo_px: ClassVar[int | None] = 1
    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    weight: float = Field(gt=0)
    epsilon: float = Field(1e-3, gt=0)

    def value(self, xp: Backend, deviation: Array) -> Array:
        if len(deviation.shape) < 3:
            return 0.0 * xp.sum(xp.abs2(deviation))
        size = self._edges(xp, deviation)
        together = xp.square(xp.sum(size, axis=2)) - xp.sum(xp.square(size), axis=2)
        return (self.weight / 2) * xp.sum(together)

    def _edges(self, xp: Backend, deviation: Array) -> Array:
        d_y, d_x = differences(deviation, (0, 1))
        return xp.sqrt(xp.abs2(d_y) + xp.abs2(d_x) + self.epsilon**2)

    def curvature(self, xp: Backend, deviation: Array) -> Array:
        if len(deviation.shape) < 3:
            return 0.0 * xp.abs2(deviation)
        size = self._edges(xp, deviation)
        others = (xp.sum(size, axis=2, keepdims=True) - size) / size
        return neighbors(xp, [self.weight * others] * 2, (0, 1))
