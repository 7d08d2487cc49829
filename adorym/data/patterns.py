"""Stacks of patterns: read lazily from HDF5, joined, oriented, corrected, selected; all by index, all float32.

Each class is a `adorym.data.dataset.Patterns`, with ``shape`` ``(n, y, x)`` and ``read(index)``. They wrap each other,
so a file of any size takes only the memory of the patterns in use.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from adorym.data.dataset import ArrayPatterns, Patterns
from adorym.data.hdf5 import BROKEN_FILE, check_sources, open_hdf5, require
from adorym.errors import DataError

BLOCK_BYTES = 16 * 2**20


def check_stack(stack: np.ndarray | h5py.Dataset, place: str) -> None:
    """Refuse an array that cannot be a stack of patterns."""
    if stack.ndim < 2 or 0 in stack.shape:
        expected = "(n, y, x) or (angle, tile, y, x), none of them 0"
        raise DataError(place, "patterns have the wrong shape", expected=expected, found=stack.shape)
    if stack.dtype.kind not in "iufb":
        raise DataError(place, "patterns are not real numbers", found=str(stack.dtype))
    if isinstance(stack, h5py.Dataset) and not (stack.is_virtual or stack.external or stack.id.get_storage_size()):
        found = " x ".join(map(str, stack.shape)) + " numbers, none of them in the file"
        raise DataError(place, "the patterns were never written", found=found, remedy="copy the whole file again")


class Hdf5Patterns:
    """Patterns in an HDF5 dataset ``(n, y, x)``, or ``(..., y, x)`` with the leading axes counted in C order.

    The file is opened by the first read of each process, so that an instance may be pickled or forked; threads
    take turns.

    Args:
        path: The file.
        key: The dataset in it, or a link to it.
        selection: Indices of the patterns in this stack; all if not given.
        frames_last: The patterns are counted along the last axis: ``(y, x, n)``.

    Raises:
        DataError: File or dataset missing, fewer than two axes, or not real numbers.
    """

    def __init__(
        self, path: str | Path, key: str, selection: np.ndarray | None = None, frames_last: bool = False
    ) -> None:
        self.path, self.key, self.frames_last = str(path), key, frames_last
        self.selection = None if selection is None else np.asarray(selection, dtype=np.intp)
        self._handle: h5py.File | None = None
        self._owner, self._lock = 0, threading.Lock()
        with open_hdf5(path) as file:
            dataset = require(file, key)
            check_stack(dataset, f"{self.path}:{dataset.name}")
            check_sources(dataset)
            shape = dataset.shape
        self.frames_last = frames_last and len(shape) > 2
        self.stack_shape: tuple[int, ...] = (shape[2:] if self.frames_last else shape[:-2]) or (1,)
        self.window: tuple[int, int] = shape[:2] if self.frames_last else shape[-2:]

    @property
    def shape(self) -> tuple[int, int, int]:
        n = int(np.prod(self.stack_shape)) if self.selection is None else len(self.selection)
        return (n, *self.window)

    def read(self, index: np.ndarray) -> np.ndarray:
        index = np.asarray(index, dtype=np.intp)
        if self.selection is not None:
            index = self.selection[index]
        unique, inverse = np.unique(index, return_inverse=True)
        with self._lock:
            frames = self._read_sorted(unique)
        if np.array_equal(inverse, np.arange(len(inverse))):
            return frames
        return frames[inverse.reshape(-1)]

    def select(self, index: np.ndarray) -> Hdf5Patterns:
        """The stack of patterns ``index`` of this one."""
        index = np.asarray(index, dtype=np.intp)
        chosen = index if self.selection is None else self.selection[index]
        return Hdf5Patterns(self.path, self.key, chosen, self.frames_last)

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        with self._lock:
            if self._handle is not None and self._owner == os.getpid():
                self._handle.close()
            self._handle = None

    def _dataset(self) -> h5py.Dataset:
        if self._handle is None or self._owner != os.getpid():  # a handle does not survive a fork
            self._handle, self._owner = open_hdf5(self.path), os.getpid()
        return self._handle[self.key]

    def _read_sorted(self, unique: np.ndarray) -> np.ndarray:
        """Patterns of sorted, unique indices; h5py takes a list along one axis only, so one read per leading index."""
        frames = np.empty((len(unique), *self.window), np.float32)
        if len(unique) == 0:
            return frames
        dataset = self._dataset()
        *leading, last = np.unravel_index(unique, self.stack_shape)
        try:
            if dataset.ndim == 2:
                frames[:] = dataset[:]
                return frames
            starts = np.flatnonzero(np.any(np.diff(leading, axis=1, prepend=-1), axis=0)) if leading else np.array([0])
            for start, stop in zip(starts, [*starts[1:], len(unique)], strict=True):
                rows = last[start:stop]
                run = rows[-1] - rows[0] + 1 == len(rows)
                chosen = slice(int(rows[0]), int(rows[-1]) + 1) if run else rows
                place = (*(int(axis[start]) for axis in leading), chosen)
                if self.frames_last:
                    frames[start:stop] = np.moveaxis(dataset[(slice(None), slice(None), *place)], -1, 0)
                else:
                    frames[start:stop] = dataset[place]
        except BROKEN_FILE as error:
            raise DataError(
                f"{self.path}:/{self.key.lstrip('/')}",
                "patterns cannot be read",
                found=str(error),
                remedy="copy a damaged file again; 'h5dump -p -H FILE' shows an unknown compression",
            ) from error
        return frames

    def __getstate__(self) -> dict[str, object]:
        kept = ("path", "key", "selection", "frames_last")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)  # type: ignore[misc]


@dataclass(frozen=True)
class JoinedPatterns:
    """Several stacks of equal windows, one after the other."""

    parts: Sequence[Patterns]

    @property
    def shape(self) -> tuple[int, int, int]:
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    def read(self, index: np.ndarray) -> np.ndarray:
        index = np.asarray(index, dtype=np.intp)
        ends = np.cumsum([part.shape[0] for part in self.parts])
        owner = np.searchsorted(ends, index, side="right")
        frames = np.empty((len(index), *self.shape[1:]), np.float32)
        for i in np.unique(owner):
            first = ends[i] - self.parts[i].shape[0]
            frames[owner == i] = self.parts[i].read(index[owner == i] - first)
        return frames


@dataclass(frozen=True)
class WrappedPatterns:
    """Another stack, each of whose patterns is changed on reading. Implement ``read``."""

    base: Patterns

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.base.shape


@dataclass(frozen=True)
class SelectedPatterns(WrappedPatterns):
    """The patterns ``selection`` of another stack."""

    selection: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self.selection), *self.base.shape[1:])

    def read(self, index: np.ndarray) -> np.ndarray:
        return self.base.read(self.selection[index])


@dataclass(frozen=True)
class CorrectedPatterns(WrappedPatterns):
    """Dark and flat correction: ``max(0, (I - dark) * gain)``, each ``(y, x)``.

    The noise of the dark field makes some corrected counts negative, which no likelihood allows; they are set to 0.
    """

    dark: np.ndarray | None = None
    gain: np.ndarray | None = None

    def read(self, index: np.ndarray) -> np.ndarray:
        frames = self.base.read(index)
        if self.dark is not None:
            frames = frames - self.dark.astype(np.float32)
        if self.gain is not None:
            frames = frames * self.gain.astype(np.float32)
        return np.where(frames < 0, np.float32(0), frames)  # not np.maximum alone: it is a comparison, so NaN stays


@dataclass(frozen=True)
class Transmissions(WrappedPatterns):
    """``exp(-p)`` of line integrals ``p = -log(I/I0)``."""

    def read(self, index: np.ndarray) -> np.ndarray:
        return np.exp(-self.base.read(index))


@dataclass(frozen=True)
class MaskedPatterns(WrappedPatterns):
    """Counts at bad pixels that no arithmetic survives (not finite or negative) read as 0.

    A weight of 0 does not cancel a NaN, so the model's mask alone would not do. ``good``: ``(y, x)`` or ``(n, y, x)``.
    """

    good: np.ndarray

    def read(self, index: np.ndarray) -> np.ndarray:
        frames = self.base.read(index)
        good = self.good if self.good.ndim == 2 else self.good[index]
        usable = good | ((frames >= 0) & np.isfinite(frames))
        return np.where(usable, frames, np.float32(0))


@dataclass(frozen=True)
class Orientation:
    """How the patterns of a file are converted to this package's convention: zero frequency, transpose, flips.

    Attributes:
        from_corner: The zero frequency is at the corner and is moved to the center, index ``n // 2``.
        transpose: Exchange rows and columns.
        flip_y: Reverse the rows.
        flip_x: Reverse the columns.
        keep_center: A flip leaves index ``n // 2`` in place; with an even number of pixels the outermost row, which has
            no counterpart, then stays, too. Right for far-field patterns, not for images.
    """

    from_corner: bool = False
    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False
    keep_center: bool = True

    @property
    def is_identity(self) -> bool:
        """Whether `apply` would return its argument."""
        return not (self.from_corner or self.transpose or self.flip_y or self.flip_x)

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Convert ``frames`` ``(..., y, x)``; ``(..., x, y)`` after a transpose."""
        if self.from_corner:
            frames = np.fft.fftshift(frames, axes=(-2, -1))
        if self.transpose:
            frames = np.swapaxes(frames, -2, -1)
        for axis, flip in ((-2, self.flip_y), (-1, self.flip_x)):
            if flip:
                frames = np.flip(frames, axis)
                if self.keep_center and frames.shape[axis] % 2 == 0:
                    frames = np.roll(frames, 1, axis)
        return np.ascontiguousarray(frames)

    def place(self, place_px: tuple[float, float], window_px: tuple[int, int]) -> tuple[float, float]:
        """(y, x) of a place of the frames after `apply`, in the turned frames of size ``window_px``."""
        place = place_px[::-1] if self.transpose else place_px
        flips = zip(place, (self.flip_y, self.flip_x), window_px, strict=True)
        y, x = ((n - n % 2 if self.keep_center else n - 1) - at if flip else at for at, flip, n in flips)
        return y, x

    def describe(self) -> str:
        """The steps in words."""
        steps = {
            "zero frequency moved from the corner to the center": self.from_corner,
            "rows and columns exchanged": self.transpose,
            "rows reversed": self.flip_y,
            "columns reversed": self.flip_x,
        }
        return ", ".join(step for step, done in steps.items() if done)


