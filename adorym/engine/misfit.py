"""How far predictions and measurements are apart: sums over the pixels of some patterns, for the verdict on a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adorym.data.upsampling import as_measured
from adorym.engine.problem import Problem
from adorym.losses.expectation import Expectation
from adorym.wrapper import get_backend

# Pixels of exit waves that are predicted at once: a prediction keeps several arrays of all of them.
PREDICTED_PIXELS = 1 << 19
# Correlation of neighboring pixels' residuals that are noise, at most, and of residuals that are none.
WHITE, CORRELATED = 0.15, 0.7


@dataclass
class Sums:
    """Sums over the valid pixels of the sample.

    Attributes:
        weight: Of the pixels.
        misfit: Of their loss.
        expected: Of their loss at a perfect fit; 0 if the noise is not known.
        squares: Of the squared residuals of the amplitudes.
        structure: Of the squared deviations of the measured amplitudes from their mean in each pattern.
        neighbors: Of the products of residuals of neighboring pixels.
    """

    weight: float = 0.0
    misfit: float = 0.0
    expected: float = 0.0
    squares: float = 0.0
    structure: float = 0.0
    neighbors: float = 0.0

    @property
    def relative(self) -> float:
        """Root mean square residual, relative to the structure in the amplitudes."""
        return math.sqrt(self.squares / self.structure) if self.structure > 0 else math.inf

    @property
    def times_noise(self) -> float:
        """The misfit in units of that at a perfect fit; not a number if the noise is not known."""
        return self.misfit / self.expected if self.expected > 0 else math.nan

    @property
    def systematic(self) -> float:
        """The same of what is no noise: the excess over it or, if it is not known, what neighboring pixels share."""
        part = 1 - 1 / max(self.times_noise, 1.0)
        if math.isnan(self.times_noise):
            correlation = self.neighbors / self.squares if self.squares > 0 else 0.0
            part = 0.0 if correlation < WHITE else min(1.0, correlation / CORRELATED)
        return self.relative * math.sqrt(part)


def predicted_at_once(problem: Problem) -> int:
    """Number of patterns for which `sums_of` is called at once."""
    if problem.bound.view.all_at_once:
        return problem.dataset.n_patterns
    return max(1, PREDICTED_PIXELS // (problem.bound.waves * math.prod(problem.dataset.window_px)))


def sums_of(problem: Problem, patterns: np.ndarray, expected: Expectation | None = None) -> Sums:
    """The sums over ``patterns``, all at once; without an expectation that by the noise is 0."""
    xp, plain = problem.xp, get_backend("autograd", precision="double")
    loss, floor = problem.loss, problem.measurements.floor
    obj, params, batch = problem.inputs(patterns)
    intensity = np.asarray(xp.to_numpy(problem.model.predict(xp, obj, params, batch)), np.float64)
    target = np.asarray(xp.to_numpy(batch.target), np.float64)
    weight = np.ones(target.shape) if batch.mask is None else np.broadcast_to(xp.to_numpy(batch.mask), target.shape)
    weight = np.where(target < loss.saturated(floor), weight, 0.0)
    lifted = intensity + floor
    terms = plain.to_numpy(loss.terms(plain, np.sqrt(lifted) if loss.on_amplitudes else lifted, target))
    measured = target if loss.on_amplitudes else np.sqrt(np.maximum(target, 0))
    residual = np.where(weight > 0, np.sqrt(lifted) - measured, 0.0)
    mean = (weight * measured).sum((1, 2), keepdims=True) / np.maximum(weight.sum((1, 2), keepdims=True), 1e-30)
    if problem.dataset.upsampling > 1:  # neighbors are pixels of the detector
        residual = as_measured(problem.bound.from_model_frame(residual), problem.dataset)
    beside = (residual[..., 1:] * residual[..., :-1]).sum() + (residual[..., 1:, :] * residual[..., :-1, :]).sum()
    return Sums(
        weight=float(weight.sum()),
        misfit=float((weight * terms).sum()),
        expected=0.0 if expected is None else float((weight * expected(intensity)).sum()),
        squares=float((residual**2).sum()),
        structure=float((weight * (measured - mean) ** 2).sum()),
        neighbors=float(beside / 2),
    )
