"""A cone beam whose detector is rolled by a degree, and whose rotation axis is three pixels off.

Ellipsoids have exact line integrals: each ray goes from the source to a place on the detector, four places a pixel, and
its length in each ellipsoid is the distance between the roots of a quadratic equation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_runs import STATIC
from scipy.spatial.transform import Rotation

from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome

ROWS, COLUMNS, ANGLES, PHOTONS, EPOCHS = 36, 48, 60, 1e5, 20
SOURCE, DETECTOR, PIXEL_M = 110.0, 70.0, 1e-5  # distances from the axis, in voxels; the detector's pixel
MAGNIFICATION = (SOURCE + DETECTOR) / SOURCE
VOXEL_M = PIXEL_M / MAGNIFICATION
AXIS, ROLL_DEG = 3.0, 1.0  # px; of the detector about the beam
FINE = 2


def ellipsoids(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Centers ``(x, y, z)``, matrices that make them unit balls, attenuation per voxel; the first holds the others."""
    made = [(np.zeros(3), np.diag(1 / np.array([17.0, 14.0, 16.0])), 0.01)]
    for _ in range(14):
        away = rng.normal(size=3)
        center = away / np.linalg.norm(away) * rng.uniform(0, 1) ** (1 / 3) * np.array([12.0, 9.0, 11.0])
        axes = np.diag(1 / rng.uniform(1.5, 4.0, 3))
        made.append((center, axes @ Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix(), 0.02))
    return made


def places(roll_deg: float) -> np.ndarray:
    """``(y, x, 3)`` places (x, y, z) on the detector, `FINE` along each axis of a pixel, in voxels."""
    y, x = ((np.arange(n * FINE) + 0.5) / FINE - n / 2 for n in (ROWS, COLUMNS))
    flat = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 0.0), axis=-1) * MAGNIFICATION
    return flat @ Rotation.from_euler("z", roll_deg, degrees=True).as_matrix().T + np.array([0, 0, DETECTOR])


def projection(theta: float, sample: list[tuple[np.ndarray, np.ndarray, float]], ends: np.ndarray) -> np.ndarray:
    """``(y, x)`` transmission at an angle: the sample turns about an axis that stands `AXIS` beside the beam."""
    source = np.array([0.0, 0.0, -SOURCE])
    rays = ends - source
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    turn, total = Rotation.from_euler("y", theta).as_matrix(), np.zeros(ends.shape[:2])
    for center, shape, density in sample:
        into = shape @ turn.T
        start = into @ (source - np.array([AXIS, 0, 0])) - shape @ center
        way = rays @ into.T
        a, b, c = (way**2).sum(-1), way @ start, start @ start - 1
        total += density * 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a
    return np.exp(-total).reshape(ROWS, FINE, COLUMNS, FINE).mean((1, 3))


def measured(rng: np.random.Generator) -> Dataset:
    """Photon counts over a whole turn; the file knows nothing of roll and axis."""
    sample, theta, ends = ellipsoids(rng), np.arange(ANGLES) * 2 * np.pi / ANGLES, places(ROLL_DEG)
    counts = rng.poisson(PHOTONS * np.array([projection(a, sample, ends) for a in theta]))
    return Dataset(
        ArrayPatterns(counts.astype(np.float32)),
        theta_rad=theta,
        angle_index=np.arange(ANGLES),
        open_beam_counts=PHOTONS,
        source_distance_m=SOURCE * VOXEL_M,
        distance_m=DETECTOR * VOXEL_M,
        detector_pixel_size_m=(PIXEL_M, PIXEL_M),
    )


def run(data: Dataset, **parameters: Any) -> Reconstruction:
    """A finished run."""
    config = config_from(
        {
            "data": "memory",
            "forward_model": "cone_tomography",
            "parameters": parameters,
            "run": {"epochs": EPOCHS, "batch_size": 10, "threads": 1},
        }
    )
    made = Reconstruction(data, config.recipe, config.run)
    for _ in made.epochs():
        pass
    return made


def cone_beam() -> Iterator[Figure]:
    """Axis and roll of the detector refined together with the volume, from zero."""
    data = measured(np.random.default_rng(3))
    refined = {"rotation_center": {"optimizer": {"kind": "adam", "learning_rate": "0.1 px", "beta2": 0.99}}}
    still, found = run(data), run(data, detector_roll={"start": 5}, **refined)
    values = found.problem.present()
    roll = float(np.rad2deg(values["detector_roll"][0]))
    yield Figure("cone_beam.error_of_the_roll_deg", abs(roll - ROLL_DEG), 0.1)
    yield Figure("cone_beam.error_of_the_axis_px", abs(float(values["rotation_center"][0]) - AXIS), 0.25)
    losses = [each.progress.history["loss"][-1] for each in (still, found)]
    yield Figure("cone_beam.loss_over_that_without_refinement", losses[1] / losses[0])
    _picture({"as the file says": still, "refined": found})


def _picture(found: dict[str, Reconstruction]) -> None:
    drawn = Drawing(figsize=(6, 3.2), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    for ax, (name, made) in zip(drawn.subplots(1, 2), found.items(), strict=True):
        ax.imshow(outcome(made, judged=False).object[ROWS // 2] * VOXEL_M, cmap="gray", vmin=0, vmax=0.035)
        ax.set_title(name, fontsize=10)
        ax.set_axis_off()
    drawn.savefig(STATIC / "cone_beam.png", dpi=110)
