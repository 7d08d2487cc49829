"""One batch: differentiate, step, project."""

from __future__ import annotations

import numpy as np

from adorym.constraints.base import Constraint
from adorym.engine.gradients import Found, batch_gradients
from adorym.engine.problem import Problem
from adorym.optimizers.base import Gradient
from adorym.regularizers.base import Regularizer
from adorym.wrapper.base import Array


def run_batch(problem: Problem, patterns: np.ndarray, rates: dict[str, float], batch_fraction: float) -> float:
    """One step of every parameter named in ``rates``; returns the loss of the batch before the step.

    Args:
        problem: What to solve; its store and values are updated.
        patterns: ``(n,)`` sorted indices of the batch's patterns.
        rates: Learning rate now, by name, of the parameters to refine.
        batch_fraction: Part of the epoch that this batch is: the share of the regularizers it carries.
    """
    value, found = batch_gradients(problem, patterns, frozenset(rates))
    if "object" in rates:
        value += _regularize(problem, batch_fraction)
    value = float(problem.comm.sum(np.array([value]), "sum of the loss")[0])
    if "object" in rates:
        _step_object(problem, rates["object"] * problem.obj.optimizer.relaxation(batch_fraction))
    for name, rate in rates.items():
        if name != "object":
            relaxed = rate * problem.values[name].optimizer.relaxation(batch_fraction)
            _step_value(problem, name, found[name], relaxed)
    return value


def _regularize(problem: Problem, batch_fraction: float) -> float:
    xp, total = problem.xp, 0.0
    for regularizer in problem.regularizers:

        def term(obj: Array, regularizer: Regularizer = regularizer) -> tuple[float, Array]:
            weight = batch_fraction / float(np.prod(problem.store.shape))
            value, _, gradient = xp.value_and_grad(lambda t: (weight * regularizer.value(xp, t["object"]), None))(
                {"object": obj}
            )
            return value, gradient["object"]

        total += problem.store.add_gradient(term, regularizer.halo_px)
    return total


def _constraints(problem: Problem, name: str, when: str) -> list[Constraint]:
    return [c for c in problem.constraints if c.parameter == name and c.when == when]


def _step_object(problem: Problem, rate: float) -> None:
    xp, optimizer = problem.xp, problem.obj.optimizer
    constraints, n_rows = _constraints(problem, "object", "batch"), problem.store.shape[0]

    def step(tile: Array, gradient: Gradient, state: tuple[Array, ...], row: int) -> tuple[Array, tuple[Array, ...]]:
        tile, state = optimizer.step(xp, tile, gradient, state, rate)
        for constraint in constraints:
            tile = constraint.project_rows(xp, tile, row, n_rows)
        return tile, state

    problem.store.update(step)


def _step_value(problem: Problem, name: str, found: Found, rate: float) -> None:
    xp, value, index = problem.xp, problem.values[name], found.index
    largest = 0.0 if found.curvature is None else float(xp.max(found.curvature))
    step = Gradient(found.gradient, found.curvature, largest)
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
                _apply_to_object(problem, constraint)
            continue
        value = problem.values[name]
        value.fix_gauge(problem.xp)
        for constraint in _constraints(problem, name, "epoch"):
            value.array = constraint.project(problem.xp, value.array)


def _apply_to_object(problem: Problem, constraint: Constraint) -> None:
    n_rows = problem.store.shape[0]
    problem.store.apply(lambda tile, row: constraint.project_rows(problem.xp, tile, row, n_rows))
