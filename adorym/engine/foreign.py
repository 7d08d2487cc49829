"""Components from outside the package, tried once on a few numbers before a run uses them.

What they return is looked at: a wrong shape would otherwise be told by some line of this package, epochs later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adorym.engine.checks import try_constraint
from adorym.engine.recipe import Recipe
from adorym.extension import check_kind, check_returned, is_foreign, refuse, user_code
from adorym.losses.base import Loss
from adorym.optimizers.base import Gradient, Optimizer
from adorym.parameters import OBJECT, Value
from adorym.regularizers.base import ProximalRegularizer, Regularizer
from adorym.solvers.base import Objective, Solver, Step, Vector
from adorym.storage.slabs import Start
from adorym.wrapper import get_backend
from adorym.wrapper.base import Array, Backend, Tree

ROWS = 8  # of the object that regularizers and optimizers are tried on
# Functions of a backend, with their other arguments, that are compared with those of the reference.
COMPARED: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("asarray", "copy", "exp", "abs", "abs2", "real", "imag", "conj", "sum"), ()),
    **dict.fromkeys(("fftn", "ifftn"), ((-2, -1),)),
    **dict.fromkeys(("fft", "ifft", "fft2", "ifft2"), ()),
}


def try_backend(xp: Backend) -> None:
    """Compare what a backend computes with the reference.

    Raises:
        ExtensionError: An array is missing, of another shape or kind, or holds other numbers.
    """
    if not is_foreign(xp):
        return
    reference, rng = get_backend("autograd", precision=xp.precision), np.random.default_rng(0)
    a = rng.normal(size=(2, 3, 4)) + 1j * rng.normal(size=(2, 3, 4))
    for name, more in COMPARED.items():
        with user_code(xp, method=name):
            found, expected = (
                getattr(xp, name)(xp.asarray(a), *more),
                getattr(reference, name)(reference.asarray(a), *more),
            )
            check_returned(xp, found, expected.shape, xp, name, real=not np.iscomplexobj(expected))
            if not np.allclose(xp.to_numpy(found), expected, rtol=1e-3, atol=1e-3):
                remedy = "transforms are orthonormal; the rest is as in NumPy"
                refuse(xp, name, "other numbers than the backend 'autograd'", remedy=remedy)
    with user_code(xp, method="value_and_grad"):
        _, _, gradients = xp.value_and_grad(lambda tree: (xp.sum(xp.abs2(tree["a"])), None))({"a": xp.asarray(a)})
        check_returned(xp, gradients["a"], a.shape, xp, "value_and_grad", real=False)


def try_loss(xp: Backend, loss: Loss, window_px: tuple[int, int]) -> None:
    """One term a pixel, real, of predictions and targets ``(2, y, x)``.

    Raises:
        ExtensionError: Something else came back.
    """
    if not is_foreign(loss):
        return
    counts = np.random.default_rng(0).uniform(1, 2, (2, *window_px))
    with user_code(loss, method="target"):
        target = loss.target(counts, 0.1)
        check_returned(None, target, counts.shape, loss, "target", real=True)

    def total(tree: Tree) -> tuple[Array, None]:
        terms = loss.terms(xp, tree["predicted"], xp.asarray(target))
        check_returned(xp, terms, counts.shape, loss, "terms", real=True)
        return xp.sum(terms), None

    with user_code(loss, method="terms"):
        xp.value_and_grad(total)({"predicted": xp.asarray(counts)})


def try_components(xp: Backend, recipe: Recipe, start: Start, unknowns: Mapping[str, Value]) -> None:
    """Apply each constraint to first values, which it may refuse, and everything from outside the package.

    Raises:
        InputError: A constraint refuses the shape of its parameter.
        ExtensionError: Something else came back than an array like the parameter.
    """
    for i, constraint in enumerate(recipe.constraints):
        tile = _some(xp, start, unknowns[constraint.parameter], None if constraint.whole else 1)
        with user_code(constraint, method="project"):
            made = try_constraint(xp, i, constraint, xp.copy(tile), start.shape)
            check_returned(xp, made, tile.shape, constraint, "project", real=not xp.is_complex(tile))
    for term in recipe.regularizers:
        if is_foreign(term):
            rows = None if term.halo_px is None else ROWS
            _try_regularizer(xp, term, _some(xp, start, unknowns[term.parameter], rows))
    for value in unknowns.values():
        if is_foreign(value.optimizer):
            _try_optimizer(xp, value.optimizer, _some(xp, start, value, ROWS), value.rate)
        gauge = value.spec.gauge
        if gauge is not None and is_foreign(gauge):
            with user_code(gauge):
                check_returned(None, gauge(value.first, value.first), value.first.shape, gauge, real=True)
    if recipe.solver is not None and is_foreign(recipe.solver):
        _try_solver(recipe.solver)


def _some(xp: Backend, start: Start, value: Value, rows: int | None) -> Array:
    """The first values of a parameter, or ``rows`` of the object."""
    if value.name != OBJECT:
        return xp.asarray(value.first.copy(), exact=True)
    return xp.asarray(start.rows(0, start.shape[0] if rows is None else min(rows, start.shape[0])).copy())


def _try_regularizer(xp: Backend, term: Regularizer, deviation: Array) -> None:
    shape, real = deviation.shape, not xp.is_complex(deviation)

    def total(tree: Tree) -> tuple[Array, None]:
        value = term.value(xp, tree["u"])
        check_returned(xp, value, (), term, "value", real=True)
        return value, None

    with user_code(term, method="value"):
        xp.value_and_grad(total)({"u": deviation})
    with user_code(term, method="curvature"):
        check_returned(xp, term.curvature(xp, deviation), shape, term, "curvature", real=True)
    if isinstance(term, ProximalRegularizer):
        with user_code(term, method="prox"):
            check_returned(xp, term.prox(xp, deviation, 1.0), shape, term, "prox", real=real)


def _try_optimizer(xp: Backend, optimizer: Optimizer, like: Array, rate: float) -> None:
    with user_code(optimizer, method="init"):
        state = optimizer.init(xp, like)
        check_kind(state, tuple, optimizer, "init")
        for each in state:
            check_returned(xp, each, (*like.shape[:1], *each.shape[1:]), optimizer, "init")
    with user_code(optimizer, method="step"):
        slope = Gradient(xp.zeros_like(like) + 1, xp.ones(like.shape) if optimizer.needs_curvature else None, 1.0)
        made, after = optimizer.step(xp, xp.copy(like), slope, tuple(map(xp.copy, state)), rate)
        check_returned(xp, made, like.shape, optimizer, "step", real=not xp.is_complex(like))
        check_kind(after, tuple, optimizer, "step")
        for each, before in zip(after, state, strict=True):
            check_returned(xp, each, before.shape, optimizer, "step")


class _Parabola(Objective):
    """``2 u.u``, on which a solver is tried: a step of one along the gradient is too long."""

    def evaluate(self, u: Vector) -> tuple[float, Vector]:
        return 2 * float(u @ u), 4 * u

    def product(self, u: Vector, v: Vector) -> Vector:
        return 4 * v

    def prox(self, u: Vector, step: float) -> Vector:
        return u

    def left_out(self, u: Vector) -> float:
        return 0.0


def _try_solver(solver: Solver) -> None:
    u, state = np.ones(3), dict[str, Any]()
    with user_code(solver, method="iterate"):
        for _ in range(2):
            step = solver.iterate(_Parabola(), u, state)
            check_kind(step, Step, solver, "iterate")
            check_returned(None, step.u, u.shape, solver, "iterate", real=True)
            u = step.u
            float(step.value)
