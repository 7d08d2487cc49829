"""A beam that changes from projection to projection: its strength from the air beside the sample, or from a monitor.

In the air the transmission is 1 in every projection, whatever the beam does. Columns at both edges of the detector are
air if they stay alike while the sample turns; a sample that reaches an edge in some projections gives itself away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from adorym.data.dataset import ArrayPatterns, Dataset, Patterns
from adorym.data.patterns import WrappedPatterns
from adorym.errors import ConfigError, DataError

# Of the detector's width: the columns at each edge that are looked at first.
EDGE = 32
# Edges may differ by this much, and by this many standard deviations of the counts' noise.
UNEVEN, DEVIATIONS = 0.01, 4.0
BLOCK_PIXELS = 2**24
FEW = 3  # fewer projections tell nothing


@dataclass(frozen=True)
class SteadyPatterns(WrappedPatterns):
    """Each pattern divided by the strength ``factor`` ``(n,)`` of its beam."""

    factor: np.ndarray

    def read(self, index: np.ndarray) -> np.ndarray:
        return self.base.read(index) / self.factor[index].astype(np.float32)[:, None, None]


def steady(patterns: Patterns, factor: np.ndarray) -> Patterns:
    """``patterns`` divided by ``factor`` ``(n,)``; in memory if they are."""
    made = SteadyPatterns(patterns, factor)
    return ArrayPatterns(made.read(np.arange(len(factor)))) if isinstance(patterns, ArrayPatterns) else made


def in_blocks(patterns: Patterns, index: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
    """Patterns ``index``, or all, some at a time: their places in the index, and ``(k, y, x)`` float32."""
    n, y, x = patterns.shape
    chosen = np.arange(n) if index is None else index
    step = max(1, BLOCK_PIXELS // (y * x))
    for start in range(0, len(chosen), step):
        part = slice(start, min(start + step, len(chosen)))
        yield part, patterns.read(chosen[part])


def transmission_of_columns(dataset: Dataset) -> tuple[np.ndarray, int]:
    """``(n, x)`` mean transmission of each column over the good rows, and the number of rows; NaN without any."""
    level, (height, width) = dataset.open_beam_counts or 1.0, dataset.window_px
    total = np.zeros((dataset.n_patterns, width))
    for part, frames in in_blocks(dataset.patterns):
        values = frames.astype(np.float64)
        values = values**2 if dataset.measured == "amplitude" else values
        good = np.isfinite(values)
        if dataset.mask is not None:
            good &= dataset.mask if dataset.mask.ndim == 2 else dataset.mask[part]
        number = good.sum(axis=1)
        total[part] = np.where(number > 0, np.where(good, values, 0).sum(axis=1) / np.maximum(number, 1), np.nan)
    return total / level, height


def air_columns(transmission: np.ndarray, counts: float) -> np.ndarray | None:
    """``(x,)`` bool, True for columns that are air in every projection; ``None`` if an edge sees the sample.

    Args:
        transmission: ``(n, x)``; common factors of a projection do not matter.
        counts: Photons behind one of these numbers, for its noise.
    """
    n, width = transmission.shape
    known = np.isfinite(transmission).all(axis=0) & (transmission > 0).all(axis=0)
    places = np.flatnonzero(known)
    first = max(2, width // EDGE)
    if n < FEW or len(places) < 4 * first:
        return None
    left, right = places[:first], places[-first:]
    level = np.log([transmission[:, left].mean(axis=1), transmission[:, right].mean(axis=1)])
    noise = 1 / np.sqrt(max(counts * first * float(np.median(np.exp(level))), 1.0))
    if (level[0] - level[1]).std() > np.hypot(UNEVEN, DEVIATIONS * noise):
        return None
    common = level.mean(axis=0)
    apart = np.log(transmission[:, places]) - common[:, None]
    limit = np.hypot(UNEVEN, DEVIATIONS * noise * np.sqrt(first))
    alike = (apart.std(axis=0) < limit) & (np.abs(apart.mean(axis=0)) < limit)
    air = np.zeros(width, bool)
    air[left], air[right] = True, True
    air[places[first : first + int(np.argmin(np.append(alike[first:], False)))]] = True
    behind = alike[: len(places) - first][::-1]
    air[places[::-1][first : first + int(np.argmin(np.append(behind, False)))]] = True
    return air if air.sum() < 0.9 * width else None


def beam_of_projections(dataset: Dataset, region: tuple[int, int, int, int] | None = None) -> np.ndarray | None:
    """``(n,)`` strength of the beam in each projection over that of the flat field, from the air.

    Args:
        dataset: Full-field projections.
        region: First and last row, and first and last column, of air; looked for at the edges if absent.

    Returns:
        None where no air is found.
    """
    if region is None:
        transmission, rows = transmission_of_columns(dataset)
        air = air_columns(transmission, (dataset.open_beam_counts or 1.0) * rows)
        return None if air is None else transmission[:, air].mean(axis=1)
    top, bottom, left, right = region
    height, width = dataset.window_px
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        expected = f"[first row, last row, first column, last column] within {height} x {width} px"
        raise ConfigError("data.air", "no region of the detector", expected=expected, found=list(region))
    found = np.empty(dataset.n_patterns)
    for part, frames in in_blocks(dataset.patterns):
        found[part] = np.nanmean(np.where(frames > 0, frames, np.nan)[:, top:bottom, left:right], axis=(1, 2))
    found = found**2 if dataset.measured == "amplitude" else found
    if not (np.isfinite(found) & (found > 0)).all():
        bad = int(np.flatnonzero(~(np.isfinite(found) & (found > 0)))[0])
        raise DataError(dataset.path, f"pattern {bad} holds no counts in the region of air", found=list(region),
                        remedy="choose another region with 'data.air'")  # fmt: skip
    return found / (dataset.open_beam_counts or float(np.median(found)))
