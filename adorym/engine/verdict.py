r"""The verdict at the end of a run: what is left of the loss, in units of what the noise of the data leaves.

The final state predicts a sample of the patterns. Its loss per valid pixel, without regularizers, is compared with the
loss that the same predictions would have if they were true and photons were counted
(`adorym.losses.expectation`).

Whether the run has come to its end is asked of the gradients by the object, of two halves of the patterns. As long as
there is something to gain they agree. At the end they cancel: what one half still wants the other does not, be it for
the noise or because the model contradicts itself. With :math:`g_1` and :math:`g_2`,

.. math:: q = \frac{|g_1 + g_2|^2}{|g_1|^2 + |g_2|^2}

is 2 for equal gradients, 1 for unrelated ones and 0 at a minimum of the loss, whatever the steps were.
"""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np

from adorym.data.counting import Counting, counting
from adorym.data.verdict import Kind, Verdict
from adorym.engine.gradients import batch_gradients, own_chunks
from adorym.engine.loop import Reconstruction
from adorym.engine.misfit import Sums, predicted_at_once, sums_of
from adorym.engine.problem import Problem
from adorym.engine.reasons import reasons
from adorym.losses.expectation import Expectation
from adorym.optimizers.base import Gradient
from adorym.parameters import OBJECT
from adorym.storage.vector import StoreVector
from adorym.wrapper.base import Array

# Pixels of the sample of patterns, over all ranks.
SAMPLE_PIXELS = 4 << 20
# The data are fitted if the misfit is at most this many times that of the noise,
FITTED = 1.3
# or if what it has beyond the noise is at most this part of the structure in the amplitudes.
SYSTEMATIC = 0.05
# They are fitted exactly, whatever their noise, if all of the misfit is at most this part.
EXACT = 5e-3
# The run is not at its end if q, of the gradients of two halves of the patterns, is larger.
MOVING = 0.7
# With a single pattern: if as many full steps again would take this part of the loss away.
FALLING = 0.3


def verdict(reconstruction: Reconstruction) -> Verdict:
    """The verdict on the present state; collective, and as much work as an epoch."""
    problem, ended = reconstruction.problem, reconstruction.ended
    noise = _noise(problem)
    sums = _sums(problem, noise)
    fits = sums.times_noise <= FITTED or sums.systematic <= SYSTEMATIC
    kind: Kind = "converged" if fits else "the model does not fit"
    if sums.relative > EXACT and (_moving(reconstruction, fits) or (ended and not fits)):
        kind = "not converged"
    return Verdict(
        kind=kind,
        misfit=sums.misfit / max(sums.weight, 1e-300),
        floor=sums.expected / max(sums.weight, 1e-300) if noise.quantum is not None else math.nan,
        relative=sums.relative,
        noise=noise.about,
        epoch=reconstruction.best.epoch if ended else reconstruction.progress.epoch,
        reasons=reasons(problem, kind, reconstruction.progress.epoch, ended),
    )


def _moving(reconstruction: Reconstruction, fits: bool) -> bool:
    """Whether the object would still move on."""
    problem = reconstruction.problem
    if problem.dataset.n_patterns > 1 and problem.obj.settings.refine:
        return _agreement(problem) > MOVING
    return not fits and _falling(reconstruction) > FALLING


def _agreement(problem: Problem) -> float:
    """q, of the gradients of a random half of the patterns and of the other."""
    order = np.random.default_rng(0).permutation(problem.dataset.n_patterns)
    halves = [_gradient(problem, np.sort(order[part::2])) for part in range(2)]
    apart = sum(half.norm() ** 2 for half in halves)
    return float((halves[0] + halves[1]).norm() ** 2 / apart) if apart > 0 else 0.0


def _gradient(problem: Problem, patterns: np.ndarray) -> StoreVector:
    """The gradient of the loss of ``patterns`` by the object, whose store keeps everything but its gradient."""
    store = problem.store
    made = store.empty()
    batch_gradients(problem, patterns, frozenset([OBJECT]), frozenset())

    def step(tile: Array, gradient: Gradient, state: tuple[Array, ...], row: int) -> tuple[Array, tuple[Array, ...]]:
        nonlocal made
        made = store.write(made, row, gradient.values)
        return tile, state

    store.update(step)
    return StoreVector(store, {OBJECT: made})


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
    for chunk in own_chunks(problem, patterns, predicted_at_once(problem)):
        part = sums_of(problem, chunk if len(chunk) else patterns[:1], expected)
        for each in fields(Sums) if len(chunk) else ():
            setattr(total, each.name, getattr(total, each.name) + getattr(part, each.name))
    values = np.array([getattr(total, each.name) for each in fields(Sums)])
    return Sums(*problem.comm.sum(values, "sum of the misfit").tolist())


def _falling(reconstruction: Reconstruction) -> float:
    """The part of the loss that as many full steps again would take away, if it follows a power of their number."""
    problem, losses = reconstruction.problem, np.asarray(reconstruction.progress.history["loss"])
    if len(losses) < 3:
        return 1.0
    epochs, solver = reconstruction.settings.epochs, reconstruction.solving is not None
    steps = np.cumsum([1.0 if solver else problem.obj.schedule.factor(i, epochs) for i in range(len(losses))])
    half = int(np.searchsorted(steps, steps[-1] / 2))
    before = losses[max(0, half - 1) : half + 2].mean()
    return float(1 - losses[-1] / before) if before > 0 else 0.0
