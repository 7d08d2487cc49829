r"""Filters against rings: stripes of the sinogram, made by pixels that count differently than their neighbors.

A stripe is constant, or nearly, along the angles. Filters act on line integrals; the gain of each pixel may also be
refined with the volume instead (`adorym.forward.tomography`), which knows better what is sample and what is detector.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.errors import ConfigError
from adorym.registry import register


class RingFilter(ABC):
    """Takes stripes out of sinograms."""

    kind: ClassVar[str]

    @abstractmethod
    def row(self, sinogram: np.ndarray) -> np.ndarray:
        """``(a, x)`` line integrals of one detector row, in the order of their angles, without stripes."""

    def filtered(self, integrals: np.ndarray, theta_rad: np.ndarray) -> np.ndarray:
        """``(a, y, x)`` line integrals without stripes; angles in any order."""
        order, out = np.argsort(theta_rad, kind="stable"), np.empty_like(integrals)
        for y in range(integrals.shape[1]):
            out[order, y] = self.row(integrals[order, y])
        return out


@register("ring_filter", "sorting")
class Sorting(RingFilter):
    """Every pixel's values are sorted, compared with those of its neighbors at the same rank, and put back.

    Vo, Atwood & Drakopoulos, Opt. Express 26, 28396 (2018), algorithm 3. Sorting makes the sample's part of neighbors
    alike, so that a median over them takes the stripe and spares the sample.

    Attributes:
        width: Pixels of the median, odd: wider than the stripes.
    """

    width: int = Field(11, ge=3)

    def row(self, sinogram: np.ndarray) -> np.ndarray:
        order = np.argsort(sinogram, axis=0, kind="stable")
        smooth = scipy.ndimage.median_filter(
            np.take_along_axis(sinogram, order, 0), (1, self.width | 1), mode="nearest"
        )
        out = np.empty_like(sinogram)
        np.put_along_axis(out, order, smooth, 0)
        return out


@register("ring_filter", "fourier_wavelet")
class FourierWavelet(RingFilter):
    r"""Damps what does not change along the angles in the vertical details of a wavelet transform.

    Münch, Trtik, Marone & Stampanoni, Opt. Express 17, 8567 (2009): the coefficients' spectrum along the angles is
    multiplied with :math:`1 - e^{-q^2 / 2\sigma^2}`. Needs ``PyWavelets``.

    Attributes:
        wavelet: Name, as PyWavelets has it.
        levels: Of the transform: 2 to its power is the width of the widest stripes.
        sigma: Width of the damping, in frequencies.
    """

    wavelet: str = "db5"
    levels: int = Field(3, ge=1)
    sigma: float = Field(1.0, gt=0)

    def __post_init__(self) -> None:
        if importlib.util.find_spec("pywt") is None:
            raise ConfigError("rings", "'fourier_wavelet' needs the package 'PyWavelets', which is not installed",
                              remedy="pip install PyWavelets, or choose 'sorting'")  # fmt: skip
        if self.wavelet not in _library().wavelist(kind="discrete"):
            raise ConfigError("rings.wavelet", "no such wavelet", expected="db5, sym4, ...", found=self.wavelet)

    def row(self, sinogram: np.ndarray) -> np.ndarray:
        n, width = sinogram.shape
        deepest = max(1, int(np.log2(max(min(n, width), 4))) - 2)
        smooth, details = sinogram, []
        for _ in range(min(self.levels, deepest)):
            smooth, (across, along, both) = _library().dwt2(smooth, self.wavelet, mode="symmetric")
            q = np.fft.fftfreq(along.shape[0], 1 / along.shape[0])[:, None]
            damped = np.fft.ifft(np.fft.fft(along, axis=0) * (1 - np.exp(-(q**2) / (2 * self.sigma**2))), axis=0).real
            details.append((across, damped, both))
        for detail in reversed(details):
            smooth = smooth[: detail[0].shape[0], : detail[0].shape[1]]
            smooth = _library().idwt2((smooth, detail), self.wavelet, mode="symmetric")
        return smooth[:n, :width]


def _library() -> Any:
    return importlib.import_module("pywt")


@dataclass(frozen=True, eq=False)
class WithoutRings:
    """Counts of an open beam behind line integrals ``(n, y, x)`` of the amplitude's absorption, in memory."""

    integrals: np.ndarray
    open_beam_counts: float

    @property
    def shape(self) -> tuple[int, int, int]:
        n, y, x = self.integrals.shape
        return n, y, x

    def read(self, index: np.ndarray) -> np.ndarray:
        return (self.open_beam_counts * np.exp(-2 * self.integrals[index])).astype(np.float32)
