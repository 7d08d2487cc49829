"""Tiny distance series that a holographic model describes exactly, all its parameters away from their start values."""

from __future__ import annotations

from typing import Any

import numpy as np
from tiny_scan import Exact

from adorym.data.dataset import Dataset

N = 20
PIXEL_M, ENERGY_EV = (2e-6, 2e-6), 17500.0


def series(window: tuple[int, int] = (12, 14), **changes: Any) -> Dataset:
    """``N`` holograms of one angle, at distances that a few pixels of buffer allow; counts are all alike."""
    fields: dict[str, Any] = {
        "patterns": Exact(np.full((N, *window), 100.0)),
        "energy_ev": ENERGY_EV,
        "pixel_size_m": PIXEL_M,
        "propagation_distance_m": np.linspace(0.03, 0.2, N),
        "open_beam_counts": 100.0,
    }
    return Dataset(**(fields | changes))


def joined(cut: Dataset, tiles: np.ndarray) -> np.ndarray:
    """``(pictures, y, x)`` whole pictures from ``tiles`` ``(n, y, x)`` without a rim, one a pattern."""
    pictures = np.zeros((cut.n_pictures, *cut.picture_px), tiles.dtype)
    stacks = tiles.reshape(-1, cut.n_pictures, *tiles.shape[1:])
    # Where two overlap the pixel counts in the first.
    for (y, x), stack in reversed(list(zip(cut.tile_corners_px.tolist(), stacks, strict=True))):
        pictures[:, y : y + tiles.shape[1], x : x + tiles.shape[2]] = stack
    return pictures


def object_of(shape: tuple[int, ...]) -> np.ndarray:
    """A smooth complex transmission."""
    y, x = np.indices(shape[:2])
    return (1 - 0.2 * np.sin(0.7 * y + 0.3 * x) ** 2) * np.exp(0.4j * np.cos(0.5 * x - 0.2 * y) - 0.3j)


def truth_of(
    name: str, start: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator, homogeneous: bool
) -> np.ndarray:
    """A value of a parameter that differs from its start value in what the data determine."""
    if name == "object":
        obj = object_of(shape)
        return -np.angle(obj) + 0j if homogeneous else obj
    widths = {
        "common_distance": 0.02,
        "relative_distances": 0.01,
        "affine": 0.02,
        "translation": 0.4,
        "pixel_ratio": 0.02,
        "intensity_scale": 0.1,
        "beam_shape": 0.1,
        "illumination": 0.5,
        "log10_kappa": 0.2,
    }
    change = widths[name] * rng.normal(size=start.shape)
    return start + (change + 1j * change[::-1] if np.iscomplexobj(start) else change)
