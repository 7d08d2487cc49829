r"""The loss that remains at a perfect fit, because photons are counted.

A pixel in which :math:`\lambda` photons are expected counts :math:`n` of them with the probability
:math:`\lambda^n e^{-\lambda}/n!`. With :math:`g` units of the data per photon and a read-out error :math:`\sigma x`,
:math:`x` normal, the loss :math:`\ell` of the true intensity :math:`I = g\lambda` is on average

.. math:: e(I) = \sum_n \frac{\lambda^n e^{-\lambda}}{n!} \left\langle \ell(I, g n + \sigma x) \right\rangle_x .

Least squares on amplitudes has :math:`e = g/4` in bright pixels, the Poisson deviance and least squares on intensities
:math:`g/2`; where a pixel counts few photons all of them depend on I.
"""

from __future__ import annotations

import numpy as np
import scipy  # its slow parts load at their first use
from numpy.polynomial.hermite_e import hermegauss

from adorym.losses.base import Loss
from adorym.wrapper import get_backend

# Above this many photons the Poisson distribution is taken for a normal one.
MANY = 300.0
PER_DECADE = 12
SMALLEST, LARGEST = 1e-4, 1e8


class Expectation:
    """The expected loss of a pixel at a perfect fit, tabulated for one loss, floor and gain.

    Args:
        loss: The loss.
        floor: Its floor, in units of the data.
        gain: Units of the data per photon.
        read_noise: Standard deviation of the read-out error, in units of the data.
    """

    def __init__(self, loss: Loss, floor: float, gain: float = 1.0, read_noise: float = 0.0) -> None:
        self._loss, self._floor, self._gain, self._read_noise = loss, floor, gain, read_noise
        decades = np.log10(LARGEST / SMALLEST)
        self._photons = np.geomspace(SMALLEST, LARGEST, int(PER_DECADE * decades))
        self._values = np.array([self._exact(photons) for photons in self._photons])

    def __call__(self, intensity: np.ndarray) -> np.ndarray:
        """``e(I)`` for ``intensity`` in units of the data."""
        photons = np.maximum(np.asarray(intensity, np.float64) / self._gain, 0)
        found = np.exp(np.interp(np.log(np.maximum(photons, SMALLEST)), np.log(self._photons), np.log(self._values)))
        # Dark pixels hardly ever count; where the read-out alone counts there is a constant instead.
        dark = self._values[0] if self._read_noise else self._values[0] * photons / SMALLEST
        return np.where(photons < SMALLEST, dark, found)

    def _exact(self, photons: float) -> float:
        nodes, weights = hermegauss(24)
        weights = weights / weights.sum()
        if photons > MANY:
            spread = np.sqrt(photons + (self._read_noise / self._gain) ** 2)
            return float(weights @ self._pixel(photons, self._gain * (photons + spread * nodes)))
        n = np.arange(int(photons + 12 * np.sqrt(photons) + 25))
        chances = np.exp(n * np.log(photons) - photons - scipy.special.gammaln(n + 1.0))
        if not self._read_noise:
            return float(chances @ self._pixel(photons, self._gain * n))
        read = self._gain * n[:, None] + self._read_noise * nodes
        return float(chances @ self._pixel(photons, read.ravel()).reshape(read.shape) @ weights)

    def _pixel(self, photons: float, counts: np.ndarray) -> np.ndarray:
        """Loss of pixels with these counts where ``photons`` are predicted."""
        xp, loss = get_backend("autograd", precision="double"), self._loss
        predicted = np.full(len(counts), self._gain * photons + self._floor)
        predicted = np.sqrt(predicted) if loss.on_amplitudes else predicted
        return xp.to_numpy(loss.terms(xp, predicted, loss.target(np.maximum(counts, 0.0), self._floor)))
