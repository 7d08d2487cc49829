"""Loss, gradients and curvatures of one batch, in chunks of patterns to bound the memory.

Each rank works on its part of the batch. Gradients by parameters are summed over the ranks here; those by the object go
into its store, which combines them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adorym.comm import Communicator
from adorym.engine.problem import Problem, expanded
from adorym.errors import ConfigError
from adorym.extension import check_returned, is_foreign, user_code
from adorym.forward.base import Request
from adorym.parameters import OBJECT
from adorym.wrapper.base import Array, Backend, Tree
from adorym.wrapper.ranks import gathered, summed

# Pixels of exit waves per chunk: larger chunks take memory and are not faster.
CHUNK_PIXELS = 1 << 22


@dataclass(frozen=True)
class ParameterGradient:
    """Gradient and curvature of a parameter, and the rows that they belong to (all if ``None``)."""

    gradient: Array
    curvature: Array | None
    index: np.ndarray | None


def batch_gradients(
    problem: Problem, patterns: np.ndarray, names: frozenset[str], curvature: frozenset[str] | None = None
) -> tuple[float, dict[str, ParameterGradient]]:
    """``(loss, gradients by name)``; the object's gradient goes into its store.

    The loss is that of this rank's part of the batch, the gradients are those of the whole batch.

    Args:
        problem: The problem; only its store changes.
        patterns: ``(n,)`` sorted indices of the batch's patterns, the same on every rank.
        names: Parameters to differentiate by.
        curvature: Parameters whose curvature is needed; by default those whose optimizer uses it.
    """
    if curvature is None:
        curvature = frozenset(name for name in names if problem.unknowns[name].optimizer.needs_curvature)
    request = Request(names, {name: problem.bound.preconditioner(name) for name in sorted(curvature)}, problem.weight)
    total, parts = 0.0, dict[str, list[ParameterGradient]]()
    for chunk in own_chunks(problem, patterns):
        if math.isfinite(problem.ceiling_bytes) and problem.xp.memory.used() > problem.ceiling_bytes:
            problem.xp.memory.give_back()
        if len(chunk):
            value, found = _chunk_gradients(problem, chunk, request)
        else:
            # An empty chunk uses one pattern with zero weight: all ranks then call the store equally often, and all
            # arrays have their shapes.
            value, found = _chunk_gradients(problem, patterns[:1], replace(request, weight=0.0))
            found = {name: _no_rows(each) for name, each in found.items()}
        total += value
        for name, part in found.items():
            before = parts.setdefault(name, [])
            if before and part.index is None:  # what is kept between chunks leaves holes in the heap
                parts[name] = [_combined(problem.xp, [*before, part])]
            else:
                before.append(part)
    own = {name: _combined(problem.xp, each) for name, each in parts.items()}
    return total, {name: _over_ranks(problem, name, own[name]) for name in sorted(own)}


def prefetch_batches(problem: Problem, batches: list[np.ndarray]) -> None:
    """Begin to read this rank's part of ``batches``, unless it is in memory."""
    if problem.measurements.in_memory:
        return
    chunks = [c for patterns in batches for c in own_chunks(problem, patterns)]
    problem.measurements.prefetch([c for c in chunks if len(c)])


