"""Scans of `physics_waves` as data sets, their reconstruction with default settings, and its error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from physics_waves import WINDOW, patterns

from adorym.commands.score import in_frame
from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.metrics import align_object
from adorym.units import energy_ev

STATIC = Path(__file__).resolve().parent.parent / "docs" / "_static"
PIXEL_M, ENERGY_EV = 20e-9, energy_ev(1.4e-10)
EPOCHS = 100


def measured(
    obj: np.ndarray, beams: np.ndarray, positions: np.ndarray, rng: np.random.Generator, **known: Any
) -> Dataset:
    """Counts of a scan of the fine object ``obj`` with a beam for each pattern, without a start probe."""
    return measured_counts(rng.poisson(patterns(obj, beams, positions)), positions, **known)


def measured_counts(counts: np.ndarray, positions: np.ndarray, **known: Any) -> Dataset:
    """A scan with these ``counts`` ``(n, y, x)`` and nothing else known than its pixel and its beam."""
    given: dict[str, Any] = {
        "energy_ev": ENERGY_EV,
        "pixel_size_m": (PIXEL_M, PIXEL_M),
        "probe_positions_px": positions,
    }
    return Dataset(ArrayPatterns(counts.astype(np.float32)), **(given | known))


def run(dataset: Dataset, **settings: Any) -> Reconstruction:
    """A finished run with default settings, except for those given."""
    config = config_from(
        {"data": "memory", "forward_model": "ptychography", "run": {"epochs": EPOCHS, "threads": 1}, **settings}
    )
    made = Reconstruction(dataset, config.recipe, config.run)
    for _ in made.epochs():
        pass
    return made


def error(made: Reconstruction, true: np.ndarray) -> tuple[float, np.ndarray]:
    """NRMSE of the object in the well-lit middle, and the object in the frame of ``true``; of its strongest state."""
    found = framed(made, 0, true.shape)
    corners = made.problem.dataset.probe_positions_px
    low, high = int(corners.min() + WINDOW / 2 + 2), int(corners.max() + WINDOW / 2 - 2)
    region = (slice(low, high), slice(low, high))
    aligned = align_object(found, true, region)
    return aligned.error, found


def framed(made: Reconstruction, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """A state or slice of the object, ``(y, x)``, in the frame of the specimen."""
    origin = made.problem.bound.origin_px
    obj = outcome(made, judged=False).object[..., number].astype(np.complex128)
    return in_frame(obj, (int(origin[0]), int(origin[1])), (shape[0], shape[1]))[0]
