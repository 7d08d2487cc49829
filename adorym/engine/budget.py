"""The limit ``run.memory``: how many patterns are worked on at once, and whether all of them are kept in memory.

What counts is the memory of the whole process, or that of its device. What a pattern takes is measured on as few of
them as possible, so that the measurement itself keeps the limit; no formula for each technique is needed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adorym.comm import SerialCommunicator, launched
from adorym.data import batches
from adorym.engine.gradients import chunk_size
from adorym.engine.misfit import predicted_at_once, sums_of
from adorym.engine.problem import Problem
from adorym.engine.settings import RunSettings
from adorym.engine.trial import measured, nothing_collected, object_cost, try_batch
from adorym.errors import ConfigError
from adorym.forward.base import BoundModel
from adorym.optimizers.base import Optimizer
from adorym.parameters import OBJECT
from adorym.storage.base import BLOCK_BYTES
from adorym.storage.dry import DryStore
from adorym.storage.hdf5 import STEP_FACTOR
from adorym.storage.slabs import Start
from adorym.wrapper.base import Backend

LOG = logging.getLogger("adorym")
# Part of the limit that is planned with: the heap has holes, and libraries load at their first use.
PLANNED = 0.93
# Memory for chunks in units of what one of them takes: the heap does not fill its holes.
HOLES = 2.0
# A pattern more than those that were measured may take this much more than they say.
DOUBT = 1.1
# Waves, intermediate results and gradients of a pattern in units of its exit waves, and pixels of exit waves per chunk
# below which an epoch takes longer: what is left free when patterns are kept.
ROUGHLY, FAST_PIXELS = 24, 1 << 18
# Arrays of the object's size that a run keeps, at the most.
OBJECTS = 6
# What the report at the end takes for its libraries and pictures, when no batch is under way.
REPORT = 128 << 20
# Part of what is left that the blocks of an object in a file may take, and the least that they need.
FILE_PART, FILE_LEAST = 0.5, STEP_FACTOR << 20


@dataclass(frozen=True)
class Budget:
    """The memory that one rank may use.

    Attributes:
        limit_bytes: ``run.memory``; infinite if the settings state none.
    """

    limit_bytes: float = math.inf

    @classmethod
    def of(cls, run: RunSettings, xp: Backend) -> Budget:
        """The limit of the settings.

        Raises:
            ConfigError: Nobody can tell how much is used.
        """
        if run.memory is None:
            return cls()
        if not xp.memory.tells:
            raise ConfigError(
                "run.memory",
                "cannot be kept: this system does not tell how much memory a process uses",
                remedy="leave it out",
            )
        xp.memory.restart()  # what is only kept for later use is no use
        return cls(float(run.memory))

    def keeps(self, xp: Backend, bound: BoundModel[Any], run: RunSettings, patterns_bytes: int) -> bool:
        """Whether all patterns may stay in memory, beside the object's arrays and chunks that are not slow."""
        wave = math.prod(bound.dataset.window_px) * bound.waves
        numbers = HOLES * ROUGHLY * max(wave, FAST_PIXELS)
        if run.store != "h5":
            numbers += OBJECTS * math.prod(bound.shape) / (_ranks() if run.store == "do" else 1)
        return patterns_bytes <= PLANNED * self.limit_bytes - xp.memory.used() - numbers * xp.complex_dtype.itemsize

    def fit(self, problem: Problem, start: Start, run: RunSettings, batch_size: int) -> float | None:
        """Choose how many patterns ``problem`` works on at once; its store has not been made yet.

        Returns what the blocks of an object in a file may take; ``None`` if nothing limits them.

        Raises:
            ConfigError: Not even one pattern at once fits.
        """
        if math.isinf(self.limit_bytes):
            return run.object_memory
        problem.xp.memory.restart()
        alone = replace(problem, store=DryStore(problem.xp, start, SerialCommunicator()), comm=SerialCommunicator())
        limit, of_object = PLANNED * self.limit_bytes, self._of_object(problem, run)
        chunk = min(chunk_size(problem), -(-batch_size // _ranks()))
        found = _most(alone, limit - _own_bytes(problem, run, of_object), chunk, run)
        if found.patterns < 1:
            of_object = min(of_object, FILE_LEAST) if run.object_memory is None else of_object
            problem.measurements.release()
            found = _most(alone, limit - _own_bytes(problem, run, of_object), chunk, run)
        most = -int(problem.comm.max(-found.patterns, "agree how many patterns fit into memory"))
        if most < 1:
            need = found.n_bytes + _own_bytes(problem, run, of_object) if found.patterns < 1 else 0.0
            raise self._too_little(problem.comm.max(need, "find the least memory"), run)
        problem.at_once, problem.ceiling_bytes = most, self.limit_bytes - found.n_bytes
        where = "all patterns in memory" if problem.measurements.in_memory else "patterns read when they are needed"
        problem.remarks = (*problem.remarks, f"memory: {most} patterns at once, {where}")
        problem.xp.memory.restart()
        return of_object if run.store == "h5" else None

    def _of_object(self, problem: Problem, run: RunSettings) -> float:
        left = FILE_PART * (PLANNED * self.limit_bytes - problem.xp.memory.used())
        return run.object_memory or max(left, float(FILE_LEAST))

    def look(self, problem: Problem) -> None:
        """After an epoch: work on fewer patterns at once if more memory was used than is allowed."""
        if math.isinf(self.limit_bytes):
            return
        if problem.comm.max(problem.xp.memory.peak(), "look at the memory") > self.limit_bytes:
            before = chunk_size(problem)
            problem.at_once = max(1, before // 2)
            if problem.at_once < before:
                LOG.warning(
                    "run.memory: more memory was used than allowed; from now on %d patterns at once instead of %d",
                    problem.at_once,
                    before,
                )
        problem.xp.memory.restart()

    def _too_little(self, least: float, run: RunSettings) -> ConfigError:
        more = {"dp": "; 'run.store: h5' keeps the object in a file", "do": "; use more ranks, or 'run.store: h5'"}
        return ConfigError(
            "run.memory",
            "this run needs more memory",
            expected=f"at least {math.ceil(100 * least / PLANNED / 2**30) / 100:.4g} GiB, with one pattern at once",
            found=f"{self.limit_bytes / 2**30:.4g} GiB",
            remedy="raise it" + more.get(run.store, " ('run.object_memory' limits the object's blocks alone)"),
        )


def keeps_as_usual(patterns_bytes: int, local_size: int) -> bool:
    """Whether all patterns stay in memory if nothing is said about it."""
    return patterns_bytes <= batches.KEEP_IN_MEMORY_BYTES / local_size


def stored_arrays(problem: Problem) -> Mapping[str, int]:
    """Bytes of each array of the object's size that persists between batches, over all ranks."""
    xp, optimizer, solver = problem.xp, problem.obj.optimizer, problem.solver
    shape, n_bytes = problem.store.shape, object_bytes(problem)
    found = {OBJECT: n_bytes, "gradient": n_bytes}
    if solver is not None:
        return found | {"solver": solver.vectors * n_bytes}
    if optimizer.needs_curvature:
        found["curvature"] = n_bytes // 2
    found["best object"] = n_bytes
    state = _state_bytes(xp, optimizer, shape)
    return found | ({"optimizer state": state} if state else {})


def object_bytes(problem: Problem) -> int:
    """Bytes of the whole object."""
    return math.prod(problem.store.shape) * problem.xp.complex_dtype.itemsize


def _state_bytes(xp: Backend, optimizer: Optimizer, shape: tuple[int, ...]) -> int:
    # Every state array has the object's rows; a small array shows whether its rows are complete or single numbers.
    arrays = [xp.to_numpy(s) for s in optimizer.init(xp, xp.zeros((2, 16), complex_values=True))]
    return sum(s.dtype.itemsize * (math.prod(shape) if s.shape == (2, 16) else shape[0]) for s in arrays)


def other_bytes(problem: Problem) -> int:
    """Bytes of the other parameters: values, gradients and optimizer states."""
    return sum(
        2 * value.first.nbytes + sum(problem.xp.to_numpy(s).nbytes for s in value.state)
        for value in problem.values.values()
    )


def _ranks() -> int:
    """Ranks of the run, also for a check that only one of them makes."""
    start = launched()
    return 1 if start is None else start[0]


def _own_bytes(problem: Problem, run: RunSettings, of_object: float) -> float:
    """What this rank needs beside the patterns: the object's arrays or blocks of them, and the parameters."""
    if run.store == "h5":
        return other_bytes(problem) + min(of_object, STEP_FACTOR * min(BLOCK_BYTES, object_bytes(problem)))
    shared = _ranks() if run.store == "do" else 1
    return sum(-(-n // shared) for n in stored_arrays(problem).values()) + other_bytes(problem)


def _step_bytes(problem: Problem, run: RunSettings) -> int:
    if run.store == "h5":  # counted with its blocks
        return 0
    whole = object_bytes(problem)
    if run.store == "do" and not problem.xp.on_host:  # a device steps all that it holds at once
        return object_cost(problem).n_bytes(-(-whole // _ranks()))
    return object_cost(problem).n_bytes(whole if run.store == "dp" else min(BLOCK_BYTES, whole))


@dataclass(frozen=True)
class Most:
    """How many patterns at once fit, and the bytes that they take; with 0 of them, the least that is needed in all."""

    patterns: int
    n_bytes: float


def _most(problem: Problem, limit: float, chunk: int, run: RunSettings) -> Most:
    """The most patterns at once, up to ``chunk``, with which the process keeps below ``limit`` bytes.

    Twice as many are tried as long as a line through the last two measurements says that they fit; the first one says
    nothing of that, as much of it may be needed once. The heap may take as much as a chunk needs once more, since it
    fills its holes badly.
    """
    memory, chunk = problem.xp.memory, min(chunk, problem.dataset.n_patterns)
    ahead = 0 if problem.measurements.in_memory else 3 * math.prod(problem.dataset.window_px) * 8
    _works(problem, 1)()  # compiles, and what that takes stays
    with nothing_collected():
        memory.restart()
        step, base = _step_bytes(problem, run), memory.used()
        n, taken, before = 1, measured(problem, _works(problem, 1))[1] + ahead, 0.0
        if base + max(taken, step, REPORT) > limit:
            return Most(0, base + max(taken, step, REPORT))
        room = (limit - base) / (1.0 if problem.bound.view.all_at_once else HOLES)
        while n < chunk:
            if n == 1 and base + 2 * taken > limit:
                return Most(1, taken)
            if n > 1:
                slope = max(ahead, (taken - before) / (n - n // 2))
                fits = max(n, int(n + (room - taken) / max(1.0, DOUBT * slope)))
                if fits < min(2 * n, chunk):
                    return Most(fits, taken + (fits - n) * slope)
            before, n = taken, min(2 * n, chunk)
            taken = measured(problem, _works(problem, n))[1] + ahead * n
            if taken > room:
                return Most(n // 2, before)
    return Most(chunk, taken)


def _works(problem: Problem, n: int) -> Callable[[], None]:
    """What a run does with ``n`` patterns at once: a batch, and the verdict at its end."""
    batch = try_batch(problem, n)

    def work() -> None:
        batch()
        sums_of(problem, np.arange(min(n, predicted_at_once(problem))))

    return work