@dataclass(frozen=True)
class OrientedPatterns(WrappedPatterns):
    """Every pattern converted by an `Orientation`."""

    orientation: Orientation

    @property
    def shape(self) -> tuple[int, int, int]:
        n, y, x = self.base.shape
        return (n, x, y) if self.orientation.transpose else (n, y, x)

    def read(self, index: np.ndarray) -> np.ndarray:
        return self.orientation.apply(self.base.read(index))


def select(patterns: Patterns, index: np.ndarray) -> Patterns:
    """The stack of patterns ``index`` of ``patterns``."""
    if isinstance(patterns, ArrayPatterns) and not isinstance(patterns.array, np.memmap):
        return ArrayPatterns(patterns.array[index])
    if isinstance(patterns, Hdf5Patterns):
        return patterns.select(index)
    return SelectedPatterns(patterns, np.asarray(index, dtype=np.intp))


def blocks(patterns: Patterns, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, np.ndarray]]:
    """All patterns in order, block by block: index of the first, and ``(k, y, x)`` float32."""
    n, y, x = patterns.shape
    step = max(1, block_bytes // (4 * y * x))
    for start in range(0, n, step):
        yield start, patterns.read(np.arange(start, min(start + step, n)))


def load(patterns: Patterns, limit_bytes: float) -> Patterns:
    """``patterns`` in memory if they take at most ``limit_bytes`` as float32, else unchanged."""
    n, y, x = patterns.shape
    in_memory = isinstance(patterns, ArrayPatterns) and patterns.array.dtype == np.float32
    if in_memory or 4 * n * y * x > limit_bytes:
        return patterns
    array = np.empty((n, y, x), np.float32)
    for start, frames in blocks(patterns):
        array[start : start + len(frames)] = frames
    return ArrayPatterns(array)
