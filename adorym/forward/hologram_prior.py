r"""How large phase and noise are at each spatial frequency, told by the holograms themselves.

A hologram does not show frequencies near the zeros of its transfer function, and low ones hardly: there the noise
decides, unless something is known of the phase. Pictures of most things have a power spectrum that falls as a power of
frequency. With :math:`S(f) = A f^{-p}` for the phase and white noise of variance :math:`\sigma^2`, the spectrum of a
hologram's logarithm is

.. math:: \langle|\hat I_k|^2\rangle = 4 t_k^2 A f^{-p} + \sigma^2, \qquad t_k = \sin\chi_k + \cos\chi_k/\kappa ,

and A, p and :math:`\sigma` are those of the largest likelihood (Whittle, Ark. Mat. 2, 423 (1953)). The phase of least
:math:`\sum_k |\hat I_k + 2 t_k \hat\varphi|^2 + (\sigma^2/S)\,|\hat\varphi|^2` is then the Wiener filter's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.forward.hologram_series import Series, series_of
from adorym.optics.geometry import Grid
from adorym.optics.propagation import fresnel_rate_rad_per_m

LOG = logging.getLogger("adorym")
DARK = 1e-3
# Frequencies below this many periods of the picture are left out: the window of the transform mixes them.
LOWEST = 3
FIRST_EXPONENT = 3.0
# Largest number of frequencies of a hologram that the spectra are fitted to.
SAMPLE = 1 << 15
# Steps are divided by the largest weight, so that it must not be much more than that of the data, which is 1.
STEEPEST = 4.0


@dataclass(frozen=True)
class Spectrum:
    """Power spectra per pixel.

    Attributes:
        amplitude: A, at one period per pixel.
        exponent: p.
        noise: Standard deviation of the noise of a hologram over the incident intensity.
    """

    amplitude: float
    exponent: float
    noise: float

    def noise_to_signal(self, window_px: tuple[int, int]) -> np.ndarray:
        """``(Y, X)`` noise over power of the phase, zero frequency at the corner; finite at zero frequency."""
        frequency = np.hypot(scipy.fft.fftfreq(window_px[0])[:, None], scipy.fft.fftfreq(window_px[1]))
        frequency[0, 0] = 1 / max(window_px)
        logarithm = 2 * np.log(self.noise) - np.log(self.amplitude) + self.exponent * np.log(frequency)
        return np.exp(np.clip(logarithm, -300, 300))


def limit_of_phase(dataset: Dataset, shape: tuple[int, ...], kappa: float) -> np.ndarray:
    """``(Y, X)``: weight of the squared spectrum of the phase beside squared residuals of amplitudes of a beam of 1."""
    found = spectrum_of(series_of(dataset, shape), kappa)
    return np.clip(found.noise_to_signal((shape[0], shape[1])) / 4, 0.0, STEEPEST)


def spectrum_of(series: Series, kappa: float) -> Spectrum:
    """The most likely spectra of phase and noise for holograms of one material with the given ``kappa``."""
    power, transfer = zip(*(_power(series, k, kappa) for k in range(len(series.measured))), strict=True)
    rows, columns = series.measured.shape[1:]
    frequency = np.hypot(scipy.fft.fftfreq(rows)[:, None], scipy.fft.fftfreq(columns))
    use = frequency >= LOWEST / min(rows, columns)
    chosen = np.flatnonzero(use)[:: -(-int(use.sum()) // SAMPLE)]
    powers, transfers = (np.array(each).reshape(len(each), -1)[:, chosen] for each in (power, transfer))
    logs = np.log(frequency.flat[chosen])

    def cost(q: np.ndarray) -> float:
        expected = transfers * np.exp(np.clip(q[0] - q[1] * logs, -80, 80)) + np.exp(max(q[2], -80.0))
        return float(np.mean(np.log(expected) + powers / expected))

    # Half of the power in a transform is noise at first; the least is that of rounding.
    small = np.log(np.median(powers[:, logs > np.log(0.4)]) + 1e-14)
    first = np.array([np.log(powers.mean() + 1e-14), FIRST_EXPONENT, small])
    options = {"maxiter": 400, "xatol": 0.01, "fatol": 1e-5}
    found = scipy.optimize.minimize(cost, first, method="Nelder-Mead", options=options)
    spectrum = Spectrum(float(np.exp(found.x[0])), float(found.x[1]), float(np.exp(found.x[2] / 2)))
    LOG.info("holograms: noise %.3g of the beam, phase falls as frequency^-%.2g", spectrum.noise, spectrum.exponent / 2)
    return spectrum


def _power(series: Series, k: int, kappa: float) -> tuple[np.ndarray, np.ndarray]:
    """Power ``(y, x)`` of the logarithm of hologram ``k``, per pixel, and its transfer ``4 t^2`` from the phase."""
    picture, ratio = np.log(np.maximum(series.measured[k], DARK)), series.pixel_ratios[k]
    window = np.hanning(picture.shape[0] + 2)[1:-1, None] * np.hanning(picture.shape[1] + 2)[1:-1]
    weight = float((window**2).sum())
    flat = window * (picture - (picture * window**2).sum() / weight)
    pixel = series.grid.pixel_size_m
    grid = Grid((picture.shape[0], picture.shape[1]), (ratio * pixel[0], ratio * pixel[1]), series.grid.wavelength_m)
    chi = series.distances_m[k] * fresnel_rate_rad_per_m(grid)
    return np.abs(scipy.fft.fft2(flat)) ** 2 / weight, 4 * (np.sin(chi) + np.cos(chi) / kappa) ** 2
