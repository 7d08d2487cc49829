r"""The counts of a Bragg peak as one volume: outliers, centering, binning, cropping, and how finely they are sampled.

A rocking scan of frames ``(z, y, x)``, z the rocking axis, zero frequency at the middle ``n // 2`` of every axis, as in
every file. Functions are pure: a `Volume` in, a `Volume` out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import fft, ndimage

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Volume:
    """Measured counts around a Bragg peak.

    Attributes:
        counts: ``(z, y, x)`` float32; 0 where nothing was measured.
        good: ``(z, y, x)`` bool, False where nothing was measured; ``None`` where everything was.
        binned: How many detector voxels were added up along each axis.
        shift: ``(z, y, x)`` voxels by which the middle was moved on the detector, in voxels before binning.
        frames: ``(z,)`` float, number of the measured frame that each is: between two where they were added up, and
            continued beyond the first and the last; 0, 1, ... if not given.
    """

    counts: np.ndarray
    good: np.ndarray | None = None
    binned: tuple[int, int, int] = (1, 1, 1)
    shift: tuple[int, int, int] = (0, 0, 0)
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if self.frames.size == 0:
            object.__setattr__(self, "frames", np.arange(self.shape[0], dtype=float))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        return self.counts.shape

    @property
    def modulus(self) -> np.ndarray:
        """Square root of the counts, float32."""
        return np.sqrt(self.counts)


def read_volume(dataset: Dataset) -> Volume:
    """All patterns of ``dataset`` as one volume of counts; values that are not finite or negative are not measured.

    Raises:
        DataError: There are too few frames to be a rocking scan.
    """
    n = dataset.n_patterns
    if n < 4:
        raise DataError(
            dataset.path, "too few frames for a three-dimensional Bragg peak", expected=">= 4 frames", found=n,
            remedy="a volume is read as frames (z, y, x), the rocking axis first",
        )  # fmt: skip
    values = dataset.patterns.read(np.arange(n)).astype(np.float32)
    good = np.isfinite(values) & (values >= 0)
    if dataset.mask is not None:
        good &= dataset.mask
    counts = np.where(good, values, np.float32(0))
    return Volume(counts**2 if dataset.measured == "amplitude" else counts, None if good.all() else good)


def to_dataset(volume: Volume, dataset: Dataset) -> Dataset:
    """``dataset`` with the counts of ``volume``, the rocking angle of each frame, and the pitch of the pixels."""
    rocked, n = dataset.n_angles == dataset.n_patterns > 1, volume.shape[0]
    theta = at_frames(dataset.theta_rad[dataset.angle_index], volume.frames) if rocked else dataset.theta_rad[:1]
    pitch = dataset.detector_pixel_size_m
    return replace(
        dataset,
        patterns=ArrayPatterns(volume.counts),
        measured="intensity",
        mask=volume.good,
        angle_index=np.arange(n) if rocked else np.zeros(n, int),
        theta_rad=theta,
        detector_pixel_size_m=None if pitch is None else (pitch[0] * volume.binned[1], pitch[1] * volume.binned[2]),
    )


def at_frames(theta: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Angles at the ``frames`` of an even or uneven scan ``theta``, continued with its first and last step."""
    last = len(theta) - 1
    inside = np.interp(frames, np.arange(last + 1), theta)
    before, after = np.minimum(frames, 0), np.maximum(frames - last, 0)
    return np.asarray(inside + before * (theta[1] - theta[0]) + after * (theta[-1] - theta[-2]))


def without_outliers(volume: Volume, sigmas: float = 8.0, isolated: int = 3) -> tuple[Volume, int]:
    """Single voxels far above their neighbors (cosmic rays, hot pixels) become unmeasured, and so do lonely counts.

    Args:
        volume: Counts.
        sigmas: How many standard deviations of counting statistics a voxel may be above twice the largest of its 26
            neighbors' median and mean; strong peaks are wider than one voxel.
        isolated: A connected set of counts, away from everything, of at most this many voxels is taken as stray.

    Returns:
        The volume, and how many voxels were taken out.
    """
    counts = volume.counts.astype(np.float64)
    footprint = np.ones((3, 3, 3), bool)
    footprint[1, 1, 1] = False
    around = np.maximum(
        ndimage.median_filter(counts, footprint=footprint, mode="nearest"),
        (ndimage.uniform_filter(counts, 3, mode="nearest") * 27 - counts) / 26,
    )
    bad = counts > 2 * around + sigmas * np.sqrt(around + 1)
    labels, n = ndimage.label(counts > 0, structure=np.ones((3, 3, 3)))
    if n > 1 and isolated > 0:
        sizes = np.bincount(labels.ravel())
        lonely = (sizes <= isolated) & (ndimage.sum_labels(counts, labels, np.arange(n + 1)) > sigmas)
        lonely[0] = False
        bad |= lonely[labels]
    good = ~bad if volume.good is None else volume.good & ~bad
    return replace(volume, counts=np.where(bad, 0, volume.counts).astype(np.float32), good=good), int(bad.sum())


