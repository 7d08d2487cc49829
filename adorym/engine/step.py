"""One batch: differentiate, step, project."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adorym.constraints.base import Constraint
from adorym.engine.gradients import Found, batch_gradients
from adorym.engine.problem import Problem
from adorym.engine.terms import batch_terms, projected, term_curvature
from adorym.optimizers.base import Gradient
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
    terms, pulls = batch_terms(problem, patterns, rates, batch_fraction)
    for name, pull in pulls.items():
        curvature = _with_terms(problem, name, found[name], batch_fraction)
        found[name] = replace(found[name], gradient=found[name].gradient + pull, curvature=curvature)
    if "object" in rates:
        _step_object(problem, rates["object"] * problem.obj.optimizer.relaxation(batch_fraction))
    for name, rate in rates.items():
        if name != "object":
            relaxed = rate * problem.values[name].optimizer.relaxation(batch_fraction)
            _step_value(problem, name, found[name], relaxed)
    return float(problem.comm.sum(np.array([value + terms]), "sum of the loss")[0])


def _with_terms(problem: Problem, name: str, found: Found, batch_fraction: float) -> Array | None:
    """Curvature of a parameter's rows, that of its regularizers added: to the diagonal, where it is in blocks."""
    xp, array = problem.xp, problem.values[name].array
    if found.curvature is None:
        return None
    added = term_curvature(problem, name, array, batch_fraction if found.index is None else 1.0)
    assert added is not None  # there is a gradient of one
    added = added if found.index is None else xp.take(added, found.index)
    if len(found.curvature.shape) > len(array.shape):
        added = added[..., None] * xp.asarray(np.eye(array.shape[-1]), exact=True)
    return found.curvature + added


def _constraints(problem: Problem, name: str, when: str) -> list[Constraint]:
    return [c for c in problem.constraints if c.parameter == name and c.when == when]


def _step_object(problem: Problem, rate: float) -> None:
    xp, optimizer = problem.xp, problem.obj.optimizer
    constraints = _constraints(problem, "object", "batch")

    def step(tile: Array, gradient: Gradient, state: tuple[Array, ...], row: int) -> tuple[Array, tuple[Array, ...]]:
        if gradient.curvature is not None and tuple(tile.shape) == problem.store.shape:
            values = problem.model.rounder(xp, tile, gradient.values, problem.geometry)
            gradient = replace(gradient, values=values)
        tile, state = optimizer.step(xp, tile, gradient, state, rate)
        for constraint in constraints:
            tile = projected(problem, constraint, tile, row)
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
        value.array = projected(problem, constraint, value.array)


def finish_epoch(problem: Problem, names: list[str], epoch: int) -> None:
    """Gauges of the refined parameters and the constraints that are applied once an epoch."""
    for name in names:
        constraints = [c for c in _constraints(problem, name, "epoch") if c.active(epoch)]
        if name != "object":  # the gauge may have moved what a constraint holds
            constraints = [*_constraints(problem, name, "batch"), *constraints]
        if name == "object":
            for constraint in constraints:
                problem.store.apply(lambda tile, row, c=constraint: projected(problem, c, tile, row))  # type: ignore[misc]
            continue
        value = problem.values[name]
        value.fix_gauge(problem.xp)
        for constraint in constraints:
            value.array = projected(problem, constraint, value.array)


def settle(problem: Problem, epoch: tuple[int, int]) -> bool:
    """Take over what the model prefers among equals, if anything; returns whether the object was replaced.

    Args:
        problem: Its values are updated.
        epoch: Number of the epoch, from 1, and of all planned epochs.
    """
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
