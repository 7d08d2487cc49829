"""A problem that grows while it is solved: more patterns of the same scan, and more object where they reach further."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adorym.data.dataset import Dataset
from adorym.engine.build import make_store
from adorym.engine.checks import check_inside, start_value
from adorym.engine.loop import Reconstruction
from adorym.engine.problem import Problem
from adorym.forward.base import BoundModel
from adorym.parameters import Value
from adorym.storage.base import ObjectStore
from adorym.storage.slabs import Start
from adorym.wrapper.base import Array, Backend

# An object that has to grow on one side gets as much more there, of its size, as this says.
SPARE = 0.3


def grow(reconstruction: Reconstruction, dataset: Dataset) -> None:
    """Add the patterns of ``dataset`` to the problem; it holds those that are known first. Collective.

    What was found so far stays. Where the object has to grow, it is vacuum, and its optimizer begins anew.

    Raises:
        InputError: The patterns do not fit the model.
    """
    problem = reconstruction.problem
    known, bound = len(problem.dataset.angle_index), problem.bound  # its stack of patterns has grown already
    fresh = bound.model.bind(bound.model.placed(dataset), bound.settings)
    frame = _frame(bound, fresh)
    grown = bound.with_(dataset=fresh.dataset, shape=frame[0], origin_px=frame[1])
    if frame[0] != bound.shape:
        problem.store = _enlarged(reconstruction, grown)
    problem.bound = grown
    problem.measurements.grow(grown.dataset)
    for name, value in problem.values.items():
        if value.spec.per == "pattern":
            _add_rows(problem, value, start_value(name, grown, reconstruction.rng)[known:])
        if value.spec.window_relative:
            value.bounds = check_inside(name, value.first, grown.dataset, (grown.shape, grown.origin_px))


def _frame(bound: BoundModel[Any], fresh: BoundModel[Any]) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Shape and origin of an object that holds both frames, with room to spare on the sides where it grows."""
    shape, origin = list(bound.shape), list(bound.origin_px)
    for axis in range(2):
        spare = math.ceil(SPARE * fresh.shape[axis])
        before = fresh.origin_px[axis] - origin[axis]
        before = before + spare if before > 0 else 0
        after = (fresh.shape[axis] - fresh.origin_px[axis]) - (shape[axis] - origin[axis])
        after = after + spare if after > 0 else 0
        origin[axis] += before
        shape[axis] += before + after
    return tuple(shape), (origin[0], origin[1])


def _enlarged(reconstruction: Reconstruction, grown: BoundModel[Any]) -> ObjectStore:
    """The store of the larger object, with the present one in its place."""
    problem, now = reconstruction.problem, reconstruction.problem.store.values()
    y, x = (after - before for after, before in zip(grown.origin_px, problem.bound.origin_px, strict=True))

    def rows(start: int, stop: int) -> np.ndarray:
        made = np.full((stop - start, *grown.shape[1:]), grown.space.reference_value, now.dtype)
        first, last = max(start, y), min(stop, y + len(now))
        if first < last:
            made[first - start : last - start, x : x + now.shape[1]] = now[first - y : last - y]
        return made

    return make_store(
        problem.xp, Start(grown.shape, rows), problem.obj.optimizer, problem.comm, reconstruction.settings
    )


def _add_rows(problem: Problem, value: Value, rows: np.ndarray) -> None:
    """Append the start values of further patterns to a parameter."""
    xp = problem.xp
    rows = np.asarray(rows, value.first.dtype)
    value.first = np.concatenate([value.first, rows])
    more = xp.asarray(rows.copy(), exact=True)
    if value.state:
        states = value.optimizer.init(xp, more)
        value.state = tuple(_joined(xp, a, b) for a, b in zip(value.state, states, strict=True))
    value.array = _joined(xp, value.array, more)


def _joined(xp: Backend, a: Array, b: Array) -> Array:
    return xp.asarray(np.concatenate([xp.to_numpy(a), xp.to_numpy(b)]), exact=True)
