r"""Probes for simulations, sampled on the simulation's grid.

A partially coherent beam is a sum of orthogonal modes whose intensities add. The modes here are the coherent beam
times :math:`1, x, y, x^2, xy, \dots`, made orthogonal in this order: close to the Gauss-Schell modes of a source of
finite size (Starikov & Wolf, J. Opt. Soc. Am. 72, 923 (1982)), whatever the shape of the beam.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.errors import GeometryError
from adorym.optics.geometry import Grid
from adorym.optics.modes import beam_sigma_px
from adorym.registry import register
from adorym.simulate.base import centered
from adorym.units import Angle, Length, Pixels

Powers = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class Illumination(ABC):
    """A beam on the specimen. Its power is 1; the experiment scales it to the photons."""

    @abstractmethod
    def modes(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """Modes ``(m, y, x)`` complex128 of power 1 together, the beam in the middle of the window."""

    @abstractmethod
    def first_guess(self, grid: Grid) -> np.ndarray:
        """What one would know of the beam beforehand, ``(1, y, x)`` complex128 of power 1."""


@register("illumination", "focused_beam")
class FocusedBeam(Illumination):
    """A lens (zone plate) with the specimen out of its focus.

    Attributes:
        aperture: Radius of the lens's bright disc in the far field, in detector pixels.
        stop: Radius of the central stop's shadow, likewise.
        defocus: Distance from the focus to the specimen; if not given, such that the beam is 0.45 of the window wide.
        guessed_defocus: The value assumed for the initial probe; 0.85 of the true one if not given.
        mode_powers: Relative powers of the modes.
    """

    aperture: Annotated[Pixels, Field(gt=0)] = 10.0
    stop: Annotated[Pixels, Field(ge=0)] = 0.0
    defocus: Length | None = None
    guessed_defocus: Length | None = None
    mode_powers: Powers = (1.0,)

    def modes(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        return coherent_modes(self.wave(grid, self._defocus(grid)), self.mode_powers)

    def first_guess(self, grid: Grid) -> np.ndarray:
        guessed = 0.85 * self._defocus(grid) if self.guessed_defocus is None else self.guessed_defocus
        return coherent_modes(self.wave(grid, guessed), (1.0,))

    def wave(self, grid: Grid, defocus_m: float) -> np.ndarray:
        r"""The lens's pupil, propagated past the focus: transfer :math:`\exp(-i\pi\lambda z q^2)`, ``(y, x)``."""
        qy, qx = grid.frequencies_per_m()
        q = np.hypot(qy, qx)
        radius = q * min(grid.extent_m)  # in detector pixels: one is the inverse of the window's width
        pupil = _soft_disc(radius, self.aperture) - (_soft_disc(radius, self.stop) if self.stop else 0)
        transfer = np.exp(-1j * np.pi * grid.wavelength_m * defocus_m * q**2)
        return scipy.fft.fftshift(scipy.fft.ifft2(pupil * transfer))

    def _defocus(self, grid: Grid) -> float:
        if self.defocus is not None:
            return self.defocus
        half_angle = self.aperture / min(grid.extent_m) * grid.wavelength_m
        return 0.225 * min(grid.extent_m) / half_angle


