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

from adorym.comm import Communicator, SerialCommunicator
from adorym.data.batches import KEEP_IN_MEMORY_BYTES
from adorym.engine.gradients import chunk_size
from adorym.engine.problem import Problem
from adorym.engine.settings import RunSettings
from adorym.engine.trial import measured, nothing_collected, object_cost, try_batch
from adorym.errors import ConfigError
from adorym.optimizers.base import Optimizer
from adorym.storage.base import BLOCK_BYTES
from adorym.storage.dry import DryStore
from adorym.storage.slabs import Start
from adorym.wrapper.base import Backend

LOG = logging.getLogger("adorym")
# Part of the free memory that a run takes without being asked to take less.
SHARE = 0.9
# Part of a stated limit that is planned with: allocators leave gaps.
PLANNED = 0.93
# Waves, intermediate results and gradients of a pattern in units of its exit waves, at the most: only says whether a
# measurement is worth its time.
ROUGHLY = 24
# A pattern more than those that were measured may take this much more than they say.
DOUBT = 1.1
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
            return cls(float(run.memory), True)
        free = xp.memory.free()
        return cls(xp.memory.used() + SHARE * free / xp.memory.sharing(comm.local_size)) if free else cls()

    def keeps(self, xp: Backend, patterns_bytes: int, object_bytes: int, local_size: int) -> bool:
        """Whether all patterns may stay in memory, beside an object, its gradient and so on."""
        rest = self.limit_bytes - xp.memory.used() - OBJECTS * object_bytes
        usual = math.inf if self.stated else KEEP_IN_MEMORY_BYTES / local_size
        return patterns_bytes <= min(rest, usual)

    def object_bytes(self, xp: Backend) -> float | None:
        """What the blocks of an object in a file may take; ``None`` if there is no limit."""
        return max(1.0, FILE_PART * (PLANNED * self.limit_bytes - xp.memory.used())) if self.stated else None

    def fit(self, problem: Problem, start: Start, run: RunSettings) -> None:
        """Choose how many patterns ``problem`` works on at once; its store has not been made yet.

        Raises:
            ConfigError: Not even one pattern at once fits.
        """
        limit = PLANNED * self.limit_bytes if self.stated else self.limit_bytes
        own = _own_bytes(problem, run)
        if not self.stated and problem.xp.memory.used() + own + _roughly(problem) < limit:
            return
        alone = replace(problem, store=DryStore(problem.xp, start, SerialCommunicator()), comm=SerialCommunicator())
        chunk, least = _most(alone, limit - own, run)
        if chunk < 1 and problem.measurements.in_memory:
            problem.measurements.release()
            chunk, least = _most(alone, limit - own, run)
        chunk = -int(problem.comm.max(-chunk, "agree how many patterns fit into memory"))
        if chunk < 1:
            raise _too_little(self, problem, least + own, run)
        usual = chunk_size(problem)
        problem.at_once = chunk if chunk < usual else None
        where = "in memory" if problem.measurements.in_memory else "read when they are needed"
        LOG.info("memory: %d patterns at once; all patterns are %s", min(chunk, usual), where)
        problem.xp.memory.restart()

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


def _own_bytes(problem: Problem, run: RunSettings) -> int:
    """What persists on this rank beside the patterns: the object's arrays and the parameters."""
    if run.store == "h5":
        return other_bytes(problem)
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


def _most(problem: Problem, limit: float, run: RunSettings) -> tuple[int, int]:
    """How many patterns at once keep the memory of the process below ``limit``, and the least memory of all.

    Twice as many are tried as long as a line through the last two measurements says that they fit.
    """
    memory, usual = problem.xp.memory, chunk_size(problem)
    most = min(usual, problem.dataset.n_patterns)
    # The first call compiles, and what it takes for that stays.
    try_batch(problem, 1)()
    with nothing_collected():
        memory.restart()
        step, base = _step_bytes(problem, run), memory.used()
        ahead = 0 if problem.measurements.in_memory else 3 * math.prod(problem.dataset.window_px) * 8
        found = [(1, measured(problem, try_batch(problem, 1))[1])]
        if base + max(found[0][1] + ahead, step) > limit:
            return 0, int(base + max(found[0][1] + ahead, step))
        while found[-1][0] < most:
            n, taken = found[-1]
            slope = ahead + (taken / n if len(found) == 1 else max(0, taken - found[-2][1]) / (n - found[-2][0]))
            fits = n + int(max(0.0, limit - base - taken - ahead * n) / max(1.0, DOUBT * slope))
            if fits < 2 * n and fits < most:
                return int(min(fits, most)), 0
            n = min(2 * n, most)
            found.append((n, measured(problem, try_batch(problem, n))[1]))
            if base + found[-1][1] + ahead * n > limit:
                return found[-2][0], 0
    return usual, 0  # a data set that grows is looked after at the end of each epoch


def _too_little(budget: Budget, problem: Problem, least: int, run: RunSettings) -> ConfigError:
    remedies = {"dp": "'run.store: h5' keeps the object in a file", "do": "use more ranks, or 'run.store: h5'"}
    more = f"; {remedies[run.store]}" if run.store in remedies else ""
    return ConfigError(
        "run.memory" if budget.stated else "run",
        "this run needs more memory" if budget.stated else "this run needs more memory than is free",
        expected=f"at least {least / PLANNED / 2**30:.2g} GiB, with one pattern at once",
        found=f"{budget.limit_bytes / 2**30:.2g} GiB",
        remedy=("raise it" if budget.stated else "free some") + more,
    )
