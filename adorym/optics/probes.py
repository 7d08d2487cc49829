r"""Start probes.

Each is a component of the group ``probe``: ``{kind: aperture, outer_radius: 10 px, defocus: 70 um}``. Its one method
makes complex128 modes ``(m, y, x)`` in real space, with the beam in the middle (pixel (N - 1)/2 on each axis). The norm
is arbitrary: the forward model scales the probe to the photons of a mean pattern.

Quantities that may be lengths or pixels are written with a unit, ``2 um`` or ``12 px``; a bare number is in pixels. The
radius of an aperture may also be the half angle of its cone, ``25 mrad``.
Lengths are converted with the data's pixel size; without one this is a `GeometryError`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.errors import ConfigError, DataError, GeometryError
from adorym.optics import geometry
from adorym.optics.geometry import Grid, Pair, Patterns, sample_grid
from adorym.optics.probe_files import Fit, fit_window, read_probe
from adorym.optics.propagation import fresnel_rate_rad_per_m
from adorym.paths import InputPath
from adorym.registry import register
from adorym.units import AnyRadius, Length, LengthOrPixels, Pixels, magnitude

# What is brighter than this fraction of the brightest pixel says where the beam is on the detector.
BRIGHT = 0.1
INTENSITY_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


class Measurement(geometry.Measured, Protocol):
    """The data that a start probe may use (`adorym.data.dataset.Dataset` has them)."""

    @property
    def patterns(self) -> Patterns: ...
    @property
    def measured(self) -> str: ...
    @property
    def mask(self) -> np.ndarray | None: ...
    @property
    def start_probe(self) -> np.ndarray | None: ...


class InitialProbe(ABC):
    """Makes the probe that a reconstruction starts from."""

    @abstractmethod
    def make(self, dataset: Measurement) -> np.ndarray:
        """Modes ``(m, y, x)`` complex128 of the size of the data's window, beam in the middle, any norm."""


@register("probe", "plane")
class PlaneProbe(InitialProbe):
    """A plane wave: 1 in the whole window."""

    def make(self, dataset: Measurement) -> np.ndarray:
        return np.ones((1, *dataset.window_px), np.complex128)


@register("probe", "gaussian")
class GaussianProbe(InitialProbe):
    r"""A Gaussian beam in its focus, :math:`|P|^2 \propto e^{-r^2 / 2\sigma^2}`.

    Attributes:
        fwhm: Full width at half maximum of the intensity, :math:`2\sqrt{2 \ln 2}\,\sigma`.
        sigma: Standard deviation of the intensity; give this or ``fwhm``.
    """

    fwhm: LengthOrPixels | None = None
    sigma: LengthOrPixels | None = None

    def __post_init__(self) -> None:
        if (self.fwhm is None) == (self.sigma is None):
            raise ConfigError("fwhm", "give the width once", expected="either fwhm or sigma")
        if magnitude(self.fwhm or self.sigma or "")[0] <= 0:
            raise ConfigError("fwhm", "the width must be positive", found=self.fwhm or self.sigma)

    def make(self, dataset: Measurement) -> np.ndarray:
        if self.sigma is not None:
            sy, sx = in_pixels(self.sigma, dataset)
        else:
            sy, sx = (w / INTENSITY_FWHM_PER_SIGMA for w in in_pixels(self.fwhm or "", dataset))
        y, x = (np.arange(n) - (n - 1) / 2 for n in dataset.window_px)
        return np.exp(-((y[:, None] / sy) ** 2 + (x / sx) ** 2) / 4)[None].astype(np.complex128)


