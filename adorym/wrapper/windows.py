"""Copying windows out of an array and adding them back, on the CPU: a pair of adjoint kernels."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_REAL: dict[str, np.dtype] = {"F": np.dtype("float32"), "D": np.dtype("float64")}


# Rows are flat and real here: a window's row is one contiguous run of numbers in both arrays, and both runs are sliced
# before the loop, as an index that is known not to be negative is what LLVM vectorizes.
@njit(cache=True, nogil=True, error_model="numpy")
def _gather(a: np.ndarray, corners: np.ndarray, depth: int, out: np.ndarray) -> None:
    for i in range(out.shape[0]):
        y, x = corners[i, 0], corners[i, 1] * depth
        for r in range(out.shape[1]):
            target = out[i, r]
            row = a[y + r, x : x + target.size]
            for c in range(target.size):
                target[c] = row[c]


@njit(cache=True, nogil=True, error_model="numpy")
def _scatter_add(a: np.ndarray, corners: np.ndarray, depth: int, windows: np.ndarray) -> None:
    step = 0 if windows.shape[0] == 1 else 1
    for i in range(corners.shape[0]):
        y, x = corners[i, 0], corners[i, 1] * depth
        for r in range(windows.shape[1]):
            source = windows[i * step, r]
            row = a[y + r, x : x + source.size]
            for c in range(source.size):
                row[c] += source[c]


def _flat_rows(a: np.ndarray, lead: int) -> tuple[np.ndarray, int]:
    """``a`` as real numbers with all but its first ``lead`` axes and one row axis flattened; numbers a pixel."""
    parts, real = (2, a.view(_REAL[a.dtype.char])) if a.dtype.kind == "c" else (1, a)
    depth = parts * math.prod(a.shape[lead + 1 :])
    return real.reshape(*a.shape[:lead], a.shape[lead] * depth), depth


def gather(a: np.ndarray, corners: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """``(n, wy, wx, ...)`` copies of ``a`` ``(y, x, ...)``, C-contiguous, with corners ``(n, 2)`` int64."""
    out = np.empty((len(corners), *window, *a.shape[2:]), a.dtype)
    flat, depth = _flat_rows(a, 1)
    _gather(flat, corners, depth, _flat_rows(out, 2)[0])
    return out


def scatter_add(a: np.ndarray, corners: np.ndarray, windows: np.ndarray) -> None:
    """Add ``windows`` ``(n or 1, wy, wx, ...)`` into ``a`` at ``corners``; one window may stand for all of them."""
    flat, depth = _flat_rows(a, 1)
    _scatter_add(flat, corners, depth, _flat_rows(windows.astype(a.dtype, copy=False), 2)[0])
