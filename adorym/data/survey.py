"""Properties of a scan before reconstruction: step, overlap, orientation, hot and dead pixels.

These are estimates that help to find mistakes in a data file. No reconstruction depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve, median_filter
from scipy.spatial import cKDTree

from adorym.data.checks import CountStatistics
from adorym.data.dataset import Dataset
from adorym.data.patterns import blocks
from adorym.optics.windows import nearest_distances

NEIGHBORS = 8  # number of neighbors of a position, to which a plane is fitted
MIN_PATTERNS = 50  # with fewer the statistics are too poor
MIN_CURL_CONTRAST = 2.0  # there is a warning if another orientation has a curl smaller by this factor
HOT, DEAD = 20.0, 0.05  # relative to the median around a pixel
SECOND_DIFFERENCE = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
ORIENTATIONS = ("as it is", "flip_x (or flip_y)", "transpose", "transpose and flip_x (or flip_y)")


def contrast_of(dataset: Dataset) -> float:
    """Relative standard deviation of the first holograms, less that of white noise."""
    found = []
    for i in range(min(dataset.n_patterns, 4)):
        picture = dataset.patterns.read(np.array([i]))[0].astype(np.float64)
        picture = picture**2 if dataset.measured == "amplitude" else picture
        good = np.isfinite(picture)
        if dataset.mask is not None:
            good &= dataset.mask if dataset.mask.ndim == 2 else dataset.mask[i]
        mean = float(picture[good].mean()) if good.any() else 0.0
        if mean > 0:
            # A second difference in both directions hardly sees an image; of white noise it is 6 standard deviations.
            rough = np.abs(convolve(np.where(good, picture / mean, 1.0), SECOND_DIFFERENCE))[good]
            noise = float(np.median(rough)) / (0.6745 * 6)
            found.append(max(float((picture[good] / mean).var()) - noise**2, 0.0))
    return float(np.sqrt(np.mean(found))) if found else 1.0


def nearest_step_px(positions: np.ndarray) -> float:
    """Mean distance of a position ``(n, 2)`` to its nearest neighbor, in pixels."""
    return float(nearest_distances(positions).mean())


def linear_overlap(step_px: float, diameter_px: float) -> float:
    """Overlap of neighboring discs as a fraction of the probe's diameter, ``max(0, 1 - step / diameter)``.

    Bunk et al., Ultramicroscopy 108, 481 (2008), found 60 % to be a good choice.
    """
    return max(0.0, 1 - step_px / diameter_px)


def centers_of_mass(dataset: Dataset) -> np.ndarray:
    """``(n, 2)`` (y, x) center of mass of every pattern's good pixels, from the middle of the window."""
    y, x = (np.arange(size) - (size - 1) / 2 for size in dataset.window_px)
    centers, mask = np.zeros((dataset.n_patterns, 2)), dataset.mask
    for start, frames in blocks(dataset.patterns):
        if mask is not None:
            frames = frames * (mask if mask.ndim == 2 else mask[start : start + len(frames)])
        intensity = frames if dataset.measured == "intensity" else frames**2
        rows, columns = intensity.sum(axis=2, dtype=np.float64), intensity.sum(axis=1, dtype=np.float64)
        total = np.maximum(rows.sum(axis=1), np.finfo(float).tiny)
        centers[start : start + len(frames)] = np.stack([rows @ y / total, columns @ x / total], axis=-1)
    return centers


@dataclass(frozen=True)
class OrientationTest:
    """Relative curl of the patterns' centers of mass for each orientation; it is smallest for the right one.

    The center of mass of a far-field pattern is the gradient of the object's phase, averaged over the probe
    (Waddell & Chapman, Optik 54, 83 (1979)), and a gradient has no curl. A wrong orientation of the patterns gives it
    one, except a rotation by 180 degrees: the patterns are then those of the complex-conjugate object and probe, and no
    test on the data can detect it.

    Attributes:
        curl: Mean square curl over mean square derivative, for each of `ORIENTATIONS`.
    """

    curl: tuple[float, ...]

    @property
    def best(self) -> int:
        """Index of the orientation with the smallest curl."""
        return int(np.argmin(self.curl))

    @property
    def suspicious(self) -> bool:
        """Whether another orientation fits clearly better than the file's."""
        return self.best != 0 and self.curl[0] > MIN_CURL_CONTRAST * self.curl[self.best]

    @property
    def decided(self) -> bool:
        """Whether the best orientation stands out from all others."""
        first, second = sorted(self.curl)[:2]
        return second > MIN_CURL_CONTRAST * first


def orientation_test(dataset: Dataset) -> OrientationTest | None:
    """Compare the four orientations of patterns relative to positions that the data distinguish.

    ``None`` where the test does not apply: near field, no scan, several angles, too few patterns.
    """
    positions = dataset.probe_positions_px
    if positions is None or dataset.propagation_distance_m is not None or dataset.n_angles != 1:
        return None
    if dataset.n_patterns < MIN_PATTERNS or np.ptp(positions, axis=0).min() <= 0:
        return None
    (yy, yx), (xy, xx) = _local_gradients(positions, centers_of_mass(dataset))
    scale = np.mean(yy**2 + yx**2 + xy**2 + xx**2)
    if not scale > 0:
        return None
    curls = (yx - xy, yx + xy, xx - yy, xx + yy)
    return OrientationTest(tuple(float(np.mean(curl**2) / scale) for curl in curls))


def _local_gradients(positions: np.ndarray, field: np.ndarray) -> np.ndarray:
    """``(2, 2, n)`` derivatives of field component a along axis b, from planes fitted to each position's neighbors."""
    _, neighbors = cKDTree(positions).query(positions, k=NEIGHBORS + 1)
    away = positions[neighbors] - positions[neighbors].mean(axis=1, keepdims=True)
    change = field[neighbors] - field[neighbors].mean(axis=1, keepdims=True)
    gradient = np.linalg.pinv(away, rcond=1e-6) @ change  # (n, axis, component)
    return np.moveaxis(gradient, 0, -1).swapaxes(0, 1)


@dataclass(frozen=True)
class PixelSurvey:
    """Bad, hot and dead detector pixels.

    Attributes:
        bad: Marked by the mask.
        hot: Good by the mask, and on average more than `HOT` times the median of their 5 x 5 surroundings.
        dead: Good by the mask, and less than `DEAD` times that median.
    """

    bad: int
    hot: np.ndarray
    dead: np.ndarray


def pixel_survey(dataset: Dataset, statistics: CountStatistics) -> PixelSurvey:
    """Compare every pixel's mean with its surroundings, where these are bright enough.

    The brightest 7 x 7 pixels around the zero frequency are left out: a sharp central peak is not a hot pixel.
    """
    mean, mask = statistics.pixel_mean, dataset.mask
    good = np.ones(mean.shape, bool) if mask is None else (mask if mask.ndim == 2 else mask.any(axis=0))
    around = median_filter(mean, size=5, mode="nearest")
    y, x = np.unravel_index(np.argmax(around), mean.shape)
    center = np.zeros(mean.shape, bool)
    center[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = True
    noise = 5 / np.sqrt(dataset.n_patterns)  # five standard deviations of the mean of Poisson counts around 1
    hot = good & ~center & (mean > HOT * around + noise)
    dead = good & ~center & (mean < DEAD * around) & (around * dataset.n_patterns > 100)
    return PixelSurvey(int((~good).sum()), np.argwhere(hot), np.argwhere(dead))
