"""Properties of a scan before reconstruction: step, overlap, orientation, hot and dead pixels.

These are estimates that help to find mistakes in a data file. No reconstruction depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.checks import CountStatistics
from adorym.data.dataset import Dataset
from adorym.data.patterns import blocks
from adorym.data.readers.base import choose
from adorym.optics.windows import nearest_distances

MIN_PATTERNS = 50  # with fewer the statistics are too poor
MOST_COMPARED = 576  # the work grows with the third power
MIN_CONTRAST = 2.0  # there is a warning if another orientation has a misfit smaller by this factor
# The centers of mass change over about the width of the beam, a few steps of the scan.
GRADIENT_WIDTH, NOISE = 1.5, 0.05
# Smaller turns are left to the refinement of positions.
SMALLEST_TURN_RAD, SIGNIFICANT = np.deg2rad(4.0), 4.0
HOT, DEAD = 20.0, 0.05  # relative to the median around a pixel
SECOND_DIFFERENCE = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
ORIENTATIONS = ("as it is", "turned by 90 deg", "flip_x (or flip_y)", "transpose")


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
            rough = np.abs(scipy.ndimage.convolve(np.where(good, picture / mean, 1.0), SECOND_DIFFERENCE))[good]
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
    r"""How well the patterns' centers of mass are a gradient, for every orientation of the scan on the detector.

    The center of mass of a far-field pattern is the gradient of the object's phase, averaged over the probe
    (Waddell & Chapman, Optik 54, 83 (1979)). Turned by an angle :math:`\theta`, or mirrored, it is no gradient any
    more, except after half a turn: the patterns are then those of the complex-conjugate object and probe, and no test
    on the data can detect it. Centers of mass :math:`f` with the covariance :math:`C` of the gradient of a smooth
    random potential and of noise have the misfit :math:`f^T C^{-1} f`, which is a quadratic form in
    :math:`(\cos\theta, \sin\theta)`.

    Attributes:
        misfit: Share of the misfits of an orientation and of that turned by 90 degrees, for each of `ORIENTATIONS`.
        angle_rad: Turn of the scan's axes, from x towards y, after which the misfit is smallest; within a quarter turn
            either way.
        error_rad: Its standard error.
        mirrored: Whether the patterns are mirrored, too; ``angle_rad`` is then that of the mirror.
        contrast: Smallest misfit with the other handedness, over the smallest of all.
        depth: Largest misfit over the smallest, of the handedness that fits.
    """

    misfit: tuple[float, ...]
    angle_rad: float
    error_rad: float
    mirrored: bool
    contrast: float
    depth: float

    @property
    def best(self) -> int:
        """Index of the orientation with the smallest misfit."""
        return int(np.argmin(self.misfit))

    @property
    def decided(self) -> bool:
        """Whether the best orientation stands out from all others."""
        return min(self.contrast, self.depth) > MIN_CONTRAST

    @property
    def turn_deg(self) -> float:
        """Turn of the scan's axes that the data ask for; 0 if it is too small to tell, or if they are mirrored."""
        small = abs(self.angle_rad) < max(SMALLEST_TURN_RAD, SIGNIFICANT * self.error_rad)
        return 0.0 if self.mirrored or not self.decided or small else float(np.rad2deg(self.angle_rad))

    @property
    def suspicious(self) -> bool:
        """Whether another orientation fits clearly better than the file's."""
        return self.decided and (self.mirrored or self.turn_deg != 0)


