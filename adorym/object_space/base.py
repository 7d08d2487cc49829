"""The object space: the unknown of a run, and everything that depends on its form.

Stores, optimizers and solvers work on an array of numbers, the *unknown*; the forward model takes the object. The
object space converts between them: values, curvatures, vacuum, constraints, and the form of the result.
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
    """Converts between the unknown that a run solves for and the object that the forward model takes.

    Attributes:
        representation: What `export` returns, as `adorym.data.result.Result` names it.
        states: Incoherent states of the object, along its last axis; 1 if that axis is something else.
        parts: Basis objects of one that changes in time, one after the other along its last axis.
        needs_whole_start: Whether `from_start` needs the whole start object instead of some of its rows.
    """

    representation: ClassVar[str]
    needs_whole_start: ClassVar[bool] = False
    states: int = 1
    parts: int = 1

    @property
    def reference_value(self) -> float | np.ndarray:
        """The unknown in vacuum, for each state if there are several; regularizers act on the difference from it."""
        return 0.0

    @property
    def depth_m(self) -> float | None:
        """Thickness of an object element along the beam, if the result's unit depends on it."""
        return None

    # -- conversion --------------------------------------------------------------------------------------------------
    def start_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the start object of an unknown of ``shape``."""
        return shape

    def from_start(self, start: np.ndarray) -> np.ndarray:
        """The unknown from rows of a complex start object, or from all of it if `needs_whole_start`."""
        return start

    def accepts(self, representation: str) -> bool:
        """Whether `from_result` reads rows of a result in this representation."""
        return representation == self.representation

    def from_result(self, rows: np.ndarray, values: Values) -> np.ndarray:
        """The unknown from rows of a result, as `export` made them; its inverse."""
        return rows.astype(np.complex128)

    def to_object(self, xp: Backend, unknown: Array, params: Mapping[str, Array]) -> Array:
        """The model's object from windows ``(n, y, x, ...)`` of the unknown; differentiable in all arguments."""
        return unknown

    def pull_back(self, xp: Backend, curvature: Array, obj: Array, params: Mapping[str, Array]) -> Array:
        r"""Curvature by the unknown, :math:`|\partial O/\partial u|^2 h_O`, from that by the object ``obj``."""
        return curvature

    # -- constraints ---------------------------------------------------------------------------------------------------
    def refuses(self, constraint: Constraint) -> str | None:
        """Why ``constraint`` does not apply to this unknown, and after ``;`` a remedy; ``None`` if it applies."""
        return None

    @abstractmethod
    def project(self, xp: Backend, constraint: Constraint, tile: Array, values: Values) -> Array:
        """Apply ``constraint``, made for these rows, to rows of the unknown."""

    # -- result --------------------------------------------------------------------------------------------------------
    @abstractmethod
    def export(self, rows: np.ndarray, first: int, values: Values) -> np.ndarray:
        """Rows ``(k, x, z)`` of the unknown, from row ``first`` on, in the form of `representation`.

        Complex64 ``(k, x, z)``, or float32: ``(k, x, z)``, or ``(k, x, z, 2)`` delta and beta.
        """

    def scaled(self, rows: Array, factor: complex | np.ndarray) -> Array | None:
        """The unknown of ``factor`` times the object; ``None`` if the space does not contain it."""
        return None