@register("probe", "aperture")
class ApertureProbe(InitialProbe):
    r"""The focus of a round aperture with a central stop, such as a zone plate, ``defocus`` upstream of the sample.

    .. math:: P = \mathcal F^{-1}\big[A(f)\, e^{-i\pi\lambda z f^2}\big]

    The aperture A is in the plane conjugate to the window, as is a far-field detector. A radius in pixels refers to
    Fourier pixels, which are those of the detector. A radius in meters is the radius R of the optic itself: with focal
    length F it passes frequencies up to :math:`f = R / (\lambda F)`. A radius in radian is the half angle
    :math:`\alpha` of the beam's cone, :math:`f = \alpha / \lambda`.

    Attributes:
        outer_radius: Radius of the aperture.
        central_stop: Radius of the opaque disc in its middle.
        softness: Width of the logistic edge, Fourier pixels; 0 for a sharp one.
        focal_length: Focal length of the optic; needed for radii in meters.
        defocus: Distance from the focus to the sample, positive when the sample is downstream.
    """

    outer_radius: AnyRadius
    central_stop: AnyRadius = "0 px"
    softness: Pixels = 0.5
    focal_length: Length | None = None
    defocus: Length = 0.0

    def __post_init__(self) -> None:
        (outer, outer_unit), (stop, stop_unit) = magnitude(self.outer_radius), magnitude(self.central_stop)
        if outer <= 0 or stop < 0 or (outer_unit == stop_unit and stop >= outer):
            found = f"{self.central_stop} and {self.outer_radius}"
            raise ConfigError("outer_radius", "no opening", expected="0 <= central_stop < outer_radius", found=found)
        if self.softness < 0:
            raise ConfigError("softness", "must not be negative", found=f"{self.softness} px")
        meters = outer_unit == "m" or (stop_unit == "m" and stop > 0)
        if meters and self.focal_length is None:
            raise ConfigError("focal_length", "absent: radii in meters need it", remedy="or give the radii in pixels")

    def make(self, dataset: Measurement) -> np.ndarray:
        radius = self._fourier_pixels(self.outer_radius, dataset)
        if any(r > n / 2 for r, n in zip(radius, dataset.window_px, strict=True)):
            raise GeometryError(
                "outer_radius",
                "the aperture does not fit into the pattern",
                expected=f"at most {min(dataset.window_px) / 2:g} Fourier pixels",
                found=f"{radius[0]:.4g} x {radius[1]:.4g}",
            )
        pupil = self._disc(radius, dataset.window_px)
        if magnitude(self.central_stop)[0] > 0:
            pupil = pupil * (1 - self._disc(self._fourier_pixels(self.central_stop, dataset), dataset.window_px))
        return focused(pupil, self.defocus, dataset)[None]

    def _fourier_pixels(self, text: str, dataset: Measurement) -> Pair:
        value, unit = magnitude(text)
        if unit == "px":
            return value, value
        grid = sample_grid(dataset)
        scale = value / (grid.wavelength_m * (1.0 if unit == "rad" else self.focal_length or math.inf))
        return scale * grid.extent_m[0], scale * grid.extent_m[1]

    def _disc(self, radius: Pair, window_px: tuple[int, int]) -> np.ndarray:
        (ny, nx), (ry, rx) = window_px, radius
        relative = np.hypot(np.fft.fftfreq(ny, 1 / ny)[:, None] / ry, np.fft.fftfreq(nx, 1 / nx)[None, :] / rx)
        beyond_px = (relative - 1) * math.sqrt(ry * rx)
        return scipy.special.expit(-beyond_px / self.softness) if self.softness > 0 else (beyond_px <= 0).astype(float)


