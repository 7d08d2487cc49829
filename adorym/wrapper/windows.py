"""Copying windows out of an array and adding them back, on the CPU: a pair of adjoint kernels."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _gather(a: np.ndarray, corners: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.shape[0]):
        y, x = corners[i, 0], corners[i, 1]
        for r in range(out.shape[1]):
            out[i, r] = a[y + r, x : x + out.shape[2]]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _scatter_add(a: np.ndarray, corners: np.ndarray, windows: np.ndarray) -> None:
    step = 0 if windows.shape[0] == 1 else 1
    for i in range(corners.shape[0]):
        y, x = corners[i, 0], corners[i, 1]
        for r in range(windows.shape[1]):
            row, source = a[y + r], windows[i * step, r]
            for c in range(windows.shape[2]):
                for k in range(windows.shape[3]):
                    row[x + c, k] += source[c, k]


def gather(a: np.ndarray, corners: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """``(n, wy, wx, ...)`` copies of ``a`` ``(y, x, ...)``, C-contiguous, with corners ``(n, 2)`` int64."""
    out = np.empty((len(corners), *window, *a.shape[2:]), a.dtype)
    depth = int(np.prod(a.shape[2:], dtype=int))
    _gather(a.reshape(*a.shape[:2], depth), corners, out.reshape(*out.shape[:3], depth))
    return out


def scatter_add(a: np.ndarray, corners: np.ndarray, windows: np.ndarray) -> None:
    """Add ``windows`` ``(n or 1, wy, wx, ...)`` into ``a`` at ``corners``; one window may stand for all of them."""
    parts = 2 if a.dtype.kind == "c" else 1
    real = a.real.dtype
    depth = parts * int(np.prod(a.shape[2:], dtype=int))
    flat = a.view(real).reshape(*a.shape[:2], depth)
    source = windows.astype(a.dtype, copy=False).view(real).reshape(*windows.shape[:3], depth)
    _scatter_add(flat, corners, source)
