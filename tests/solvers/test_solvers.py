"""Laws of solvers: they find minima in few iterations, go on where they stopped, and their parts do what they say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from cases import CASES

from adorym.solvers.base import Objective
from adorym.solvers.line_search import Wolfe, search
from adorym.solvers.newton import conjugate_gradients

SOLVERS = sorted(CASES["solver"])
SPLITTING = [name for name in SOLVERS if CASES["solver"][name](None).splits]


class Bowl(Objective):
    """``1/2 (u - m)^T A (u - m)`` and, as the term with a proximal operator, ``weight |u|_1``."""

    def __init__(self, condition=30.0, weight=0.0, n=12):
        rng = np.random.default_rng(4)
        q, _ = np.linalg.qr(rng.normal(size=(n, n)))
        self.a = q @ np.diag(np.geomspace(1, condition, n) / condition) @ q.T
        self.minimum, self.weight = rng.normal(size=n), weight

    def evaluate(self, u):
        self.evaluations += 1
        d = u - self.minimum
        return 0.5 * float(d @ self.a @ d), self.a @ d

    def product(self, u, v):
        return self.a @ v

    def prox(self, u, step):
        return np.sign(u) * np.maximum(np.abs(u) - self.weight * step, 0)

    def left_out(self, u):
        return self.weight * float(np.abs(u).sum())

    def bounds(self):
        return None


class Valley(Bowl):
    """Rosenbrock's valley, whose residuals are not linear: 100 (b - a^2)^2 + (1 - a)^2, halved."""

    def __init__(self):
        super().__init__(n=2)
        self.minimum = np.ones(2)

    def evaluate(self, u):
        self.evaluations += 1
        r, j = self._residuals(u)
        return 0.5 * float(r @ r), j.T @ r

    def product(self, u, v):
        j = self._residuals(u)[1]
        return j.T @ (j @ v)

    def _residuals(self, u):
        a, b = u
        return np.array([10 * (b - a * a), 1 - a]), np.array([[-20 * a, 10.0], [-1.0, 0.0]])


def run(solver, objective, u, iterations, state=None):
    """``(point, losses)``; stops when the solver says that it has finished."""
    state, losses = {} if state is None else state, []
    for _ in range(iterations):
        step = solver.iterate(objective, u, state)
        u, losses = step.u, [*losses, step.value]
        if step.finished:
            assert step.message
            break
    return u, losses


@pytest.mark.parametrize("name", SOLVERS)
def test_finds_the_minimum_of_a_bowl(name):
    bowl, solver = Bowl(), CASES["solver"][name](None)
    u, losses = run(solver, bowl, np.zeros(12), 300)
    first = bowl.evaluate(np.zeros(12))[0]
    assert bowl.evaluate(u)[0] < 1e-5 * first
    assert losses[-1] == pytest.approx(bowl.evaluate(u)[0], abs=1e-9 * first)
    assert losses[0] < first


@pytest.mark.parametrize("name", [n for n in SOLVERS if n not in SPLITTING])
def test_descends_into_a_curved_valley(name):
    valley, solver = Valley(), CASES["solver"][name](None)
    u, losses = run(solver, valley, np.array([-1.2, 1.0]), 200)
    np.testing.assert_allclose(u, 1, atol=2e-2)
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(losses))


@pytest.mark.parametrize("name", SOLVERS)
def test_goes_on_from_its_state(name):
    """Six iterations are three and three with a copy of the state in between, as a checkpoint keeps it."""
    if name == "scipy":
        return  # remembers nothing between epochs: its documentation says so
    solver = CASES["solver"][name](None)
    straight, _ = run(solver, Bowl(), np.zeros(12), 6)
    state: dict = {}
    half, _ = run(solver, Bowl(), np.zeros(12), 3, state)
    again, _ = run(solver, Bowl(), half.copy(), 3, {key: np.array(a) for key, a in state.items()})
    np.testing.assert_array_equal(again, straight)


@pytest.mark.parametrize("name", SOLVERS)
def test_stays_in_the_minimum(name):
    bowl = Bowl()
    u, losses = run(CASES["solver"][name](None), bowl, bowl.minimum.copy(), 3)
    np.testing.assert_allclose(u, bowl.minimum, atol=1e-12)
    assert losses[-1] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("name", SPLITTING)
def test_splitting_minimizes_the_sum(name):
    """The subgradient of ``f + weight |u|_1`` at the point found holds zero."""
    bowl = Bowl(condition=5.0, weight=0.08)
    state: dict = {}
    u, losses = run(CASES["solver"][name](None), bowl, np.zeros(12), 600, state)
    u = state.get("copy", u)
    slope, zero = bowl.evaluate(u)[1], np.abs(u) < 1e-9
    assert zero.any() and not zero.all()
    np.testing.assert_allclose(slope[~zero], -bowl.weight * np.sign(u[~zero]), atol=2e-4)
    assert (np.abs(slope[zero]) <= bowl.weight + 2e-4).all()
    assert losses[-1] == pytest.approx(bowl.evaluate(u)[0] + bowl.left_out(u), rel=1e-3)


def test_truncated_conjugate_gradients_solve_a_system():
    bowl, b = Bowl(), np.random.default_rng(1).normal(size=12)
    x, ax = conjugate_gradients(lambda v: bowl.a @ v, b, 50, 1e-12)
    np.testing.assert_allclose(bowl.a @ x, b, atol=1e-8)
    np.testing.assert_allclose(ax, b, atol=1e-8)
    few, _ = conjugate_gradients(lambda v: bowl.a @ v, b, 3, 1e-12)
    assert 0.5 * few @ bowl.a @ few - b @ few < 0  # truncated, it still leads downhill


@pytest.mark.parametrize("first", [1e-3, 0.3, 40.0])
def test_line_search_keeps_the_wolfe_conditions(first):
    bowl = Bowl()
    u = np.zeros(12)
    value, g = bowl.evaluate(u)
    rule = Wolfe(slope=0.2, evaluations=30)
    found = search(bowl, u, -g, (value, g), first, rule)
    assert found is not None
    assert found.value <= value - rule.decrease * found.step * (g @ g)
    assert abs(found.gradient @ -g) <= rule.slope * (g @ g)


def test_line_search_that_only_climbs_finds_nothing():
    bowl = Bowl()
    u = np.zeros(12)
    value, g = bowl.evaluate(u)
    assert search(bowl, u, g, (value, -g), 0.5, Wolfe(evaluations=6)) is None


def test_scipy_reports_in_its_own_words():
    from adorym.solvers.library import Scipy

    done = Scipy(iterations=100, tolerance=1e-8).iterate(Bowl(), np.zeros(12), {})
    assert done.finished and done.message.startswith("scipy L-BFGS-B: CONVERGENCE")
    short = Scipy(iterations=1, tolerance=1e-8).iterate(Bowl(), np.zeros(12), {})
    assert not short.finished and "LIMIT" in short.message.upper()


@pytest.mark.parametrize("method", ["CG", "BFGS", "TNC", "SLSQP", "Newton-CG", "trust-ncg", "trust-krylov", "Powell"])
def test_scipy_methods(method):
    from adorym.solvers.library import Scipy

    bowl = Bowl(condition=4.0, n=4)
    u, _ = run(Scipy(method=method, iterations=60), bowl, np.zeros(4), 3)
    np.testing.assert_allclose(u, bowl.minimum, atol=5e-3)


def test_scipy_method_must_exist():
    from adorym.solvers.library import Scipy

    with pytest.raises(ValueError, match=r"method: no method 'LBFGS'; expected one of CG, BFGS, .*; did you mean"):
        Scipy(method="LBFGS")
