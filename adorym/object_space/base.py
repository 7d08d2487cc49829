"""What an object space is: the unknown of a run, and everything that depends on its form.

The store, the optimizers and the solvers see an array of numbers, the *unknown*. The forward model sees the object. All
that lies between them is here, in one place: the way from the unknown to the object and back, the curvature by the
unknown from that by the object, vacuum, constraints, and the form that files and people see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from adorym.constraints.base import Constraint
from adorym.wrapper.base import Array, Backend

Values = Mapping[str, np.ndarray]


class ObjectSpace(ABC):
    """Between the unknown that a run solves for and the object that the forward model takes.

    Attributes:
        representation: What `export` returns, as `adorym.data.result.Result` names it.
        reference_value: The unknown where there is nothing; regularizers act on the difference from it.
        needs_whole_start: Whether `from_start` needs the whole first object, not some of its rows.
    """

    representation: ClassVar[str]
    reference_value: ClassVar[float] = 0.0
    needs_whole_start: ClassVar[bool] = False

    @property
    def depth_m(self) -> float | None:
        """Extent along the beam of an element of the object, where the result's unit refers to it."""
        return None

    # -- there and back ----------------------------------------------------------------------------------------------
    def from_start(self, start: np.ndarray) -> np.ndarray:
        """The unknown from some rows of a first object, complex; from the whole where `needs_whole_start`."""
        return start

    def to_object(self, xp: Backend, unknown: Array, params: Mapping[str, Array]) -> Array:
        """What the model takes, from windows ``(n, y, x, ...)`` of the unknown; differentiable in all arguments."""
        return unknown

    def pull_back(self, xp: Backend, curvature: Array, obj: Array, params: Mapping[str, Array]) -> Array:
        r"""Curvature by the unknown, :math:`|\partial O/\partial u|^2 h_O`, from that by the object ``obj``."""
        return curvature

    # -- constraints ---------------------------------------------------------------------------------------------------
    def refuses(self, constraint: Constraint) -> str | None:
        """Why ``constraint`` of the object has no meaning here, with a remedy after a ``;``; ``None`` if it has."""
        return None

    @abstractmethod
    def project(self, xp: Backend, constraint: Constraint, tile: Array, values: Values) -> Array:
        """Some rows of the unknown after ``constraint``, which is that of these rows."""

    # -- what comes out ------------------------------------------------------------------------------------------------
    @abstractmethod
    def export(self, rows: np.ndarray, first: int, values: Values) -> np.ndarray:
        """Rows ``(k, x, z)`` of the unknown, from row ``first`` on, in the form of `representation`.

        Complex64 ``(k, x, z)``, or float32: ``(k, x, z)``, or ``(k, x, z, 2)`` delta and beta.
        """

    def scaled(self, rows: Array, factor: float) -> Array | None:
        """The unknown of ``factor`` times the object, ``None`` where this is not an object of the space."""
        return None
