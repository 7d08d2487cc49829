"""Views: which part of the object a batch of patterns needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adorym.storage.base import Windows

# The current values of a parameter, one row per pattern of the batch; ``None`` if it is not in use.
Present = Callable[[str], np.ndarray | None]
# ``f(present, object shape)`` -> number of rows that a pattern needs above and below its own.
Reach = Callable[[Present, tuple[int, ...]], int]


class View(ABC):
    """Which part of the object `ForwardModel.predict` needs for a batch.

    Attributes:
        all_at_once: Whether a part of the patterns costs as much as all of them: a batch is then the whole data set,
            and is never divided.
        by_rows: Whether batches should group patterns that cover the same rows of the object.
        follows: Parameters that the shape of the windows depends on.
    """

    all_at_once: ClassVar[bool] = False
    by_rows: ClassVar[bool] = False
    follows: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def windows(self, corners_px: np.ndarray, object_shape: tuple[int, ...], present: Present) -> Windows:
        """The object windows of a batch whose patterns have their corners at ``corners_px`` ``(n, 2)``."""


@dataclass(frozen=True)
class ScanWindows(View):
    """One window per pattern, of the pattern's size."""

    window_px: tuple[int, int]

    def windows(self, corners_px: np.ndarray, object_shape: tuple[int, ...], present: Present) -> Windows:
        return Windows(corners_px, self.window_px)


class WholeObject(View):
    """The whole object, once for all patterns of a batch: ``(1, y, x, ...)``."""

    def windows(self, corners_px: np.ndarray, object_shape: tuple[int, ...], present: Present) -> Windows:
        return Windows(np.zeros((1, 2), np.int64), (object_shape[0], object_shape[1]))


class WholeObjectAtOnce(WholeObject):
    """The same, where a part of the patterns would cost as much as all of them."""

    all_at_once: ClassVar[bool] = True


@dataclass(frozen=True)
class RowBand(View):
    """All columns of the rows that a batch covers, and of those that tilts and shifts bring in: ``(1, y, x, z)``.

    Attributes:
        height_px: Rows per pattern.
        reach: Number of rows that a pattern may need beyond its own.
    """

    height_px: int
    reach: Reach
    by_rows: ClassVar[bool] = True
    follows: ClassVar[tuple[str, ...]] = ("probe_positions", "probe_offset", "tilt", "object_shift", "axis_tilt")

    def windows(self, corners_px: np.ndarray, object_shape: tuple[int, ...], present: Present) -> Windows:
        beyond = self.reach(present, object_shape)
        low = max(0, int(corners_px[:, 0].min()) - beyond)
        high = min(object_shape[0], int(corners_px[:, 0].max()) + self.height_px + beyond)
        return Windows(np.array([[low, 0]], np.int64), (high - low, object_shape[1]))


@dataclass(frozen=True)
class TileBands(View):
    """Bands ``(k, y, x, z)`` of all columns, one for each row of tiles, with its rim and the rows that poses bring in.

    Attributes:
        height_px: Rows of a pattern, which may be a tile of a detector image.
        picture_px: Rows of a whole image; the rim is the object's height beyond it.
        reach: Number of rows that a pattern may need beyond its own and the rim.
    """

    height_px: int
    picture_px: int
    reach: Reach
    by_rows: ClassVar[bool] = True
    follows: ClassVar[tuple[str, ...]] = RowBand.follows

    def windows(self, corners_px: np.ndarray, object_shape: tuple[int, ...], present: Present) -> Windows:
        beyond = (object_shape[0] - self.picture_px) // 2 + self.reach(present, object_shape)
        height = min(self.height_px + 2 * beyond, object_shape[0])
        low = np.unique(np.clip(corners_px[:, 0] - beyond, 0, object_shape[0] - height))
        return Windows(np.column_stack([low, 0 * low]).astype(np.int64), (height, object_shape[1]))


@dataclass(frozen=True)
class Tiles(View):
    """The distinct windows of a batch, with a rim: patterns at the same place share one window.

    Attributes:
        window_px: (y, x) size of a pattern, which may be a tile of a detector image.
        picture_px: (y, x) size of a whole image; the rim is the object's size beyond it.
    """

    window_px: tuple[int, int]
    picture_px: tuple[int, int]

    def windows(self, corners_px: np.ndarray, object_shape: tuple[int, ...], present: Present) -> Windows:
        edge = [(n - p) // 2 for n, p in zip(object_shape[:2], self.picture_px, strict=True)]
        places, _ = distinct_corners(corners_px)
        ny, nx = (w + 2 * e for w, e in zip(self.window_px, edge, strict=True))
        return Windows((places - edge).astype(np.int64), (ny, nx))


def distinct_corners(corners_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(k, 2)`` distinct corners, and for each pattern the index of its corner ``(n,)``."""
    places, which = np.unique(corners_px, axis=0, return_inverse=True)
    return places, which.ravel()
