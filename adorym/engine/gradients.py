"""Loss, gradients and curvatures of one batch, a chunk of patterns at a time so that memory stays bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.engine.problem import Problem, expanded
from adorym.errors import ConfigError
from adorym.forward.base import Request
from adorym.wrapper.base import Array, Backend, Tree

# Pixels of exit waves that are worked on at once: larger chunks gain nothing and take memory.
CHUNK_PIXELS = 1 << 22


@dataclass(frozen=True)
class Found:
    """Gradient and curvature of a parameter, and the rows of it that they belong to (all of them if ``None``)."""

    gradient: Array
    curvature: Array | None
    index: np.ndarray | None


def batch_gradients(
    problem: Problem, patterns: np.ndarray, names: frozenset[str], curvature: frozenset[str] | None = None
) -> tuple[float, dict[str, Found]]:
    """``(loss, what was found of each parameter)``; what is found of the object goes into its store.

    Args:
        problem: Whose values are used; only its store changes.
        patterns: ``(n,)`` sorted indices of the batch's patterns.
        names: Parameters to differentiate by.
        curvature: Those of them whose curvature is wanted; those whose optimizer uses it, if not given.
    """
    if curvature is None:
        curvature = frozenset(name for name in names if problem.unknowns[name].optimizer.needs_curvature)
    request = Request(names, curvature, problem.weight)
    total, parts = 0.0, []
    size = chunk_size(problem)
    chunks = [patterns] if len(patterns) <= size else np.array_split(patterns, -(-len(patterns) // size))
    for chunk in chunks:
        value, found = _chunk_gradients(problem, chunk, request)
        total += value
        parts.append(found)
    return total, {name: _combined(problem.xp, [part[name] for part in parts]) for name in parts[0]}


def chunk_size(problem: Problem) -> int:
    """Patterns that are worked on at once."""
    probe = problem.values.get("probe")
    modes = 1 if probe is None else probe.array.shape[0]
    return max(1, CHUNK_PIXELS // (modes * math.prod(problem.dataset.window_px)))


def _chunk_gradients(problem: Problem, patterns: np.ndarray, request: Request) -> tuple[float, dict[str, Found]]:
    xp, names = problem.xp, request.wanted
    batch = problem.batch(patterns)
    rows, windows = problem.rows(batch), problem.windows(batch)
    inputs = {"object": problem.store.gather(windows), **problem.used(batch, rows)}

    def objective(tree: Tree) -> tuple[Array, Any]:
        full = inputs | {name: tree[name] for name in names}
        stored = full.pop("object")
        obj = problem.transmission(stored)
        value, curvatures = problem.model.objective(xp, obj, expanded(xp, full, rows), batch, problem.loss, request)
        if "object" in curvatures and obj is not stored:  # |dO/dw|^2 = |O|^2
            curvatures["object"] = xp.asarray(curvatures["object"]) * xp.abs2(xp.stop_gradient(obj))
        return value, curvatures

    value, curvatures, gradients = xp.value_and_grad(objective)({name: inputs[name] for name in sorted(names)})
    _need_curvature(request.curvature, curvatures, problem)
    curvatures = {name: xp.asarray(c, exact=True) for name, c in curvatures.items()}
    if "object" in names:
        problem.store.scatter_add(windows, gradients["object"], curvatures.get("object"))
    found = {n: Found(gradients[n], curvatures.get(n), rows[n].index) for n in names if n != "object"}
    return value, found


def _need_curvature(asked: frozenset[str], given: dict[str, Array], problem: Problem) -> None:
    missing = sorted(asked - set(given))
    if missing:
        raise ConfigError(
            f"parameters.{missing[0]}.optimizer",
            f"forward model '{problem.model.kind}' with loss '{problem.loss.kind}' gives no curvature for it, "
            "which the 'preconditioned' step divides by",
            remedy="choose another optimizer, such as {kind: adam}",
        )


def _combined(xp: Backend, parts: list[Found]) -> Found:
    """What several chunks found, as if it had been found at once."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if first.index is None:
        gradient, curvature = first.gradient, first.curvature
        for part in parts[1:]:
            gradient = gradient + part.gradient
            curvature = None if curvature is None else curvature + part.curvature
        return Found(gradient, curvature, None)
    every = np.concatenate([part.index for part in parts if part.index is not None])
    distinct, place = np.unique(every, return_inverse=True)
    gradient = _added(xp, [part.gradient for part in parts], place, len(distinct))
    with_curvature = first.curvature is not None
    curvature = _added(xp, [part.curvature for part in parts], place, len(distinct)) if with_curvature else None
    return Found(gradient, curvature, distinct)


def _added(xp: Backend, parts: list[Array], place: np.ndarray, n: int) -> Array:
    """``(n, ...)`` sums of the rows that belong to the same place."""
    rows = np.concatenate([xp.to_numpy(part) for part in parts])
    total = np.zeros((n, *rows.shape[1:]), rows.dtype)
    np.add.at(total, place, rows)
    return xp.asarray(total, exact=True)
