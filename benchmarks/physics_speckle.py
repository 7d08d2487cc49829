"""Speckle tracking by waves, in plain NumPy: a diffuser, a sample behind it, and a detector, on half pixels.

The wave behind the diffuser goes to the sample and from there to the detector by the exact transfer function of free
space, in a field twice as wide as the detector. Dark field is made by grains that no pixel resolves: the intensity is
the mean over several draws of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.fft import fft2, fftfreq, ifft2
from scipy.ndimage import gaussian_filter

FINE = 2
WAVELENGTH_M, PIXEL_M = 6.2e-11, 1e-6
TO_SAMPLE_M, TO_DETECTOR_M = 0.3, 0.5


@dataclass(frozen=True)
class Speckle:
    """One experiment.

    Attributes:
        side: Pixels of the detector, each way.
        diffusers: Number of its positions.
        photons: In a pixel, without the sample.
        phase: Largest phase of the sample.
        absorption: Part of the intensity that is lost where the phase is largest.
        scattered: Part of the light that the grains scatter, in a band through the middle.
    """

    side: int = 128
    diffusers: int = 8
    photons: float = 4000.0
    phase: float = 4.0
    absorption: float = 0.2
    scattered: float = 0.0
    seed: int = 21
    rng: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rng", np.random.default_rng(self.seed))

    @property
    def wide(self) -> int:
        return 2 * FINE * self.side

    def thickness(self) -> np.ndarray:
        """Soft blobs in the middle half of the field, 0 to 1, on half pixels."""
        rng, n = np.random.default_rng(self.seed + 1), self.wide
        y, x = np.mgrid[:n, :n] / FINE - self.side / 2
        made = np.zeros((n, n))
        for _ in range(9):
            (cy, cx), r = rng.uniform(0.25, 0.75, 2) * self.side, rng.uniform(0.1, 0.25) * self.side
            made += np.sqrt(np.maximum(r**2 - (y - cy) ** 2 - (x - cx) ** 2, 0))
        made = gaussian_filter(made, 4 * FINE)
        return made / made.max()

    def grains(self) -> np.ndarray:
        """Where the sample scatters: a soft band, 0 to 1."""
        x = np.arange(self.wide) / FINE - self.side / 2
        return np.broadcast_to(
            1 / (1 + np.exp((np.abs(x - 0.35 * self.side) - 0.12 * self.side) / 2)), (self.wide,) * 2
        )

    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts ``(n, y, x)`` with the sample, and without it."""
        t = self.thickness()
        sample = np.exp(-1j * self.phase * t) * (1 - self.absorption * t) ** 0.5
        found = []
        for _ in range(self.diffusers):
            screen = gaussian_filter(self.rng.normal(size=t.shape), 2.0 * FINE)
            lit = _through(np.exp(0.3j * screen / screen.std()), TO_SAMPLE_M)
            plain = np.abs(_through(lit, TO_DETECTOR_M)) ** 2
            with_sample, draws = np.zeros(t.shape), 12 if self.scattered else 1
            for _ in range(draws):
                rough = gaussian_filter(self.rng.normal(size=t.shape), 0.7 * FINE)
                depth = np.sqrt(-np.log(1 - self.scattered * self.grains()))
                wave = lit * sample * np.exp(1j * depth * rough / rough.std())
                with_sample += np.abs(_through(wave, TO_DETECTOR_M)) ** 2 / draws
            found.append([self.rng.poisson(self.photons * _pixels(each)) for each in (with_sample, plain)])
        return tuple(np.array(each, np.float32) for each in zip(*found, strict=True))

    def truth(self) -> dict[str, np.ndarray]:
        """Phase, transmission and dark field on the detector's pixels, and (y, x) displacement of rays in pixels."""
        t = self.thickness()
        slope = np.gradient(-self.phase * t, 1 / FINE)
        rate = WAVELENGTH_M * TO_DETECTOR_M / (2 * np.pi * PIXEL_M**2)
        return {
            "phase": _pixels(self.phase * t),
            "transmission": _pixels(1 - self.absorption * t),
            "dark_field": _pixels(self.scattered * self.grains()),
            "displacement": np.stack([_pixels(rate * each) for each in slope]),
        }


def _through(wave: np.ndarray, distance_m: float) -> np.ndarray:
    f = fftfreq(len(wave), PIXEL_M / FINE) * WAVELENGTH_M
    square = f[:, None] ** 2 + f**2
    return ifft2(fft2(wave) * np.exp(-2j * np.pi * distance_m / WAVELENGTH_M * square / (1 + np.sqrt(1 - square))))


def _pixels(fine: np.ndarray) -> np.ndarray:
    """Means over the pixels of the detector, in the middle half of the field."""
    n = len(fine) // 4
    inside = fine[n : 3 * n, n : 3 * n]
    return inside.reshape(len(inside) // FINE, FINE, -1, FINE).mean((1, 3))
