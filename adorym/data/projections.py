"""Full-field projections before they are used: rows, sinograms, a beam that changes, zingers, clipped counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.air import beam_of_projections, steady
from adorym.data.containers import read_array
from adorym.data.dataset import ArrayPatterns, Dataset, Patterns
from adorym.data.overrides import Overrides, numbers_of
from adorym.data.patterns import WrappedPatterns
from adorym.data.pictures import read_fields
from adorym.errors import ConfigError, DataError

# Counts pile up at the largest one if so many pixels of a picture hold it, and so much fewer hold nearly as much.
PILED_SHARE, PILED_RATIO, NEARLY = 0.03, 3.0, 0.97
LEAST_FULL = 250.0  # of detectors that count to less, many pixels hold the same number anyway
SAMPLE = 16
NOISE = 8.0  # standard deviations of counting noise that zingers exceed


@dataclass(frozen=True)
class SomeRows(WrappedPatterns):
    """Some rows of every pattern."""

    rows: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        n, _, x = self.base.shape
        return n, self.rows.stop - self.rows.start, x

    def read(self, index: np.ndarray) -> np.ndarray:
        return self.base.read(index)[:, self.rows]


@dataclass(frozen=True)
class WithoutZingers(WrappedPatterns):
    """Counts far above those around them, and in the projections before and after, replaced by a median.

    Attributes:
        fraction: How far.
        before: ``(n,)`` number of the projection at the next smaller angle.
        after: ``(n,)`` that at the next larger angle.
    """

    fraction: float
    before: np.ndarray
    after: np.ndarray

    def read(self, index: np.ndarray) -> np.ndarray:
        frames = self.base.read(index)
        hit, typical = zingers(
            frames, self.base.read(self.before[index]), self.base.read(self.after[index]), self.fraction
        )
        return np.where(hit, typical, frames)


def zingers(
    frames: np.ndarray, before: np.ndarray, after: np.ndarray, fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where ``frames`` ``(n, y, x)`` hold zingers, and the median around every pixel."""
    size = (1, 3, 3) if frames.shape[1] >= 3 else (1, 1, 5)
    typical = scipy.ndimage.median_filter(frames, size, mode="nearest")
    largest = np.fmax(np.fmax(typical, before), after)
    return frames > (1 + fraction) * largest + NOISE * np.sqrt(np.maximum(largest, 0)), typical


