r"""The counts of a Bragg peak as one volume: centering, binning, cropping, even steps, and how finely it is sampled.

A rocking scan of frames ``(z, y, x)``, z the rocking axis, zero frequency at the middle ``n // 2`` of every axis, as in
every file. Functions are pure: a `Volume` in, a `Volume` out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.gaps import FAR_ABOVE, MARKS
from adorym.errors import ConfigError, DataError

# Frames further from whole steps than this, root mean square, are not taken as even.
UNEVEN = 0.1
# A voxel at even steps is measured if at most this part of its weights falls on frames that are not.
MOST_LOST = 0.3


@dataclass(frozen=True, eq=False)
class Volume:
    """Measured counts around a Bragg peak.

    Attributes:
        counts: ``(z, y, x)`` float32; 0 where nothing was measured.
        good: ``(z, y, x)`` bool, False where nothing was measured; ``None`` where everything was.
        binned: How many detector voxels were added up along each axis.
        shift: ``(z, y, x)`` voxels by which the middle was moved on the detector, in voxels before binning.
        first_px: (y, x) place on the detector's frames of the middle of the first pixel.
        frames: ``(z,)`` float, number of the measured frame that each is: between two where they were added up, and
            continued beyond the first and the last; 0, 1, ... if not given.
    """

    counts: np.ndarray
    good: np.ndarray | None = None
    binned: tuple[int, int, int] = (1, 1, 1)
    shift: tuple[int, int, int] = (0, 0, 0)
    first_px: tuple[float, float] = (0.0, 0.0)
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
    """All patterns of ``dataset`` as one volume of counts.

    Values that are not finite or negative, and a detector's marks for no count, are not measured.

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
    for mark in sorted(MARKS, reverse=True) if dataset.measured == "intensity" else ():
        at = values == np.float32(mark)
        if at.any() and values[good & ~at].max(initial=0.0) < FAR_ABOVE * mark:
            good &= ~at
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
        arm_px=None if dataset.arm_px is None else moved(volume, dataset.arm_px),
        detector_pixel_size_m=None if pitch is None else (pitch[0] * volume.binned[1], pitch[1] * volume.binned[2]),
    )


def moved(volume: Volume, place_px: tuple[float, float]) -> tuple[float, float]:
    """(y, x) in the frames of ``volume`` of a place on the detector's frames."""
    y, x = ((at - first) / b for at, first, b in zip(place_px, volume.first_px, volume.binned[1:], strict=True))
    return y, x


def rocking_places(dataset: Dataset) -> np.ndarray:
    """``(n,)`` place of each frame on the rocking curve in steps, 0 at the middle one; whole numbers if unknown.

    Raises:
        DataError: The rocking angle does not change.
    """
    n = dataset.n_patterns
    if dataset.n_angles != n:
        return np.arange(n, dtype=float) - n // 2
    return places_of(np.asarray(dataset.theta_rad, float)[dataset.angle_index], dataset.path)


def places_of(theta_rad: np.ndarray, path: str) -> np.ndarray:
    """``(n,)`` place of each rocking angle in steps, 0 at the middle one.

    Raises:
        DataError: The rocking angle does not change.
    """
    n, theta = len(theta_rad), np.asarray(theta_rad, float)
    even = np.arange(n, dtype=float) - n // 2
    step = np.polyfit(even, theta, 1)[0]
    if abs(step) * n <= 1e-9 * max(float(np.abs(theta).max()), 1e-6):
        remedy = "give the angles with data.theta, one a frame"
        raise DataError(path, "the rocking angle does not change", found=f"{theta[0]:g} rad", remedy=remedy)
    return np.asarray((theta - theta.mean()) / step + even.mean())


