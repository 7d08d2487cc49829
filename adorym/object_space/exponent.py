r"""Objects solved for as an exponent, :math:`O = e^{-w}`, :math:`w = k t (\beta + i\delta)`.

The exponent is linear in the optical constants, and its phase never wraps. For an object of one material the imaginary
part suffices, the phase :math:`\varphi = k t \delta` by which matter advances the wave:
:math:`w = (1/\kappa + i)\,\varphi`. For a purely absorbing object the real part suffices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adorym.constraints.base import Constraint
from adorym.object_space.base import ObjectSpace, Values
from adorym.object_space.transmission import changing
from adorym.optics.representation import exponent_from, exponent_of, optical_constants_of, transmission_of
from adorym.optics.unwrap import unwrapped_phase
from adorym.wrapper import get_backend
from adorym.wrapper.base import Array, Backend


@dataclass(frozen=True)
class Exponent(ObjectSpace):
    """The unknown is the exponent w of each slice; the model takes the transmission.

    Attributes:
        thickness_m: Thickness of a slice, which delta and beta refer to.
        wavelength_m: Wavelength.
    """

    thickness_m: float
    wavelength_m: float

    representation: ClassVar[str] = "delta_beta"

    @property
    def depth_m(self) -> float | None:
        return self.thickness_m

    def from_start(self, start: np.ndarray) -> np.ndarray:
        return exponent_of(get_backend("autograd", precision="double"), start)

    def accepts(self, representation: str) -> bool:
        return representation in (self.representation, "real_imag")

    def from_result(self, rows: np.ndarray, values: Values) -> np.ndarray:
        if np.iscomplexobj(rows):
            return self.from_start(rows)
        return exponent_from(rows, self.thickness_m, self.wavelength_m)

    def to_object(self, xp: Backend, unknown: Array, params: Mapping[str, Array]) -> Array:
        return transmission_of(xp, unknown)

    def pull_back(self, xp: Backend, curvature: Array, obj: Array, params: Mapping[str, Array]) -> Array:
        return curvature * xp.abs2(obj)

    def project(self, xp: Backend, constraint: Constraint, tile: Array, values: Values) -> Array:
        if constraint.logarithmic:
            return constraint.project(xp, tile)
        # Through the quotient, so that a phase beyond pi is not wrapped.
        before = transmission_of(xp, tile)
        return tile + exponent_of(xp, constraint.project(xp, before) / transmission_of(xp, tile))

    def export(self, rows: np.ndarray, first: int, values: Values) -> np.ndarray:
        return optical_constants_of(rows, self.thickness_m, self.wavelength_m).astype(np.float32)

    def scaled(self, rows: Array, factor: complex | np.ndarray) -> Array | None:
        return rows - np.log(factor)


class VolumeExponent(Exponent):
    """The exponent of every voxel; the model takes the exponent itself, to rotate and project it."""

    def accepts(self, representation: str) -> bool:
        return representation == self.representation

    def to_object(self, xp: Backend, unknown: Array, params: Mapping[str, Array]) -> Array:
        return unknown

    def pull_back(self, xp: Backend, curvature: Array, obj: Array, params: Mapping[str, Array]) -> Array:
        return curvature

    def scaled(self, rows: Array, factor: complex | np.ndarray) -> Array | None:
        return None  # a factor of the projection is no volume


@dataclass(frozen=True)
class Absorption(VolumeExponent):
    """The exponent of a purely absorbing volume; the result is the linear attenuation coefficient.

    Attributes:
        thickness_m: Voxel size; 1 if unknown, and the coefficient is then per voxel.
    """

    wavelength_m: float = 1.0

    representation: ClassVar[str] = "attenuation"

    def from_result(self, rows: np.ndarray, values: Values) -> np.ndarray:
        return (rows * (self.thickness_m / 2)).astype(np.complex128)

    def export(self, rows: np.ndarray, first: int, values: Values) -> np.ndarray:
        return (2 * rows.real / self.thickness_m).astype(np.float32)


@dataclass(frozen=True)
class ChangingAbsorption(Absorption):
    """Volumes ``(y, x, k z)`` one behind the other, whose sum with real coefficients is the one at each moment.

    Attributes:
        parts: k.
    """

    parts: int = 2

    def start_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] // self.parts)

    def from_start(self, start: np.ndarray) -> np.ndarray:
        first = super().from_start(start)
        return np.concatenate([first, *[np.zeros_like(first)] * (self.parts - 1)], axis=-1)

    def refuses(self, constraint: Constraint) -> str | None:
        return changing(constraint)


@dataclass(frozen=True)
class SingleMaterial(ObjectSpace):
    r"""The unknown is the phase :math:`\varphi` of one material, the real part of what is stored.

    Attributes:
        kappa: delta / beta, unless the parameter ``log10_kappa`` holds its decimal logarithm.
    """

    kappa: float

    representation: ClassVar[str] = "real_imag"
    needs_whole_start: ClassVar[bool] = True

    def from_start(self, start: np.ndarray) -> np.ndarray:
        return unwrapped_phase(start) + 0j

    def from_result(self, rows: np.ndarray, values: Values) -> np.ndarray:
        # The modulus says how often the phase, which is more precise, has wrapped.
        turn, wrapped = 2 * np.pi, -np.angle(rows.astype(np.complex128))
        return wrapped + turn * np.rint((-self._kappa(values) * np.log(np.abs(rows)) - wrapped) / turn) + 0j

    def to_object(self, xp: Backend, unknown: Array, params: Mapping[str, Array]) -> Array:
        phase = xp.real(unknown)
        modulus = xp.exp(-self._inverse_kappa(xp, params) * phase)
        return xp.complex(modulus * xp.cos(phase), -modulus * xp.sin(phase))

    def pull_back(self, xp: Backend, curvature: Array, obj: Array, params: Mapping[str, Array]) -> Array:
        return curvature * xp.abs2(obj) * (1 + self._inverse_kappa(xp, params) ** 2)

    def _inverse_kappa(self, xp: Backend, params: Mapping[str, Array]) -> Array:
        refined = params.get("log10_kappa")
        return 1 / self.kappa if refined is None else xp.exp(-float(np.log(10.0)) * refined[0])

    def _kappa(self, values: Values) -> float:
        refined = values.get("log10_kappa")
        return self.kappa if refined is None else 10.0 ** float(refined[0])

    def refuses(self, constraint: Constraint) -> str | None:
        if constraint.of_one_material:
            return None
        return (
            f"'{constraint.kind}' does not apply to a homogeneous object, whose only unknown is the phase; "
            "leave it out, or 'forward_model.homogeneous'"
        )

    def project(self, xp: Backend, constraint: Constraint, tile: Array, values: Values) -> Array:
        phase = constraint.project_phase(xp, xp.real(tile), self._kappa(values))
        return xp.complex(phase, 0 * phase)

    def export(self, rows: np.ndarray, first: int, values: Values) -> np.ndarray:
        return np.exp(-(1 / self._kappa(values) + 1j) * rows.real).astype(np.complex64)
