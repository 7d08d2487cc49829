r"""Object error after removing what ptychography cannot determine.

Shifting object and positions together, tilting object and probe by opposite phase ramps, and trading a complex factor
between object and probe leave every diffraction pattern as it is. With them the reconstruction :math:`O'` of an object
:math:`O` is

.. math:: O'(\mathbf r) \approx c\, e^{2\pi i\,\mathbf a\cdot\mathbf r}\, O(\mathbf r - \mathbf s),

so :math:`\mathbf a` and :math:`\mathbf s`, both to a small fraction of a pixel, and :math:`c` are removed before
anything is compared. Leaving out the sub-pixel part of the shift alone can cost a factor of four in the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.errors import DataError

Region = tuple[slice, slice]

_MAX_ROUNDS = 40
_SETTLED = 1e-5  # px, and periods over the region: far below what changes the error's third digit


_STEP = 8  # px to which a region's edges are rounded: the same scan with another seed is then judged over the same part

_PERCENTILES = (3, 97)


@dataclass(frozen=True)
class Alignment:
    """A reconstruction brought into the frame of the true object.

    Attributes:
        aligned: ``(y, x)`` complex128, the whole reconstruction without shift, ramp and factor.
        region: The part of it that was aligned and that `error` refers to.
        shift_px: (y, x), how far the reconstruction lay from the truth.
        ramp_rad_per_px: (y, x) slope of the phase ramp that was removed.
        factor: Complex number that multiplied the reconstruction.
        error: Normalized root mean square error over the region.
    """

    aligned: np.ndarray
    region: Region
    shift_px: tuple[float, float]
    ramp_rad_per_px: tuple[float, float]
    factor: complex
    error: float


def align_object(reconstruction: np.ndarray, true: np.ndarray, region: Region | None = None) -> Alignment:
    r"""Remove translation, linear phase ramp and complex factor, and give the error that remains.

    Ramp and translation are found in turn until neither changes: the ramp as the frequency of :math:`O'O^*`, the
    translation as the peak of the cross-correlation of the mean-free objects, both under a Hann window over the region
    (so that its middle, where a scan overlaps most, decides). The factor minimizes the error

    .. math:: E = \min_c \left[\frac{\sum |c\,O' - O|^2}{\sum |O|^2}\right]^{1/2}

    (Maiden & Rodenburg, Ultramicroscopy 109, 1256 (2009), eq. 10, with the shift and the ramp removed as in
    Guizar-Sicairos et al., Opt. Lett. 33, 156 (2008)).

    Args:
        reconstruction: ``(y, x)`` complex; values that are not finite count as 0. Outside the region it matters only
            for what the translation brings in.
        true: ``(y, x)`` complex, the same shape.
        region: (y, x) slices where objects are compared; the whole arrays by default.

    Raises:
        DataError: The shapes differ, the region holds fewer than 8 x 8 pixels, or the true object is 0 there.
    """
    reconstruction = np.nan_to_num(np.asarray(reconstruction, np.complex128), posinf=0, neginf=0)
    true = np.asarray(true, np.complex128)
    region = _checked_region(reconstruction, true, region)
    taper = _hann(true.shape, region)
    extent = np.array([s.stop - s.start for s in region])
    original, shift, ramp = _bounded(reconstruction, region), np.zeros(2), np.zeros(2)
    current = original
    flat = _is_flat(original, taper) or _is_flat(true, taper)  # a flat object lies nowhere
    for _ in range(0 if flat else _MAX_ROUNDS):
        tilt = _spectral_peak(current * true.conj() * taper)
        step = _displacement(current * plane_wave(true.shape, -tilt), true, taper)
        if np.any(np.abs(shift + step) > extent / 2):
            break  # nothing in common: a shift would only wrap the frame around
        ramp, shift = ramp + tilt, shift + step
        # From the original each time: a rest of the ramp wraps around at the edges, and its rings would add up.
        current = fourier_shift(original * plane_wave(true.shape, -ramp), -shift)
        if np.abs(step).max() < _SETTLED and np.abs(tilt * extent).max() < _SETTLED:
            break
    found, wanted = current[region], true[region]
    power = np.vdot(found, found).real
    factor = complex(np.vdot(found, wanted) / power) if power > 0 else 0j
    error = float(np.linalg.norm(factor * found - wanted) / np.linalg.norm(wanted))
    (down, across), (tilt_y, tilt_x) = shift.tolist(), (2 * np.pi * ramp).tolist()
    return Alignment(factor * current, region, (down, across), (tilt_y, tilt_x), factor, error)


def object_error(reconstruction: np.ndarray, true: np.ndarray, region: Region | None = None) -> float:
    """The error that `align_object` leaves: 0 for a perfect object, about 0.5 for a flat one."""
    return align_object(reconstruction, true, region).error


def fourier_shift(image: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
    """``image`` ``(..., y, x)`` moved by ``shift_px`` (y, x) towards larger indices, periodically, to any fraction."""
    whole = np.pad(shift_px, (image.ndim - 2, 0))
    return scipy.fft.ifft2(scipy.ndimage.fourier_shift(scipy.fft.fft2(image), whole))


def plane_wave(shape: tuple[int, int], frequency: np.ndarray) -> np.ndarray:
    """exp(2 pi i f.r) over ``shape`` (y, x) for a frequency (y, x) in cycles per pixel."""
    y, x = (np.exp(2j * np.pi * f * np.arange(n)) for f, n in zip(frequency, shape, strict=True))
    return y[:, None] * x


def _bounded(image: np.ndarray, region: Region) -> np.ndarray:
    """``image`` with no modulus beyond twice the region's largest: a margin that no beam lit may hold anything."""
    modulus, largest = np.abs(image), 2 * np.abs(image[region]).max()
    return image * np.divide(largest, modulus, out=np.ones_like(modulus), where=modulus > largest)


def _displacement(image: np.ndarray, true: np.ndarray, taper: np.ndarray) -> np.ndarray:
    """(y, x) px by which ``image`` lies beyond ``true``, from the peak of their cross-correlation."""
    product = scipy.fft.fft2(_mean_free(image, taper)) * scipy.fft.fft2(_mean_free(true, taper)).conj()
    # A displacement s is the plane wave exp(-2 pi i s k / n) over the frequency index k.
    return -_spectral_peak(scipy.fft.fftshift(product)) * np.array(product.shape)


def _mean_free(image: np.ndarray, taper: np.ndarray) -> np.ndarray:
    return (image - (image * taper).sum() / taper.sum()) * taper


def _is_flat(image: np.ndarray, taper: np.ndarray) -> bool:
    return bool(np.linalg.norm(_mean_free(image, taper)) <= 1e-9 * np.linalg.norm(image * taper))


def _spectral_peak(signal: np.ndarray) -> np.ndarray:
    r"""Frequency (y, x), cycles per sample, at which :math:`S = |\sum a\, e^{-2\pi i\mathbf f\cdot\mathbf r}|` peaks.

    The largest bin of a Fourier transform padded to twice the size lies within the main lobe; Newton's method on
    :math:`S^2`, whose derivatives are the moments of the signal, takes it from there to rounding error.
    """
    padded = [2 * n for n in signal.shape]
    spectrum = np.abs(scipy.fft.fft2(signal, padded))
    bins = np.unravel_index(np.argmax(spectrum), spectrum.shape)
    start = np.array([scipy.fft.fftfreq(n)[b] for n, b in zip(padded, bins, strict=True)])
    reach = 1 / np.array(padded)  # one bin: the maximum cannot be farther
    frequency = start
    for _ in range(20):
        gradient, hessian = _peak_derivatives(signal, frequency)
        if hessian[0, 0] >= 0 or np.linalg.det(hessian) <= 0:
            return start  # not a peak: a flat or empty spectrum
        step = np.linalg.solve(hessian, gradient)
        frequency = start + np.clip(frequency - step - start, -reach, reach)
        if np.all(np.abs(step) < 1e-7 * reach):
            break
    return frequency


def _peak_derivatives(signal: np.ndarray, frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of S^2 with respect to the frequency, from the moments up to y^2, x^2 about the center."""
    waves = []
    for f, n in zip(frequency, signal.shape, strict=True):
        # The center as origin changes S by a phase only and keeps the Hessian well scaled.
        r = np.arange(n) - (n - 1) / 2
        waves.append(np.stack([(-2j * np.pi * r) ** p * np.exp(-2j * np.pi * f * r) for p in range(3)]))
    m = waves[0] @ signal @ waves[1].T
    first = np.array([m[1, 0], m[0, 1]])
    second = np.array([[m[2, 0], m[1, 1]], [m[1, 1], m[0, 2]]])
    gradient = 2 * (m[0, 0].conj() * first).real
    hessian = 2 * (np.outer(first.conj(), first) + m[0, 0].conj() * second).real
    return gradient, hessian


def _hann(shape: tuple[int, ...], region: Region) -> np.ndarray:
    taper = np.zeros(shape)
    y, x = (np.hanning(s.stop - s.start) for s in region)
    taper[region] = y[:, None] * x
    return taper


def _checked_region(reconstruction: np.ndarray, true: np.ndarray, region: Region | None) -> Region:
    if reconstruction.shape != true.shape or true.ndim != 2:
        raise DataError(
            "alignment", "the objects do not have the same frame", expected=f"(y, x) = {true.shape}",
            found=reconstruction.shape, remedy="crop the reconstruction to the frame of the true object",
        )  # fmt: skip
    region = (slice(None), slice(None)) if region is None else region
    y, x = (slice(*s.indices(n)[:2]) for s, n in zip(region, true.shape, strict=True))
    found = (max(0, y.stop - y.start), max(0, x.stop - x.start))
    if min(found) < 8:
        raise DataError("region", "too small to align in", expected="at least 8 x 8 pixels", found=found)
    if not np.any(true[y, x]):
        raise DataError("true object", "is 0 everywhere in the region", remedy="choose another region")
    return y, x


# -- the part of an object that a scan determines well enough to be judged by ---------------------------------------
def scanned_region(positions_px: np.ndarray, window_px: tuple[int, int], shape: tuple[int, int]) -> Region:
    """The rectangle that the middle of the probe swept, without the outermost positions of every side.

    Between the 3rd and the 97th percentile of the windows' centers every pixel was lit from all sides.

    Args:
        positions_px: ``(n, 2)`` (y, x) of the windows' corners in the object array.
        window_px: (y, x) size of a window.
        shape: (y, x) of the object array, which bounds the region.
    """
    centers = np.asarray(positions_px, float) + (np.asarray(window_px) - 1) / 2
    slices = []
    for low, high, size in zip(*np.percentile(centers, _PERCENTILES, axis=0), shape, strict=True):
        step = _STEP if high - low > 4 * _STEP else 1
        start, stop = (int(step * np.rint(edge / step)) for edge in (low, high))
        slices.append(slice(max(0, start), min(size, stop)))
    return slices[0], slices[1]


def inner_region(shape: tuple[int, int]) -> Region:
    """A frame without its outer eighth on every side, for objects that no probe was moved over."""
    return slice(shape[0] // 8, shape[0] - shape[0] // 8), slice(shape[1] // 8, shape[1] - shape[1] // 8)
