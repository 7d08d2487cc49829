r"""From specimen and probe to expected patterns, on a grid finer than the reconstruction's.

The specimen is sampled ``oversample`` times finer than the reconstruction's pixel in both directions, and so is the
probe, over the same window. The exit wave on this grid reaches ``oversample`` times farther in the far field than the
detector does: the detector is its central part, and what is scattered beyond it is lost, as it is in an experiment.
(The reconstruction's own model folds it back.) In the near field the finer grid is propagated with the exact transfer
function of free space in a window twice as wide, so that no wave re-enters from the other side.

A detector reads the intensity in the middle of each pixel times the pixel's area, or, with ``integrate``, the integral
over the pixel, approximated by subdividing it.

During one exposure the probe may travel. Intensities add over the way, not waves: to the detector, the exposure looks
as if several modes, displaced copies of the probe, lit one place at a time
(Clark et al., Phys. Rev. Lett. 112, 113901 (2014); Deng et al., Opt. Express 23, 5438 (2015)).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.errors import GeometryError
from adorym.metrics import fourier_shift, orthogonal_modes
from adorym.metrics.alignment import plane_wave
from adorym.optics.geometry import Grid
from adorym.optics.modes import powers

_WEAKEST_MODE = 1e-4  # part of the power below which an equivalent mode is not worth keeping


@dataclass(frozen=True)
class Scene:
    """Specimen and probe on the simulation's grid.

    Attributes:
        transmission: ``(y, x)`` complex64, fine samples of the whole object.
        modes: ``(m, y, x)`` complex64 probe modes, fine samples of the window, square root of photons.
        path_px: ``(k, 2)`` offsets of the probe during an exposure, in pixels of the reconstruction.
        oversample: Fine samples per pixel of the reconstruction, along both axes.
        behind: Specimens in further planes, each with the transfer function ``(y, x)`` of the free space before it.
    """

    transmission: np.ndarray
    modes: np.ndarray
    path_px: np.ndarray
    oversample: int
    behind: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    def exit_waves(self, positions_px: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each position the waves ``(k m, y, x)`` complex64 whose intensities add on the detector.

        With them comes ``(k m, 2)``, by how many fine samples (y, x) the probe, and so the detector, is displaced
        against the window that the wave is sampled in.
        """
        height, width = self.modes.shape[1:]
        spectrum = scipy.fft.fft2(self.modes)
        qy, qx = scipy.fft.fftfreq(height)[:, None], scipy.fft.fftfreq(width)
        for position in positions_px:
            corners = (position + self.path_px) * self.oversample
            whole = np.floor(corners + 0.5).astype(int)
            waves = np.empty((len(corners), *self.modes.shape), np.complex64)
            rest = corners - whole
            for wave, (y, x), (dy, dx) in zip(waves, whole, rest, strict=True):
                tilt = (np.exp(-2j * np.pi * qy * dy) * np.exp(-2j * np.pi * qx * dx)).astype(np.complex64)
                np.multiply(
                    scipy.fft.ifft2(spectrum * tilt), self.transmission[y : y + height, x : x + width], out=wave
                )
            for gap, plane in self.behind:
                parts = np.stack([plane[y : y + height, x : x + width] for y, x in whole])
                waves = scipy.fft.ifft2(scipy.fft.fft2(waves) * gap) * parts[:, None]
            each = waves.reshape(-1, height, width) / np.float32(np.sqrt(len(corners)))
            yield each, np.repeat(rest, len(self.modes), axis=0)

    def expected(self, positions_px: np.ndarray, detector: Detector) -> np.ndarray:
        """Expected photons ``(n, y, x)`` float32 in every pixel."""
        return np.stack([detector.intensity(*waves) for waves in self.exit_waves(positions_px)])

    def object_px(self) -> np.ndarray:
        """The object that a reconstruction at its best finds: ``(y, x)``, or ``(y, x, z)`` of several planes.

        Complex128, one sample a pixel. Details finer than the pixel are filtered out (zero-phase, so that pixel i stays
        where fine sample ``oversample * i`` is); index (0, 0) is position (0, 0).
        """
        planes = [self.transmission, *(plane for _, plane in self.behind)]
        obj = np.stack([plane.astype(np.complex128) for plane in planes], axis=-1)
        for axis in (0, 1):
            obj = scipy.signal.resample_poly(obj, 1, self.oversample, axis=axis, padtype="line", window=("kaiser", 8.0))
        return obj if self.behind else obj[..., 0]

    def probe_px(self) -> np.ndarray:
        """The orthogonal modes ``(m, y, x)`` complex128, strongest first, that explain a whole exposure."""
        modes = self.modes.astype(np.complex128)
        displaced = [
            fourier_crop(fourier_shift(modes, step), self.oversample) for step in self.path_px * self.oversample
        ]
        modes = orthogonal_modes(np.concatenate(displaced)) / np.sqrt(len(self.path_px))
        power = powers(modes)
        return modes[power > _WEAKEST_MODE * power.sum()]


