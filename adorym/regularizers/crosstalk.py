"""Terms across the slices of an object: against crosstalk between them, or for slices that are alike."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from adorym.registry import register
from adorym.regularizers.base import ProximalRegularizer, Regularizer
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


@register("regularizer", "slice_smoothness")
class SliceSmoothness(ProximalRegularizer):
    r"""Neighboring slices are alike: :math:`\gamma \sum_r \sum_z |u_{z+1} - u_z|^2`.

    One direction of view hardly tells low frequencies of neighboring slices apart, which are all within one depth of
    focus. A crystal that goes on along the beam is then better found by slices that are held together than by few
    slices. Features of a single slice are blurred along z. No effect on an object of one slice.

    Attributes:
        weight: :math:`\gamma`.
    """

    halo_px: ClassVar[int | None] = 0
    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    weight: float = Field(gt=0)

    def value(self, xp: Backend, deviation: Array) -> Array:
        if len(deviation.shape) < 3:
            return 0.0 * xp.sum(xp.abs2(deviation))
        return self.weight * xp.sum(xp.abs2(deviation[:, :, 1:] - deviation[:, :, :-1]))

    def curvature(self, xp: Backend, deviation: Array) -> Array:
        if len(deviation.shape) < 3 or deviation.shape[2] < 2:
            return 0.0 * xp.abs2(deviation)
        # Twice the largest eigenvalue of the differences' normal matrix, which is below 4.
        return 8 * self.weight + 0.0 * xp.abs2(deviation)

    def prox(self, xp: Backend, deviation: Array, step: float) -> Array:
        if len(deviation.shape) < 3:
            return deviation
        slopes = np.diff(np.eye(deviation.shape[2]), axis=0)
        inverse = np.linalg.inv(np.eye(deviation.shape[2]) + 2 * self.weight * step * slopes.T @ slopes)
        return xp.matmul(deviation, xp.asarray(inverse + 0j if xp.is_complex(deviation) else inverse))
