"""Which patterns are used, by the numbers they have in the file, and the positions that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.overrides import Overrides, numbers_of
from adorym.data.patterns import select
from adorym.errors import ConfigError, DataError

SHOWN_NUMBERS, MOST_LISTED = 12, 100


@dataclass(frozen=True)
class Selection:
    """The chosen patterns and angles.

    Attributes:
        total: Number of patterns in the file.
        patterns: ``(n,)`` number in the file of each pattern that is used.
        angle_index: ``(n,)`` index into ``angles`` for each of them.
        angles: ``(n_angles,)`` number in the file of each angle.
        by_user: Whether the user chose them.
    """

    total: int
    patterns: np.ndarray
    angle_index: np.ndarray
    angles: np.ndarray
    by_user: bool = False

    @property
    def is_all(self) -> bool:
        """Whether every pattern is used, in the file's order."""
        return len(self.patterns) == self.total and np.array_equal(self.patterns, np.arange(self.total))

    def truth(self, truth: Mapping[str, Any]) -> dict[str, Any]:
        """The ground truth, with the positions of the chosen patterns."""
        return {
            name: self.of(value) if name == "probe_positions_px" and self._by_pattern(value) else value
            for name, value in truth.items()
        }

    def extra(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays with an entry a pattern, of the chosen patterns."""
        return {name: self.of(each) if self._by_pattern(each) else each for name, each in arrays.items()}

    def _by_pattern(self, array: np.ndarray) -> bool:
        """Whether ``array`` has an entry a pattern; what a file calls an array may be a number."""
        return np.shape(array)[:1] == (self.total,)

    def of(self, entries: np.ndarray) -> np.ndarray:
        """Those of ``entries`` ``(total, ...)`` that belong to the chosen patterns."""
        return entries if self.is_all else entries[self.patterns]


def selection(
    wanted: Overrides, total: int, angle_index: np.ndarray | None, n_angles: int, notes: list[str]
) -> Selection:
    """The patterns that ``angles``, ``frames`` and ``drop_frames`` leave.

    Raises:
        ConfigError: A choice is wrong, or nothing is left.
    """
    index = np.zeros(total, int) if angle_index is None else angle_index.astype(int)
    keep, angles = np.arange(total), np.arange(n_angles)
    if wanted.angles is not None:
        angles = np.unique(numbers_of(wanted.angles, n_angles, "data.angles"))
        keep = np.flatnonzero(np.isin(index, angles))
        index = np.searchsorted(angles, index)
        notes.append(f"angles {wanted.angles}: {len(angles)} of {n_angles}")
    if wanted.frames is not None:
        chosen = numbers_of(wanted.frames, len(keep), "data.frames")
        notes.append(f"patterns {wanted.frames}: {len(chosen)} of {len(keep)}")
        keep = keep[chosen]
    dropped = np.zeros(0, int)
    if wanted.drop_frames not in ("auto", "none"):
        dropped = numbers_of(wanted.drop_frames, total, "data.drop_frames")
        keep = keep[~np.isin(keep, dropped)]
        notes.append(f"patterns left out: {shown_numbers(dropped)}")
    if len(keep) == 0:
        raise ConfigError("data.drop_frames", "no pattern is left", found=wanted.drop_frames)
    by_user = wanted.frames is not None or len(dropped) > 0
    return Selection(total, keep, index[keep], angles, by_user)


def positions_of(positions: np.ndarray | None, chosen: Selection, notes: list[str], path: str) -> np.ndarray | None:
    """The positions ``(n, 2)`` of the chosen patterns, from those of a file ``(k, 2)``.

    Where the file has more or fewer positions than patterns, the user's choice of patterns says that those of the same
    number belong together.

    Raises:
        DataError: Their number does not fit, or one is not a finite number.
    """
    if positions is None or positions.ndim != 2 or positions.shape[1] != 2:
        return positions  # the data set says what is wrong
    k, n = len(positions), chosen.total
    if k != n:
        if not chosen.by_user or chosen.patterns.max() >= k:
            many = "one position" if abs(k - n) == 1 else f"{abs(k - n)} positions"
            much = f"{many} too {'many' if k > n else 'few'}"
            which = "surplus positions" if k > n else "patterns without position"
            raise DataError(
                path,
                f"the number of probe positions differs from the number of patterns: {much}",
                expected=f"{n} positions",
                found=k,
                remedy=f"if the {which} are the last, write data.frames: ':{min(k, n)}', which takes position i for "
                "pattern i",
            )
        notes.append(f"{k} positions for {n} patterns: position i is taken for pattern i")
    positions = positions if k == n and chosen.is_all else positions[chosen.patterns]
    bad = chosen.patterns[~np.isfinite(positions).all(axis=1)]
    if len(bad):
        raise _not_finite(bad, len(positions), path)
    return positions


def _not_finite(bad: np.ndarray, n: int, path: str) -> DataError:
    one = len(bad) == 1
    what = f"probe position {bad[0]} is not a finite number"
    if not one:
        what = f"probe positions {shown_numbers(bad)} are not finite numbers"
    remedy = "correct them in the file"
    if len(bad) < n and len(bad) <= MOST_LISTED:
        patterns, choice = ("the pattern", bad[0]) if one else ("the patterns", bad.tolist())
        remedy = f"leave {patterns} out with data.drop_frames: {choice}, or choose the others with data.frames"
    return DataError(path, what, found=f"{len(bad)} of {n}", remedy=remedy)


def shown_numbers(numbers: np.ndarray) -> str:
    """``3, 7, 20 to 25 and 4 more``: runs of three or more in short."""
    ordered = np.unique(numbers)
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1) if len(ordered) else []
    parts: list[str] = []
    told = 0
    for run in runs:
        if len(parts) >= SHOWN_NUMBERS:
            return f"{', '.join(parts)} and {len(ordered) - told} more"
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
        told += len(run)
    return ", ".join(parts)


def choose(dataset: Dataset, keep: np.ndarray, note: str) -> Dataset:
    """The data set of the patterns ``keep``; whatever has one entry a pattern follows."""
    n, truth = dataset.n_patterns, dict(dataset.truth)
    for name, value in truth.items():
        if name == "probe_positions_px" and len(value) == n:
            truth[name] = value[keep]
    mask, weights = dataset.mask, dataset.weights
    return replace(
        dataset,
        patterns=select(dataset.patterns, keep),
        probe_positions_px=None if dataset.probe_positions_px is None else dataset.probe_positions_px[keep],
        angle_index=dataset.angle_index[keep],
        pattern_numbers=dataset.pattern_numbers[keep],
        mask=mask[keep] if mask is not None and mask.ndim == 3 else mask,
        weights=weights[keep] if weights is not None and weights.ndim == 3 else weights,
        extra={name: each[keep] if len(each) == n else each for name, each in dataset.extra.items()},
        truth=truth,
        notes=(*dataset.notes, note),
    )


def chosen_mask(mask: np.ndarray | None, chosen: Selection) -> np.ndarray | None:
    """The mask ``(y, x)`` or ``(n, y, x)`` of the chosen patterns."""
    return mask if mask is None or mask.ndim == 2 else chosen.of(mask)
