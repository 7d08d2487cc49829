r"""The transmission of an object as the unknown: its real and imaginary part, of one state or of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.constraints.base import Constraint
from adorym.object_space.base import ObjectSpace, Values
from adorym.optics.representation import exponent_of, transmission_of
from adorym.wrapper.base import Array, Backend

# States must start different from each other, or they stay alike: amplitude of the others, and their grain in pixels.
OTHERS, GRAIN_PX = 0.2, 2.0


def changing(constraint: Constraint) -> str:
    """Why an object that changes has no constraints, and a remedy."""
    return f"'{constraint.kind}' acts on an object that does not change, not on its basis objects; leave it out"


class Transmission(ObjectSpace):
    """The unknown is the transmission O itself; 1 in vacuum."""

    representation: ClassVar[str] = "real_imag"

    @property
    def reference_value(self) -> float | np.ndarray:
        return 1.0

    def project(self, xp: Backend, constraint: Constraint, tile: Array, values: Values) -> Array:
        if not constraint.logarithmic:
            return constraint.project(xp, tile)
        return transmission_of(xp, constraint.project(xp, exponent_of(xp, tile)))

    def export(self, rows: np.ndarray, first: int, values: Values) -> np.ndarray:
        return rows.astype(np.complex64, copy=False)

    def scaled(self, rows: Array, factor: complex | np.ndarray) -> Array | None:
        return rows * factor


@dataclass(frozen=True)
class MixedTransmission(Transmission):
    r"""The transmissions of several incoherent states, ``(y, x, k)``; vacuum is 1 in the first, and 0 in the others.

    Patterns depend on :math:`\sum_k O_k(r) \overline{O_k(r')}` alone, which any unitary mixture of the states leaves
    unchanged. The first one starts as the object, the others as faint grain upon it.

    Attributes:
        states: k.
    """

    states: int = 2

    needs_whole_start: ClassVar[bool] = True

    @property
    def reference_value(self) -> float | np.ndarray:
        return np.eye(self.states)[0]

    def from_start(self, start: np.ndarray) -> np.ndarray:
        made, rng = np.array(start, np.complex128), np.random.default_rng(0)
        for k in range(1, self.states):
            grain = scipy.ndimage.gaussian_filter(rng.normal(size=(2, *start.shape[:2])), (0, GRAIN_PX, GRAIN_PX))
            size = OTHERS / np.sqrt(self.states - 1) / np.sqrt(np.mean(grain**2) * 2)
            made[..., k] *= size * (grain[0] + 1j * grain[1])
        return made

    def refuses(self, constraint: Constraint) -> str | None:
        return f"'{constraint.kind}' acts on an object of one state, not on mixtures of states; leave it out"


@dataclass(frozen=True)
class ChangingTransmission(Transmission):
    """Basis objects ``(y, x, k)``, whose sum with real coefficients is the transmission at each moment.

    Vacuum is 1 in the first, whose coefficient starts as 1, and 0 in the others.

    Attributes:
        parts: k.
    """

    parts: int = 2

    @property
    def reference_value(self) -> float | np.ndarray:
        return np.eye(self.parts)[0]

    def start_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[:-1]

    def from_start(self, start: np.ndarray) -> np.ndarray:
        return start[..., None] * np.eye(self.parts)[0]

    def refuses(self, constraint: Constraint) -> str | None:
        return changing(constraint)