@register("probe", "mean_pattern")
class MeanPatternProbe(InitialProbe):
    r"""The wave whose phase is flat at the detector, where it has the mean intensity.

    In the far field it is :math:`\mathcal F^{-1}\sqrt{\bar I}`, in focus; in the near field
    :math:`\mathcal D_{-z}\sqrt{\bar I}`, the root of the mean picture propagated back to the sample.

    A beam off the middle of the detector is a tilted one: it is propagated along its own direction.

    Attributes:
        defocus: Far field: distance by which that focus is propagated to the sample.
        patterns: Largest number of patterns, evenly chosen, that are averaged.
    """

    defocus: Length = 0.0
    patterns: int = 256

    def __post_init__(self) -> None:
        if self.patterns < 1:
            raise ConfigError("patterns", "must be at least 1", found=self.patterns)

    def make(self, dataset: Measurement) -> np.ndarray:
        mean = mean_intensity(dataset, self.patterns)
        if not mean.any():
            raise DataError("data", "the mean pattern is dark", remedy="choose another initial probe")
        if geometry.regime_of(dataset) == "near_field":
            if self.defocus != 0:
                raise ConfigError("defocus", "has no effect in the near field", remedy="leave it out")
            return back_at_sample(mean, dataset)[None]
        return focused(np.fft.ifftshift(np.sqrt(mean)), self.defocus, dataset, _direction_px(mean))[None]


@register("probe", "file")
class FileProbe(InitialProbe):
    """A probe from a file: npy, npz, or HDF5 such as an earlier run's ``result.h5``; `start_from` takes over the rest.

    Attributes:
        path: The file, or the folder of a run.
        key: Name of the array in an npz or HDF5 file; ``probe`` by default.
        fit: What to do when its window is not the data's: ``"error"``, ``"crop_or_pad"`` (same pixel size) or
            ``"resample"`` (same width in meters, as after cropping the patterns).
    """

    path: InputPath
    key: str | None = None
    fit: Fit = "error"

    def make(self, dataset: Measurement) -> np.ndarray:
        return fit_window(read_probe(self.path, self.key), dataset.window_px, self.fit, self.path)


@register("probe", "data")
class DataProbe(InitialProbe):
    """The start probe of the data file."""

    def make(self, dataset: Measurement) -> np.ndarray:
        if dataset.start_probe is None:
            known = "choose another initial probe, such as 'aperture', 'gaussian' or 'mean_pattern'"
            raise DataError("data", "no start probe in the data set", remedy=known)
        probe = np.array(dataset.start_probe, np.complex128)
        if probe.ndim != 3 or probe.shape[1:] != dataset.window_px:
            expected = f"(modes, {dataset.window_px[0]}, {dataset.window_px[1]})"
            raise DataError("data", "the start probe does not fit the patterns", expected=expected, found=probe.shape)
        if not np.isfinite(probe).all() or not probe.any():
            remedy = "choose another initial probe, such as {kind: mean_pattern}"
            raise DataError("data", "the start probe is dark or not finite", remedy=remedy)
        return probe


def _direction_px(mean: np.ndarray) -> Pair:
    """(y, x) center of the beam in a mean pattern, Fourier pixels from the zero frequency; 0 if within a pixel."""
    smooth = scipy.ndimage.median_filter(mean, 3)  # a hot pixel is not the beam
    y, x = np.nonzero(smooth > BRIGHT * smooth.max())
    if not len(y):
        return 0.0, 0.0
    weight = smooth[y, x] / smooth[y, x].sum()
    middle = float(weight @ y) - mean.shape[0] // 2, float(weight @ x) - mean.shape[1] // 2
    return middle if math.hypot(*middle) > 1 else (0.0, 0.0)


def in_pixels(text: str, dataset: Measurement) -> Pair:
    """A `LengthOrPixels` as (y, x) sample pixels of ``dataset``."""
    value, unit = magnitude(text)
    if unit == "px":
        return value, value
    dy, dx = geometry.Geometry.of(dataset).pixel_size_m(geometry.regime_of(dataset))
    return value / dy, value / dx


def back_at_sample(mean: np.ndarray, dataset: Measurement) -> np.ndarray:
    """The root of the mean picture ``(y, x)``, propagated back over the near-field distance; ``(y, x)`` complex128.

    Pixels that are masked in every picture, and hence 0, are given the value of their nearest neighbor.
    """
    if dataset.mask is not None:
        never = ~(dataset.mask if dataset.mask.ndim == 2 else dataset.mask.any(axis=0))
        nearest = scipy.ndimage.distance_transform_edt(never, return_distances=False, return_indices=True)
        mean = mean[tuple(nearest)]
    distance = geometry.Geometry.of(dataset).effective_distance_m
    spectrum = np.fft.fft2(np.sqrt(mean)) * np.exp(1j * distance * fresnel_rate_rad_per_m(sample_grid(dataset)))
    return np.fft.ifft2(spectrum)


