"""Second-order solvers: Levenberg-Marquardt with truncated conjugate gradients, and Curveball."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import Field

from adorym.registry import register
from adorym.schema import ComponentOf
from adorym.solvers.base import Objective, Solver, State, Step, Vector, remember, value_and_gradient
from adorym.solvers.memory import AT_REST
from adorym.solvers.preconditioners import Intensity, Preconditioner


def conjugate_gradients(
    times: Callable[[Vector], Vector], b: Vector, iterations: int, tolerance: float
) -> tuple[Vector, Vector]:
    """``(x, A x)`` with ``A x = b`` approximately, for a symmetric positive A (Hestenes & Stiefel, 1952)."""
    x = ax = 0.0 * b
    r = p = b
    size = first = float(r @ r)
    for _ in range(iterations):
        if size <= tolerance**2 * first or size == 0:
            break
        ap = times(p)
        curvature = float(p @ ap)
        if curvature <= 0:
            break
        part = size / curvature
        x, ax, r = x + part * p, ax + part * ap, r - part * ap
        size, last = float(r @ r), size
        p = r + (size / last) * p
    return x, ax


@register("solver", "levenberg_marquardt")
class LevenbergMarquardt(Solver):
    r"""Damped Gauss-Newton steps, :math:`(J^T W J + \lambda) s = -g`.

    The matrix is never formed: products with it are a Jacobian-vector product followed by a vector-Jacobian product of
    automatic differentiation, and the system is solved by truncated conjugate gradients. :math:`\lambda` follows the
    ratio of the actual to the predicted decrease of the loss (Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963);
    Martens, ICML 2010, section 4). ``damping: 0`` is Gauss-Newton.

    Attributes:
        preconditioner: How the unknowns are scaled.
        iterations: Largest number of conjugate-gradient iterations per step; each costs about four evaluations.
        tolerance: Relative residual at which the iterations stop.
        damping: First :math:`\lambda`, in units of the preconditioner's curvature.
    """

    preconditioner: Annotated[Preconditioner, ComponentOf("preconditioner")] = Field(default_factory=Intensity)
    iterations: int = Field(8, ge=1)
    tolerance: float = Field(0.1, gt=0, lt=1)
    damping: float = Field(0.05, ge=0)

    def iterate(self, objective: Objective, u: Vector, state: State) -> Step:
        value, g = value_and_gradient(objective, u, state)
        damping = float(state.get("damping", self.damping))
        for _ in range(6):
            s, hs = conjugate_gradients(
                lambda v, d=damping: objective.product(u, v) + d * v,  # type: ignore[misc]
                -g, self.iterations, self.tolerance,
            )  # fmt: skip
            predicted = float(g @ s + 0.5 * s @ (hs - damping * s))
            if predicted >= 0:
                return Step(u, value, AT_REST, True)
            new, gradient = objective.evaluate(u + s)
            ratio = (new - value) / predicted if np.isfinite(new) else -1.0
            damping = self._changed(damping, ratio)
            state["damping"] = damping
            if ratio > 0:
                remember(state, new, gradient)
                return Step(u + s, new)
            damping = max(damping, 1e-3)
        remember(state, value, g)
        return Step(u, value, "no damped Gauss-Newton step lowers the loss", True)

    @staticmethod
    def _changed(damping: float, ratio: float) -> float:
        if ratio < 0.25:
            return damping * 4 if ratio < 0 else damping * 2
        return damping / 3 if ratio > 0.75 else damping


@register("solver", "curveball")
class Curveball(Solver):
    r"""Momentum with curvature: :math:`z \leftarrow \rho z - \beta (H z + g)`, :math:`u \leftarrow u + z`.

    Each iteration takes two products with the Gauss-Newton matrix and solves no system. :math:`\beta` and :math:`\rho`
    minimize the damped quadratic model, and :math:`\lambda` follows the ratio of the actual to the predicted decrease
    (Henriques, Ehrhardt, Albanie & Vedaldi, ICCV 2019, algorithm 1 and eq. (18)).

    Attributes:
        preconditioner: How the unknowns are scaled.
        damping: First :math:`\lambda`, in units of the preconditioner's curvature.
    """

    preconditioner: Annotated[Preconditioner, ComponentOf("preconditioner")] = Field(default_factory=Intensity)
    damping: float = Field(0.1, ge=0)

    def iterate(self, objective: Objective, u: Vector, state: State) -> Step:
        value, g = value_and_gradient(objective, u, state)
        damping = float(state.get("damping", self.damping))
        z = state.get("velocity", 0.0 * u)
        hz = objective.product(u, z) + damping * z if z @ z > 0 else z
        change = hz + g
        h_change = objective.product(u, change) + damping * change
        matrix = np.array([[change @ h_change, z @ h_change], [z @ h_change, z @ hz]])
        minus_beta, rho = np.linalg.lstsq(matrix, -np.array([g @ change, g @ z]), rcond=1e-12)[0]
        new_z = rho * z + minus_beta * change
        predicted = float(g @ new_z + 0.5 * new_z @ (rho * hz + minus_beta * h_change))
        if predicted >= 0:
            return Step(u, value, AT_REST, True)
        new, gradient = objective.evaluate(u + new_z)
        ratio = (new - value) / predicted if np.isfinite(new) else -1.0
        state["damping"] = LevenbergMarquardt._changed(max(damping, 1e-6), ratio)
        if ratio <= 0:  # the quadratic model fails here: restart with more damping
            state.pop("velocity", None)
            remember(state, value, g)
            return Step(u, value)
        state["velocity"] = new_z
        remember(state, new, gradient)
        return Step(u + new_z, new)
