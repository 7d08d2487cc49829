"""Lists of positions from arrays in any order of axes."""

from __future__ import annotations

import numpy as np

from adorym.errors import DataError


def rows_of(array: np.ndarray, n: int, place: str) -> np.ndarray:
    """``(k, 2)`` or ``(k, 3)`` from ``(k, 3)``, ``(3, k)``, a raster ``(ny, nx, 3)``, or the same with 2 for 3.

    Where both the first and the last axis would do, the one that gives ``n`` rows is taken, else the last.

    Raises:
        DataError: Neither the first nor the last axis has two or three entries.
    """
    last, first = array.shape[-1:] in ((2,), (3,)), array.shape[:1] in ((2,), (3,))
    if array.ndim < 2 or not (last or first):
        raise DataError(place, "positions have the wrong shape", expected=f"({n}, 2), ({n}, 3)", found=array.shape)
    if last and (array.size == n * array.shape[-1] or not first or array.size != n * array.shape[0]):
        return array.reshape(-1, array.shape[-1])
    return array.reshape(array.shape[0], -1).T
