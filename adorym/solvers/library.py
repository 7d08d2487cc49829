"""The solvers of `scipy.optimize.minimize`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError, suggestion
from adorym.registry import register
from adorym.schema import ComponentOf
from adorym.solvers.base import Objective, Solver, State, Step, Vector
from adorym.solvers.preconditioners import Intensity, Preconditioner

WITH_PRODUCTS = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr")
WITH_GRADIENTS = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", *WITH_PRODUCTS)
WITH_VALUES = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")
WITH_BOUNDS = ("L-BFGS-B", "TNC", "SLSQP", "trust-constr", "Nelder-Mead", "Powell", "COBYLA", "COBYQA")
METHODS = WITH_GRADIENTS + WITH_VALUES


@register("solver", "scipy")
class Scipy(Solver):
    """Any method of ``scipy.optimize.minimize`` that needs no dense matrix of second derivatives.

    An epoch is one call with at most ``iterations`` iterations; the method starts anew in every epoch, so choose one
    epoch of many iterations where that matters. The run ends, with the method's own message, when the method
    says that it has converged. BFGS and SLSQP keep a dense matrix: for a few hundred unknowns only; methods without
    gradients for a few only.

    Attributes:
        preconditioner: How the unknowns are scaled.
        method: Name of the method, as SciPy has it.
        iterations: Largest number of its iterations in an epoch.
        tolerance: Its ``tol``; its own default if absent.
        options: Further options of the method.
    """

    whole: ClassVar[bool] = True
    preconditioner: Annotated[Preconditioner, ComponentOf("preconditioner")] = Field(default_factory=Intensity)
    method: str = "L-BFGS-B"
    iterations: int = Field(20, ge=1)
    tolerance: float | None = Field(None, gt=0)
    options: dict[str, float | int | bool | str] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(
                "method", f"no method '{self.method}'", expected="one of " + ", ".join(METHODS),
                remedy=suggestion(self.method, METHODS),
            )  # fmt: skip

    def iterate(self, objective: Objective, u: Vector, state: State) -> Step:
        from scipy.optimize import Bounds, minimize  # slow to import

        def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = objective.evaluate(objective.vector(x))
            return value, objective.flat(gradient)

        options: dict[str, Any] = {"maxfun" if self.method == "TNC" else "maxiter": self.iterations, **self.options}
        given: dict[str, Any] = {"method": self.method, "tol": self.tolerance, "options": options}
        if self.method in WITH_GRADIENTS:
            given |= {"fun": evaluate, "jac": True}
        else:
            given["fun"] = lambda x: evaluate(x)[0]
        if self.method in WITH_PRODUCTS:
            given["hessp"] = lambda x, v: objective.flat(objective.product(objective.vector(x), objective.vector(v)))
        bounds = objective.bounds()
        if bounds is not None and self.method in WITH_BOUNDS:
            given["bounds"] = Bounds(*bounds)
        found = minimize(x0=objective.flat(u), **given)
        message = f"scipy {self.method}: {found.message}"
        lowest = objective.vector(np.asarray(found.x, np.float64))
        # Out of iterations is no convergence; every method calls that by another status, but none of them a success.
        return Step(lowest, float(found.fun), message, bool(found.success))
