"""Terms that pull every element towards rest on its own: Tikhonov, L1 and reweighted L1."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from adorym.registry import register
from adorym.regularizers.base import ProximalRegularizer
from adorym.wrapper.base import Array, Backend


def _magnitude(xp: Backend, a: Array, rounding: float) -> Array:
    """``|a|``, rounded off to a parabola within ``rounding`` of zero, where it is 0."""
    return xp.sqrt(xp.abs2(a) + rounding**2) - rounding


def _with_magnitude(xp: Backend, a: Array, magnitude: Array) -> Array:
    """``a`` scaled to ``magnitude``; 0 where ``a`` is 0."""
    size = xp.abs(a)
    return a * xp.where(size > 0, magnitude / xp.maximum(size, 1e-30), xp.zeros((1,)))


@register("regularizer", "l2")
class L2(ProximalRegularizer):
    r"""Tikhonov's term :math:`\gamma \sum |u|^2`: small deviations from the reference value.

    Tikhonov, Sov. Math. 4, 1035 (1963).

    Attributes:
        parameter: What it acts on.
        weight: :math:`\gamma`.
    """

    parameter: str = "object"
    weight: float = Field(gt=0)

    def value(self, xp: Backend, deviation: Array) -> Array:
        return self.weight * xp.sum(xp.abs2(deviation))

    def curvature(self, xp: Backend, deviation: Array) -> Array:
        return 2 * self.weight + 0 * xp.abs2(deviation)

    def prox(self, xp: Backend, deviation: Array, step: float) -> Array:
        return deviation * (1 / (1 + 2 * self.weight * step))


@register("regularizer", "l1")
class L1(ProximalRegularizer):
    r"""Sparsity, :math:`\gamma \sum |u|`: few elements that differ from the reference value.

    Tibshirani, J. R. Stat. Soc. B 58, 267 (1996). Its proximal operator is the soft threshold.

    Attributes:
        parameter: What it acts on.
        weight: :math:`\gamma`.
        rounding: Below this magnitude the value is a parabola, which keeps its gradient continuous.
    """

    parameter: str = "object"
    weight: float = Field(gt=0)
    rounding: float = Field(1e-3, gt=0)

    def value(self, xp: Backend, deviation: Array) -> Array:
        return self.weight * xp.sum(_magnitude(xp, deviation, self.rounding))

    def curvature(self, xp: Backend, deviation: Array) -> Array:
        return self.weight / xp.sqrt(xp.abs2(deviation) + self.rounding**2)

    def prox(self, xp: Backend, deviation: Array, step: float) -> Array:
        shrunk = xp.maximum(xp.abs(deviation) - self.weight * step, 0.0)
        return _with_magnitude(xp, deviation, shrunk)


@register("regularizer", "reweighted_l1")
class ReweightedL1(ProximalRegularizer):
    r"""Sparsity that leaves large values alone, :math:`\gamma \sum \epsilon \log(1 + |u|/\epsilon)`.

    Its slope is that of an L1 term whose weights are :math:`\epsilon/(|u| + \epsilon)` at the present u: reweighting at
    every step (Candes, Wakin & Boyd, J. Fourier Anal. Appl. 14, 877 (2008), section 2.3). What lies well below
    :math:`\epsilon` is pulled to the reference value as by L1; what lies well above is left unchanged. Not convex: the
    proximal operator takes the lower of its two stationary points.

    Attributes:
        parameter: What it acts on.
        weight: :math:`\gamma`.
        epsilon: Magnitude that divides small from large.
        rounding: Below this magnitude the value is a parabola, which keeps its gradient continuous.
    """

    parameter: str = "object"
    weight: float = Field(gt=0)
    epsilon: float = Field(0.05, gt=0)
    rounding: float = Field(1e-3, gt=0)

    def value(self, xp: Backend, deviation: Array) -> Array:
        size = _magnitude(xp, deviation, self.rounding)
        return (self.weight * self.epsilon) * xp.sum(xp.log(1 + size / self.epsilon))

    def curvature(self, xp: Backend, deviation: Array) -> Array:
        size = _magnitude(xp, deviation, self.rounding)
        return self.weight / (xp.sqrt(xp.abs2(deviation) + self.rounding**2) * (1 + size / self.epsilon))

    def prox(self, xp: Backend, deviation: Array, step: float) -> Array:
        size, e, height = xp.abs(deviation), self.epsilon, self.weight * step * self.epsilon
        # Stationary: x^2 + (e - v) x + height - v e = 0 for the magnitude x of a value of magnitude v.
        root = xp.sqrt(xp.maximum(xp.square(size + e) - 4 * height, 0.0))
        x = xp.maximum((size - e + root) / 2, 0.0)
        cost = xp.square(x - size) / 2 + height * xp.log(1 + x / e)
        keep = (cost < xp.square(size) / 2) & (xp.square(size + e) >= 4 * height)
        return _with_magnitude(xp, deviation, xp.where(keep, x, xp.zeros((1,))))


@register("regularizer", "smoothness")
class Smoothness(ProximalRegularizer):
    r"""Smooth variation of a parameter from row to row, over angle or time: :math:`\gamma \sum_k |\Delta^p u_k|^2`.

    First differences (p = 1) pull towards a constant, second ones (p = 2) towards a straight line (Whittaker, Proc.
    Edinb. Math. Soc. 41, 63 (1922)).

    Attributes:
        parameter: One that has a row for each pattern, in the order of the data, or for each angle.
        weight: :math:`\gamma`.
        order: p.
    """

    parameter: str
    weight: float = Field(gt=0)
    order: int = Field(1, ge=1, le=2)

    def value(self, xp: Backend, deviation: Array) -> Array:
        for _ in range(self.order):
            deviation = deviation[1:] - deviation[:-1]
        return self.weight * xp.sum(xp.abs2(deviation))

    def curvature(self, xp: Backend, deviation: Array) -> Array:
        # Twice the largest eigenvalue of the differences' normal matrix, 4 for each order.
        return 2 * self.weight * 4.0**self.order + 0 * xp.abs2(deviation)

    def prox(self, xp: Backend, deviation: Array, step: float) -> Array:
        from scipy.linalg import solveh_banded  # slow to import

        rows = xp.to_numpy(deviation)
        n, stencil = len(rows), (np.array([-1.0, 1.0]), np.array([1.0, -2.0, 1.0]))[self.order - 1]
        bands = np.zeros((self.order + 1, n))
        bands[0] = 1
        for start in range(n - self.order):
            for lag in range(self.order + 1):
                overlap = stencil[lag:] * stencil[: len(stencil) - lag]
                bands[lag, start : start + len(overlap)] += 2 * self.weight * step * overlap
        solved = solveh_banded(bands, rows.reshape(n, -1), lower=True)
        return xp.asarray(np.ascontiguousarray(solved.reshape(rows.shape), dtype=rows.dtype), exact=True)
