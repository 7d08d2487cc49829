"""Constraints on the probe modes."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.constraints.base import Constraint
from adorym.optics.modes import orthogonalize
from adorym.registry import register
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend


@register("constraint", "probe_power")
class ProbePower(Constraint):
    """All modes together carry a given number of photons.

    Attributes:
        photons: Photons in one pattern without an object.
    """

    parameter: ClassVar[str] = "probe"  # type: ignore[misc]
    whole: ClassVar[bool] = True
    photons: float = Field(gt=0)

    def project(self, xp: Backend, tile: Array) -> Array:
        power = xp.sum(xp.abs2(tile))
        return tile * xp.sqrt(self.photons / power)


@register("constraint", "orthogonal_modes")
class OrthogonalModes(Constraint):
    """The modes as the principal components of the same mutual intensity, strongest first.

    Any unitary mixture of the modes predicts the same patterns; this picks the one whose modes are orthogonal
    (Thibault & Menzel, Nature 494, 68 (2013), methods).
    """

    parameter: ClassVar[str] = "probe"  # type: ignore[misc]
    when: ClassVar[Literal["batch", "epoch"]] = "epoch"
    whole: ClassVar[bool] = True

    def project(self, xp: Backend, tile: Array) -> Array:
        return xp.asarray(orthogonalize(xp.to_numpy(tile)))


@register("constraint", "probe_support")
class ProbeSupport(Constraint):
    """No light in the object plane farther than a radius from the middle of the window.

    Attributes:
        radius: That radius.
    """

    parameter: ClassVar[str] = "probe"  # type: ignore[misc]
    radius: Pixels = Field(gt=0)

    def project(self, xp: Backend, tile: Array) -> Array:
        y, x = (np.arange(n) - (n - 1) / 2 for n in tile.shape[-2:])
        return tile * xp.asarray((np.hypot(y[:, None], x) <= self.radius).astype(xp.float_dtype))


@register("constraint", "probe_fourier_support")
class ProbeFourierSupport(Constraint):
    """No light beyond a radius in the far field of the probe: the aperture of the optics that made it.

    Attributes:
        radius: Radius of the aperture in pixels of the Fourier transform of the window: of the detector in the far
            field.
        stop: Radius of a central stop.
    """

    parameter: ClassVar[str] = "probe"  # type: ignore[misc]
    radius: Pixels = Field(gt=0)
    stop: Pixels = Field(0.0, ge=0)

    def project(self, xp: Backend, tile: Array) -> Array:
        y, x = (np.fft.fftfreq(n, 1 / n) for n in tile.shape[-2:])
        distance = np.hypot(y[:, None], x)
        inside = (distance <= self.radius) & (distance >= self.stop)
        return xp.ifft2(xp.fft2(tile) * xp.asarray(inside.astype(xp.float_dtype)))
