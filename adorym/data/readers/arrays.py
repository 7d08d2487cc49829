"""Probe modes from arrays with any leading axes."""

from __future__ import annotations

import numpy as np

from adorym.errors import DataError


def modes_of(array: np.ndarray, place: str) -> np.ndarray:
    """Probe modes ``(modes, y, x)`` from an array with any leading axes."""
    if array.ndim < 2:
        raise DataError(place, "not a probe", expected="(modes, y, x)", found=array.shape)
    return array.reshape(-1, *array.shape[-2:])
