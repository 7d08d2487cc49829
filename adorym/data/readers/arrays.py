"""Fields and probes from arrays with any leading axes."""

from __future__ import annotations

import numpy as np

from adorym.errors import DataError


def mean_field(stack: np.ndarray) -> np.ndarray:
    """``(y, x)`` float64 mean over the leading axes of a field, values that are not finite left out."""
    field_ = np.asarray(stack, np.float64)
    if field_.ndim < 3:
        return field_
    frames = field_.reshape(-1, *field_.shape[-2:])
    finite = np.isfinite(frames)
    return np.where(finite, frames, 0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)


def modes_of(array: np.ndarray, place: str) -> np.ndarray:
    """Probe modes ``(modes, y, x)`` from an array with any leading axes."""
    if array.ndim < 2:
        raise DataError(place, "not a probe", expected="(modes, y, x)", found=array.shape)
    return array.reshape(-1, *array.shape[-2:])
