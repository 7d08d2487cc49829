"""Probe windows on the object: pure index arithmetic, without arrays of a backend.

A probe position is the (y, x) position, in object pixels, of the corner of the probe's window. The object is cut out at
whole pixels; the fractional rest shifts the probe.
"""

from __future__ import annotations

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.errors import DataError, GeometryError

Shape = tuple[int, int]
LARGEST_PX = 1e8  # position that is one: more, in any unit, is a number gone wrong


def corners_and_offsets(positions_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split positions ``(n, 2)`` into corners ``(n, 2)`` int64 and offsets ``(n, 2)`` float64 in [-0.5, 0.5].

    The corner is the nearest integer (halves go to the even one), and corner + offset is the position exactly.
    """
    positions = np.asarray(positions_px, np.float64)
    nearest = np.rint(positions)
    return nearest.astype(np.int64), positions - nearest


def object_shape(positions_px: np.ndarray, window_px: Shape, margin_px: int = 0) -> tuple[Shape, Shape]:
    """The smallest object that holds every window with ``margin_px`` free pixels around them.

    Args:
        positions_px: ``(n, 2)`` (y, x) positions as given with the data, of any sign.
        window_px: (y, x) size of the window.
        margin_px: Pixels to spare on every side.

    Returns:
        ``(shape, origin_px)``: the object's (y, x) shape, and the index in it of the data's position (0, 0). A position
        in the object is ``positions_px + origin_px``.

    Raises:
        DataError: There is no position, or they lie further apart than any object is large.
    """
    positions = np.asarray(positions_px, np.float64)
    if not len(positions):
        raise DataError("probe_positions", "there are none", expected="at least one (y, x) position")
    span, far = float(np.ptp(positions, axis=0).max()), float(np.abs(positions).max())
    if not span + far < LARGEST_PX:
        expected, found = f"less than {LARGEST_PX:g}", f"{span:.3g} px between them, up to {far:.3g}"
        remedy = "give their unit, data.positions_unit, and the pixel size"
        what = "too far apart or away, in object pixels"
        raise DataError("probe_positions", what, expected=expected, found=found, remedy=remedy)
    low, high = np.floor(positions.min(0)).astype(int), np.ceil(positions.max(0)).astype(int)
    origin = margin_px - low
    size = high - low + np.asarray(window_px) + 2 * margin_px
    return (int(size[0]), int(size[1])), (int(origin[0]), int(origin[1]))


def corner_bounds(shape_px: Shape, window_px: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest (y, x) corner ``(2,)`` int64 whose window lies inside an object of ``shape_px``.

    Raises:
        GeometryError: The window is larger than the object.
    """
    room = np.asarray(shape_px, np.int64) - np.asarray(window_px, np.int64)
    if (room < 0).any():
        raise GeometryError(
            "parameters.object",
            "the object is smaller than one window",
            expected=f"at least {tuple(window_px)} pixels",
            found=tuple(shape_px),
        )
    return np.zeros(2, np.int64), room


def clip_corners(corners_px: np.ndarray, shape_px: Shape, window_px: Shape) -> np.ndarray:
    """Corners ``(n, 2)`` moved, where they must be, so that every window lies inside the object."""
    return np.clip(corners_px, *corner_bounds(shape_px, window_px))


def inside(positions_px: np.ndarray, shape_px: Shape, window_px: Shape) -> np.ndarray:
    """Which positions ``(n,)`` bool have their whole window inside the object."""
    corners, _ = corners_and_offsets(positions_px)
    low, high = corner_bounds(shape_px, window_px)
    return np.all((corners >= low) & (corners <= high), axis=1)


def nearest_distances(positions_px: np.ndarray) -> np.ndarray:
    """Distance in pixels from each position to its nearest neighbor, ``(n,)``; infinite for a single position."""
    positions = np.asarray(positions_px, np.float64)
    if len(positions) < 2:
        return np.full(len(positions), np.inf)
    return scipy.spatial.cKDTree(positions).query(positions, k=2)[0][:, 1]
