r"""The transmission of an object as the unknown: its real and imaginary part."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from adorym.constraints.base import Constraint
from adorym.object_space.base import ObjectSpace, Values
from adorym.optics.representation import exponent_of, transmission_of
from adorym.wrapper.base import Array, Backend


class Transmission(ObjectSpace):
    """The unknown is the transmission O itself; 1 in vacuum."""

    representation: ClassVar[str] = "real_imag"
    reference_value: ClassVar[float] = 1.0

    def project(self, xp: Backend, constraint: Constraint, tile: Array, values: Values) -> Array:
        if not constraint.logarithmic:
            return constraint.project(xp, tile)
        return transmission_of(xp, constraint.project(xp, exponent_of(xp, tile)))

    def export(self, rows: np.ndarray, first: int, values: Values) -> np.ndarray:
        return rows.astype(np.complex64, copy=False)

    def scaled(self, rows: Array, factor: complex | np.ndarray) -> Array | None:
        return rows * factor
