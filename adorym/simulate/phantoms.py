r"""Specimens for simulations: complex transmissions sampled on any grid.

A specimen of refractive index :math:`n = 1 - \delta + i\beta` and projected thickness :math:`t` passes
:math:`\exp[-k(\beta + i\delta)\,t]` of the wave.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError
from adorym.optics.geometry import Grid
from adorym.registry import register
from adorym.simulate.base import centered
from adorym.units import Angle, Length

Fraction = Annotated[float, Field(ge=0, le=1)]


class Phantom(ABC):
    """A thin specimen."""

    @abstractmethod
    def transmission(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """Transmission ``(y, x)`` complex128 at the samples of ``grid``; ``rng`` places what is random.

        The specimen is the same whatever the grid's sampling: a finer grid over the same field shows more of it.
        """


@register("phantom", "vacuum")
class Vacuum(Phantom):
    """No specimen: the beam itself."""

    def transmission(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        return np.ones(grid.window_px, np.complex128)


@register("phantom", "siemens_star")
class SiemensStar(Phantom):
    """Resolution target: spokes of one metal that narrow towards the center, held together by rings.

    Edges are anti-aliased over one sample, so where spokes are thinner than that the star fades to its mean.

    Attributes:
        spokes: Number of spokes; an odd number leaves the star without a center of symmetry.
        rings: Number of rings; each has half the radius of the one around it.
        diameter: Outer diameter; 0.8 of the shorter side of the field if not given.
        thickness: Height of the structures.
        delta: Refractive index decrement; the default is gold at 8.8 keV (Henke, Gullikson & Davis, At. Data Nucl.
            Data Tables 54, 181 (1993)).
        beta: Absorption index, likewise.
    """

    spokes: Annotated[int, Field(ge=2)] = 35
    rings: Annotated[int, Field(ge=1)] = 4
    diameter: Length | None = None
    thickness: Annotated[Length, Field(gt=0)] = 600e-9
    delta: float = 3.8e-5
    beta: Annotated[float, Field(ge=0)] = 3.5e-6

    def transmission(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        index = self.delta * 1j + self.beta
        return np.exp(-grid.wavenumber_per_m * self.thickness * index * self.coverage(grid))

    def coverage(self, grid: Grid) -> np.ndarray:
        """Part of each sample that metal covers, ``(y, x)`` float64 between 0 and 1."""
        outer = (self.diameter or 0.8 * min(grid.extent_m)) / 2
        y, x = centered(grid)
        radius, angle = np.hypot(y, x), np.arctan2(y, x)
        blur = max(grid.pixel_size_m)

        def covered(depth: np.ndarray) -> np.ndarray:
            # ``depth`` is how far inside the edge a sample lies, in meters.
            return np.clip(0.5 + depth / blur, 0, 1)

        off_axis = np.abs((angle * self.spokes / (2 * np.pi)) % 1 - 0.5)  # 0 in the middle of a spoke, 0.5 between two
        star = covered((0.25 - off_axis) * radius * 2 * np.pi / self.spokes)
        for ring in range(self.rings):
            edge = outer / 2**ring
            star = np.maximum(star, covered(edge / 24 - np.abs(radius - edge * 23 / 24)))
        return np.minimum(star, covered(outer - radius))


@register("phantom", "pictures")
class Pictures(Phantom):
    """Two photographs: one as the amplitude, one as the phase, so that neither can pass for the other.

    Attributes:
        amplitude: (darkest, brightest) amplitude.
        phase: Range of the phase, centered on 0.
        amplitude_picture: Picture shown by the amplitude: one of scikit-image's (``camera``, ``astronaut``, ...), or a
            file.
        phase_picture: Picture shown by the phase.
        moved: Whether the seed moves the pictures around, over the edge and in again.
    """

    amplitude: tuple[Fraction, Fraction] = (0.7, 1.0)
    phase: Angle = 1.5
    amplitude_picture: str = "camera"
    phase_picture: str = "astronaut"
    moved: bool = True

    def transmission(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        low, high = self.amplitude
        names = ("amplitude_picture", "phase_picture")
        amplitude, phase = (self._photograph(name, grid.window_px, rng) for name in names)
        return (low + (high - low) * amplitude) * np.exp(1j * self.phase * (phase - 0.5))

    def _photograph(self, name: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        from skimage.transform import resize

        picture = _gray(getattr(self, name), name)
        turn = rng.uniform(0, 0.25, 2) * shape if self.moved else np.zeros(2)
        fine = resize(picture, shape, order=3, anti_aliasing=True)
        return np.roll(np.clip(fine, 0, 1), np.rint(turn).astype(int), (0, 1))


@register("phantom", "cells")
class Cells(Phantom):
    """Soft tissue: cells of random size, shape and position, each with a denser nucleus and granules, of one material.

    Attributes:
        count: Number of cells; they are spread out, and overlap where there is no room.
        diameter: Mean diameter; a seventh of the shorter side of the field if not given.
        phase: Phase shift of the thickest point of a typical cell without its nucleus.
        absorption: beta / delta of the material.
    """

    count: Annotated[int, Field(ge=1)] = 40
    diameter: Length | None = None
    phase: Angle = 0.8
    absorption: Annotated[float, Field(ge=0)] = 0.1

    def transmission(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        y, x = centered(grid)
        typical = (self.diameter or min(grid.extent_m) / 7) / 2
        thickness = np.zeros(grid.window_px)

        def add(at: np.ndarray, radius: float, height: float) -> None:
            semi_axes, turn = (radius, radius * rng.uniform(0.6, 1.0)), rng.uniform(0, np.pi)
            # Only the samples that the dome can reach: most cells are small against the field.
            rows = slice(*np.searchsorted(y[:, 0], (at[0] - radius, at[0] + radius)))
            columns = slice(*np.searchsorted(x[0], (at[1] - radius, at[1] + radius)))
            thickness[rows, columns] += height * _dome(y[rows] - at[0], x[:, columns] - at[1], semi_axes, turn)

        for middle in _spread(self.count, rng) * grid.extent_m:
            size = typical * rng.uniform(0.7, 1.3)
            add(middle, size, size / typical)
            add(middle + 0.3 * size * rng.uniform(-1, 1, 2), 0.35 * size, 0.5)
            for _ in range(6):
                add(middle + 0.6 * size * rng.uniform(-1, 1, 2), size * rng.uniform(0.04, 0.1), 0.4)
        return np.exp(-self.phase * (self.absorption + 1j) * thickness)


@register("phantom", "electrode")
class Electrode(Phantom):
    """A layer of round particles of one material, many of them with a hole, as in the electrode of a battery.

    Attributes:
        count: Number of particles; they are spread out and overlap where there is no room.
        diameter: Mean diameter; an eighth of the shorter side of the field if not given.
        phase: Phase shift of the middle of a typical particle.
        absorption: beta / delta of the material.
    """

    count: Annotated[int, Field(ge=1)] = 16
    diameter: Length | None = None
    phase: Angle = 2.0
    absorption: Annotated[float, Field(ge=0)] = 0.05

    def transmission(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        y, x = centered(grid)
        typical = (self.diameter or min(grid.extent_m) / 8) / 2
        thickness = np.zeros(grid.window_px)
        for middle in 0.7 * _spread(self.count, rng) * grid.extent_m:
            radius = typical * rng.uniform(0.6, 1.4)
            thickness += _ball(y - middle[0], x - middle[1], radius) / typical
            if rng.random() < 0.6:
                hole = middle + 0.4 * radius * rng.uniform(-1, 1, 2)
                thickness -= _ball(y - hole[0], x - hole[1], radius * rng.uniform(0.15, 0.4)) / typical
        return np.exp(-self.phase * (self.absorption + 1j) * thickness)


@lru_cache(maxsize=4)
def _gray(name: str, where: str) -> np.ndarray:
    """A picture of scikit-image, or in a file, ``(y, x)`` from 0 to 1."""
    from skimage import data, io  # loading pictures costs more than most simulations need

    path = Path(name).expanduser()
    if path.is_file():
        picture = np.asarray(io.imread(path))
    elif name in data.__all__ and name not in ("data_dir", "download_all"):
        picture = np.asarray(getattr(data, name)())
    else:
        raise ConfigError(
            where, f"no picture '{name}'", expected="a picture of scikit-image, such as 'camera', or a file"
        )
    if picture.ndim == 3:
        picture = picture[..., :3].mean(-1)
    return picture / (255.0 if picture.max() > 1 else 1.0)


def _spread(count: int, rng: np.random.Generator) -> np.ndarray:
    """Points ``(count, 2)`` between -0.5 and 0.5, each the one of ten random ones that is farthest from the others.

    Best-candidate sampling (Mitchell, Comput. Graph. (SIGGRAPH) 25, 157 (1991)).
    """
    points = rng.uniform(-0.5, 0.5, (1, 2))
    while len(points) < count:
        candidates = rng.uniform(-0.5, 0.5, (10, 2))
        distances = np.linalg.norm(candidates[:, None] - points, axis=-1).min(1)
        points = np.vstack([points, candidates[distances.argmax()]])
    return points


def _ball(y: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """Thickness of a ball along the beam over 2, in the unit of its radius."""
    return np.sqrt(np.maximum(radius**2 - y**2 - x**2, 0))


def _dome(y: np.ndarray, x: np.ndarray, semi_axes: tuple[float, float], turn: float) -> np.ndarray:
    """A paraboloid on an ellipse, 1 at its top: 1 - rho^2."""
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return np.maximum(1 - (along / semi_axes[0]) ** 2 - (across / semi_axes[1]) ** 2, 0)
