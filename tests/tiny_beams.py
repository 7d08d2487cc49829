"""Scans of a random object by a beam out of focus, in plain NumPy: what a search for the first probe has to find."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from adorym.data.dataset import ArrayPatterns, Dataset

PIXEL_M, ENERGY_EV = 20e-9, 8000.0
WAVELENGTH_M = 1.239841984332e-6 / ENERGY_EV


@dataclass(frozen=True)
class Experiment:
    """A scan of a random object by a beam whose pupil has the phase ``curvature * q^2``, q in Fourier pixels."""

    window: tuple[int, int] = (32, 32)
    radius: float = 6.0
    curvature: float = 0.0
    stop: float = 0.0
    gaussian: bool = False
    photons: float = 2e5
    rows: int = 7
    step: float = 2.5
    contrast: float = 1.0
    tilt: tuple[int, int] = (0, 0)
    seed: int = 1
    positions: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        y, x = np.meshgrid(*2 * [self.step * np.arange(self.rows)], indexing="ij")
        positions = np.stack([y.ravel(), x.ravel()], 1) + rng.uniform(-0.6, 0.6, (self.rows**2, 2))
        object.__setattr__(self, "positions", np.round(positions))

    def probe(self) -> np.ndarray:
        """``(y, x)`` with the beam about the pixel N // 2 + 0.5 off the corner, from a sum over frequencies."""
        ky, kx = (np.fft.fftfreq(n, 1 / n) for n in self.window)
        q = np.hypot(ky[:, None], kx)
        pupil = np.exp(-(q**2) / self.radius**2) if self.gaussian else 1 / (1 + np.exp((q - self.radius) / 0.4))
        if self.stop:
            pupil = pupil / (1 + np.exp((self.stop - q) / 0.4))
        middle = [(n - 1) / 2 for n in self.window]
        ramp = 2j * np.pi * (ky[:, None] * middle[0] / self.window[0] + kx * middle[1] / self.window[1])
        wave = np.fft.ifft2(pupil * np.exp(1j * self.curvature * q**2 - ramp))
        return wave * np.sqrt(self.photons / (abs(wave) ** 2).sum())

    def patterns(self) -> np.ndarray:
        rng = np.random.default_rng(self.seed + 100)
        corners = (self.positions - self.positions.min(0)).astype(int)
        (ny, nx), shape = self.window, corners.max(0) + self.window
        noise = [gaussian_filter(rng.normal(size=shape), 1.3) for _ in range(2)]
        phase, absorption = (a / a.std() for a in noise)
        specimen = np.exp(self.contrast * (0.5j * phase - 0.05 * abs(absorption)))
        wave = self.probe()
        waves = np.array([wave * specimen[y : y + ny, x : x + nx] for y, x in corners])
        far = np.fft.fftshift(abs(np.fft.fft2(waves, norm="ortho")) ** 2, axes=(1, 2))
        return rng.poisson(np.roll(far, self.tilt, (1, 2))).astype("f4")

    def dataset(self, patterns: np.ndarray | None = None, **fields: Any) -> Dataset:
        stack = ArrayPatterns(self.patterns() if patterns is None else patterns)
        known: dict[str, Any] = {"energy_ev": ENERGY_EV, "pixel_size_m": (PIXEL_M, PIXEL_M)}
        return Dataset(stack, **{"probe_positions_px": self.positions} | known | fields)

    @property
    def defocus_m(self) -> float:
        return -self.curvature * (self.window[0] * PIXEL_M) ** 2 / (np.pi * WAVELENGTH_M)
