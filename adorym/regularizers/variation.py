"""Total variation, and its proximal operator."""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

from pydantic import Field

from adorym.registry import register
from adorym.regularizers.base import ProximalRegularizer
from adorym.wrapper.base import Array, Backend


def differences(a: Array, axes: tuple[int, ...]) -> list[Array]:
    """Forward differences of ``a`` along each of ``axes``, where all of them exist: last rows left out."""
    inner = _inside(len(a.shape), axes)
    return [a[_inside(len(a.shape), axes, ahead)] - a[inner] for ahead in axes]


def divergence(xp: Backend, fields: list[Array], axes: tuple[int, ...]) -> Array:
    """The adjoint of `differences`."""
    total = None
    for field, along in zip(fields, axes, strict=True):
        n = len(field.shape)
        after = [(0, 1) if axis in axes else (0, 0) for axis in range(n)]
        before = [(1, 0) if axis == along else after[axis] for axis in range(n)]
        part = xp.pad(field, before) - xp.pad(field, after)
        total = part if total is None else total + part
    return total


def neighbors(xp: Backend, weights: list[Array], axes: tuple[int, ...]) -> Array:
    """Twice the diagonal of ``D^T W D`` of `differences` D with real weights, a bound of that matrix."""
    total = None
    for weight, along in zip(weights, axes, strict=True):
        n = len(weight.shape)
        after = [(0, 1) if axis in axes else (0, 0) for axis in range(n)]
        before = [(1, 0) if axis == along else after[axis] for axis in range(n)]
        part = 2 * (xp.pad(weight, before) + xp.pad(weight, after))
        total = part if total is None else total + part
    return total


def _inside(n: int, axes: tuple[int, ...], ahead: int | None = None) -> tuple[slice, ...]:
    one = (slice(None, -1), slice(1, None))
    return tuple(one[axis == ahead] if axis in axes else slice(None) for axis in range(n))


@register("regularizer", "total_variation")
class TotalVariation(ProximalRegularizer):
    r"""Total variation :math:`\gamma \sum_r \sqrt{|\partial_y u|^2 + |\partial_x u|^2 + \epsilon^2}`, or its
    anisotropic form :math:`\gamma \sum_r \sum_a \sqrt{|\partial_a u|^2 + \epsilon^2}`.

    Rudin, Osher & Fatemi, Physica D 60, 259 (1992), eq. (2.1), with forward differences; the last row and column have
    no forward neighbor and are left out. The proximal operator iterates on the dual problem with Nesterov's
    acceleration (Beck & Teboulle, IEEE Trans. Image Process. 18, 2419 (2009), algorithm FGP).

    Attributes:
        parameter: The object, the probe, or another parameter whose last two axes are y and x.
        weight: :math:`\gamma`.
        epsilon: Keeps the gradient finite where the object is flat.
        isotropic: The root of the sum, which has no preferred direction, or the sum of the roots.
        along_z: Include the differences between the slices of an object.
        iterations: Of the proximal operator.
    """

    halo_px: ClassVar[int | None] = 1
    parameter: str = "object"
    weight: float = Field(gt=0)
    epsilon: float = Field(1e-3, gt=0)
    isotropic: bool = True
    along_z: bool = False
    iterations: int = Field(30, ge=1)

    def _axes(self, a: Array) -> tuple[int, ...]:
        n = len(a.shape)
        if self.parameter != "object":
            return n - 2, n - 1
        return (0, 1, 2) if self.along_z and n > 2 and a.shape[2] > 1 else (0, 1)

    def value(self, xp: Backend, deviation: Array) -> Array:
        squared = [xp.abs2(d) for d in differences(deviation, self._axes(deviation))]
        squared = [reduce(lambda a, b: a + b, squared)] if self.isotropic else squared
        return self.weight * sum(xp.sum(xp.sqrt(s + self.epsilon**2)) for s in squared)

    def curvature(self, xp: Backend, deviation: Array) -> Array:
        axes = self._axes(deviation)
        squared = [xp.abs2(d) for d in differences(deviation, axes)]
        squared = [reduce(lambda a, b: a + b, squared)] * len(axes) if self.isotropic else squared
        return neighbors(xp, [self.weight / xp.sqrt(s + self.epsilon**2) for s in squared], axes)

    def prox(self, xp: Backend, deviation: Array, step: float) -> Array:
        axes, tau = self._axes(deviation), self.weight * step
        dual = [xp.zeros_like(d) for d in differences(deviation, axes)]
        ahead, inertia = dual, 1.0
        for _ in range(self.iterations):
            slopes = differences(deviation - tau * divergence(xp, ahead, axes), axes)
            # 4 an axis bounds the largest eigenvalue of the differences' Laplacian.
            raised = [p + d * (1 / (4 * len(axes) * tau)) for p, d in zip(ahead, slopes, strict=True)]
            before, dual = dual, self._into_ball(xp, raised)
            inertia, last = (1 + (1 + 4 * inertia**2) ** 0.5) / 2, inertia
            ahead = [p + ((last - 1) / inertia) * (p - q) for p, q in zip(dual, before, strict=True)]
        return deviation - tau * divergence(xp, dual, axes)

    def _into_ball(self, xp: Backend, fields: list[Array]) -> list[Array]:
        squared = [xp.abs2(f) for f in fields]
        if self.isotropic:
            size = xp.maximum(xp.sqrt(reduce(lambda a, b: a + b, squared)), 1.0)
            return [f / size for f in fields]
        return [f / xp.maximum(xp.sqrt(s), 1.0) for f, s in zip(fields, squared, strict=True)]
