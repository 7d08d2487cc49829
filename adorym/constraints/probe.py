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
    """Sets the total power of all modes of a probe to a given number of photons.

    Attributes:
        photons: Photons per pattern without an object.
    """

    parameter: ClassVar[str] = "probe"  # type: ignore[misc]
    whole: ClassVar[bool] = True
    photons: float = Field(gt=0)

    def project(self, xp: Backend, tile: Array) -> Array:
        power = xp.sum(xp.abs2(tile), axis=(-3, -2, -1), keepdims=True)  # of each scan
        return tile * xp.sqrt(self.photons / power)


@register("constraint", "orthogonal_modes")
class OrthogonalModes(Constraint):
    """Replaces the modes by the principal components of their mutual intensity, strongest first.

    Any unitary mixture of the modes predicts the same patterns; this one has orthogonal modes
    (Thibault & Menzel, Nature 494, 68 (2013), methods).
    """

    parameter: ClassVar[str] = "probe"  # type: ignore[misc]
    scale_free: ClassVar[bool] = True
    when: ClassVar[Literal["batch", "epoch"]] = "epoch"
    whole: ClassVar[bool] = True

    def project(self, xp: Backend, tile: Array) -> Array:
        return xp.asarray(orthogonalize(xp.to_numpy(tile)))


@register("constraint", "probe_support")
class ProbeSupport(Constraint):
    """Sets the probe to zero outside a radius around the middle of the window.

    Attributes:
        radius: Radius in the object plane.
    """

    parameter: ClassVar[str] = "probe"  # type: ignore[misc]
    scale_free: ClassVar[bool] = True
    radius: Pixels = Field(gt=0)

    def project(self, xp: Backend, tile: Array) -> Array:
        y, x = (np.arange(n) - (n - 1) / 2 for n in tile.shape[-2:])
        return tile * xp.asarray((np.hypot(y[:, None], x) <= self.radius).astype(xp.float_dtype))


@register("constraint", "probe_fourier_support")
class ProbeFourierSupport(Constraint):
    """Sets the far field of the probe to zero outside a radius, the aperture of its optics.

    Attributes:
        radius: Radius of the aperture in pixels of the Fourier transform of the window, which are detector pixels in
            the far field.
        stop: Radius of a central stop.
    """

    parameter: ClassVar[str] = "probe"  # type: ignore[misc]
    scale_free: ClassVar[bool] = True
    radius: Pixels = Field(gt=0)
    stop: Pixels = Field(0.0, ge=0)

    def project(self, xp: Backend, tile: Array) -> Array:
        y, x = (np.fft.fftfreq(n, 1 / n) for n in tile.shape[-2:])
        distance = np.hypot(y[:, None], x)
        inside = (distance <= self.radius) & (distance >= self.stop)
        return xp.ifft2(xp.fft2(tile) * xp.asarray(inside.astype(xp.float_dtype)))
