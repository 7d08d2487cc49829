r"""Short reconstructions from several start probes at once, to see which of them explains a few patterns best.

The candidates differ in the curvature of the pupil's phase alone. All see the same patterns in the same order, and
each updates its own object and probe after every pattern, as rPIE does (Maiden, Johnson & Li, Optica 4, 736 (2017),
eqs. (15) and (17)); an array holds one candidate a row. Positions are rounded to whole pixels: that blurs all
candidates alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

# Short enough steps that counting noise is not fitted: with full ones weak objects in few photons decide nothing.
REGULARIZATION, OBJECT_RATE, PROBE_RATE = 0.3, 0.5, 0.3


@dataclass(eq=False)
class Race:
    """Candidates on their way.

    Attributes:
        amplitudes: ``(n, y, x)`` float32 square root of the counts, zero frequency at the corner.
        valid: ``(n or 1, y, x)`` float32, 1 where they were measured.
        corners: ``(n, 2)`` int corners of the windows, from (0, 0) on.
        probes: ``(c, y, x)`` complex64.
        objects: ``(c, Y, X)`` complex64; vacuum at first.
        misfit: ``(c,)`` of the last epoch: squared difference of the amplitudes over the counts.
    """

    amplitudes: np.ndarray
    valid: np.ndarray
    corners: np.ndarray
    probes: np.ndarray
    objects: np.ndarray
    misfit: np.ndarray

    @classmethod
    def of(cls, amplitudes: np.ndarray, valid: np.ndarray, positions_px: np.ndarray, probes: np.ndarray) -> Race:
        """From positions ``(n, 2)`` and start probes ``(c, y, x)``, whose power becomes that of the patterns."""
        corners = np.rint(positions_px - positions_px.min(0)).astype(int)
        power = (amplitudes.astype(np.float64) ** 2).sum() / len(amplitudes)
        norm = np.sqrt((np.abs(probes) ** 2).sum((1, 2), keepdims=True))
        shape = corners.max(0) + amplitudes.shape[1:]
        return cls(
            amplitudes=amplitudes,
            valid=valid,
            corners=corners,
            probes=(probes / norm * np.sqrt(power)).astype(np.complex64),
            objects=np.ones((len(probes), *shape), np.complex64),
            misfit=np.full(len(probes), np.inf),
        )

    def keep(self, candidates: np.ndarray) -> None:
        """Go on with these ones."""
        self.probes, self.objects = self.probes[candidates], self.objects[candidates]
        self.misfit = self.misfit[candidates]

    def epoch(self, rng: np.random.Generator) -> np.ndarray:
        """Every pattern once, in random order; returns the misfit of every candidate on the way."""
        total = np.zeros(len(self.probes))
        for j in rng.permutation(len(self.amplitudes)):
            total += self._step(j)
        counts = (self.amplitudes**2).sum(dtype=np.float64)
        self.misfit = total / counts
        return self.misfit

    def _step(self, j: int) -> np.ndarray:
        (ny, nx), (y, x) = self.amplitudes.shape[1:], self.corners[j]
        window = self.objects[:, y : y + ny, x : x + nx]
        obj, probe = window.copy(), self.probes
        wave = scipy.fft.fft2(probe * obj, norm="ortho", overwrite_x=True)
        modulus = np.abs(wave)
        difference = (self.amplitudes[j] - modulus) * self.valid[j if len(self.valid) > 1 else 0]
        wave *= difference / np.maximum(modulus, np.float32(1e-6))
        change = scipy.fft.ifft2(wave, norm="ortho", overwrite_x=True)
        window += OBJECT_RATE * change * _inverse(probe)
        self.probes = probe + PROBE_RATE * change * _inverse(obj)
        return np.einsum("cyx,cyx->c", difference, difference, dtype=np.float64)


def _inverse(wave: np.ndarray) -> np.ndarray:
    r""":math:`\bar w / ((1 - \alpha) |w|^2 + \alpha \max |w|^2)` of every candidate's ``wave`` ``(c, y, x)``."""
    power = wave.real**2 + wave.imag**2
    largest = power.max((1, 2), keepdims=True)
    return wave.conj() / ((1 - REGULARIZATION) * power + np.maximum(REGULARIZATION * largest, np.float32(1e-20)))
