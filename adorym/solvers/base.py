r"""The solver: an iteration on the loss of the whole data set.

An optimizer steps one parameter after each batch, from its gradient alone. A *solver* updates all refined parameters
together and may evaluate the loss, its gradient, or its curvature along a direction any number of times. All unknowns
form one real vector u, scaled so that the loss has about the same curvature in every direction: :math:`x = S u`,
:math:`S = h^{-1/2}` with the preconditioner's estimate h of the curvature's diagonal. Textbook algorithms then apply,
whatever the number of photons or the units of the parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from adorym.solvers.preconditioners import Preconditioner

# Solvers use only ``u + v``, ``u - v``, ``-u``, ``number * u`` and the scalar product ``u @ v``, so that the same code
# works with NumPy arrays and with vectors in an object's store, on many ranks.
Vector = Any
State = dict[str, Any]  # numbers and vectors by name


class Objective(ABC):
    """The loss of all patterns and all regularizers as a function of the vector u."""

    evaluations: int = 0

    @abstractmethod
    def evaluate(self, u: Vector) -> tuple[float, Vector]:
        """``(loss, gradient)``; counts as one evaluation."""

    @abstractmethod
    def product(self, u: Vector, v: Vector) -> Vector:
        r"""Gauss-Newton matrix at u times v, :math:`J^T W J v`: symmetric and not negative."""

    @abstractmethod
    def prox(self, u: Vector, step: float) -> Vector:
        """Minimum of ``|v - u|^2 / 2 + step R(v)`` over v, with the terms R that `evaluate` leaves out."""

    @abstractmethod
    def left_out(self, u: Vector) -> float:
        """Value of the terms that `evaluate` leaves out."""

    # -- for methods that need one array of all unknowns -------------------------------------------------------------
    def flat(self, u: Vector) -> np.ndarray:
        """``u`` as one array ``(n,)`` float64."""
        return np.asarray(u)

    def vector(self, flat: np.ndarray) -> Vector:
        """The inverse of `flat`."""
        return flat

    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Smallest and largest u, flat, or ``None`` if nothing is bounded."""
        return None


@dataclass(frozen=True)
class Step:
    """Result of an iteration.

    Attributes:
        u: The new point.
        value: Loss there.
        message: The solver's message about its end, if any.
        finished: Whether the solver has converged.
    """

    u: Vector
    value: float
    message: str = ""
    finished: bool = False


class Solver(ABC):
    """One iteration per epoch on the loss of the whole data set.

    Attributes:
        splits: Whether terms with a proximal operator are left out of the loss and applied by `Objective.prox`. The
            scaling is then one number per parameter.
        whole: Whether it needs all unknowns in one array.
        preconditioner: How the unknowns are scaled.
    """

    kind: ClassVar[str]
    splits: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    preconditioner: Preconditioner

    @property
    def vectors(self) -> int:
        """How many vectors of all unknowns there are at once, about, with those of the iteration."""
        return 8

    @abstractmethod
    def iterate(self, objective: Objective, u: Vector, state: State) -> Step:
        """One iteration from u; ``state``, empty at first, persists between iterations.

        ``state["value"]`` and ``state["gradient"]`` hold the loss and its gradient at u if they are known; the engine
        removes them after it has changed u itself.
        """


def value_and_gradient(objective: Objective, u: Vector, state: State) -> tuple[float, Vector]:
    """Loss and gradient at u, from ``state`` or evaluated."""
    if "value" in state and "gradient" in state:
        return float(state["value"]), state["gradient"]
    return objective.evaluate(u)


def remember(state: State, value: float, gradient: Vector) -> None:
    """Store the loss and its gradient at the new point in ``state``."""
    state["value"], state["gradient"] = float(value), gradient


def norm(u: Vector) -> float:
    """Euclidean norm of a vector."""
    return float(u @ u) ** 0.5
