"""Statistics of the counts of a data set, read once block by block, and errors that name the first bad pattern."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.full_scale import FullScale
from adorym.data.gaps import MARKS
from adorym.data.outliers import LARGEST_SHARE, beam_region, in_words, outliers
from adorym.data.overrides import Overrides
from adorym.data.patterns import BLOCK_BYTES, MaskedPatterns, blocks
from adorym.data.readers.base import choose
from adorym.data.whole_pictures import without_holes, without_stuck_pixels
from adorym.errors import DataError

# A rocking curve is at most so wide; a tomogram is wider.
WIDEST_ROCKING = 0.2


@dataclass(frozen=True)
class CountStatistics:
    """Statistics of the good pixels of all patterns.

    Attributes:
        minimum: Smallest finite value.
        maximum: Largest finite value.
        pattern_sum: ``(n,)`` sum of the finite values of each pattern.
        pixel_mean: ``(y, x)`` mean over the patterns.
        pixel_maximum: ``(y, x)``.
        not_finite: ``(n,)`` number of values that are NaN or infinite.
        negative: ``(n,)`` number of values below 0.
        marked: ``(n,)`` number of values that are the largest of an integer type, far above all counts.
        mark: The largest such value, 0 without any.
        bad_pixels: ``(y, x)`` True where any pattern is not finite, negative or marked.
        masked: ``(n,)`` True where a pattern has no good pixel.
        in_beam: ``(n,)`` counts in the part of the detector where most counts of a scan are.
        beam_area: Fraction of the pixels in it.
        saturation: The largest count, or the smallest of those of single pixels, if counts pile up there, else 0.
        saturated: How many do.
    """

    minimum: float
    maximum: float
    pattern_sum: np.ndarray
    pixel_mean: np.ndarray
    pixel_maximum: np.ndarray
    not_finite: np.ndarray
    negative: np.ndarray
    marked: np.ndarray
    mark: float
    bad_pixels: np.ndarray
    masked: np.ndarray
    in_beam: np.ndarray
    beam_area: float
    saturation: float
    saturated: int

    @property
    def empty(self) -> np.ndarray:
        """Indices of the patterns without any count."""
        return np.flatnonzero((self.pattern_sum == 0) & (self.bad == 0) & ~self.masked)

    @property
    def bad_patterns(self) -> np.ndarray:
        """Indices of the patterns with a value that is no count."""
        return np.flatnonzero(self.bad)

    @property
    def bad(self) -> np.ndarray:
        """``(n,)`` number of values that are no counts."""
        return self.not_finite + self.negative + self.marked


def count_statistics(dataset: Dataset, block_bytes: int = BLOCK_BYTES) -> CountStatistics:
    """Statistics over the good pixels, reading ``block_bytes`` of patterns at a time."""
    n, window, mask = dataset.n_patterns, dataset.window_px, dataset.mask
    pattern_sum, not_finite, negative, in_beam = np.zeros(n), np.zeros(n, int), np.zeros(n, int), np.zeros(n)
    pixel_sum, pixel_maximum, bad_pixels = np.zeros(window), np.full(window, -np.inf), np.zeros(window, bool)
    minimum, masked, scale = np.inf, np.zeros(n, bool), FullScale(n, window)
    beam = None if dataset.probe_positions_px is None else beam_region(dataset)
    for start, frames in blocks(dataset.patterns, block_bytes):
        here = slice(start, start + len(frames))
        infinite = ~np.isfinite(frames)
        below = frames < 0
        if mask is not None:
            good = mask if mask.ndim == 2 else mask[here]
            masked[here] = ~good.any(axis=(-2, -1))
            infinite, below = infinite & good, below & good
            frames = np.where(good, frames, np.float32(0))
        if infinite.any():
            frames = np.where(infinite, np.float32(0), frames)
        not_finite[here], negative[here] = infinite.sum(axis=(1, 2)), below.sum(axis=(1, 2))
        bad_pixels |= (infinite | below).any(axis=0)
        frames = scale.add(frames, here)
        pattern_sum[here] = frames.sum(axis=(1, 2), dtype=np.float64)
        if beam is not None:
            in_beam[here] = frames[:, beam].sum(axis=1, dtype=np.float64)
        pixel_sum += frames.sum(axis=0, dtype=np.float64)
        np.maximum(pixel_maximum, frames.max(axis=0), out=pixel_maximum)
        minimum = min(minimum, float(frames.min()))
    marked = np.zeros(n, int)
    for of_frame, of_pixel in scale.marks().values():
        marked += of_frame
        bad_pixels |= of_pixel > 0
    full = scale.saturation(pixel_maximum, pixel_maximum.size * n)
    for count, (of_frame, of_pixel) in scale.counts().items():  # full counters, which are counts after all
        pattern_sum += count * of_frame
        in_beam += count * of_frame
        pixel_sum += count * of_pixel
        pixel_maximum[of_pixel > 0] = np.maximum(pixel_maximum, count)[of_pixel > 0]
    return CountStatistics(
        minimum=minimum,
        maximum=float(pixel_maximum.max()),
        pattern_sum=pattern_sum,
        pixel_mean=pixel_sum / n,
        pixel_maximum=pixel_maximum,
        not_finite=not_finite,
        negative=negative,
        marked=marked,
        mark=max(scale.marks(), default=0.0),
        bad_pixels=bad_pixels,
        masked=masked,
        in_beam=in_beam,
        beam_area=1.0 if beam is None else float(beam.mean()),
        saturation=0.0 if full is None else full[0],
        saturated=0 if full is None else full[1],
    )


def check_counts(dataset: Dataset, wanted: Overrides) -> Dataset:
    """``dataset``, repaired as ``wanted`` says, after a check that its counts can be fitted.

    Its patterns are read once, and again after a repair.

    Raises:
        DataError: Counts are not finite, negative or marks, or a pattern holds none, with the first such pattern.
    """
    dataset, statistics = repaired(dataset, wanted, count_statistics(dataset))
    for fault in faults(dataset, statistics):
        raise fault
    return dataset


def repaired(dataset: Dataset, wanted: Overrides, statistics: CountStatistics) -> tuple[Dataset, CountStatistics]:
    """The data set without patterns that fall out and without bad counts, if ``wanted`` says so, and its statistics.

    Raises:
        DataError: Nothing is left.
    """
    bad_share = statistics.bad / math.prod(dataset.window_px)
    fallen = outliers(dataset, statistics.pattern_sum, statistics.in_beam, bad_share, statistics.beam_area)
    if fallen:
        names = in_words(fallen, dataset.pattern_numbers)
        many = sum(map(len, fallen.values())) > LARGEST_SHARE * dataset.n_patterns
        if wanted.drop_frames == "auto" and many:
            said = f"patterns fall out, too many to be left out unasked: {names}; choose with data.drop_frames: [...]"
        elif wanted.drop_frames == "auto":
            keep = np.setdiff1d(np.arange(dataset.n_patterns), np.concatenate(list(fallen.values())))
            said = f"patterns fall out and are left out: {names} (data.drop_frames: auto; 'none' keeps them)"
            dataset = choose(dataset, keep, f"{dataset.n_patterns - len(keep)} patterns that fall out are left out")
            statistics = count_statistics(dataset)
        else:
            said = f"patterns fall out: {names}; leave them out with data.drop_frames: auto"
        dataset = replace(dataset, doubts=(*dataset.doubts, said))
    whole = dataset
    if wanted.bad_counts == "error":
        whole = without_holes(dataset, statistics.not_finite)
    whole = without_stuck_pixels(whole, statistics.pixel_mean, statistics.pixel_maximum)
    if whole is not dataset:
        dataset, statistics = whole, count_statistics(whole)
    if wanted.bad_counts == "drop_patterns":
        bad = np.union1d(statistics.bad_patterns, statistics.empty)
        keep = np.setdiff1d(np.arange(dataset.n_patterns), bad)
        if len(keep) == 0:
            raise DataError(dataset.path, "every pattern is bad or empty: nothing is left")
        if len(bad):
            first = dataset.pattern_numbers[bad[0]]
            dataset = choose(dataset, keep, f"{len(bad)} bad or empty patterns left out, first: {first}")
            statistics = count_statistics(dataset)
    elif wanted.bad_counts in ("mask_pixels", "mask_values") and statistics.bad_pixels.any():
        each = wanted.bad_counts == "mask_values"
        good = _valid(dataset, statistics.mark) if each else ~statistics.bad_pixels
        good = good if dataset.mask is None else dataset.mask & good
        if not good.any():
            raise DataError(dataset.path, "every pixel is bad in some pattern: nothing is left")
        number = int(statistics.bad.sum() if each else statistics.bad_pixels.sum())
        note = f"{number} {'values' if each else 'pixels with counts'} that are not finite or negative were masked"
        patterns = MaskedPatterns(dataset.patterns, good)
        dataset = replace(dataset, patterns=patterns, mask=good, notes=(*dataset.notes, note))
        statistics = count_statistics(dataset)
    return _saturated(dataset, wanted, statistics), statistics


def _valid(dataset: Dataset, mark: float) -> np.ndarray:
    """``(n, y, x)`` False where a value is no count: not finite, negative, or the detector's ``mark``, if not 0."""
    good = np.ones((dataset.n_patterns, *dataset.window_px), bool)
    for start, frames in blocks(dataset.patterns, BLOCK_BYTES):
        good[start : start + len(frames)] = np.isfinite(frames) & (frames >= 0) & ((frames != mark) | (mark == 0))
    return good


