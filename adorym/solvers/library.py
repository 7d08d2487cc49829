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

    An epoch is one call with at most ``iterations`` iterations. The method restarts in every epoch, so choose one
    epoch of many iterations if that matters. The run ends with the method's message when the method reports
    convergence. BFGS and SLSQP store a dense matrix: use them for a few hundred unknowns at most, and methods without
    gradients for a few.

    Attributes:
        preconditioner: How the unknowns are scaled.
        method: SciPy's name of the method.
        iterations: Largest number of its iterations per epoch.
        tolerance: Its ``tol``; the method's default if absent.
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
        # Running out of iterations is not convergence; its status differs between methods, but is never a success.
        return Step(lowest, float(found.fun), message, bool(found.success))
