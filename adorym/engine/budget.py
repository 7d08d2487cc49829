"""The memory of a run: how many patterns are worked on at once, and where all of them are kept, within a limit.

The limit is ``run.memory``, or else what is free when the run starts. What counts is the memory of the whole process,
or that of its device. What a pattern takes is measured on as few of them as possible, so that the measurement itself
keeps the limit; no formula for each technique is needed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adorym.comm import Communicator, SerialCommunicator
from adorym.data import batches
from adorym.engine.gradients import chunk_size
from adorym.engine.problem import Problem
from adorym.engine.settings import RunSettings
from adorym.engine.trial import measured, nothing_collected, object_cost, try_batch
from adorym.errors import ConfigError
from adorym.forward.base import BoundModel
from adorym.optimizers.base import Optimizer
from adorym.storage.base import BLOCK_BYTES
from adorym.storage.dry import DryStore
from adorym.storage.hdf5 import STEP_FACTOR
from adorym.storage.slabs import Start
from adorym.wrapper.base import Backend

LOG = logging.getLogger("adorym")
# Part of the free memory that a run takes without being asked to take less.
SHARE = 0.9
# Part of a stated limit that is planned with: allocators leave gaps.
PLANNED = 0.96
# Waves, intermediate results and gradients of a pattern in units of its exit waves, at the most: only says whether a
# measurement is worth its time.
ROUGHLY = 24
# A pattern more than those that were measured may take this much more than they say.
DOUBT = 1.1
# Memory for chunks in units of what one of them takes: the heap does not fill its holes.
HOLES = 2.0
# Pixels of exit waves per chunk below which an epoch takes longer.
FAST_PIXELS = 1 << 18
# Arrays of the object's size that a run keeps, at the most: decides whether patterns may stay in memory.
OBJECTS = 6
# Part of what is left that an object in a file may take for its blocks.
FILE_PART = 0.5


@dataclass(frozen=True)
class Budget:
    """The memory that one rank may use.

    Attributes:
        limit_bytes: In all; infinite if nothing is known.
        stated: Whether the user has stated it.
    """

    limit_bytes: float = math.inf
    stated: bool = False

    @classmethod
    def of(cls, run: RunSettings, xp: Backend, comm: Communicator) -> Budget:
        """The limit of the settings, or a share of what is free.

        Raises:
            ConfigError: A limit is stated where nobody can tell how much is used.
        """
        if run.memory is not None:
            if not xp.memory.tells:
                raise ConfigError(
                    "run.memory",
                    "cannot be kept: this system does not tell how much memory a process uses",
                    remedy="leave it out",
                )
            xp.memory.restart()  # what is only kept for later use is no use
            return cls(float(run.memory), True)
        free = xp.memory.free()
        return cls(xp.memory.used() + SHARE * free / xp.memory.sharing(comm.local_size)) if free else cls()

    @property
    def planned_bytes(self) -> float:
        """What is planned with."""
        return PLANNED * self.limit_bytes if self.stated else self.limit_bytes

    def keeps(self, xp: Backend, bound: BoundModel[Any], patterns_bytes: int, local_size: int) -> bool:
        """Whether all patterns may stay in memory, beside the object's arrays and chunks that are not slow."""
        wave = math.prod(bound.dataset.window_px) * bound.waves
        numbers = HOLES * ROUGHLY * max(wave, FAST_PIXELS) + OBJECTS * math.prod(bound.shape)
        rest = self.planned_bytes - xp.memory.used() - numbers * xp.complex_dtype.itemsize
        usual = math.inf if self.stated else batches.KEEP_IN_MEMORY_BYTES / local_size
        return patterns_bytes <= min(rest, usual)

    def _of_object(self, run: RunSettings, xp: Backend) -> float | None:
        if run.object_memory is not None or not self.stated:
            return run.object_memory
        return max(1.0, FILE_PART * (self.planned_bytes - xp.memory.used()))

    def fit(self, problem: Problem, start: Start, run: RunSettings) -> float | None:
        """Choose how many patterns ``problem`` works on at once; its store has not been made yet.

        Returns what the blocks of an object in a file may take; ``None`` if nothing limits them.

        Raises:
            ConfigError: Not even one pattern at once fits.
        """
        limit, of_object = self.planned_bytes, self._of_object(run, problem.xp)
        own = _own_bytes(problem, run, of_object)
        if not self.stated and problem.xp.memory.used() + own + _roughly(problem) < limit:
            return of_object
        alone = replace(problem, store=DryStore(problem.xp, start, SerialCommunicator()), comm=SerialCommunicator())
        found = _most(alone, limit - own, run)
        if found.patterns < 1 and problem.measurements.in_memory:
            problem.measurements.release()
            found = _most(alone, limit - own, run)
        chunk = -int(problem.comm.max(-found.patterns, "agree how many patterns fit into memory"))
        if chunk < 1:
            raise _too_little(self, problem, found.n_bytes + own, run)
        usual = chunk_size(problem)
        problem.at_once = chunk if chunk < usual else None
        problem.ceiling_bytes = self.limit_bytes - found.n_bytes if self.stated else math.inf
        where = "in memory" if problem.measurements.in_memory else "read when they are needed"
        LOG.info("memory: %d patterns at once; all patterns are %s", min(chunk, usual), where)
        problem.xp.memory.restart()
        return of_object

    def look(self, problem: Problem) -> None:
        """After an epoch: work on fewer patterns at once if more memory was used than is allowed."""
        if not self.stated or problem.comm.max(problem.xp.memory.peak(), "look at the memory") <= self.limit_bytes:
            return
        before = chunk_size(problem)
        problem.at_once = max(1, before // 2)
        if problem.at_once < before:
            LOG.warning(
                "run.memory: more memory was used than allowed; from now on %d patterns at once instead of %d",
                problem.at_once,
                before,
            )
        problem.xp.memory.restart()


def stored_arrays(problem: Problem) -> Mapping[str, int]:
    """Bytes of each array of the object's size that persists between batches, over all ranks."""
    xp, optimizer, solver = problem.xp, problem.obj.optimizer, problem.solver
    shape, n_bytes = problem.store.shape, object_bytes(problem)
    found = {"object": n_bytes, "gradient": n_bytes}
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


def _own_bytes(problem: Problem, run: RunSettings, of_object: float | None) -> float:
    """What this rank needs beside the patterns: the object's arrays or blocks of them, and the parameters."""
    if run.store == "h5":
        return other_bytes(problem) + min(of_object or math.inf, STEP_FACTOR * min(BLOCK_BYTES, object_bytes(problem)))
    shared = problem.comm.size if run.store == "do" else 1
    return sum(-(-n // shared) for n in stored_arrays(problem).values()) + other_bytes(problem)


def _roughly(problem: Problem) -> int:
    """An upper limit to the memory of a batch, without measuring it."""
    return ROUGHLY * chunk_size(problem) * _wave_bytes(problem)


def _wave_bytes(problem: Problem) -> int:
    return problem.bound.waves * math.prod(problem.dataset.window_px) * problem.xp.complex_dtype.itemsize


def _step_bytes(problem: Problem, run: RunSettings) -> int:
    whole = object_bytes(problem)
    return object_cost(problem).n_bytes(whole if run.store == "dp" else min(BLOCK_BYTES, whole))


@dataclass(frozen=True)
class Most:
    """How many patterns at once fit, and the bytes that they take; with 0 of them, the least that is needed in all."""

    patterns: int
    n_bytes: float


def _most(problem: Problem, limit: float, run: RunSettings) -> Most:
    """The most patterns at once with which the process keeps below ``limit`` bytes.

    Twice as many are tried as long as a line through the last two measurements says that they fit. The heap may take
    as much as a chunk needs, since it fills its holes badly.
    """
    memory, usual = problem.xp.memory, chunk_size(problem)
    known = min(usual, problem.dataset.n_patterns)
    ahead = 0 if problem.measurements.in_memory else 3 * math.prod(problem.dataset.window_px) * 8
    try_batch(problem, 1)()  # compiles, and what that takes stays
    with nothing_collected():
        memory.restart()
        step, base = _step_bytes(problem, run), memory.used()
        n, taken, before = 1, measured(problem, try_batch(problem, 1))[1] + ahead, 0.0
        if base + max(taken, step) > limit:
            return Most(0, base + max(taken, step))
        room = (limit - base) / HOLES
        while n < known:
            slope = taken / n if n == 1 else max(ahead, (taken - before) / (n - n // 2))
            fits = max(n, int(n + (room - taken) / max(1.0, DOUBT * slope)))
            if fits < min(2 * n, known):
                return Most(fits, taken + (fits - n) * slope)
            before, n = taken, min(2 * n, known)
            taken = measured(problem, try_batch(problem, n))[1] + ahead * n
            if taken > room:
                return Most(n // 2, before)
    return Most(usual, taken)  # a data set that grows is looked after at the end of each epoch


def _too_little(budget: Budget, problem: Problem, least: float, run: RunSettings) -> ConfigError:
    remedies = {"dp": "'run.store: h5' keeps the object in a file", "do": "use more ranks, or 'run.store: h5'"}
    more = f"; {remedies[run.store]}" if run.store in remedies else ""
    return ConfigError(
        "run.memory" if budget.stated else "run",
        "this run needs more memory" if budget.stated else "this run needs more memory than is free",
        expected=f"at least {least / PLANNED / 2**30:.2g} GiB, with one pattern at once",
        found=f"{budget.limit_bytes / 2**30:.2g} GiB",
        remedy=("raise it" if budget.stated else "free some") + more,
    )