def orientation_test(dataset: Dataset) -> OrientationTest | None:
    """Compare all orientations of patterns relative to positions that the data distinguish.

    ``None`` where the test does not apply: near field, no scan, several angles, too few patterns.
    """
    positions = dataset.probe_positions_px
    if positions is None or dataset.propagation_distance_m is not None or len(np.unique(dataset.theta_rad)) != 1:
        return None
    if dataset.n_patterns < MIN_PATTERNS or np.ptp(positions, axis=0).min() <= 0:
        return None
    n, middle = dataset.n_patterns, positions.mean(axis=0)
    if n > MOST_COMPARED:
        near = np.sort(np.argsort(((positions - middle) ** 2).sum(axis=1), kind="stable")[:MOST_COMPARED])
        dataset = choose(dataset, near, "")
        positions = positions[near]
    # Both in lengths: a pixel of the detector is 1 / (N pixel).
    pixel = np.ones(2) if dataset.pixel_size_m is None else np.array(dataset.pixel_size_m) / dataset.pixel_size_m[0]
    positions = positions * pixel
    centers = centers_of_mass(dataset) / (pixel * dataset.window_px) * dataset.window_px[0]
    for scan in np.unique(dataset.angle_index):  # each has its beam
        here = dataset.angle_index == scan
        centers[here] -= centers[here].mean(axis=0)
    if not (centers**2).sum() > 0:
        return None
    width = GRADIENT_WIDTH * nearest_step_px(np.unique(positions, axis=0))
    solver = scipy.linalg.cho_factor(_gradient_covariance(positions, width))
    forms = [_quadratic_form(solver, centers * [sign, 1.0]) for sign in (1.0, -1.0)]
    total = [float(np.trace(form)) for form in forms]
    if min(total) <= 0:
        return None
    misfit = tuple(float(form[i, i] / t) for form, t in zip(forms, total, strict=True) for i in (0, 1))
    (upright, mirrored), vectors = zip(*(np.linalg.eigh(form) for form in forms), strict=True)
    best = int(upright[0] > mirrored[0])
    (least, most), (c, s) = (upright, mirrored)[best], vectors[best][:, 0]
    least = max(float(least), np.finfo(float).tiny)
    return OrientationTest(
        misfit=misfit,
        angle_rad=float((np.arctan2(s, c) + np.pi / 2) % np.pi - np.pi / 2),
        error_rad=float(np.sqrt(least / (2 * len(positions) * max(most - least, least)))),
        mirrored=bool(best),
        contrast=float((mirrored, upright)[best][0] / least),
        depth=float(most / least),
    )


def _gradient_covariance(positions: np.ndarray, width: float) -> np.ndarray:
    r"""``(2n, 2n)`` covariance of the gradient, y components first, of a potential with the covariance
    :math:`e^{-r^2/2w^2}`, and of noise.
    """
    n, away = len(positions), (positions[:, None] - positions[None]) / width
    bell = np.exp(-0.5 * (away**2).sum(axis=-1))
    found = np.empty((2, n, 2, n))
    for a in range(2):
        for b in range(2):
            found[a, :, b] = ((a == b) - away[..., a] * away[..., b]) * bell
    return found.reshape(2 * n, 2 * n) + NOISE * np.eye(2 * n)


def _quadratic_form(solver: Any, field: np.ndarray) -> np.ndarray:
    """``(2, 2)`` misfit of ``field`` ``(n, 2)`` turned by an angle, as a form in its cosine and sine.

    Positions turned from x towards y see patterns turned the other way.
    """
    y, x = field.T
    both = np.stack([np.concatenate([y, x]), np.concatenate([-x, y])], axis=1)
    return both.T @ scipy.linalg.cho_solve(solver, both)


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
    # A gap has the mean of the nearest pixel that counts: zeros in it would make its neighbors hot.
    nearest = (
        scipy.ndimage.distance_transform_edt(~good, return_distances=False, return_indices=True) if good.any() else None
    )
    around = scipy.ndimage.median_filter(mean if nearest is None else mean[tuple(nearest)], size=5, mode="nearest")
    y, x = np.unravel_index(np.argmax(around), mean.shape)
    center = np.zeros(mean.shape, bool)
    center[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = True
    noise = 5 / np.sqrt(dataset.n_patterns)  # five standard deviations of the mean of Poisson counts around 1
    hot = good & ~center & (mean > HOT * around + noise)
    dead = good & ~center & (mean < DEAD * around) & (around * dataset.n_patterns > 100)
    return PixelSurvey(int((~good).sum()), np.argwhere(hot), np.argwhere(dead))