def focused(
    spectrum: np.ndarray, defocus_m: float, dataset: Measurement, tilt_px: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Wave ``(y, x)`` complex128 whose transform is ``spectrum`` (zero frequency at the corner), moved to the middle.

    It is propagated by ``defocus_m`` with the Fresnel transfer function about the frequency ``tilt_px`` (y, x), in
    Fourier pixels: the direction of the beam.

    Raises:
        GeometryError: Energy or pixel size are absent though there is a defocus, or the defocused beam outgrows the
            window.
    """
    ny, nx = dataset.window_px
    if defocus_m != 0:
        grid: Grid = sample_grid(dataset)
        fy, fx = (f - t / e for f, t, e in zip(grid.frequencies_per_m(), tilt_px, grid.extent_m, strict=True))
        _check_beam_stays_inside(spectrum, defocus_m, grid, (fy, fx))
        spectrum = spectrum * np.exp(-1j * defocus_m * np.pi * grid.wavelength_m * (fy**2 + fx**2))
    # A phase ramp moves the beam to (N - 1)/2, which for an even N lies between two pixels.
    ramp_y = np.exp(-2j * np.pi * np.fft.fftfreq(ny) * (ny - 1) / 2)
    ramp_x = np.exp(-2j * np.pi * np.fft.fftfreq(nx) * (nx - 1) / 2)
    return np.fft.ifft2(spectrum * ramp_y[:, None] * ramp_x[None, :], norm="ortho")


def _check_beam_stays_inside(
    spectrum: np.ndarray, defocus_m: float, grid: Grid, relative_per_m: tuple[np.ndarray, np.ndarray]
) -> None:
    r"""Require :math:`2 \lambda f |z| \le N\Delta`: a cone of half angle :math:`\lambda f` inside the window.

    That is the sampling criterion of the transfer function for a wave of the band f about the beam's direction, here
    the one that holds 99.9 % of the power along an axis; the criterion for the full band, :math:`f = 1/2\Delta`, would
    refuse beams that fit well.
    """
    power = np.abs(spectrum) ** 2
    for axis, extent, frequencies in zip((0, 1), grid.extent_m, relative_per_m, strict=True):
        along = np.abs(frequencies.ravel())
        order = np.argsort(along)
        grown = np.cumsum(power.sum(1 - axis)[order])
        band = along[order][np.searchsorted(grown, 0.999 * grown[-1])]
        if 2 * grid.wavelength_m * band * abs(defocus_m) > extent:
            limit = extent / (2 * grid.wavelength_m * band)
            raise GeometryError(
                "defocus",
                f"the defocused beam is wider than the window along {'yx'[axis]}",
                expected=f"|z| <= {limit:.4g} m",
                found=f"{defocus_m:.4g} m",
                remedy="give a smaller defocus, or use patterns with finer detector pixels",
            )


def mean_intensity(dataset: Measurement, most: int) -> np.ndarray:
    """Mean ``(y, x)`` float64 of up to ``most`` patterns, zero frequency at the center; always-masked pixels are 0."""
    total = np.zeros(dataset.window_px)
    good = np.zeros(dataset.window_px)
    n = dataset.patterns.shape[0]
    for i in np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)):
        pattern: Any = dataset.patterns.read(np.array([i]))[0].astype(np.float64)
        pattern = pattern**2 if dataset.measured == "amplitude" else pattern
        seen = np.isfinite(pattern)
        if dataset.mask is not None:
            seen &= dataset.mask if dataset.mask.ndim == 2 else dataset.mask[i]
        total += np.where(seen, np.maximum(pattern, 0.0), 0.0)
        good += seen
    return total / np.maximum(good, 1)
