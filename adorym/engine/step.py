"""One batch: gather, predict, differentiate, step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.constraints.base import Constraint
from adorym.data.batches import Batch, Measurements
from adorym.data.dataset import Dataset
from adorym.errors import ConfigError
from adorym.forward.base import ForwardModel, Request
from adorym.losses.base import Loss
from adorym.optics.geometry import Geometry
from adorym.optimizers.base import Gradient
from adorym.parameters import Value
from adorym.regularizers.base import Regularizer
from adorym.storage.base import ObjectStore, Windows
from adorym.wrapper.base import Array, Backend, Tree


@dataclass
class Problem:
    """All that a batch needs: the data, the physics, and the unknowns with their optimizers.

    Attributes:
        values: Parameters by name, the object excepted: its value is in ``store``.
        obj: Declaration, optimizer, schedule and rate of the object; its array is unused.
        origin_px: Index in the object array of the data's position (0, 0).
    """

    xp: Backend
    dataset: Dataset
    geometry: Geometry
    model: ForwardModel
    loss: Loss
    measurements: Measurements
    store: ObjectStore
    obj: Value
    values: dict[str, Value]
    origin_px: tuple[int, int]
    regularizers: tuple[Regularizer, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    @property
    def weight(self) -> float:
        """Factor on the sum of the loss: one over the counts of the whole data set."""
        return 1.0 / max(self.measurements.valid_counts, 1.0)

    def corners_px(self, patterns: np.ndarray) -> np.ndarray:
        """``(n, 2)`` whole-pixel corners, in the object array, of the windows of ``patterns``."""
        for value in self.values.values():
            if value.spec.window_relative:
                positions = self.xp.to_numpy(value.array)[patterns]
                return np.rint(positions).astype(np.int64) + np.asarray(self.origin_px)
        return np.broadcast_to(np.asarray(self.origin_px, np.int64), (len(patterns), 2))

    def batch(self, patterns: np.ndarray) -> Batch:
        """The measured values and windows of ``patterns``."""
        target, mask = self.measurements.batch(patterns)
        angles = self.dataset.angle_index[patterns]
        return Batch(patterns, angles, self.corners_px(patterns), target, mask, self.measurements.floor, self.geometry)

    def inputs(self, patterns: np.ndarray) -> tuple[Array, dict[str, Array], Batch]:
        """``(object windows, parameters, batch)`` as `ForwardModel.predict` takes them."""
        batch = self.batch(patterns)
        rows = {name: _rows(value, batch) for name, value in self.values.items()}
        params = {name: _input(self, value, rows[name], batch) for name, value in self.values.items()}
        windows = self.store.gather(Windows(batch.corners_px, self.dataset.window_px))
        return windows, _expanded(self.xp, params, rows), batch

    def active(self, epoch: int) -> dict[str, Value]:
        """Parameters that are refined in ``epoch``, the object among them."""
        return {name: v for name, v in self.unknowns.items() if v.settings.active(epoch)}

    @property
    def unknowns(self) -> dict[str, Value]:
        """The object and the parameters."""
        return {"object": self.obj, **self.values}


@dataclass(frozen=True)
class _Rows:
    """Which rows of a parameter a batch uses, and how they map to its patterns."""

    index: np.ndarray | None = None
    inverse: np.ndarray | None = None


def run_batch(problem: Problem, patterns: np.ndarray, rates: dict[str, float], batch_fraction: float) -> float:
    """One step of every parameter named in ``rates``; returns the loss of the batch before the step.

    Args:
        problem: What to solve; its store and values are updated.
        patterns: ``(n,)`` sorted indices of the batch's patterns.
        rates: Learning rate now, by name, of the parameters to refine.
        batch_fraction: Part of the epoch that this batch is: the share of the regularizers it carries.
    """
    xp = problem.xp
    batch = problem.batch(patterns)
    windows = Windows(batch.corners_px, problem.dataset.window_px)
    rows = {name: _rows(value, batch) for name, value in problem.values.items()}
    inputs = {name: _input(problem, value, rows[name], batch) for name, value in problem.values.items()}
    inputs["object"] = problem.store.gather(windows)
    curvature = frozenset(name for name in rates if problem.unknowns[name].optimizer.needs_curvature)
    request = Request(frozenset(rates), curvature, problem.weight)

    def objective(tree: Tree) -> tuple[Array, Any]:
        full = inputs | {name: tree[name] for name in rates}
        obj = full.pop("object")
        return problem.model.objective(xp, obj, _expanded(xp, full, rows), batch, problem.loss, request)

    value, curvatures, gradients = xp.value_and_grad(objective)({name: inputs[name] for name in rates})
    _need_curvature(curvature, curvatures, problem)
    curvatures = {name: xp.asarray(c, exact=True) for name, c in curvatures.items()}
    if "object" in rates:
        problem.store.scatter_add(windows, gradients["object"], curvatures.get("object"))
        value += _regularize(problem, batch_fraction)
    for name, rate in rates.items():
        if name == "object":
            _step_object(problem, rate)
        else:
            _step_value(problem, name, (gradients[name], curvatures.get(name)), rows[name].index, rate)
    return value


def _expanded(xp: Backend, params: dict[str, Array], rows: dict[str, _Rows]) -> dict[str, Array]:
    """One row a pattern, for the parameters that have fewer."""
    return {n: a if rows[n].inverse is None else xp.take(a, rows[n].inverse) for n, a in params.items()}


def _rows(value: Value, batch: Batch) -> _Rows:
    if value.spec.per == "run":
        return _Rows()
    if value.spec.per == "pattern":
        return _Rows(batch.patterns)
    return _Rows(*np.unique(batch.angles, return_inverse=True))


def _input(problem: Problem, value: Value, rows: _Rows, batch: Batch) -> Array:
    xp = problem.xp
    array = value.array if rows.index is None else xp.take(value.array, rows.index)
    if value.spec.window_relative:
        corners = (batch.corners_px - np.asarray(problem.origin_px)).astype(np.float64)
        array = array - xp.asarray(corners, exact=True)
    return xp.asarray(array)


def _need_curvature(asked: frozenset[str], given: dict[str, Array], problem: Problem) -> None:
    missing = sorted(asked - set(given))
    if missing:
        raise ConfigError(
            f"parameters.{missing[0]}.optimizer",
            f"forward model '{problem.model.kind}' with loss '{problem.loss.kind}' gives no curvature for it, "
            "which the 'preconditioned' step divides by",
            remedy="choose another optimizer, such as {kind: adam}",
        )


def _regularize(problem: Problem, batch_fraction: float) -> float:
    xp, total = problem.xp, 0.0
    for regularizer in problem.regularizers:

        def term(obj: Array, regularizer: Regularizer = regularizer) -> tuple[float, Array]:
            weight = batch_fraction / float(np.prod(problem.store.shape))
            value, _, gradient = xp.value_and_grad(lambda t: (weight * regularizer.value(xp, t["object"]), None))(
                {"object": obj}
            )
            return value, gradient["object"]

        total += problem.store.add_gradient(term)
    return total


def _constraints(problem: Problem, name: str, when: str) -> list[Constraint]:
    return [c for c in problem.constraints if c.parameter == name and c.when == when]


def _step_object(problem: Problem, rate: float) -> None:
    xp, optimizer = problem.xp, problem.obj.optimizer
    constraints = _constraints(problem, "object", "batch")

    def step(tile: Array, gradient: Gradient, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        tile, state = optimizer.step(xp, tile, gradient, state, rate)
        for constraint in constraints:
            tile = constraint.project(xp, tile)
        return tile, state

    problem.store.update(step)


def _step_value(
    problem: Problem, name: str, found: tuple[Array, Array | None], index: np.ndarray | None, rate: float
) -> None:
    xp, value = problem.xp, problem.values[name]
    gradient, curvature = found
    largest = 0.0
    if curvature is not None:
        largest = float(xp.max(curvature))
    step = Gradient(gradient, curvature, largest)
    if index is None:
        array, value.state = value.optimizer.step(xp, value.array, step, value.state, rate)
        value.array = value.limit(xp, array)
    else:
        state = tuple(xp.take(s, index) for s in value.state)
        rows, state = value.optimizer.step(xp, xp.take(value.array, index), step, state, rate)
        value.array = xp.put_rows(value.array, index, value.limit(xp, rows))
        value.state = tuple(xp.put_rows(s, index, r) for s, r in zip(value.state, state, strict=True))
    for constraint in _constraints(problem, name, "batch"):
        value.array = constraint.project(xp, value.array)


def finish_epoch(problem: Problem, names: list[str]) -> None:
    """Gauges of the refined parameters and the constraints that are applied once an epoch."""
    for name in names:
        if name == "object":
            for constraint in _constraints(problem, name, "epoch"):
                problem.store.apply(lambda tile, c=constraint: c.project(problem.xp, tile))  # type: ignore[misc]
            continue
        value = problem.values[name]
        value.fix_gauge(problem.xp)
        for constraint in _constraints(problem, name, "epoch"):
            value.array = constraint.project(problem.xp, value.array)
