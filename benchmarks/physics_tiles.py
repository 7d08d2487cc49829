"""Holotomography in tiles: beads seen at two distances, reconstructed whole in memory, and in tiles from a file.

Projections are exact chords of balls on a grid twice as fine as the detector's and half as wide again, propagated there
by the Fresnel transform, then binned. The truth is the volume of the balls in every voxel.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_runs import STATIC

from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.units import energy_ev

FIELD, ANGLES, DISTANCES_M, COUNTS, EPOCHS = (64, 40), 48, (0.2, 0.6), 1e4, 40
PIXEL_M, WAVELENGTH_M, DELTA, KAPPA = 2e-6, 7e-11, 2e-7, 50.0
FINE, PAD_PX = 2, 24
# y, x, z, radius in pixels from the middle of the volume.
BEADS = np.array(
    [[-22, 3, -4, 6.0], [-12, -8, 5, 5.0], [-1, 5, 8, 5.5], [4, -5, -7, 6.5], [16, 7, -3, 5.0], [22, -6, 4, 6.0]]
)
MEMORY_GIB = 2.3e-3  # half of what a whole hologram needs, and the buffer


def hologram(angle: float, distance_m: float) -> np.ndarray:
    """``(y, x)`` intensity for a beam of intensity 1."""
    ny, nx = (FINE * (n + 2 * PAD_PX) for n in FIELD)
    y, x = ((np.arange(n) - (n - 1) / 2) / FINE for n in (ny, nx))
    depth = np.zeros((ny, nx))
    for by, bx, bz, radius in BEADS:
        away = (y[:, None] - by) ** 2 + (x - bx * np.cos(angle) - bz * np.sin(angle)) ** 2
        depth += 2 * np.sqrt(np.maximum(radius**2 - away, 0)) * PIXEL_M
    wave = np.exp(-2 * np.pi / WAVELENGTH_M * DELTA * depth * (1j + 1 / KAPPA))
    f_y, f_x = (np.fft.fftfreq(n, PIXEL_M / FINE) for n in (ny, nx))
    turn = np.exp(-1j * np.pi * WAVELENGTH_M * distance_m * (f_y[:, None] ** 2 + f_x**2))
    seen = np.abs(np.fft.ifft2(np.fft.fft2(wave) * turn)) ** 2
    inner = seen[FINE * PAD_PX : -FINE * PAD_PX, FINE * PAD_PX : -FINE * PAD_PX]
    return inner.reshape(FIELD[0], FINE, FIELD[1], FINE).mean((1, 3))


def measured(rng: np.random.Generator) -> Dataset:
    """Counts of two holograms at every angle."""
    theta = np.arange(ANGLES) * np.pi / ANGLES
    seen = np.array([hologram(angle, z) for angle in theta for z in DISTANCES_M])
    return Dataset(
        ArrayPatterns(rng.poisson(COUNTS * seen).astype(np.float32)),
        theta_rad=theta,
        angle_index=np.repeat(np.arange(ANGLES), len(DISTANCES_M)),
        energy_ev=energy_ev(WAVELENGTH_M),
        pixel_size_m=(PIXEL_M, PIXEL_M),
        propagation_distance_m=np.array(DISTANCES_M),
        open_beam_counts=COUNTS,
    )


def truth(fine: int = 3) -> np.ndarray:
    """``(y, x, z)`` delta."""
    ny, nx = FIELD
    y, x = ((np.arange(n * fine) + 0.5) / fine - n / 2 for n in FIELD)
    filled = np.zeros((ny * fine, nx * fine, nx * fine), np.float32)
    for by, bx, bz, radius in BEADS:
        filled[(y[:, None, None] - by) ** 2 + (x[:, None] - bx) ** 2 + (x - bz) ** 2 < radius**2] = 1
    return DELTA * filled.reshape(ny, fine, nx, fine, nx, fine).mean((1, 3, 5))


def run(data: Dataset, memory_gib: float, **settings: Any) -> tuple[Reconstruction, np.ndarray]:
    """A finished run, and its delta in the field of view."""
    config = config_from(
        {
            "data": "memory",
            "forward_model": {"kind": "holotomography", "center": 0.0, "tile_memory_gib": memory_gib},
            "constraints": [{"kind": "homogeneous", "kappa": KAPPA}, "non_negativity"],
            "run": {"epochs": EPOCHS, "batch_size": 12, "batch_order": "random", "threads": 1, **settings},
        }
    )
    made = Reconstruction(data, config.recipe, config.run)
    for _ in made.epochs():
        pass
    found = outcome(made, judged=False).object[..., 0]
    (y, x), (ny, nx) = made.problem.bound.origin_px, FIELD
    return made, found[y : y + ny, x : x + nx, x : x + nx]


def tiles() -> Iterator[Figure]:
    """Error in tiles over that of the whole, and the part of the volume's rows that a hologram needs."""
    data, true = measured(np.random.default_rng(1)), truth()
    in_memory = run(data, 1.0)[1]
    with tempfile.TemporaryDirectory() as folder:
        cut, in_tiles = run(data, MEMORY_GIB, store="h5", scratch=folder, memory="4 MB")
        one = np.zeros(1, int)
        rows = cut.problem.view(one, cut.problem.corners_px(one)).shape[0] / cut.problem.store.shape[0]
        cut.problem.store.close()
    errors = [float(np.linalg.norm(each - true) / np.linalg.norm(true)) for each in (in_memory, in_tiles)]
    yield Figure("tiles.number", len(cut.problem.dataset.tile_corners_px))
    yield Figure("tiles.error_of_the_whole", errors[0])
    yield Figure("tiles.error_over_that", errors[1] / errors[0], 1.1)
    yield Figure("tiles.part_of_the_rows", rows, 0.75)
    _picture({"truth": true, f"whole: error {errors[0]:.2f}": in_memory, f"in tiles: error {errors[1]:.2f}": in_tiles})


def _picture(found: dict[str, np.ndarray]) -> None:
    drawn = Drawing(figsize=(6.6, 3.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    for ax, (name, each) in zip(drawn.subplots(1, 3), found.items(), strict=True):
        ax.imshow(each[:, :, math.ceil(FIELD[1] / 2) - 4], cmap="gray", vmin=0, vmax=1.2 * DELTA)
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()
    drawn.savefig(STATIC / "holotomography_tiles.png", dpi=110)
