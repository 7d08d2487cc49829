"""A small Bragg scan in plain NumPy, voxel by voxel: none of the package's geometry or optics is used.

The detector arm turns in the horizontal plane and the crystal about y. Half of that angle lies between its lattice
planes and either beam: a pixel across the incoming beam is then a voxel, and a slice moves the beam along x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tiny_scan import Exact

from adorym.data.dataset import Dataset

ENERGY_EV, DISTANCE_M, PITCH_M = 9000.0, 0.3, 55e-6
WAVELENGTH_M = 1.239841984332e-6 / ENERGY_EV
GAMMA_RAD, STEP_RAD = 0.6, 9e-4
ANGLES, DEPTH = 4, 3


def crystal_at(y: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Amplitude at any place, in voxels of the data's frame."""
    magnitude = 0.9 + 0.08 * np.cos(0.21 * y - 0.13 * x + 0.9 * z) + 0.05 * np.sin(0.23 * x)
    return magnitude * np.exp(1j * (0.7 * np.cos(0.19 * y + 0.11 * x - 0.5 * z) + 0.5 * np.sin(0.2 * x + 0.8 * z)))


@dataclass(frozen=True)
class BraggScanTiny:
    """Five positions at each of four angles.

    Attributes:
        window: (y, x) pixels of a pattern.
        size_px: Width of the beam.
        modes: Number of probe modes, 1 or 2.
    """

    window: tuple[int, int] = (12, 14)
    size_px: float = 1.7
    modes: int = 1

    @property
    def positions(self) -> np.ndarray:
        """``(20, 2)``."""
        j = np.arange(5 * ANGLES)
        return np.stack([2.1 * (j % 5) + 0.3 * np.sin(j), 3.2 * (j % 3) + 0.4 * np.cos(2 * j)], axis=1) - [3.3, 2.4]

    @property
    def angle_index(self) -> np.ndarray:
        return np.repeat(np.arange(ANGLES), 5)

    @property
    def offset_px(self) -> np.ndarray:
        """``(4, 2)``."""
        return 0.3 * np.array([[1.0, -0.6], [-1.0, 0.6], [0.5, 0.5], [-0.5, -0.5]])

    @property
    def places(self) -> np.ndarray:
        """``(4,)`` of the angles on the rocking curve."""
        return np.arange(ANGLES) - ANGLES // 2 + 0.1 * np.array([1.0, -1.0, -1.0, 1.0])

    @property
    def scale(self) -> np.ndarray:
        return 1 + 0.3 * np.sin(1.7 * np.arange(5 * ANGLES))

    @property
    def background(self) -> np.ndarray:
        """As the file holds patterns."""
        y, x = np.indices(self.window)
        return 0.5 + 0.02 * y + 0.01 * x

    def probe(self, dy: float = 0.0, dx: float = 0.0) -> np.ndarray:
        """``(m, y, x)`` with the beam this far from the middle of the window."""
        (ny, nx), s = self.window, self.size_px
        y, x = np.arange(ny)[:, None] - (ny - 1) / 2 - dy, np.arange(nx)[None, :] - (nx - 1) / 2 - dx
        gauss = np.exp(-(y**2 + (0.9 * x) ** 2) / (2 * s**2) + 0.03j * (x - y))
        return 20 * np.stack([gauss, 0.6 * (x / s) * gauss])[: self.modes]

    @property
    def walk_px(self) -> float:
        """Along x, from one slice to the next."""
        pixel = WAVELENGTH_M * DISTANCE_M / (self.window[1] * PITCH_M)
        return -WAVELENGTH_M / (ANGLES * STEP_RAD * pixel)

    def crystal(self, shape: tuple[int, ...], origin_px: tuple[int, int]) -> np.ndarray:
        """``(y, x, z)``; index ``origin_px`` is the data's position (0, 0)."""
        y, x, z = np.indices(shape)
        return crystal_at(y - origin_px[0], x - origin_px[1], z - (DEPTH - 1) / 2)

    def patterns(self) -> np.ndarray:
        """``(n, y, x)``, zero frequency in the middle."""
        y, x = np.indices(self.window)
        found = []
        for (py, px), angle in zip(self.positions + self.offset_px[self.angle_index], self.angle_index, strict=True):
            corner = np.rint([py, px])
            dy, dx = (py, px) - corner
            wave = np.zeros((self.modes, *self.window), complex)
            for z in np.arange(DEPTH) - (DEPTH - 1) / 2:
                turn = np.exp(-2j * np.pi * self.places[angle] * z / ANGLES)
                lit = self.probe(dy, dx + z * self.walk_px)
                wave += turn * crystal_at(corner[0] + y, corner[1] + x, z) * lit
            far = np.fft.fftshift(np.fft.fft2(wave, norm="ortho"), axes=(1, 2)) / np.sqrt(DEPTH)
            found.append((np.abs(far) ** 2).sum(0))
        return self.scale[:, None, None] * np.array(found) + self.background

    def dataset(self, **changes: Any) -> Dataset:
        fields: dict[str, Any] = {
            "patterns": Exact(self.patterns()),
            "probe_positions_px": self.positions,
            "angle_index": self.angle_index,
            "theta_rad": 0.2 + STEP_RAD * np.arange(ANGLES),
            "energy_ev": ENERGY_EV,
            "distance_m": DISTANCE_M,
            "detector_pixel_size_m": (PITCH_M, PITCH_M),
        }
        return Dataset(**(fields | changes))
