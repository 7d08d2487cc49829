"""A foam that flows while it is turned: reconstructed as one that stands still, and at each moment.

Projections are exact line integrals: chords of discs whose places and radii depend on time, each detector pixel the
mean of eight rays. The truth is their area in every pixel at each moment.
"""

from __future__ import annotations

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

SIZE, OUTER, PER_PIXEL, WALL = 64, 26.0, 0.02, 1.0
PROJECTIONS, PHOTONS, RAYS, SHOWN = 180, 1e5, 8, (0.0, 0.5, 1.0)
GOLDEN = np.pi * (np.sqrt(5) - 1) / 2
BASIS = 5


def bubbles(rng: np.random.Generator, count: int = 14) -> np.ndarray:
    """``(count, 3)``: x, z and radius of bubbles that do not overlap at the start."""
    made: list[np.ndarray] = []
    while len(made) < count:
        radius, turn = rng.uniform(2.5, 6), rng.uniform(0, 2 * np.pi)
        away = np.sqrt(rng.uniform()) * (OUTER - 4 - radius)
        one = np.array([away * np.sin(turn), away * np.cos(turn), radius])
        if all(np.hypot(*(one - each)[:2]) > radius + each[2] + WALL for each in made):
            made.append(one)
    return np.array(made)


def flowing(first: np.ndarray, time: float) -> np.ndarray:
    """The bubbles at ``time`` from 0 to 1: squeezed along x, sheared along z; some grow, others shrink."""
    x, z, radius = first.T
    moved = x * (1 - 0.5 * time) + 3 * time * np.cos(z / 8), z + 4 * time * np.sin(x / 9)
    return np.stack([*moved, radius * (1 + 0.25 * time * np.sin(x))], axis=1)


def projection(theta: float, now: np.ndarray) -> np.ndarray:
    """``(x,)`` transmission of the foam at the angle ``theta``."""
    u = (np.arange(SIZE * RAYS) + 0.5) / RAYS - SIZE / 2
    length = 2 * np.sqrt(np.maximum(OUTER**2 - u**2, 0))
    for x, z, radius in now:
        away = u - (x * np.cos(theta) + z * np.sin(theta))
        length -= 2 * np.sqrt(np.maximum(radius**2 - away**2, 0))
    return np.exp(-PER_PIXEL * length).reshape(SIZE, RAYS).mean(1)


def section(now: np.ndarray, fine: int = 4) -> np.ndarray:
    """``(x, z)`` attenuation per pixel."""
    line = (np.arange(SIZE * fine) + 0.5) / fine - SIZE / 2
    x, z = line[:, None], line[None, :]
    filled = (x**2 + z**2 < OUTER**2).astype(float)
    for px, pz, radius in now:
        filled[(x - px) ** 2 + (z - pz) ** 2 < radius**2] = 0
    return PER_PIXEL * filled.reshape(SIZE, fine, SIZE, fine).mean((1, 3))


def measured(first: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Dataset:
    """Photon counts of one detector row, the foam flowing from the first projection to the last."""
    times = np.arange(len(theta)) / (len(theta) - 1)
    seen = np.array([projection(a, flowing(first, t)) for a, t in zip(theta, times, strict=True)])
    counts = rng.poisson(PHOTONS * seen[:, None]).astype(np.float32)
    index = np.arange(len(theta))
    return Dataset(ArrayPatterns(counts), theta_rad=theta, angle_index=index, open_beam_counts=PHOTONS)


def run(data: Dataset, **parameters: Any) -> Reconstruction:
    """A finished run."""
    config = config_from(
        {
            "data": "memory",
            "forward_model": {"kind": "tomography", "center": "middle"},
            "parameters": parameters,
            "run": {"epochs": 50, "batch_size": 30, "threads": 1},
        }
    )
    made = Reconstruction(data, config.recipe, config.run)
    for _ in made.epochs():
        pass
    return made


def at(made: Reconstruction, times: np.ndarray) -> np.ndarray:
    """``(t, x, z)`` attenuation per pixel at ``times`` from 0 to 1."""
    result = outcome(made, judged=False)
    if "times" not in result.parameters:
        return np.repeat(result.object[:1], len(times), axis=0)
    return np.concatenate([result.at(t * (PROJECTIONS - 1)).object[:1] for t in times])


def changing_foam() -> Iterator[Figure]:
    """Angles in steps of the golden ratio over 180 degrees: error at all moments over that of a static volume.

    Angles in order would not do: each moment would be seen from one direction only.
    """
    rng = np.random.default_rng(1)
    first, number = bubbles(rng), np.arange(PROJECTIONS)
    times = np.linspace(0, 1, 21)
    true = np.array([section(flowing(first, t)) for t in times])

    def error(made: Reconstruction) -> float:
        return float(np.linalg.norm(at(made, times) - true) / np.linalg.norm(true))

    data = measured(first, number * GOLDEN % np.pi, rng)
    still, changing = run(data), run(data, object={"time": {"basis": BASIS}})
    errors = [error(still), error(changing)]
    yield Figure("changing_foam.error_of_a_static_volume", errors[0])
    yield Figure("changing_foam.error_over_that", errors[1] / errors[0], 0.5)
    _picture(first, {f"static: error {errors[0]:.2f}": still, f"changing: error {errors[1]:.2f}": changing})


def _picture(first: np.ndarray, found: dict[str, Reconstruction]) -> None:
    drawn = Drawing(figsize=(6.6, 6.8), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    axes, moments = drawn.subplots(3, 3), np.array(SHOWN)
    rows = {"truth": np.array([section(flowing(first, t)) for t in moments])}
    rows |= {name: at(made, moments) for name, made in found.items()}
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture, moment in zip(line, pictures, moments, strict=True):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1.2 * PER_PIXEL)
            ax.set_title(f"{name}, t = {moment:.1f}", fontsize=9)
            ax.set_axis_off()
    drawn.savefig(STATIC / "changing_foam.png", dpi=110)