@register("illumination", "diffused_beam")
class DiffusedBeam(Illumination):
    """A round, parallel beam behind a diffuser, for near-field ptychography.

    Without a diffuser the patterns hold little of low spatial frequency (Stockmar et al., Sci. Rep. 3, 1927 (2013)).

    Attributes:
        diameter: Diameter of the beam as a part of the window's shorter side.
        diffuser: Root mean square phase of the diffuser.
        grain: Size of its grains as a part of the window's shorter side.
        mode_powers: Relative powers of the modes.
    """

    diameter: Annotated[float, Field(gt=0, lt=1)] = 0.7
    diffuser: Annotated[Angle, Field(ge=0)] = 1.0
    grain: Annotated[float, Field(gt=0, lt=1)] = 0.08
    mode_powers: Powers = (1.0,)

    def modes(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        qy, qx = grid.frequencies_per_m()
        # White noise drawn for a coarse window, then filtered: the diffuser must not depend on the grid's sampling.
        coarse = int(4 / self.grain)
        noise = scipy.fft.fftshift(scipy.fft.fft2(rng.standard_normal((coarse, coarse))))
        spectrum = np.zeros(grid.window_px, np.complex128)
        into, out_of = zip(*(_overlap(n, coarse) for n in grid.window_px), strict=True)
        spectrum[into] = noise[out_of]
        extent = min(grid.extent_m)
        spectrum = scipy.fft.ifftshift(spectrum) * np.exp(-0.5 * (np.pi * self.grain * extent * np.hypot(qy, qx)) ** 2)
        screen = scipy.fft.ifft2(spectrum).real
        screen = (screen - screen.mean()) * self.diffuser / screen.std()
        return coherent_modes(self._disc(grid) * np.exp(1j * screen), self.mode_powers)

    def first_guess(self, grid: Grid) -> np.ndarray:
        return coherent_modes(self._disc(grid).astype(np.complex128), (1.0,))

    def _disc(self, grid: Grid) -> np.ndarray:
        y, x = centered(grid)
        width = self.diameter * min(grid.extent_m)
        return _soft_disc(np.hypot(y, x) / width, 0.5, softness=0.05)


def coherent_modes(wave: np.ndarray, powers: tuple[float, ...]) -> np.ndarray:
    """Orthogonal modes ``(m, y, x)`` around the coherent ``wave`` ``(y, x)``, with powers as ``powers``, together 1."""
    intensity = np.abs(wave) ** 2
    y, x = (np.arange(n) - n // 2 for n in wave.shape)
    u = y[:, None] / np.sqrt(_mean(y[:, None] ** 2, intensity))
    v = x[None, :] / np.sqrt(_mean(x[None, :] ** 2, intensity))
    orders = [(degree - j, j) for degree in range(len(powers)) for j in range(degree + 1)][: len(powers)]
    columns = np.stack([(wave * v**a * u**b).ravel() for a, b in orders], axis=-1)
    orthonormal, triangle = np.linalg.qr(columns)
    diagonal = np.diag(triangle)
    orthonormal = orthonormal * (diagonal / np.abs(diagonal))  # QR leaves the sign free
    share = np.sqrt(np.asarray(powers) / np.sum(powers))
    return (orthonormal * share).T.reshape(len(powers), *wave.shape)


def beam_diameter_px(modes: np.ndarray) -> np.ndarray:
    """(y, x) diameter of the uniform disc that has the beam's variance: 4 standard deviations (ISO 11146-1)."""
    return 4 * np.array(beam_sigma_px(modes))


def check_beam_fits(modes: np.ndarray) -> None:
    """Refuse a beam that the window cuts off.

    Raises:
        GeometryError: More than 5 % of the power lies within a sixteenth of the window's width of its edge.
    """
    intensity = (np.abs(modes) ** 2).sum(0)
    inner = tuple(slice(n // 16, n - n // 16) for n in intensity.shape)
    outside = 1 - intensity[inner].sum() / intensity.sum()
    if outside > 0.05:
        raise GeometryError(
            "illumination", "the window cuts the beam off", expected="5 % of its power near the window's edge, or less",
            found=f"{100 * outside:.1f} %", remedy="reduce the defocus or the beam's diameter, or enlarge window_px",
        )  # fmt: skip


def _soft_disc(radius: np.ndarray, edge: float, softness: float = 0.4) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip((radius - edge) / softness, -60, 60)))


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / weights.sum())


def _overlap(size: int, other: int) -> tuple[slice, slice]:
    """Slices of two centered spectra, of ``size`` and ``other`` samples, that hold the frequencies both have."""
    n = min(size, other)
    return slice(size // 2 - n // 2, size // 2 - n // 2 + n), slice(other // 2 - n // 2, other // 2 - n // 2 + n)
