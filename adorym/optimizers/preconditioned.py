"""Gradient steps divided by the curvature of the loss: those of rPIE, and Gauss-Newton steps for small blocks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from adorym.optimizers.base import Gradient, Optimizer
from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.steps import StepSizes, preconditioned_step

# A pixel counts as not illuminated if its curvature is below this fraction of the regularization.
UNSEEN = 0.01


@register("optimizer", "preconditioned")
class Preconditioned(Optimizer):
    r"""Gradient divided by the curvature of the loss.

    The step is :math:`x \leftarrow x - \eta\, g / ((1-\alpha)\, h + \alpha \max h)`. For the object of a ptychogram
    :math:`h \propto \sum_j |P(r - r_j)|^2`, the probe intensity over the batch, which makes this the step of rPIE
    (Maiden, Johnson & Li, Optica 4, 736 (2017), eq. (16)) for a whole batch at once; for the probe
    :math:`h \propto \sum_j |O_j|^2`. For small blocks of unknowns, such as the two coordinates of a probe position,
    :math:`h` is the block of the Gauss-Newton matrix and the step is
    :math:`-\eta\, (h + \alpha\, \mathrm{tr}(h)/k)^{-1} g`, damped more where it is too long. A learning rate of one is
    natural for any number of photons and any unit of the parameter.

    With momentum :math:`\mu` the step :math:`u` is Nesterov's, :math:`v \leftarrow \mu v + u`,
    :math:`x \leftarrow x - (\mu v + u)` (Sutskever et al., ICML 2013), which pauses in each pixel while no batch
    illuminates it; with small batches steps are smaller (`relaxation`). The curvatures of object and probe are coupled,
    so their steps add up in common directions: with momentum 0.9 the sum of their learning rates should not exceed 1.

    Attributes:
        learning_rate: Step :math:`\eta`, a pure number; 1 takes the whole step.
        regularization: :math:`\alpha`, fraction of the largest curvature that is added where the curvature is small.
        momentum: :math:`\mu`; 0 is a plain step.
        maximum_step: Largest change of a block's component in one step, in the parameter's unit, which longer steps are
            damped to; none if absent.
    """

    needs_curvature: ClassVar[bool] = True

    learning_rate: float | str = 1.0
    regularization: float = Field(0.01, ge=0, le=1)
    momentum: float = Field(0.0, ge=0, lt=1)
    maximum_step: float | None = Field(None, gt=0)

    def init(self, xp: Backend, like: Array) -> tuple[Array, ...]:
        return (xp.zeros_like(like),) if self.momentum else ()

    def rate(self, unit: str, scale: float = 1.0) -> float:
        """The step as a pure number: the curvature provides the unit."""
        return super().rate("", 1.0)

    def relaxation(self, share: float) -> float:
        r"""``min(1, max(share / (2 - 2 momentum), 1 - momentum))``.

        A velocity sums the steps of :math:`1/(1-\mu)` batches. If these contain all data at least twice, their noise
        averages out and the full step is stable. Otherwise the sum of the steps is limited to that of two epochs, but
        is at least one step without momentum.
        """
        return min(1.0, max(0.5 * share / (1 - self.momentum), 1 - self.momentum))

    def step(
        self, xp: Backend, value: Array, gradient: Gradient, state: tuple[Array, ...], rate: float
    ) -> tuple[Array, tuple[Array, ...]]:
        h = gradient.curvature
        largest, known = gradient.curvature_max, isinstance(gradient.curvature_max, float)
        if h is None or (known and largest <= 0):
            return value, state
        if len(h.shape) > len(value.shape):
            return self._moved(value, self._block_step(xp, gradient, rate), state)
        # The last part is for alpha = 0: pixels that are not illuminated do not move.
        floor = (self.regularization + 1e-12) * largest
        if not known:  # a device is not asked whether it sees anything at all
            nothing = 0 * largest
            floor, rate = xp.where(largest > 0, floor, nothing + 1), xp.where(largest > 0, nothing + rate, nothing)
        sizes = StepSizes(rate, 1 - self.regularization, floor, self.momentum, UNSEEN * floor)
        return preconditioned_step(xp, value, gradient.values, h, state, sizes)

    def _moved(self, value: Array, move: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        if not state:
            return value - move, ()
        velocity = self.momentum * state[0] + move
        return value - (self.momentum * velocity + move), (velocity,)

    def _block_step(self, xp: Backend, gradient: Gradient, rate: float) -> Array:
        h, g = gradient.curvature, gradient.values
        assert h is not None  # checked by the caller
        k = h.shape[-1]
        unit = xp.asarray(np.eye(k), exact=True)  # small blocks are solved in double precision
        # A block may be singular if a pattern does not determine all directions.
        relative = self.regularization + 1e-12
        damping = (relative / k) * xp.sum(h * unit, axis=(-2, -1), keepdims=True) * unit
        damped, column = h + damping + np.finfo(np.float64).tiny * unit, g[..., None] + 0 * unit[:, :1]
        move = rate * _solved(xp, damped, column)
        if self.maximum_step is not None:
            known = isinstance(gradient.curvature_max, float)  # else a device, which is not asked for a number
            if not (known and float(xp.max(xp.abs(move))) <= self.maximum_step):
                move = _limited(xp, damped, rate * column, move, self.maximum_step)
        return xp.asarray(move[..., 0])


def _limited(xp: Backend, h: Array, g: Array, move: Array, longest: float) -> Array:
    r"""Steps of which no component exceeds ``longest``: blocks that exceed it are damped.

    A component cut off alone would turn the step out of its direction, and leave the others with the errors of a step
    that is too long. Here :math:`(h + \lambda)^{-1} g` has about the right length: :math:`\lambda` is the first Newton
    step for :math:`1/|s|`, which is nearly linear in it (Moré & Sorensen, SIAM J. Sci. Stat. Comput. 4, 553 (1983)).
    Directions that are badly determined are shortened the most.
    """
    largest = _largest(xp, move)
    way = move / xp.where(largest > 0, largest, 0 * largest + 1)  # squares of the steps themselves may overflow
    bent = xp.sum(way * _solved(xp, h, way), axis=(-2, -1), keepdims=True)
    square = xp.sum(way * way, axis=(-2, -1), keepdims=True)
    added = xp.maximum(largest / longest - 1, 0.0) * square / xp.where(bent > 0, bent, 0 * bent + 1)
    move = _solved(xp, h + added * xp.asarray(np.eye(h.shape[-1]), exact=True), g)
    return move / xp.maximum(_largest(xp, move) / longest, 1.0)


def _largest(xp: Backend, move: Array) -> Array:
    return xp.max(xp.abs(move), axis=(-2, -1), keepdims=True)


def _solved(xp: Backend, h: Array, g: Array) -> Array:
    """``h^-1 g`` ``(..., k, 1)``; 0 where there is none."""
    solved = xp.solve(h, g)
    return xp.where(xp.isfinite(solved), solved, xp.zeros_like(solved))