def neighbors(theta_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(n,)`` numbers of the projections at the next smaller and the next larger angle; the ends have one."""
    order = np.argsort(theta_rad, kind="stable")
    n, before, after = len(order), np.empty(len(order), int), np.empty(len(order), int)
    before[order] = order[np.concatenate([[min(1, n - 1)], np.arange(n - 1)])]
    after[order] = order[np.concatenate([np.arange(1, n), [max(0, n - 2)]])]
    return before, after


def chosen_rows(patterns: Patterns, overrides: Overrides) -> Patterns:
    """The rows that the user chooses, of projections ``(angle, y, x)`` even if the file has sinograms."""
    if overrides.sinograms:
        sinograms = patterns.read(np.arange(patterns.shape[0]))
        patterns = ArrayPatterns(np.ascontiguousarray(np.swapaxes(sinograms, 0, 1)))
    return patterns if overrides.rows is None else SomeRows(patterns, rows_of(overrides.rows, patterns.shape[1]))


def rows_of(choice: str, height: int) -> slice:
    """Neighboring rows out of ``height``.

    Raises:
        ConfigError: Not a choice, or rows with others in between.
    """
    rows = np.sort(numbers_of(choice, height, "data.rows"))
    if len(rows) > 1 and (np.diff(rows) != 1).any():
        raise ConfigError("data.rows", "the rows must lie side by side", expected="'first:last'", found=repr(choice))
    return slice(int(rows[0]), int(rows[-1]) + 1)


def in_rows(array: np.ndarray, overrides: Overrides, height: int) -> np.ndarray:
    """The chosen rows of ``array`` ``(..., y, x)``, unless it has ``height`` of them already."""
    if overrides.rows is None or array.ndim < 2 or array.shape[-2] == height:
        return array
    return array[..., rows_of(overrides.rows, array.shape[-2]), :]


def own_fields(
    source: str | Path | np.ndarray | tuple[str, ...], role: str, overrides: Overrides, window: tuple[int, int]
) -> np.ndarray:
    """Flat or dark fields ``(k, y, x)`` of the user; beside sinograms they may be ``(k, x)``."""
    fields = read_fields(source, role)
    if overrides.sinograms and fields.shape[-2] != window[0] and window[0] in (1, len(fields)):
        fields = np.swapaxes(fields, 0, 1)
    return in_rows(fields, overrides, window[0])


def repaired_projections(dataset: Dataset, overrides: Overrides) -> Dataset:
    """The data set without zingers, and in a steady beam, as far as the user asks for it.

    Raises:
        ConfigError: Both air and a monitor are given, or something that the data do not have.
    """
    if overrides.zingers is not None:
        cleaned = WithoutZingers(
            dataset.patterns, overrides.zingers, *neighbors(dataset.theta_rad[dataset.angle_index])
        )
        note = f"zingers: counts more than {100 * overrides.zingers:.3g} % above all around them replaced"
        dataset = replace(dataset, patterns=cleaned, notes=(*dataset.notes, note))
    if overrides.air is not None and overrides.monitor is not None:
        raise ConfigError("data.monitor", "has no effect beside 'data.air'", remedy="leave one of them out")
    if overrides.monitor is not None:
        return _steadied(dataset, monitored(overrides.monitor, dataset), "the monitor")
    if overrides.air is None:
        return dataset
    found = beam_of_projections(dataset, None if overrides.air == "auto" else overrides.air)
    if found is None:
        raise ConfigError("data.air", "no air at both edges of the detector in all projections", found="auto",
                          remedy="give [first row, last row, first column, last column] of air")  # fmt: skip
    return _steadied(dataset, found, "the air")


def monitored(source: str | Path | np.ndarray, dataset: Dataset) -> np.ndarray:
    """``(n,)`` reading of a monitor for each pattern, over its mean.

    Raises:
        DataError: Not one positive number a pattern.
    """
    reading = np.ravel(read_array(source, "monitor")[0]).astype(np.float64)
    if len(reading) != dataset.n_patterns or not (np.isfinite(reading) & (reading > 0)).all():
        expected = f"{dataset.n_patterns} positive numbers, one a pattern"
        raise DataError(
            "data.monitor", "not the readings of a monitor", expected=expected, found=f"{len(reading)} numbers"
        )
    return reading / reading.mean()


def _steadied(dataset: Dataset, factor: np.ndarray, by: str) -> Dataset:
    note = f"each projection divided by {by}, {factor.min():.4g} to {factor.max():.4g}"
    return replace(dataset, patterns=steady(dataset.patterns, factor), notes=(*dataset.notes, note))


def clipping(patterns: Patterns, flats: np.ndarray | None) -> tuple[str, ...]:
    """What is said of counts that pile up at the largest one; nothing if they do not."""
    n = patterns.shape[0]
    frames = patterns.read(np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(int)))
    pictures = [*frames, *([] if flats is None else np.asarray(flats, np.float32))]
    top = max(float(np.nanmax(each, initial=0.0)) for each in pictures)
    if top < LEAST_FULL:
        return ()
    full = np.array([np.count_nonzero(each == top) for each in pictures])
    nearly = sum(np.count_nonzero((each >= NEARLY * top) & (each < top)) for each in pictures)
    size = pictures[0].size
    if full.max() < PILED_SHARE * size or full.sum() < PILED_RATIO * nearly:
        return ()
    share = 100 * full[: len(frames)].sum() / (size * len(frames))
    where = f"{share:.3g} % of the pixels" if share else "pixels of the flat fields"
    return (
        f"counts: {where} hold {top:.10g}, the largest number: the detector was saturated there (overexposed), "
        "and the absorption comes out too small; mask what is clipped, or measure with less light",
    )
