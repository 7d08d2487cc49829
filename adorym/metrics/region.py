"""The part of an object that a scan determines well enough to be judged by."""

from __future__ import annotations

import numpy as np

from adorym.metrics.alignment import Region

_STEP = 8  # px to which a region's edges are rounded: the same scan with another seed is then judged over the same part

_PERCENTILES = (3, 97)


def scanned_region(positions_px: np.ndarray, window_px: tuple[int, int], shape: tuple[int, int]) -> Region:
    """The rectangle that the middle of the probe swept, without the outermost positions of every side.

    Between the 3rd and the 97th percentile of the windows' centers every pixel was lit from all sides.

    Args:
        positions_px: ``(n, 2)`` (y, x) of the windows' corners in the object array.
        window_px: (y, x) size of a window.
        shape: (y, x) of the object array, which bounds the region.
    """
    centers = np.asarray(positions_px, float) + (np.asarray(window_px) - 1) / 2
    slices = []
    for low, high, size in zip(*np.percentile(centers, _PERCENTILES, axis=0), shape, strict=True):
        step = _STEP if high - low > 4 * _STEP else 1
        start, stop = (int(step * np.rint(edge / step)) for edge in (low, high))
        slices.append(slice(max(0, start), min(size, stop)))
    return slices[0], slices[1]


def inner_region(shape: tuple[int, int]) -> Region:
    """A frame without its outer eighth on every side, for objects that no probe was moved over."""
    return slice(shape[0] // 8, shape[0] - shape[0] // 8), slice(shape[1] // 8, shape[1] - shape[1] // 8)