def fourier_crop(waves: np.ndarray, factor: int) -> np.ndarray:
    """``waves`` ``(..., y, x)`` with one sample in place of ``factor``, the power within the band kept."""
    height, width = (n // factor for n in waves.shape[-2:])
    spectrum = scipy.fft.fftshift(scipy.fft.fft2(waves, norm="ortho"), axes=(-2, -1))
    spectrum = _central(spectrum, (height, width))
    return scipy.fft.ifft2(scipy.fft.ifftshift(spectrum, axes=(-2, -1)), norm="ortho")


class Detector(ABC):
    """Turns waves behind the specimen into expected photons."""

    @abstractmethod
    def intensity(self, waves: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Photons ``(y, x)`` float32 of the waves ``(n, y, x)``, added.

        ``offset`` ``(n, 2)`` is how far, in fine samples, the detector is displaced against the waves.
        """


@dataclass(frozen=True)
class FarField(Detector):
    """A detector of ``window_px`` (y, x) pixels in the far field, the beam's direction at pixel ``n // 2``.

    An offset changes the phase there and nothing else.
    """

    window_px: tuple[int, int]
    integrate: bool = False

    def intensity(self, waves: np.ndarray, offset: np.ndarray) -> np.ndarray:
        shape = waves.shape[-2:]
        if not self.integrate:
            return _central(scipy.fft.fftshift(_photons(scipy.fft.fft2(waves, norm="ortho"))), self.window_px)
        # Twice the window halves the step between directions; half of that step centers two samples on a pixel.
        padded = np.zeros((len(waves), 2 * shape[0], 2 * shape[1]), np.complex64)
        padded[:, : shape[0], : shape[1]] = waves * plane_wave(shape, 0.25 / np.array(shape)).astype(np.complex64)
        fine = scipy.fft.fftshift(_photons(scipy.fft.fft2(padded, norm="ortho")))
        return _binned(_central(fine, (2 * self.window_px[0], 2 * self.window_px[1])), 2)


@dataclass(frozen=True)
class NearField(Detector):
    """A detector at ``distance_m`` behind the specimen, behind ``grid``, the fine samples of the window.

    Probe and detector stand still and the specimen moves, so a pattern is seen in the frame of the probe: the wave's
    sub-sample displacement is taken back on the way to the detector.

    Raises:
        GeometryError: The transfer function is not sampled: z > N dx^2 / lambda on the padded fine grid (Voelz &
            Roggemann, Appl. Opt. 48, 6132 (2009)).
    """

    grid: Grid
    distance_m: float
    oversample: int
    integrate: bool = False

    def __post_init__(self) -> None:
        pairs = zip(self.grid.window_px, self.grid.pixel_size_m, strict=True)
        farthest = min(2 * n * d**2 for n, d in pairs) / self.grid.wavelength_m
        if abs(self.distance_m) > farthest:
            raise GeometryError(
                "distance", "too far for near-field propagation in this window", expected=f"at most {farthest:.3g} m",
                found=f"{self.distance_m:.3g} m", remedy="enlarge window_px or the pixel, or use the far field",
            )  # fmt: skip

    def intensity(self, waves: np.ndarray, offset: np.ndarray) -> np.ndarray:
        height, width = self.grid.window_px
        shape = 2 * height, 2 * width
        # Center the samples that a pixel integrates on the pixel.
        offset = offset - (self.oversample - 1) / 2 if self.integrate else offset
        back_y, back_x = (
            np.exp(2j * np.pi * scipy.fft.fftfreq(n) * each[:, None]).astype(np.complex64)
            for n, each in zip(shape, offset.T, strict=True)
        )
        transfer = free_space(Grid(shape, self.grid.pixel_size_m, self.grid.wavelength_m), self.distance_m)
        padded = scipy.fft.fft2(waves, shape) * back_y[:, :, None] * back_x[:, None, :] * transfer.astype(np.complex64)
        fine = _photons(scipy.fft.ifft2(padded))[:height, :width]
        if self.integrate:
            return _binned(fine, self.oversample)
        return fine[:: self.oversample, :: self.oversample] * np.float32(self.oversample**2)


def free_space(grid: Grid, distance_m: float) -> np.ndarray:
    """``exp(i (k_z - k) z)`` ``(y, x)`` complex128, the carrier left out; evanescent waves count as grazing."""
    qy, qx = grid.frequencies_per_m()
    q2 = np.minimum((qy**2 + qx**2) * grid.wavelength_m**2, 1.0)
    # sqrt(1 - q2) - 1 written without the cancellation that costs all digits at X-ray wavelengths.
    return np.exp(-1j * grid.wavenumber_per_m * distance_m * q2 / (1 + np.sqrt(1 - q2)))


def _photons(waves: np.ndarray) -> np.ndarray:
    return np.einsum("nyx,nyx->yx", waves.real, waves.real) + np.einsum("nyx,nyx->yx", waves.imag, waves.imag)


def _central(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The central ``shape`` of ``image`` ``(..., y, x)``: pixel n // 2 stays the middle."""
    first = [n // 2 - wanted // 2 for n, wanted in zip(image.shape[-2:], shape, strict=True)]
    return image[..., first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]]


def _binned(image: np.ndarray, factor: int) -> np.ndarray:
    height, width = (n // factor for n in image.shape)
    return image.reshape(height, factor, width, factor).sum((1, 3))
