"""Trial of a run on small batches: does it work, how long does it take, and how much memory does it need.

Two batches of different size are differentiated, and a block of the object is stepped. The cost of the run is
extrapolated from the measured time and memory, so no formula for each technique is needed.
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from adorym.engine.gradients import batch_gradients, chunk_size
from adorym.engine.problem import Problem
from adorym.engine.terms import term_gradient
from adorym.optimizers.base import Gradient
from adorym.parameters import OBJECT
from adorym.storage.base import BLOCK_BYTES
from adorym.wrapper.base import Array

FEWEST = 2
# Bytes of waves in the larger of the two batches, enough to measure above the process's own memory.
SAMPLE_BYTES = 48 << 20


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes as linear functions of a number n: ``fixed + each * n``."""

    fixed_s: float = 0.0
    each_s: float = 0.0
    fixed_bytes: float = 0.0
    each_bytes: float = 0.0

    def seconds(self, n: float) -> float:
        """Time for n."""
        return self.fixed_s + self.each_s * n

    def n_bytes(self, n: float) -> int:
        """Memory for n."""
        return int(self.fixed_bytes + self.each_bytes * n)


@dataclass(frozen=True)
class Trial:
    """Measured loss, time and memory.

    Attributes:
        loss: Loss of the first patterns, at the start values.
        chunk: Largest number of patterns per chunk.
        batch: Cost of n patterns of a chunk: prediction, loss, gradients, curvatures.
        step: Cost of n bytes of the object: its regularizers and its step.
        program_bytes: Resident memory of the process with the patterns, before any computation; 0 if not known.
    """

    loss: float
    chunk: int
    batch: Cost
    step: Cost
    program_bytes: int


def try_problem(problem: Problem) -> Trial:
    """Differentiate two small batches of ``problem``, and step a block of its object; ``problem`` is unchanged.

    Raises:
        InputError: A component fails, or gives no curvature for a step that divides by it.
    """
    program = problem.xp.memory.used()
    chunk = min(chunk_size(problem), problem.dataset.n_patterns)
    few, many = _sizes(problem, chunk)
    losses: list[float] = []
    try_batch(problem, few, losses)()  # compiles
    with nothing_collected():
        small, large = (measured(problem, try_batch(problem, n, losses)) for n in (few, many))
        return Trial(losses[0], chunk, _line((few, *small), (many, *large)), object_cost(problem), program)


def try_batch(problem: Problem, n: int, losses: list[float] | None = None) -> Callable[[], None]:
    """What differentiates ``n`` patterns of the whole data set at once; the loss is added to ``losses``."""
    names = frozenset(n for n, v in problem.unknowns.items() if v.settings.refine and not v.spec.by_update)
    patterns = np.unique(np.linspace(0, problem.dataset.n_patterns - 1, n).astype(int))

    def work() -> None:
        loss = batch_gradients(problem, patterns, names)[0]
        if losses is not None:
            losses.append(float(loss))

    return work


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """What is there by now is not looked through again before each measurement; what others have frozen stays so."""
    ours = not gc.get_freeze_count()
    gc.collect()
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()


def _sizes(problem: Problem, chunk: int) -> tuple[int, int]:
    if problem.bound.view.all_at_once:
        return chunk, chunk
    one = problem.bound.waves * math.prod(problem.dataset.window_px) * problem.xp.complex_dtype.itemsize
    return min(FEWEST, chunk), max(1, min(chunk, max(2 * FEWEST, SAMPLE_BYTES // one)))


def object_cost(problem: Problem) -> Cost:
    """Cost per byte of the object: its regularizers' gradients and its step, measured on a block of it."""
    if not problem.obj.settings.refine:
        return Cost()
    xp, optimizer, shape = problem.xp, problem.obj.optimizer, problem.store.shape
    row_bytes = math.prod(shape[1:]) * xp.complex_dtype.itemsize
    rows = min(shape[0], max(1, BLOCK_BYTES // row_bytes))
    tile = xp.asarray(problem.store.read("value", 0, rows))
    terms = [r for r in problem.regularizers if r.parameter == OBJECT and r.halo_px is not None]
    state = optimizer.init(xp, tile)

    def step() -> None:
        gradient: Array = xp.zeros_like(tile)
        for term in terms:
            gradient = gradient + term_gradient(problem, term, tile, 1.0)[1]
        curvature = xp.ones(tile.shape) if optimizer.needs_curvature else None
        optimizer.step(xp, xp.copy(tile), Gradient(gradient, curvature, 1.0), tuple(map(xp.copy, state)), 1e-3)

    step()
    seconds, n_bytes = measured(problem, step)
    return Cost(each_s=seconds / (rows * row_bytes), each_bytes=n_bytes / (rows * row_bytes))


def _line(few: tuple[int, float, float], many: tuple[int, float, float]) -> Cost:
    """The line through two measurements ``(n, seconds, bytes)``; constant if both have the same n."""
    n = many[0] - few[0]
    if n == 0:
        return Cost(fixed_s=many[1], fixed_bytes=many[2])
    seconds, n_bytes = (max(0.0, (b - a) / n) for a, b in zip(few[1:], many[1:], strict=True))
    return Cost(max(0.0, many[1] - seconds * many[0]), seconds, max(0.0, many[2] - n_bytes * many[0]), n_bytes)


def measured(problem: Problem, work: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and the peak of the memory minus that at the beginning, in bytes."""
    memory = problem.xp.memory
    memory.restart()
    before = memory.used()
    work()
    peak = max(0, memory.peak() - before)
    start = time.perf_counter()
    work()  # timed with its memory at hand, as the batches of a run have it
    return time.perf_counter() - start, peak
