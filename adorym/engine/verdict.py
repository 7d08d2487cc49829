r"""The verdict at the end of a run: what is left of the loss, in units of what the noise of the data leaves.

The final state predicts a sample of the patterns. Its loss per valid pixel, without regularizers, is compared with the
loss that the same predictions would have if they were true and photons were counted
(`adorym.losses.expectation`). If it is clearly larger, either the run has not come to its end or the model does not
describe the data: the loss of the last epochs tells which, once the steps that the schedule has shortened are counted
as the parts of a step that they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from adorym.data.counting import Counting, counting
from adorym.data.verdict import Kind, Verdict
from adorym.engine.gradients import own_chunks
from adorym.engine.loop import Reconstruction
from adorym.engine.problem import Problem
from adorym.engine.reasons import reasons
from adorym.losses.expectation import Expectation
from adorym.wrapper import get_backend

# Pixels of the sample of patterns, over all ranks.
SAMPLE_PIXELS = 8 << 20
# The data are fitted if the misfit is at most this many times that of the noise,
FITTED = 1.3
# or if it is so small, relative to the amplitudes, that rounding and interpolation are all that is left.
EXACT = 2e-3
# Unknown noise: residuals of neighboring pixels that correlate less than this are noise.
WHITE = 0.15
# The run is not at its end if as many full steps again as it has made would take this part of the excess away.
FALLING = 0.3


@dataclass
class Sums:
    """Sums over the valid pixels of the sample.

    Attributes:
        weight: Of the pixels.
        misfit: Of their loss.
        expected: Of their loss at a perfect fit; 0 if the noise is not known.
        counts: Of the counts.
        squares: Of the squared residuals of the amplitudes.
        neighbors: Of the products of residuals of neighboring pixels.
    """

    weight: float = 0.0
    misfit: float = 0.0
    expected: float = 0.0
    counts: float = 0.0
    squares: float = 0.0
    neighbors: float = 0.0

    @property
    def relative(self) -> float:
        """Root mean square residual, relative to the amplitude."""
        return math.sqrt(self.squares / self.counts) if self.counts > 0 else math.inf

    @property
    def correlation(self) -> float:
        """Correlation of the residuals of neighboring pixels."""
        return self.neighbors / self.squares if self.squares > 0 else 0.0


def verdict(reconstruction: Reconstruction) -> Verdict:
    """The verdict on the present state; collective."""
    problem, progress = reconstruction.problem, reconstruction.progress
    noise = _noise(problem)
    sums = _sums(problem, noise)
    floor = sums.expected / sums.weight if noise.quantum is not None and sums.weight else math.nan
    misfit = sums.misfit / sums.weight if sums.weight else math.nan
    kept = reconstruction.best.epoch if reconstruction.ended else progress.epoch
    # The loss of an epoch counts the whole data set, in counts.
    least = 0.0 if math.isnan(floor) else floor * sums.weight / max(sums.counts, 1e-300)
    falling = _falling(reconstruction, least)
    kind = _kind(sums, misfit / floor if floor > 0 else math.nan, falling, bool(reconstruction.ended))
    found = reasons(problem, kind, reconstruction.settings.epochs, reconstruction.ended)
    return Verdict(kind, misfit, floor, sums.relative, noise.about, kept, found)


def _kind(sums: Sums, times_noise: float, falling: float, ended: bool) -> Kind:
    if sums.relative < EXACT or times_noise <= FITTED or (math.isnan(times_noise) and sums.correlation < WHITE):
        return "converged"
    return "not converged" if falling > FALLING or ended else "the model does not fit"


def _noise(problem: Problem) -> Counting:
    """The unit of the counts: the loss states it, or the data show it; found on one rank."""
    gain, read_noise = problem.loss.detector
    if (gain, read_noise) != (1.0, 0.0):
        return Counting(gain, f"photon counts times {gain:.4g} with a read-out error of {read_noise:.4g}")
    comm = problem.comm
    return comm.broadcast(counting(problem.dataset) if comm.is_root else None, "look whether the values are counts")


def _sample(problem: Problem) -> np.ndarray:
    """Indices of patterns, evenly over the scan."""
    n, pixels = problem.dataset.n_patterns, math.prod(problem.dataset.window_px)
    return np.unique(np.linspace(0, n - 1, max(1, min(n, SAMPLE_PIXELS // pixels))).astype(int))


def _sums(problem: Problem, noise: Counting) -> Sums:
    _, read_noise = problem.loss.detector
    floor = problem.measurements.floor
    expected = None if noise.quantum is None else Expectation(problem.loss, floor, noise.quantum, read_noise)
    total, patterns = Sums(), _sample(problem)
    for chunk in own_chunks(problem, patterns):
        part = _of_patterns(problem, chunk if len(chunk) else patterns[:1], expected)
        for each in fields(Sums) if len(chunk) else ():
            setattr(total, each.name, getattr(total, each.name) + getattr(part, each.name))
    values = np.array([getattr(total, each.name) for each in fields(Sums)])
    return Sums(*problem.comm.sum(values, "sum of the misfit").tolist())


def _of_patterns(problem: Problem, patterns: np.ndarray, expected: Expectation | None) -> Sums:
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
    beside = (residual[..., 1:] * residual[..., :-1]).sum() + (residual[..., 1:, :] * residual[..., :-1, :]).sum()
    return Sums(
        weight=float(weight.sum()),
        misfit=float((weight * terms).sum()),
        expected=0.0 if expected is None else float((weight * expected(intensity)).sum()),
        counts=float((weight * np.maximum(measured**2 - floor, 0)).sum()),
        squares=float((residual**2).sum()),
        neighbors=float(beside / 2),
    )


def _falling(reconstruction: Reconstruction, least: float) -> float:
    """The part of the loss above ``least`` that as many full steps again would take away.

    The loss follows a power of the steps made, so that what the second half of them has brought the next as many will
    bring again. A schedule that shortens the steps at the end of a run makes the loss fall less, which proves nothing.
    """
    problem, losses = reconstruction.problem, np.asarray(reconstruction.progress.history["loss"])
    if len(losses) < 3:
        return 1.0
    epochs = reconstruction.settings.epochs
    solver = reconstruction.solving is not None
    steps = np.cumsum([1.0 if solver else problem.obj.schedule.factor(i, epochs) for i in range(len(losses))])
    excess = np.maximum(losses - least, 1e-3 * least)
    half = int(np.searchsorted(steps, steps[-1] / 2))
    before = excess[max(0, half - 1) : half + 2].mean()
    return float(1 - excess[-1] / before) if before > 0 else 0.0
