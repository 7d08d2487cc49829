"""Full-field projections as line integrals: pixels that tell nothing are filled in from their neighbors.

The model of the counts leaves such pixels out. Filters and back-projection cannot: a hole is a streak through the whole
volume, and a hole taken for vacuum is one that the sample seems to have.
"""

from __future__ import annotations

import numpy as np

from adorym.data.dataset import Dataset

DARKEST = 1e-4  # lower limit of the transmission before its logarithm is taken


def line_integrals(dataset: Dataset, rows: slice = slice(None)) -> np.ndarray:
    """``-log(I / I_0) / 2`` ``(n, rows, x)`` float64: line integrals of the amplitude's absorption.

    Pixels that are masked or not finite are interpolated.
    """
    counts = dataset.patterns.read(np.arange(dataset.n_patterns))[:, rows].astype(np.float64)
    counts = counts**2 if dataset.measured == "amplitude" else counts
    good = np.isfinite(counts)
    if dataset.mask is not None:
        good &= (dataset.mask if dataset.mask.ndim == 3 else dataset.mask[None])[:, rows]
    level = dataset.open_beam_counts or 1.0
    return filled(-0.5 * np.log(np.maximum(np.where(good, counts, level) / level, DARKEST)), good)


def filled(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """``values`` ``(n, y, x)`` with those that are not ``good`` interpolated.

    Along x from the next good pixels of the row; rows without any along y, then pictures without any from the pictures
    before and after.
    """
    for axis in (2, 1, 0):
        if good.all():
            break
        moved, known = np.moveaxis(values, axis, -1), np.moveaxis(good, axis, -1)
        some = known.any(axis=-1, keepdims=True)
        values = np.moveaxis(np.where(known, moved, _between(moved, known)), -1, axis)
        good = good | np.moveaxis(np.broadcast_to(some, known.shape), -1, axis)
    return values


def _between(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Linear interpolation along the last axis between good values; constant beyond the outermost."""
    place = np.arange(values.shape[-1])
    before = np.maximum.accumulate(np.where(good, place, -1), axis=-1)
    after = np.minimum.accumulate(np.where(good, place, values.shape[-1])[..., ::-1], axis=-1)[..., ::-1]
    before, after = np.where(before < 0, after, before), np.where(after == values.shape[-1], before, after)
    # Where there is nothing good at all the next axis takes over.
    before, after = (np.clip(each, 0, values.shape[-1] - 1) for each in (before, after))
    low, high = (np.take_along_axis(values, each, axis=-1) for each in (before, after))
    part = np.where(after > before, (place - before) / np.maximum(after - before, 1), 0.0)
    return (1 - part) * low + part * high
