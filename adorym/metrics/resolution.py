r"""Resolution by Fourier ring correlation.

Two images agree up to some spatial frequency. Over rings of equal frequency :math:`|\mathbf q|`,

.. math:: \mathrm{FRC}(q) = \frac{\mathrm{Re}\sum_{|\mathbf q| \in q} A(\mathbf q) B^*(\mathbf q)}
          {\left[\sum |A|^2 \sum |B|^2\right]^{1/2}}

(Saxton & Baumeister, J. Microsc. 127, 127 (1982)), and the resolution is where it first falls under the half-bit curve
for the :math:`n` samples of a ring,

.. math:: T(n) = \frac{0.2071 + 1.9102\,n^{-1/2}}{1.2071 + 0.9102\,n^{-1/2}}

(van Heel & Schatz, J. Struct. Biol. 151, 250 (2005), eq. 17). That is for two images of the same quality, such as
reconstructions from two halves of the data. The truth has no noise, and an image as good as both halves together
correlates with it better, by

.. math:: C_\mathrm{ref} = \left[\frac{2\,\mathrm{FRC}}{1 + \mathrm{FRC}}\right]^{1/2}

(Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), section 3), so that the threshold is raised likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.errors import DataError

TAPER = 0.25  # part of the width over which the window falls to 0
SLOW = 0.25  # part of the rings, the lowest, that slow phase errors may pull below the threshold


@dataclass(frozen=True)
class RingCorrelation:
    """Fourier ring correlation of two images.

    Attributes:
        frequency: ``(rings,)`` mean spatial frequency of each ring, cycles per unit of the pixel size.
        correlation: ``(rings,)`` between -1 and 1.
        threshold: ``(rings,)`` half-bit curve, that for halves or that for a truth.
        samples: ``(rings,)`` int, Fourier samples in each ring.
        limit: Highest frequency that has whole rings, the lower of the two axes' Nyquist frequencies.
    """

    frequency: np.ndarray
    correlation: np.ndarray
    threshold: np.ndarray
    samples: np.ndarray
    limit: float

    @property
    def resolved(self) -> bool:
        """Whether the correlation stays above the threshold up to the highest frequency: the pixel is the limit."""
        first, fall = self._agreement
        return first is not None and fall is None

    @property
    def crossing(self) -> float:
        """Frequency at which the correlation first falls below the threshold, or `limit` if it never does.

        What correlates again beyond is chance or an artifact. Slow phase errors, ptychography's last to go, may pull
        the lowest rings below the threshold; they do not blur, so agreement may begin within the lowest quarter.
        Images with nothing in common have the lowest frequency.
        """
        first, fall = self._agreement
        if first is None:
            return float(self.frequency[0])
        if fall is None:
            return self.limit
        pair = [fall, fall - 1]
        return float(np.interp(0.0, (self.correlation - self.threshold)[pair], self.frequency[pair]))

    @property
    def _agreement(self) -> tuple[int | None, int | None]:
        """First ring above the threshold, ``None`` without agreement, and the first ring below it after that."""
        above = self.correlation >= self.threshold
        first = int(np.argmax(above))
        if not above[first] or first > SLOW * len(above):
            return None, None
        below = np.flatnonzero(~above[first:])
        return first, first + int(below[0]) if below.size else None

    @property
    def half_period(self) -> float:
        """Resolution as the half period 1 / (2 q) at the crossing: one pixel at the Nyquist frequency."""
        return 0.5 / self.crossing

    def area(self, cutoff: float = 1.0) -> float:
        """Mean correlation from the first ring up to ``cutoff``, a part of `limit`: 1 for identical images (FRC-AUC).

        Areas up to different cut-offs do not compare; the value belongs with its cut-off.
        """
        highest = cutoff * self.limit
        inside = np.append(self.frequency[self.frequency < highest], highest)
        if len(inside) < 2:
            return float(self.correlation[0])
        values = np.interp(inside, self.frequency, self.correlation)
        return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(inside)) / (inside[-1] - inside[0]))


def ring_correlation(
    first: np.ndarray, second: np.ndarray, pixel_size: tuple[float, float] = (1.0, 1.0), *, truth: bool = False
) -> RingCorrelation:
    """Fourier ring correlation of two aligned images, over rings round in physical frequency.

    Pixels need not be square nor the images: a ring is one frequency step of the coarser axis, 1 / extent, wide. The
    mean is taken out and the edges are tapered (Tukey), so that neither the offset nor the jump at the border
    correlates. Frequency 0 is left out.

    Args:
        first: ``(y, x)`` real or complex.
        second: ``(y, x)``, the same shape.
        pixel_size: (y, x) in any unit; frequencies come out in its inverse.
        truth: Whether one of them is the truth, and not an image with errors of its own.

    Raises:
        DataError: The shapes differ or an axis is shorter than 8 pixels.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 2 or min(first.shape) < 8:
        raise DataError(
            "ring correlation", "the images do not compare", expected="two of one (y, x) shape, 8 pixels or more",
            found=f"{first.shape} and {second.shape}",
        )  # fmt: skip
    a, b = (_spectrum(image) for image in (first, second))
    frequency, ring, limit = _rings(first.shape, pixel_size)
    ring = np.where(frequency <= limit, ring, 0)
    return correlation_of(a, b, frequency, ring, limit, truth)


def correlation_of(
    a: np.ndarray, b: np.ndarray, frequency: np.ndarray, ring: np.ndarray, limit: float, truth: bool
) -> RingCorrelation:
    """Correlation of two spectra over rings or shells: ``ring`` numbers them from 1, 0 is left out."""
    inside = ring > 0
    samples = np.bincount(ring[inside])[1:]

    def ring_sum(values: np.ndarray) -> np.ndarray:
        return np.bincount(ring[inside], values[inside])[1:]

    power = np.sqrt(ring_sum(np.abs(a) ** 2) * ring_sum(np.abs(b) ** 2))
    cross = ring_sum((a * b.conj()).real)
    correlation = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    threshold = half_bit_threshold(samples, truth)
    return RingCorrelation(ring_sum(frequency) / samples, correlation, threshold, samples, limit)


def half_bit_threshold(samples: np.ndarray, truth: bool = False) -> np.ndarray:
    """Correlation of two halves, or with the ``truth``, at which a ring of ``samples`` carries half a bit a sample."""
    root = 1 / np.sqrt(samples)
    halves = (0.2071 + 1.9102 * root) / (1.2071 + 0.9102 * root)
    return np.sqrt(2 * halves / (1 + halves)) if truth else halves


def _spectrum(image: np.ndarray) -> np.ndarray:
    down, across = (scipy.signal.windows.tukey(n, TAPER) for n in image.shape)
    window = down[:, None] * across
    return scipy.fft.fft2((image - (image * window).sum() / window.sum()) * window)


def _rings(shape: tuple[int, ...], pixel_size: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, float]:
    """Frequency ``(y, x)``, number of its ring ``(y, x)`` int, and the highest frequency with whole rings."""
    y, x = (scipy.fft.fftfreq(n, d) for n, d in zip(shape, pixel_size, strict=True))
    frequency = np.hypot(y[:, None], x)
    width = max(1 / (n * d) for n, d in zip(shape, pixel_size, strict=True))
    limit = min(0.5 / d for d in pixel_size)
    return frequency, np.rint(frequency / width).astype(int), limit
