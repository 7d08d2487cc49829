"""One batch: gradients, steps, constraints. At the end of an epoch: gauges and constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from adorym.constraints.base import Constraint
from adorym.engine.gradients import ParameterGradient, batch_gradients
from adorym.engine.guard import Best, data_loss, restore_if_worse
from adorym.engine.problem import Problem
from adorym.engine.terms import batch_terms, projected, term_curvature
from adorym.optimizers.base import Gradient
from adorym.parameters import OBJECT
from adorym.updates.base import State, Update
from adorym.wrapper.base import Array


@dataclass(frozen=True, eq=False)
class GradientStep(Update):
    """A step of every refined parameter along the gradient of a batch, done inside the store.

    Attributes:
        problem: The problem; its store and values are updated.
    """

    problem: Problem
    when: ClassVar[Literal["start", "batch", "end"]] = "batch"

    def apply(self, state: State) -> State:
        share = len(state.patterns) / self.problem.dataset.n_patterns
        return state.with_(loss=run_batch(self.problem, state.patterns, dict(state.rates), share))


def run_batch(problem: Problem, patterns: np.ndarray, rates: dict[str, float], batch_fraction: float) -> Array:
    """One step of every parameter named in ``rates``; returns the loss of the batch before the step, as a `scalar`.

    Args:
        problem: The problem; its store and values are updated.
        patterns: ``(n,)`` sorted indices of the batch's patterns.
        rates: Current learning rate by name, for the parameters to refine.
        batch_fraction: Fraction of the epoch's patterns in this batch; the regularizers are weighted by it.
    """
    value, found = batch_gradients(problem, patterns, frozenset(rates))
    terms, regularizer_gradients = batch_terms(problem, patterns, rates, batch_fraction)
    for name, gradient in regularizer_gradients.items():
        curvature = _with_terms(problem, name, found[name], batch_fraction)
        found[name] = replace(found[name], gradient=found[name].gradient + gradient, curvature=curvature)
    if OBJECT in rates:
        _step_object(problem, rates[OBJECT] * problem.obj.optimizer.relaxation(batch_fraction))
    for name, rate in rates.items():
        if name != OBJECT:
            relaxed = rate * problem.values[name].optimizer.relaxation(batch_fraction)
            _step_value(problem, name, found[name], relaxed)
    if problem.comm.size == 1:
        return value + terms  # a device is not waited for
    if problem.comm.devices is not None:
        return problem.comm.devices.sum(problem.xp.asarray(value + terms, exact=True), "sum of the loss")
    return float(problem.comm.sum(np.array([float(value + terms)]), "sum of the loss")[0])


def _with_terms(problem: Problem, name: str, found: ParameterGradient, batch_fraction: float) -> Array | None:
    """Curvature of a parameter's rows plus that of its regularizers, which is added to the diagonal of blocks."""
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
    xp, optimizer, preconditioner = problem.xp, problem.obj.optimizer, problem.bound.preconditioner(OBJECT)
    constraints = _constraints(problem, OBJECT, "batch")

    def step(tile: Array, gradient: Gradient, state: tuple[Array, ...], row: int) -> tuple[Array, tuple[Array, ...]]:
        if gradient.curvature is not None:
            gradient = replace(
                gradient,
                values=preconditioner.apply(xp, tile, gradient.values),
                curvature=preconditioner.of_sum(xp, gradient.curvature, gradient.curvature_max),
            )
        tile, state = optimizer.step(xp, tile, gradient, state, rate)
        for constraint in constraints:
            tile = projected(problem, constraint, tile, row)
        return tile, state

    problem.store.update(step)


def _step_value(problem: Problem, name: str, found: ParameterGradient, rate: float) -> None:
    xp, value, index = problem.xp, problem.values[name], found.index
    largest = 0.0 if found.curvature is None else xp.scalar(xp.max(found.curvature))
    step = Gradient(found.gradient, found.curvature, largest)
    if index is None:
        array, value.state = value.optimizer.step(xp, value.array, step, value.state, rate)
        value.array = value.limit(xp, array)
    else:
        state = tuple(xp.take(s, index) for s in value.state)
        rows, state = value.optimizer.step(xp, xp.take(value.array, index), step, state, rate)
        value.array = xp.put_rows(value.array, index, value.limit(xp, rows))
        value.state = tuple(xp.put_rows(s, index, r) for s, r in zip(value.state, state, strict=True))
    value.fix_gauge(xp)
    for constraint in _constraints(problem, name, "batch"):
        value.array = projected(problem, constraint, value.array)


def finish_epoch(problem: Problem, names: Iterable[str], epoch: int) -> None:
    """Apply the gauges of the refined parameters and the constraints that act once per epoch."""
    for name in names:
        constraints = [c for c in _constraints(problem, name, "epoch") if c.active(epoch)]
        if name == OBJECT:
            for constraint in constraints:
                problem.store.apply(lambda tile, row, c=constraint: projected(problem, c, tile, row))  # type: ignore[misc]
            continue
        value = problem.values[name]
        value.fix_gauge(problem.xp)
        # The gauge may have violated a constraint that holds after every batch.
        for constraint in [*_constraints(problem, name, "batch"), *constraints]:
            value.array = projected(problem, constraint, value.array)


def apply_update(problem: Problem, update: Update, state: State) -> State:
    """Apply ``update`` to ``state``; returns the new state."""
    after, xp = update.apply(state), problem.xp
    if after.new_object is not None and after.new_object is not state.new_object:
        problem.store.restore(after.new_object.astype(xp.complex_dtype), problem.store.state())
        problem.store.restart()  # the momentum belongs to the previous object
    factor = after.factor
    if factor is not None and factor is not state.factor:
        problem.store.apply(lambda tile, row: tile * xp.asarray(factor[row : row + tile.shape[0]]))
    for name, array in after.changed.items():
        if array is not state.changed.get(name):
            value = problem.values[name]
            value.array = xp.copy(xp.asarray(np.asarray(array, value.first.dtype), exact=True))
    return after


def apply_due(problem: Problem, when: str, state: State, batches: Callable[[], list[np.ndarray]]) -> State:
    """Apply every update that is due ``when``, in order; no epoch mends what those after the last one spoil.

    Args:
        problem: The problem.
        when: ``start`` or ``end`` of an epoch.
        state: The state of the run.
        batches: The batches of an epoch.
    """
    due = [each for each in problem.bound.updates if each.when == when and each.due(state.epoch, state.epochs)]
    before = Best()
    if state.epoch == state.epochs and any(update.keeps_fit for update in due):
        before.keep(problem, state.epoch, data_loss(problem, batches()))
    for update in due:
        state = apply_update(problem, update, state)
    if before.epoch:
        restore_if_worse(problem, before, data_loss(problem, batches()))
    return state