def _saturated(dataset: Dataset, wanted: Overrides, statistics: CountStatistics) -> Dataset:
    """With the count at which pixels are saturated, as given or as found."""
    if wanted.saturation == "none":
        return dataset
    if wanted.saturation != "auto":
        return replace(dataset, saturation_counts=wanted.saturation)
    if not statistics.saturation or dataset.measured != "intensity":
        return dataset
    pixels = int((statistics.pixel_maximum >= statistics.saturation).sum())
    own = statistics.maximum > statistics.saturation  # after a flat field
    where = (
        f"the largest of their pixel, from {statistics.saturation:g}"
        if own
        else f"the largest, {statistics.saturation:g}"
    )
    said = (
        f"saturation: {statistics.saturated} counts in {pixels} pixels are at {where}; "
        "taken as lower bounds (data.saturation; 'none' takes them as counts)"
    )
    return replace(dataset, saturation_counts=statistics.saturation, doubts=(*dataset.doubts, said))


def _rocked(dataset: Dataset) -> bool:
    """Whether the patterns are of a rocking scan, whose outermost frames may hold no count."""
    one_each = dataset.n_angles == dataset.n_patterns > 1 and dataset.probe_positions_px is None
    return dataset.arm_px is not None or (one_each and float(np.ptp(dataset.theta_rad)) < WIDEST_ROCKING)