def unevenness(places: np.ndarray) -> float:
    """Root mean square distance of the ``places`` of `rocking_places` from whole steps."""
    n = len(places)
    return float(np.sqrt(np.mean((places - (np.arange(n) - n // 2)) ** 2)))


def evened(volume: Volume, places: np.ndarray) -> Volume:
    """The volume at even steps, from frames at uneven ``places``.

    The intensity along the rocking axis is a trigonometric polynomial, as that of any object narrower than half of the
    array; its coefficients are fitted.
    """
    n = volume.shape[0]
    even, order = np.arange(n) - n // 2, np.arange(-(n // 2) + 1, (n + 1) // 2)
    at, on = (np.exp(2j * np.pi / n * np.outer(z, order)) for z in (places, even))
    weights = (on @ np.linalg.pinv(at, rcond=0.05)).real
    counts, good = volume.counts.astype(np.float64), volume.good
    if good is not None:
        known = np.where(good, counts, 0).sum(0) / np.maximum(good.sum(0), 1)
        counts = np.where(good, counts, known)
        lost = np.einsum("ej,jyx->eyx", np.abs(weights), (~good).astype(np.float64))
        good = lost < MOST_LOST * np.abs(weights).sum(1)[:, None, None]
    counts = np.maximum(np.einsum("ej,jyx->eyx", weights, counts), 0)
    return replace(volume, counts=(counts if good is None else counts * good).astype(np.float32), good=good)


def at_frames(theta: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Angles at the ``frames`` of an even or uneven scan ``theta``, continued with its first and last step."""
    last = len(theta) - 1
    inside = np.interp(frames, np.arange(last + 1), theta)
    before, after = np.minimum(frames, 0), np.maximum(frames - last, 0)
    return np.asarray(inside + before * (theta[1] - theta[0]) + after * (theta[-1] - theta[-2]))


def peak(volume: Volume) -> np.ndarray:
    """(z, y, x) of the brightest voxel, found on counts smoothed a little: a lone hot voxel has no say."""
    smooth = scipy.ndimage.gaussian_filter(volume.counts.astype(np.float64), 0.7)
    return np.array(np.unravel_index(int(smooth.argmax()), volume.shape))


def sub_voxel_peak(volume: Volume, radius: int = 2) -> np.ndarray:
    """(z, y, x) of the center of mass of the counts within ``radius`` voxels of the brightest one."""
    center = peak(volume)
    window = tuple(slice(max(0, c - radius), c + radius + 1) for c in center)
    inside = scipy.ndimage.center_of_mass(volume.counts[window].astype(np.float64))
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
    first = _first(volume, starts[1:], (0.0, 0.0))
    volume = replace(volume, counts=counts, good=None if good.all() else good, frames=frames)
    return replace(volume, shift=shift, first_px=first)  # type: ignore[arg-type]


def _first(volume: Volume, starts: Sequence[int], more: tuple[float, float]) -> tuple[float, float]:
    """`Volume.first_px` after a cut that starts at ``starts``, of pixels whose middle lies ``more`` further."""
    y, x = (p + b * (s + m) for p, b, s, m in zip(volume.first_px, volume.binned[1:], starts, more, strict=True))
    return y, x


def binned(volume: Volume, factors: tuple[int, int, int]) -> Volume:
    """Counts added up over boxes of ``factors`` voxels, so that no photon is lost; a box with a bad voxel is bad.

    The middle voxel stays in the middle: what does not fill whole boxes is left out at both ends.
    """
    if min(factors) < 1 or any(f > n for f, n in zip(factors, volume.shape, strict=True)):
        raise ConfigError("bin", "not a binning of this volume", expected=f"1 to {volume.shape}", found=factors)
    counts, good, frames, starts = volume.counts, volume.good, volume.frames, [0, 0, 0]
    for axis, f in enumerate(factors):
        n = counts.shape[axis]
        kept = n // f
        start = min(max(n // 2 - (kept // 2) * f - f // 2, 0), n - kept * f)
        starts[axis] = start
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
    first = _first(volume, starts[1:], ((factors[1] - 1) / 2, (factors[2] - 1) / 2))
    volume = replace(volume, counts=counts.astype(np.float32), good=good, frames=frames, first_px=first)
    return replace(volume, binned=total)  # type: ignore[arg-type]


def autocorrelation(volume: Volume) -> np.ndarray:
    """Modulus of the object's autocorrelation ``(z, y, x)``, maximum 1 at the middle: the transform of the counts."""
    found = np.abs(scipy.fft.fftshift(scipy.fft.ifftn(scipy.fft.ifftshift(volume.counts.astype(np.float64)))))
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
    labels, _ = scipy.ndimage.label(field > max(threshold, 1.2 * edge))
    inside = labels == labels[tuple(n // 2 for n in volume.shape)]
    extents = [np.ptp(np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))) + 1 for axis in range(3)]
    return (np.array(extents, float) + 1) / 2 / SEEN_EXTENT


def oversampling(volume: Volume, threshold: float = 0.05) -> np.ndarray:
    """(z, y, x) ratio of the array to the crystal: below 2 along any axis the pattern does not determine the
    crystal.
    """
    return np.array(volume.shape) / crystal_extent(volume, threshold)