def peak(volume: Volume) -> np.ndarray:
    """(z, y, x) of the brightest voxel, found on counts smoothed a little: a lone hot voxel has no say."""
    smooth = ndimage.gaussian_filter(volume.counts.astype(np.float64), 0.7)
    return np.array(np.unravel_index(int(smooth.argmax()), volume.shape))


def sub_voxel_peak(volume: Volume, radius: int = 2) -> np.ndarray:
    """(z, y, x) of the center of mass of the counts within ``radius`` voxels of the brightest one."""
    center = peak(volume)
    window = tuple(slice(max(0, c - radius), c + radius + 1) for c in center)
    inside = ndimage.center_of_mass(volume.counts[window].astype(np.float64))
    return np.array([s.start for s in window]) + inside


def cropped(volume: Volume, shape: tuple[int, int, int], center: np.ndarray | None = None) -> Volume:
    """A box of ``shape`` with the brightest voxel (or ``center``) at its middle; beyond the detector nothing is
    measured.

    What is left to sub-voxel is a phase ramp of the object, which phasing and refinement find by themselves; see
    `adorym.metrics.crystal.ramp` for taking it out.
    """
    middle = peak(volume) if center is None else np.rint(center).astype(int)
    starts = [int(c) - m // 2 for c, m in zip(middle, shape, strict=True)]
    counts, good = np.zeros(shape, np.float32), np.zeros(shape, bool)
    here = tuple(slice(max(0, s), min(n, s + m)) for s, m, n in zip(starts, shape, volume.shape, strict=True))
    there = tuple(slice(h.start - s, h.stop - s) for h, s in zip(here, starts, strict=True))
    counts[there] = volume.counts[here]
    good[there] = True if volume.good is None else volume.good[here]
    moved = [m - n // 2 for m, n in zip(middle, volume.shape, strict=True)]
    shift = tuple(int(s + m * b) for s, m, b in zip(volume.shift, moved, volume.binned, strict=True))
    frames = volume.frames[0] + volume.binned[0] * (starts[0] + np.arange(shape[0]))
    return replace(volume, counts=counts, good=None if good.all() else good, shift=shift, frames=frames)  # type: ignore[arg-type]


def binned(volume: Volume, factors: tuple[int, int, int]) -> Volume:
    """Counts added up over boxes of ``factors`` voxels, so that no photon is lost; a box with a bad voxel is bad.

    The middle voxel stays in the middle: what does not fill whole boxes is left out at both ends.
    """
    if min(factors) < 1 or any(f > n for f, n in zip(factors, volume.shape, strict=True)):
        raise ConfigError("bin", "not a binning of this volume", expected=f"1 to {volume.shape}", found=factors)
    counts, good, frames = volume.counts, volume.good, volume.frames
    for axis, f in enumerate(factors):
        n = counts.shape[axis]
        kept = n // f
        start = min(max(n // 2 - (kept // 2) * f - f // 2, 0), n - kept * f)
        cut = tuple(slice(start, start + kept * f) if i == axis else slice(None) for i in range(3))
        split = [*counts.shape[:axis], kept, f, *counts.shape[axis + 1 :]]
        counts = counts[cut].reshape(split).sum(axis + 1)
        if good is not None:
            good = np.asarray(good[cut].reshape(split).all(axis + 1))
        if axis == 0:
            frames = frames[start : start + kept * f].reshape(kept, f).mean(1)
    if good is not None:
        counts = np.where(good, counts, np.float32(0))
    total = tuple(a * b for a, b in zip(volume.binned, factors, strict=True))
    return replace(volume, counts=counts.astype(np.float32), good=good, binned=total, frames=frames)  # type: ignore[arg-type]


def autocorrelation(volume: Volume) -> np.ndarray:
    """Modulus of the object's autocorrelation ``(z, y, x)``, maximum 1 at the middle: the transform of the counts."""
    found = np.abs(fft.fftshift(fft.ifftn(fft.ifftshift(volume.counts.astype(np.float64)))))
    return found / found.max()


# An autocorrelation falls to the threshold before it ends: size found over size, median of simulated crystals.
SEEN_EXTENT = 0.8


def crystal_extent(volume: Volume, threshold: float = 0.05) -> np.ndarray:
    """(z, y, x) size of the crystal in voxels of the object, to about a tenth: half of its autocorrelation's.

    Args:
        volume: Counts.
        threshold: Part of the autocorrelation's maximum down to which it counts, in the piece around the middle.
    """
    field = autocorrelation(volume)
    # What is there at the edges is background, not crystal.
    edge = max(float(np.percentile(np.take(field, 0, axis), 99)) for axis in range(3))
    labels, _ = ndimage.label(field > max(threshold, 1.2 * edge))
    inside = labels == labels[tuple(n // 2 for n in volume.shape)]
    extents = [np.ptp(np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))) + 1 for axis in range(3)]
    return (np.array(extents, float) + 1) / 2 / SEEN_EXTENT


def oversampling(volume: Volume, threshold: float = 0.05) -> np.ndarray:
    """(z, y, x) ratio of the array to the crystal: below 2 along any axis the pattern does not determine the
    crystal.
    """
    return np.array(volume.shape) / crystal_extent(volume, threshold)
