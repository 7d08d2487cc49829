"""Statistics of the counts of a data set, read once block by block, and errors that name the first bad pattern."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.patterns import BLOCK_BYTES, MaskedPatterns, blocks
from adorym.data.readers.base import choose
from adorym.errors import DataError


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
        bad_pixels: ``(y, x)`` True where any pattern is not finite or negative.
        masked: ``(n,)`` True where a pattern has no good pixel.
    """

    minimum: float
    maximum: float
    pattern_sum: np.ndarray
    pixel_mean: np.ndarray
    pixel_maximum: np.ndarray
    not_finite: np.ndarray
    negative: np.ndarray
    bad_pixels: np.ndarray
    masked: np.ndarray

    @property
    def empty(self) -> np.ndarray:
        """Indices of the patterns without any count."""
        return np.flatnonzero((self.pattern_sum == 0) & (self.not_finite + self.negative == 0) & ~self.masked)

    @property
    def bad_patterns(self) -> np.ndarray:
        """Indices of the patterns with a value that is not finite or negative."""
        return np.flatnonzero((self.not_finite > 0) | (self.negative > 0))


def count_statistics(dataset: Dataset, block_bytes: int = BLOCK_BYTES) -> CountStatistics:
    """Statistics over the good pixels, reading ``block_bytes`` of patterns at a time."""
    n, window, mask = dataset.n_patterns, dataset.window_px, dataset.mask
    pattern_sum, not_finite, negative = np.zeros(n), np.zeros(n, int), np.zeros(n, int)
    pixel_sum, pixel_maximum, bad_pixels = np.zeros(window), np.full(window, -np.inf), np.zeros(window, bool)
    minimum, maximum, masked = np.inf, -np.inf, np.zeros(n, bool)
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
        pattern_sum[here] = frames.sum(axis=(1, 2), dtype=np.float64)
        pixel_sum += frames.sum(axis=0, dtype=np.float64)
        np.maximum(pixel_maximum, frames.max(axis=0), out=pixel_maximum)
        minimum, maximum = min(minimum, float(frames.min())), max(maximum, float(frames.max()))
    return CountStatistics(
        minimum, maximum, pattern_sum, pixel_sum / n, pixel_maximum, not_finite, negative, bad_pixels, masked
    )


def check_counts(dataset: Dataset, on_bad: Literal["error", "mask_pixels", "drop_patterns"] = "error") -> Dataset:
    """``dataset``, after a check that its counts are finite, not negative, and not all 0 in any pattern.

    Args:
        dataset: Any data set; its patterns are read once.
        on_bad: Stop with an error, or repair by masking the pixels, or by dropping the patterns, that are bad.

    Raises:
        DataError: With the number of bad values and the first pattern that has any.
    """
    statistics = count_statistics(dataset)
    if on_bad == "drop_patterns":
        bad = np.union1d(statistics.bad_patterns, statistics.empty)
        if len(bad) == 0:
            return dataset
        keep = np.setdiff1d(np.arange(dataset.n_patterns), bad)
        if len(keep) == 0:
            raise DataError(dataset.path, "every pattern is bad or empty: nothing is left")
        return choose(dataset, keep, f"{len(bad)} bad or empty patterns left out, first: {bad[0]}")
    if on_bad == "mask_pixels" and statistics.bad_pixels.any():
        good = ~statistics.bad_pixels if dataset.mask is None else dataset.mask & ~statistics.bad_pixels
        if not good.any():
            raise DataError(dataset.path, "every pixel is bad in some pattern: nothing is left")
        note = f"{int(statistics.bad_pixels.sum())} pixels with counts that are not finite or negative were masked"
        patterns = MaskedPatterns(dataset.patterns, good)
        return check_counts(replace(dataset, patterns=patterns, mask=good, notes=(*dataset.notes, note)))
    for fault in faults(dataset, statistics):
        raise fault
    return dataset


def faults(dataset: Dataset, statistics: CountStatistics) -> Iterator[DataError]:
    """What is wrong with the counts, an error for each kind of fault."""
    n = dataset.n_patterns
    remedy = (
        "mask the pixels (data.bad_counts: mask_pixels, or data.mask) "
        "or leave out the patterns (data.bad_counts: drop_patterns)"
    )
    for count, what in (
        (statistics.not_finite, "counts are not finite (NaN or infinite)"),
        (statistics.negative, "counts are negative"),
    ):
        if len(where := np.flatnonzero(count)):
            found = f"in {len(where)} of {n} patterns, first in pattern {where[0]}"
            yield DataError(dataset.path, f"{count.sum()} {what}", found=found, remedy=remedy)
    if len(empty := statistics.empty):
        found = f"only zeros, first in pattern {empty[0]}"
        remedy = "leave them out (data.bad_counts: drop_patterns, or data.frames)"
        yield DataError(dataset.path, f"{len(empty)} of {n} patterns hold no counts at all", found=found, remedy=remedy)
