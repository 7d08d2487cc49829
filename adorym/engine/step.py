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


def finish_epoch(problem: Problem, names: list[str], epoch: tuple[int, int]) -> bool:
    """Gauges of the refined parameters, the constraints applied once an epoch, and what the model prefers among equals.

    Returns whether the object was replaced.

    Args:
        problem: Its values are updated.
        names: Parameters that were refined.
        epoch: Number of the epoch, from 1, and of all planned epochs.
    """
    for name in names:
        if name == "object":
            for constraint in _constraints(problem, name, "epoch"):
                problem.store.apply(lambda tile, c=constraint: c.project(problem.xp, tile))  # type: ignore[misc]
            continue
        value = problem.values[name]
        value.fix_gauge(problem.xp)
        for constraint in _constraints(problem, name, "epoch"):
            value.array = constraint.project(problem.xp, value.array)
    return _settle(problem, epoch)


def _settle(problem: Problem, epoch: tuple[int, int]) -> bool:
    """Take over the object and the parameters that the model prefers among equals."""
    xp, values = problem.xp, problem.values
    now = {name: xp.to_numpy(value.array) for name, value in values.items()}
    preferred = problem.model.settle(problem.geometry, problem.store.values, now, epoch)
    if preferred is None:
        return False
    obj, changed = preferred
    problem.store.restore(obj.astype(xp.complex_dtype), problem.store.state())
    problem.store.restart()  # a velocity of the object before is none of this one
    for name, array in changed.items():
        values[name].array = xp.asarray(np.asarray(array, values[name].first.dtype), exact=True)
    return True