def faults(dataset: Dataset, statistics: CountStatistics) -> Iterator[DataError]:
    """What is wrong with the counts, an error for each kind of fault."""
    n, numbers = dataset.n_patterns, dataset.pattern_numbers
    good = dataset.mask.any(axis=0) if dataset.mask is not None and dataset.mask.ndim == 3 else dataset.mask
    remedies = []
    if (~statistics.bad_pixels & (True if good is None else good)).any():
        remedies.append(
            "mask the pixels (data.bad_counts: mask_pixels, or mask_values in their patterns, or data.mask)"
        )
    if len(np.union1d(statistics.bad_patterns, statistics.empty)) < n:
        remedies.append("leave out the patterns (data.bad_counts: drop_patterns, or data.drop_frames)")
    mark = MARKS.get(statistics.mark, 0)
    for count, what in (
        (statistics.not_finite, "counts are not finite (NaN or infinite)"),
        (statistics.negative, "counts are negative"),
        (statistics.marked, f"counts are {mark}, a detector's mark for no count"),
    ):
        if len(where := np.flatnonzero(count)):
            found = f"in {len(where)} of {n} patterns, first in pattern {numbers[where[0]]}"
            remedy = " or ".join(remedies) or "write the file anew"
            yield DataError(dataset.path, f"{count.sum()} {what}", found=found, remedy=remedy)
    if len(empty := statistics.empty) and not _rocked(dataset):
        found = f"only zeros, first in pattern {numbers[empty[0]]}"
        remedy = "leave them out (data.bad_counts: drop_patterns, or data.frames)"
        yield DataError(dataset.path, f"{len(empty)} of {n} patterns hold no counts at all", found=found, remedy=remedy)
