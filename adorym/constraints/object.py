"""Constraints on the values of the object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.constraints.base import Constraint
from adorym.errors import ConfigError
from adorym.registry import register
from adorym.units import Angle
from adorym.wrapper.base import Array, Backend


def in_order(minimum: float | None, maximum: float | None) -> None:
    """Raise a `ConfigError` if the limits are reversed."""
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ConfigError("minimum", "exceeds the maximum", expected=f"<= {maximum}", found=minimum)


@register("constraint", "magnitude_limit")
class MagnitudeLimit(Constraint):
    r"""Keeps the modulus of the transmission within bounds; the phase is unchanged.

    A passive object does not amplify: :math:`|O| \le 1`.

    Attributes:
        maximum: Largest modulus.
        minimum: Smallest modulus.
    """

    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    of_one_material: ClassVar[bool] = True
    maximum: float = Field(1.0, gt=0)
    minimum: float = Field(0.0, ge=0)

    def __post_init__(self) -> None:
        in_order(self.minimum, self.maximum)

    def project(self, xp: Backend, tile: Array) -> Array:
        modulus = xp.abs(tile)
        wanted = xp.clip(modulus, self.minimum, self.maximum)
        # A modulus of 0 has no phase: the result is then real.
        safe = xp.where(modulus > 0, modulus, xp.ones((1,)))
        return xp.where(modulus > 0, tile * (wanted / safe), xp.complex(wanted, xp.zeros((1,))))

    def project_phase(self, xp: Backend, phase: Array, kappa: float) -> Array:
        highest = None if self.minimum == 0 else -kappa * float(np.log(self.minimum))
        return xp.clip(phase, -kappa * float(np.log(self.maximum)), highest)


@register("constraint", "phase_limit")
class PhaseLimit(Constraint):
    r"""Keeps the phase of the transmission within bounds; the modulus is unchanged.

    With the representation ``real_imag`` the phase is within :math:`(-\pi, \pi]`; with ``delta_beta`` it may be larger.

    Attributes:
        maximum: Largest phase; 0 for X-rays, since matter advances the wave and its phase is negative.
        minimum: Smallest phase.
    """

    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    of_one_material: ClassVar[bool] = True
    logarithmic: ClassVar[bool] = True
    maximum: Angle | None = 0.0
    minimum: Angle | None = None

    def __post_init__(self) -> None:
        in_order(self.minimum, self.maximum)

    def project(self, xp: Backend, tile: Array) -> Array:
        lowest = None if self.maximum is None else -self.maximum
        highest = None if self.minimum is None else -self.minimum
        return xp.complex(xp.real(tile), xp.clip(xp.imag(tile), lowest, highest))

    def project_phase(self, xp: Backend, phase: Array, kappa: float) -> Array:
        return xp.imag(self.project(xp, xp.complex(0 * phase, phase)))


@register("constraint", "non_negativity")
class NonNegativity(Constraint):
    r"""Neither :math:`\delta` nor :math:`\beta` is negative: matter absorbs and advances the phase of X-rays.

    Attributes:
        parts: Which of the two are constrained.
    """

    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    of_one_material: ClassVar[bool] = True
    logarithmic: ClassVar[bool] = True
    parts: Literal["both", "delta", "beta"] = "both"

    def project(self, xp: Backend, tile: Array) -> Array:
        absorption, phase = xp.real(tile), xp.imag(tile)
        absorption = absorption if self.parts == "delta" else xp.maximum(absorption, 0.0)
        return xp.complex(absorption, phase if self.parts == "beta" else xp.maximum(phase, 0.0))

    def project_phase(self, xp: Backend, phase: Array, kappa: float) -> Array:
        return xp.maximum(phase, 0.0)  # delta and beta have the same sign


@register("constraint", "phase_only")
class PhaseOnly(Constraint):
    r"""A transparent object: :math:`|O| = 1`, :math:`\beta = 0`."""

    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    logarithmic: ClassVar[bool] = True

    def project(self, xp: Backend, tile: Array) -> Array:
        return xp.complex(0 * xp.real(tile), xp.imag(tile))


@register("constraint", "absorption_only")
class AbsorptionOnly(Constraint):
    r"""An object that does not shift the phase: O real and positive, :math:`\delta = 0`."""

    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    logarithmic: ClassVar[bool] = True

    def project(self, xp: Backend, tile: Array) -> Array:
        return xp.complex(xp.real(tile), 0 * xp.imag(tile))


@register("constraint", "homogeneous")
class Homogeneous(Constraint):
    r"""One material: :math:`\delta = \kappa \beta` everywhere.

    With :math:`b + i d = k t (\beta + i \delta)`, the nearest point of that line is
    :math:`b' = (b + \kappa d)/(1 + \kappa^2)`, :math:`d' = \kappa b'`. Without a given :math:`\kappa`, the line is the
    principal axis through the origin of all current :math:`(b, d)`, so it is refined with the object. (For one
    material and one distance: Paganin et al., J. Microsc. 206, 33 (2002).)

    Attributes:
        kappa: :math:`\delta/\beta` of the material; refined if absent.
    """

    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    logarithmic: ClassVar[bool] = True
    former: ClassVar[Mapping[str, str]] = {"ratio": "kappa"}

    kappa: float | None = None

    @property
    def whole(self) -> bool:
        return self.kappa is None

    def direction(self, xp: Backend, tile: Array) -> tuple[Array, Array]:
        """Unit vector (b, d) along the line."""
        if self.kappa is not None:
            return 1 / np.hypot(1, self.kappa), self.kappa / np.hypot(1, self.kappa)
        b, d = xp.real(tile), xp.imag(tile)
        # Twice the angle of the principal axis is the phase of the sum of (b + i d)^2.
        turn = xp.angle(xp.complex(xp.sum(b * b) - xp.sum(d * d), 2 * xp.sum(b * d))) / 2
        return xp.cos(turn), xp.sin(turn)

    def project(self, xp: Backend, tile: Array) -> Array:
        u_b, u_d = self.direction(xp, tile)
        along = u_b * xp.real(tile) + u_d * xp.imag(tile)
        return xp.complex(u_b * along, u_d * along)
