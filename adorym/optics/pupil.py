r"""The pupil of a beam, read off the far-field patterns of a scan.

Without a specimen a far-field pattern is the pupil, :math:`|A(f)|^2`. A specimen scatters light out of it and leaves
the bright field with its edge, so that the mean pattern shows the pupil, a central stop in it, and where on the
detector the beam points to. It does not show the phase of the pupil: that is for `adorym.optics.probe_search`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.errors import DataError
from adorym.optics import geometry
from adorym.optics.probes import Measurement

# Scattering beside the pupil is fainter than this fraction of the pupil's typical intensity.
FAINT = 0.1
# Patterns with fewer or more counts than these multiples of the median are not those of the beam.
DARK, BRIGHT = 0.2, 5.0
# Fraction of the power along an axis that counts as the width of the pupil.
BAND = 0.999


@dataclass(frozen=True, eq=False)
class Pupil:
    """Amplitude of the pupil on the detector's pixels, zero frequency at the center.

    Attributes:
        amplitude: ``(y, x)`` float64, square root of counts; 0 outside the pupil.
        stretch: (y, x) factors that turn Fourier pixels of the axes into such of equal size in frequency.
    """

    amplitude: np.ndarray
    stretch: tuple[float, float] = (1.0, 1.0)

    @cached_property
    def center_px(self) -> tuple[float, float]:
        """(y, x) center of mass of the intensity, Fourier pixels from the zero frequency."""
        y, x = self._fourier_px
        power = self.amplitude**2
        return float((power * y).sum() / power.sum()), float((power * x).sum() / power.sum())

    @property
    def _fourier_px(self) -> tuple[np.ndarray, np.ndarray]:
        ny, nx = self.amplitude.shape
        return (np.arange(ny) - ny // 2)[:, None], (np.arange(nx) - nx // 2)[None, :]

    @cached_property
    def radius2_px(self) -> np.ndarray:
        """``(y, x)`` squared distance from the center, in Fourier pixels of equal size."""
        (y, x), (cy, cx), (sy, sx) = self._fourier_px, self.center_px, self.stretch
        return ((y - cy) * sy) ** 2 + ((x - cx) * sx) ** 2

    @cached_property
    def radius_px(self) -> float:
        """Radius of the uniform disc with the same mean square radius."""
        power = self.amplitude**2
        return float(np.sqrt(2 * (power * self.radius2_px).sum() / power.sum()))

    @cached_property
    def band_px(self) -> tuple[float, float]:
        """(y, x) half widths about the center that hold nearly all of the power."""
        power, widths = self.amplitude**2, []
        for axis, (at, center) in enumerate(zip(self._fourier_px, self.center_px, strict=True)):
            away = np.abs(at.ravel() - center)
            order = np.argsort(away)
            grown = np.cumsum(power.sum(1 - axis)[order])
            widths.append(float(away[order][np.searchsorted(grown, BAND * grown[-1])]))
        return widths[0], widths[1]

    @property
    def largest_curvature(self) -> float:
        r"""Curvature c of the phase :math:`c\,q^2` at which the geometric beam fills the window."""
        return min(np.pi / (2 * max(b, 0.5) * s**2) for b, s in zip(self.band_px, self.stretch, strict=True))

    def wave(self, curvature: float, phase: np.ndarray | None = None) -> np.ndarray:
        r"""``(y, x)`` complex128: :math:`\mathcal F^{-1}[A e^{i c q^2}]`, in the middle of the window.

        Curvature and middle refer to the pupil's center: the beam of a pupil off the zero frequency is tilted, not
        moved.
        """
        bent = np.exp(1j * curvature * self.radius2_px)
        return to_window(self.amplitude * bent if phase is None else self.amplitude * bent * phase, self.center_px)


def to_window(spectrum: np.ndarray, center_px: tuple[float, float]) -> np.ndarray:
    """Wave of a ``spectrum`` ``(y, x)``, zero frequency at the center, in the middle of the window, pixel (N - 1)/2."""
    ny, nx = spectrum.shape
    fy, fx = np.fft.fftfreq(ny)[:, None], np.fft.fftfreq(nx)[None, :]
    ramp = np.exp(-2j * np.pi * ((fy - center_px[0] / ny) * (ny - 1) / 2 + (fx - center_px[1] / nx) * (nx - 1) / 2))
    return np.fft.ifft2(np.fft.ifftshift(spectrum) * ramp, norm="ortho")


def frames(dataset: Measurement, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts ``(n, y, x)`` float32 of the patterns ``index``, 0 where they are not valid, and where they are."""
    measured: Any = np.asarray(dataset.patterns.read(index), np.float32)
    valid = np.isfinite(measured)
    if dataset.mask is not None:
        valid &= dataset.mask if dataset.mask.ndim == 2 else dataset.mask[index]
    counts = np.where(valid, np.maximum(measured, 0), 0).astype(np.float32)
    return (counts**2 if dataset.measured == "amplitude" else counts), valid


