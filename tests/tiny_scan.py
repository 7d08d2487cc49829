"""A small ptychographic scan in plain NumPy, from formulas: none of the package's physics is used.

Object and probe are given by formulas, so that an exit wave at any position, also between pixels, is exact:
``psi_j(r) = O(r_j + r) P(r)`` on the pixels r of a window that travels with the probe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adorym.data.dataset import ArrayPatterns, Dataset

ENERGY_EV = 8000.0
WAVELENGTH_M = 1.239841984332e-6 / ENERGY_EV
PIXEL_M = (100e-9, 80e-9)
REGIMES = ("far_field", "fresnel", "angular_spectrum")


def object_at(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Transmission at any point (y, x), in pixels of the data's frame: smooth, and different in every direction."""
    magnitude = 0.85 + 0.08 * np.cos(0.21 * y - 0.13 * x + 0.3) + 0.05 * np.sin(0.23 * x)
    phase = 0.7 * np.cos(0.19 * y + 0.11 * x) + 0.5 * np.sin(0.2 * x - 0.07 * y)
    return magnitude * np.exp(1j * phase)


@dataclass(frozen=True)
class Scan:
    """One experiment and what it measures without noise.

    Attributes:
        regime: ``far_field``, ``fresnel`` or ``angular_spectrum``.
        modes: Number of probe modes (1 to 3).
        grid: (y, x) number of positions.
        size_px: Width of the probe.
        scans: The positions are shared out into so many scans ("angles" of the same rotation).
        photons: In all probe modes together.
        offset_px: ``(scans, 2)`` common to the positions of a scan, besides ``positions``.
        defocus_m: The probe is propagated by this before it meets the object.
        scale: ``(n,)`` factor on each pattern.
        background: Photons added to each pixel, a number or ``(y, x)`` as the file holds patterns.
        states: 1, or 2 states of the object that follow each other in every exposure, for unequal times.
    """

    regime: str = "far_field"
    modes: int = 1
    window: tuple[int, int] = (12, 14)
    grid: tuple[int, int] = (4, 5)
    step_px: float = 2.6
    size_px: float = 1.7
    scans: int = 1
    photons: float = 1e4
    distance_m: float = 4e-4
    offset_px: np.ndarray | None = None
    defocus_m: float = 0.0
    scale: np.ndarray | None = None
    background: float | np.ndarray = 0.0
    states: int = 1
    seed: int = 3
    positions: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        y, x = np.meshgrid(*(np.arange(n) for n in self.grid), indexing="ij")
        regular = self.step_px * np.stack([y.ravel(), x.ravel()], 1) - [7.3, 4.6]
        object.__setattr__(self, "positions", regular + rng.uniform(-0.8, 0.8, regular.shape))

    @property
    def n(self) -> int:
        return len(self.positions)

    @property
    def scan_index(self) -> np.ndarray:
        return np.arange(self.n) % self.scans

    def true_positions(self) -> np.ndarray:
        return self.positions if self.offset_px is None else self.positions + self.offset_px[self.scan_index]

    def probe(self) -> np.ndarray:
        """``(m, y, x)`` modes in the plane that they are refined in (before ``defocus_m``)."""
        (ny, nx), s = self.window, self.size_px
        y, x = np.arange(ny)[:, None] - (ny - 1) / 2, np.arange(nx)[None, :] - (nx - 1) / 2
        gauss = np.exp(-(y**2 + (0.9 * x) ** 2) / (2 * s**2) + 0.03j * (x - y))
        shapes = np.stack([gauss, 0.6 * (x / s) * gauss, (0.4j * y / s + 0.2) * gauss])[: self.modes]
        return shapes * np.sqrt(self.photons / np.sum(np.abs(shapes) ** 2))

    def object_array(self, shape: tuple[int, int], origin_px: tuple[int, int]) -> np.ndarray:
        """The object on whole pixels; index ``origin_px`` is the data's position (0, 0)."""
        found = self.states_at(np.arange(shape[0])[:, None] - origin_px[0], np.arange(shape[1])[None, :] - origin_px[1])
        return found[0] if self.states == 1 else np.stack(found, axis=-1)

    def states_at(self, y: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
        """The states of the object at any points; their squared moduli hold how long each lasts."""
        if self.states == 1:
            return [object_at(y, x)]
        return [np.sqrt(0.7) * object_at(y, x), np.sqrt(0.3) * object_at(x + 5.3, y + 2.2)]

    def patterns(self) -> np.ndarray:
        """``(n, y, x)`` photons as a file holds them: zero frequency at the center in the far field."""
        probe = transfer(self.window, "angular_spectrum", self.defocus_m, self.probe())
        y, x = np.arange(self.window[0])[:, None], np.arange(self.window[1])[None, :]
        out = []
        for py, px in self.true_positions():
            waves = np.concatenate([state * probe for state in self.states_at(py + y, px + x)])
            if self.regime == "far_field":
                waves = np.fft.fftshift(np.fft.fft2(waves), axes=(1, 2)) / np.sqrt(y.size * x.size)
            else:
                waves = transfer(self.window, self.regime, self.distance_m, waves)
            out.append(np.sum(np.abs(waves) ** 2, axis=0))
        scale = np.ones(self.n) if self.scale is None else self.scale
        return scale[:, None, None] * np.array(out) + self.background

    def dataset(self, **changes: Any) -> Dataset:
        """What a reader returns; noise-free and not rounded to float32 unless ``changes`` say so."""
        fields: dict[str, Any] = {
            "patterns": Exact(self.patterns()),
            "probe_positions_px": self.positions.copy(),
            "angle_index": self.scan_index,
            "theta_rad": np.zeros(self.scans),
            "energy_ev": ENERGY_EV,
            "pixel_size_m": PIXEL_M,
            "propagation_distance_m": None if self.regime == "far_field" else np.array([self.distance_m]),
        }
        return Dataset(**(fields | changes))

    def noisy(self, seed: int = 0, **changes: Any) -> Dataset:
        """The same with photon noise."""
        counts = np.random.default_rng(seed).poisson(self.patterns()).astype(np.float32)
        return self.dataset(**({"patterns": ArrayPatterns(counts)} | changes))


@dataclass(frozen=True)
class Exact:
    """Patterns in memory, float64: a noise floor below that of float32 can be seen."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape  # type: ignore[return-value]

    def read(self, index: np.ndarray) -> np.ndarray:
        return self.array[index]


def transfer(window: tuple[int, int], kind: str, distance_m: float, waves: np.ndarray) -> np.ndarray:
    """``waves`` carried on by ``distance_m`` through free space."""
    fy, fx = (np.fft.fftfreq(n, p) for n, p in zip(window, PIXEL_M, strict=True))
    f2 = fy[:, None] ** 2 + fx[None, :] ** 2
    if kind == "fresnel":
        phase = -np.pi * WAVELENGTH_M * distance_m * f2
    else:
        phase = 2 * np.pi * distance_m * (np.sqrt(1 / WAVELENGTH_M**2 - f2) - 1 / WAVELENGTH_M)
    return np.fft.ifft2(np.exp(1j * phase) * np.fft.fft2(waves))
