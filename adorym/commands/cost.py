"""Time and memory of a run per rank, extrapolated from the measurements of `adorym.engine.trial`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from adorym.commands.draft import Draft
from adorym.commands.plan import Fact, MemoryItem, size_text
from adorym.engine.budget import object_bytes, other_bytes, stored_arrays
from adorym.engine.problem import Problem
from adorym.forward.crystal import CrystalModel
from adorym.initializers.phasing import Phasing
from adorym.report.text import duration
from adorym.storage.base import BLOCK_BYTES


def time_facts(made: Draft) -> Iterator[Fact]:
    """Duration of an epoch and of the run, from two small batches."""
    trial, sizes, epochs = made.trial, made.batch_sizes, made.config.run.epochs
    if trial is None:
        return
    ranks = made.ranks
    own = [-(-size // ranks) for size in sizes]
    chunks = [divmod(n, trial.chunk) for n in own]
    batches = sum(
        full * trial.batch.seconds(trial.chunk) + (trial.batch.seconds(rest) if rest else 0) for full, rest in chunks
    )
    epoch = batches + len(sizes) * trial.step.seconds(object_bytes(made.problem))
    text = f"{duration(epoch)}, from two small batches measured on this machine"
    yield Fact("epoch_s", "one epoch, about", epoch, text)
    yield Fact("run_s", "all epochs, about", epochs * epoch, duration(epochs * epoch))


def _stored(problem: Problem) -> Iterator[MemoryItem]:
    """Stored arrays of the object's size, over all ranks, in memory or in a file."""
    shape, whole = " x ".join(map(str, problem.store.shape)), object_bytes(problem)
    for name, n_bytes in stored_arrays(problem).items():
        first = f"{shape} x {problem.xp.complex_dtype.itemsize} B"
        formula = first if name == "object" else f"{n_bytes / whole:.2g} x object"
        yield MemoryItem(name, formula, n_bytes)


def _phasing_bytes(made: Draft) -> int:
    """Memory of the phasing before the first batch; 0 if the start object is made in another way."""
    given = made.problem.obj.settings.initial
    initial = Phasing() if given is None and isinstance(made.problem.model, CrystalModel) else given
    return initial.bytes_at_once(math.prod(made.problem.store.shape)) if isinstance(initial, Phasing) else 0


def memory(made: Draft, store: str, ranks: int) -> Iterator[MemoryItem]:
    """Memory of a rank, with the object in ``store``."""
    problem, run, trial = made.problem, made.config.run, made.trial
    n_bytes = object_bytes(problem)
    shared = ranks if store == "do" else 1
    if store != "h5":
        for item in _stored(problem):
            formula = f"1/{shared} of {item.formula}" if shared > 1 else item.formula
            yield MemoryItem(item.name, formula, -(-item.n_bytes // shared))
    if others := other_bytes(problem):
        yield MemoryItem("other parameters", "values, gradients and optimizer states", others)
    if trial is None:
        return
    yield MemoryItem("program and patterns", "measured", trial.program_bytes)
    chunk = min(trial.chunk, -(-max(made.batch_sizes) // ranks))
    yield MemoryItem("a batch", f"{chunk} patterns at once, measured", trial.batch.n_bytes(chunk))
    at_once = n_bytes if store == "dp" else -(-n_bytes // ranks)
    if store == "h5" or (store == "do" and problem.xp.on_host):  # else all that is held is stepped at once
        at_once = min(BLOCK_BYTES, at_once)
    step = trial.step.n_bytes(at_once)
    if store == "h5":
        step = int(min(step, run.object_memory or math.inf))
    yield MemoryItem("a step of the object", "with its regularizers, measured", step)
    if (phasing := _phasing_bytes(made)) > trial.batch.n_bytes(chunk) + step:
        beyond = phasing - trial.batch.n_bytes(chunk) - step
        yield MemoryItem("phasing", "of the start, beyond a batch and a step", beyond)
    if store == "do" and ranks > 1:
        window = math.prod(problem.view(first := np.zeros(1, int), problem.corners_px(first)).shape)
        sent = 3 * chunk * window * math.prod(problem.store.shape[2:]) * problem.xp.complex_dtype.itemsize
        yield MemoryItem("messages", "3 x the object under a batch, at most", min(sent, 3 * n_bytes))


def store_facts(made: Draft) -> Iterator[Fact]:
    """Memory per rank in each store, for several numbers of ranks."""
    for store in ("dp", "do", "h5"):
        sizes = {n: sum(item.n_bytes for item in memory(made, store, n)) for n in sorted({1, 4, 16, 64, made.ranks})}
        text = ", ".join(f"{size_text(size)} on {n}" for n, size in sizes.items())
        yield Fact(f"{store}_bytes_per_rank", f"{store}, per rank", {str(n): size for n, size in sizes.items()}, text)
    size = sum(item.n_bytes for item in _stored(made.problem))
    yield Fact("h5_file_bytes", "h5, on disk", size, size_text(size))