@dataclass(frozen=True, eq=False)
class Survey:
    """What a sample of the patterns says.

    Attributes:
        index: ``(s,)`` patterns of the sample whose counts are ordinary.
        mean: ``(y, x)`` float64 their mean; pixels that are never valid are filled from around them.
        contrast: ``(s,)`` how much each of them differs from the mean: misfit of the amplitudes over the counts.
    """

    index: np.ndarray
    mean: np.ndarray
    contrast: np.ndarray


def survey(dataset: Measurement, sample: np.ndarray) -> Survey:
    """The robust mean of the patterns ``sample``, read twice, one by one.

    Raises:
        DataError: They are dark.
    """
    totals = np.array([frames(dataset, np.array([i]))[0].sum(dtype=np.float64) for i in sample])
    typical = float(np.median(totals[totals > 0])) if (totals > 0).any() else 0.0
    if typical <= 0:
        raise DataError("data", "the mean pattern is dark", remedy="choose another initial probe")
    index = sample[(totals > DARK * typical) & (totals < BRIGHT * typical)]
    total, good = np.zeros(dataset.window_px), np.zeros(dataset.window_px)
    for i in index:
        counts, valid = frames(dataset, np.array([i]))
        total += counts[0]
        good += valid[0]
    mean = _filled(total / np.maximum(good, 1), good > 0)
    root, contrast = np.sqrt(mean), []
    for i in index:
        counts, valid = frames(dataset, np.array([i]))
        misfit = np.where(valid[0], np.sqrt(counts[0]) - root, 0)
        contrast.append(float((misfit**2).sum() / max(float(counts.sum()), 1e-30)))
    return Survey(index, mean, np.array(contrast))


def pupil_of(mean: np.ndarray, dataset: Measurement) -> Pupil:
    """The pupil in a mean pattern ``(y, x)``: what is bright and connected, without the scattering around it."""
    typical = (mean**2).sum() / mean.sum()
    smooth = scipy.ndimage.gaussian_filter(mean, 0.7)
    parts, n = scipy.ndimage.label(smooth > FAINT * typical, np.ones((3, 3)))
    power = np.bincount(parts.ravel(), mean.ravel(), n + 1)
    power[0] = 0
    support = parts == int(np.argmax(power))
    amplitude = np.sqrt(np.maximum(mean - FAINT * typical, 0)) * support
    if not amplitude.any():
        amplitude = np.sqrt(mean)
    return Pupil(amplitude, _stretch(dataset))


def _stretch(dataset: Measurement) -> tuple[float, float]:
    """Fourier pixels of the axes have the same size unless the windows in the sample plane are not square."""
    if dataset.pixel_size_m is not None:
        extent = [n * d for n, d in zip(dataset.window_px, dataset.pixel_size_m, strict=True)]
    elif (pitch := geometry.Geometry.of(dataset).detector_pixel_size_m) is not None:
        extent = [1 / p for p in pitch]
    else:
        return 1.0, 1.0
    mean = float(np.sqrt(extent[0] * extent[1]))
    return mean / extent[0], mean / extent[1]


def _filled(mean: np.ndarray, good: np.ndarray) -> np.ndarray:
    """``mean`` where ``good``, elsewhere an average over the nearest surroundings that hold good pixels."""
    filled, missing, sigma = np.where(good, mean, 0.0), ~good, 1.0
    while missing.any() and good.any():
        weight = scipy.ndimage.gaussian_filter(good.astype(float), sigma)
        near = missing & (weight > 0.05)
        filled[near] = (scipy.ndimage.gaussian_filter(np.where(good, mean, 0.0), sigma) / np.maximum(weight, 1e-9))[
            near
        ]
        missing &= ~near
        sigma *= 2
        if sigma > 4 * max(mean.shape):
            break
    return filled