def own_chunks(problem: Problem, patterns: np.ndarray, most: int | None = None) -> list[np.ndarray]:
    """This rank's part of a batch in sorted chunks of at most `chunk_size`, or ``most``, patterns.

    Every rank has equally many, some possibly empty.

    If a chunk needs one band of rows, patterns in the same rows are grouped: bands are then narrow, and mostly in the
    rank's own slab. A chunk holds tiles of one row only.
    """
    size = chunk_size(problem) if most is None else min(most, chunk_size(problem))
    positions, tiles = problem.dataset.probe_positions_px, problem.dataset.tile_corners_px
    if problem.bound.view.by_rows and tiles is not None:
        rows = tiles[patterns // problem.dataset.n_pictures, 0]
        parts = [shared_chunks(patterns[rows == row], size, problem.comm) for row in np.unique(rows)]
        return [np.sort(chunk) for part in parts for chunk in part]
    if problem.bound.view.by_rows and positions is not None:
        patterns = patterns[np.argsort(positions[patterns, 0], kind="stable")]
    return [np.sort(chunk) for chunk in shared_chunks(patterns, size, problem.comm)]


def shared_chunks(patterns: np.ndarray, size: int, comm: Communicator) -> list[np.ndarray]:
    """This rank's part of a batch in chunks of at most ``size``; all ranks have equally many, some possibly empty."""
    if comm.size == 1 and len(patterns) <= size:
        return [patterns]
    longest = -(-len(patterns) // comm.size)
    return np.array_split(np.array_split(patterns, comm.size)[comm.rank], max(1, -(-longest // size)))


def chunk_size(problem: Problem) -> int:
    """Number of patterns per chunk."""
    most = _usual_chunk(problem)
    return most if problem.at_once is None else min(most, problem.at_once)


def _usual_chunk(problem: Problem) -> int:
    if problem.bound.view.all_at_once:
        return problem.dataset.n_patterns
    by_work = CHUNK_PIXELS // (problem.bound.waves * math.prod(problem.dataset.window_px))
    if math.isinf(problem.store.window_bytes):
        return max(1, by_work)
    first = np.zeros(1, int)
    view_px = problem.view(first, problem.corners_px(first)).shape
    view_bytes = math.prod(view_px) * math.prod(problem.store.shape[2:]) * problem.xp.complex_dtype.itemsize
    return int(max(1, min(by_work, problem.store.window_bytes // view_bytes)))


def _chunk_gradients(
    problem: Problem, patterns: np.ndarray, request: Request
) -> tuple[float, dict[str, ParameterGradient]]:
    xp, names, space = problem.xp, request.wanted, problem.bound.space
    batch = problem.batch(patterns)
    rows, windows = problem.rows(batch), problem.windows(batch)
    inputs = {OBJECT: problem.store.gather(windows), **problem.used(batch, rows)}

    def objective(tree: Tree) -> tuple[Array, Any]:
        full = inputs | {name: tree[name] for name in names}
        unknown = full.pop(OBJECT)
        params = expanded(xp, full, rows)
        obj = space.to_object(xp, unknown, params)
        value, curvatures = problem.model.objective(xp, obj, params, batch, problem.loss, request)
        if OBJECT in curvatures:
            held = {name: xp.stop_gradient(each) for name, each in params.items()}
            curvatures[OBJECT] = space.pull_back(xp, xp.asarray(curvatures[OBJECT]), xp.stop_gradient(obj), held)
        return value, curvatures

    with user_code(problem.model, problem.loss, method="predict"):
        value, curvatures, gradients = xp.value_and_grad(objective)({name: inputs[name] for name in sorted(names)})
        if is_foreign(problem.model) and not math.isfinite(float(value)):
            params = expanded(xp, {name: array for name, array in inputs.items() if name != OBJECT}, rows)
            predicted = problem.model.predict(xp, space.to_object(xp, inputs[OBJECT], params), params, batch)
            check_returned(xp, predicted, batch.target.shape, problem.model, "predict", real=True, finite=True)
    _need_curvature(request.curvature, curvatures, problem)
    curvatures = {name: xp.asarray(c, exact=True) for name, c in curvatures.items()}
    if OBJECT in names:
        problem.store.scatter_add(windows, gradients[OBJECT], curvatures.pop(OBJECT, None))
    for name, curvature in curvatures.items():
        inverse = rows[name].inverse
        if inverse is not None:  # one row per pattern; several patterns share a row of the parameter
            curvatures[name] = _added(xp, [curvature], inverse, len(rows[name].index))  # type: ignore[arg-type]
    found = {n: ParameterGradient(gradients[n], curvatures.get(n), rows[n].index) for n in names if n != OBJECT}
    return value, found


def _need_curvature(asked: frozenset[str], given: dict[str, Array], problem: Problem) -> None:
    missing = sorted(asked - set(given))
    if missing:
        raise ConfigError(
            f"parameters.{missing[0]}.optimizer",
            f"forward model '{problem.model.kind}' with loss '{problem.loss.kind}' gives no curvature for it, "
            "which the 'preconditioned' step needs",
            remedy="choose another optimizer, such as {kind: adam}",
        )


def _no_rows(found: ParameterGradient) -> ParameterGradient:
    """``found`` without any rows, for a parameter that has rows."""
    if found.index is None:
        return found
    curvature = None if found.curvature is None else found.curvature[:0]
    return ParameterGradient(found.gradient[:0], curvature, found.index[:0])


def _over_ranks(problem: Problem, name: str, found: ParameterGradient) -> ParameterGradient:
    """Sum of the gradients of all ranks."""
    xp, comm = problem.xp, problem.comm
    if comm.size == 1:
        return found
    given = [found.gradient] if found.curvature is None else [found.gradient, found.curvature]
    what = f"sum of the gradient of {name}"
    if found.index is None:
        total = [summed(xp, xp.copy(a), comm, what) for a in given]
        return ParameterGradient(total[0], total[1] if len(total) > 1 else None, None)
    index = comm.gather(found.index, what)
    rows = [gathered(xp, a, [len(each) for each in index], comm, what) for a in given]
    curvatures = rows[1] if len(rows) > 1 else [None] * comm.size
    parts = [ParameterGradient(g, h, i) for g, h, i in zip(rows[0], curvatures, index, strict=True)]
    return _combined(xp, parts)


def _combined(xp: Backend, parts: list[ParameterGradient]) -> ParameterGradient:
    """Sum of the gradients of several chunks."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if first.index is None:
        gradient, curvature = first.gradient, first.curvature
        for part in parts[1:]:
            gradient = gradient + part.gradient
            curvature = None if curvature is None else curvature + part.curvature
        return ParameterGradient(gradient, curvature, None)
    every = np.concatenate([part.index for part in parts if part.index is not None])
    distinct, place = np.unique(every, return_inverse=True)
    gradient = _added(xp, [part.gradient for part in parts], place, len(distinct))
    with_curvature = first.curvature is not None
    curvature = _added(xp, [part.curvature for part in parts], place, len(distinct)) if with_curvature else None
    return ParameterGradient(gradient, curvature, distinct)


def _added(xp: Backend, parts: list[Array], place: np.ndarray, n: int) -> Array:
    """``(n, ...)`` sums of the rows with the same index in ``place``."""
    return xp.sum_rows(parts[0] if len(parts) == 1 else xp.concat(parts, axis=0), place, n)
