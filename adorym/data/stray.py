"""Counts that have nothing to do with the peak: pixels that always count, cosmic rays, and lonely counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.volume import Volume

# A pixel always counts if the median of its frames is so many times that of its brightest neighbor, and no less than
# this part of the largest: a peak comes and goes.
STUCK, STEADY = 5.0, 0.25
# A voxel is far above its neighbors if it is so many times the second brightest.
FAR_ABOVE = 1.5
# Voxels around the peak, along each axis, that are never stray.
NEAR = 2


def without_stray(volume: Volume, sigmas: float = 8.0, isolated: int = 3) -> tuple[Volume, int]:
    """Voxels that do not belong to the peak become unmeasured.

    A voxel far above its neighbors is stray, unless it is a peak narrower than a voxel, or near it, or its fringes. The
    peak is where the counts of the neighbors, without the brightest of them, are highest; or, if the stray voxels hold
    more counts than all that rises above the background, the brightest of them.

    Args:
        volume: Counts.
        sigmas: How many standard deviations of counting statistics a voxel may be above half as much again as the
            second brightest of its 26 neighbors, and above twice their mean. On streaks and fringes of a peak two of
            them are bright.
        isolated: A connected set of counts, away from everything, of at most this many voxels is taken as stray.

    Returns:
        The volume, and how many voxels were taken out.
    """
    stuck = np.broadcast_to(_stuck(volume.counts.astype(np.float64), sigmas), volume.shape)
    counts = np.where(stuck, 0, volume.counts).astype(np.float64)
    footprint = np.ones((3, 3, 3), bool)
    footprint[1, 1, 1] = False
    neighbors = scipy.ndimage.uniform_filter(counts, 3, mode="nearest") * 27 - counts
    second = scipy.ndimage.rank_filter(counts, -2, footprint=footprint, mode="nearest")
    around = np.maximum(FAR_ABOVE * second, neighbors / 13)
    bad = counts > around + sigmas * np.sqrt(around + 1)
    labels, n = scipy.ndimage.label(counts > 0, structure=np.ones((3, 3, 3)))
    if n > 1 and isolated > 0:
        sizes = np.bincount(labels.ravel())
        lonely = (sizes <= isolated) & (scipy.ndimage.sum_labels(counts, labels, np.arange(n + 1)) > sigmas)
        lonely[0] = False
        bad |= lonely[labels]
    if bad.any():
        bad &= ~_of_peak(counts, bad, _peak(counts, neighbors, bad, footprint))
    bad |= stuck & (volume.counts > 0)
    good = ~bad if volume.good is None else volume.good & ~bad
    return replace(volume, counts=np.where(bad, 0, volume.counts).astype(np.float32), good=good), int(bad.sum())


def _stuck(counts: np.ndarray, sigmas: float) -> np.ndarray:
    """``(y, x)`` bool: pixels that count far more than those around them in most frames."""
    typical = np.median(counts, axis=0)
    footprint = np.ones((3, 3), bool)
    footprint[1, 1] = False
    around = scipy.ndimage.maximum_filter(typical, footprint=footprint, mode="nearest")
    steady = typical > STEADY * counts.max(axis=0)
    return np.asarray(steady & (typical > STUCK * around + sigmas * np.sqrt(around + 1)))


def _peak(counts: np.ndarray, neighbors: np.ndarray, bad: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """(z, y, x) of the peak."""
    rest = counts[~bad]
    level = float(np.median(rest))
    above = rest - level
    signal = float(above[above > 5 * np.sqrt(level + 1)].sum())
    if float(counts[bad].sum()) > signal:
        return np.array(np.unravel_index(int(np.where(bad, counts, 0).argmax()), counts.shape))
    brightest = scipy.ndimage.maximum_filter(counts, footprint=footprint, mode="nearest")
    return np.array(np.unravel_index(int((neighbors - brightest).argmax()), counts.shape))


def _of_peak(counts: np.ndarray, bad: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Bool: of a peak narrower than a voxel, what is near it, or no brighter than its fringes may be there."""
    z, y, x = (np.abs(axis - at) for axis, at in zip(np.ogrid[tuple(map(slice, counts.shape))], place, strict=True))
    near = np.maximum(np.maximum(z, y), x) <= NEAR
    top = np.where(near, counts, 0)
    if not bad[np.unravel_index(int(top.argmax()), top.shape)]:
        return np.zeros(counts.shape, bool)
    # Twice the envelope of sinc^2 of a crystal of half of the array, the widest that can be sampled.
    fringes = 2 * top.max() / (1 + (np.pi / 2) ** 2 * (z**2 + y**2 + x**2))
    return np.asarray(near | (counts < fringes))
