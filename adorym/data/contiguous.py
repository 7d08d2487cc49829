"""HDF5 datasets whose bytes lie in one piece at a known place, so that many processes may read and write them.

One process makes the file and closes it; then each writes its rows where they belong, without HDF5 and without locks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

# Of datasets in a file: compiled loops want arrays in memory to begin at multiples of their element, and of more.
ALIGNMENT = {"alignment_threshold": 64, "alignment_interval": 4096}


@dataclass(frozen=True)
class ArraySpec:
    """Shape and type of an array that is kept by rows."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def create_contiguous(group: h5py.Group, name: str, kept: ArraySpec) -> int:
    """A dataset that is allocated at once and filled by nobody; returns where its bytes begin in the file.

    Complex numbers become real ones with one axis more, ``(..., 2)``.
    """
    shape, dtype = kept.shape, kept.dtype
    if dtype.kind == "c":
        shape, dtype = (*shape, 2), np.empty(0, dtype).real.dtype
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind = h5py.h5t.py_create(dtype, logical=True)
    made = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(shape), settings)
    offset = made.get_offset()
    return 0 if offset is None else int(offset)


def write_rows(path: Path, offset: int, kept: ArraySpec, blocks: Iterable[tuple[int, np.ndarray]]) -> None:
    """Write ``(first row, rows)`` of a dataset of `create_contiguous`, while others write other rows of it.

    When it returns, they are on the disk.
    """
    with open(path, "r+b", buffering=0) as file:
        for start, rows in blocks:
            view = np.ascontiguousarray(rows, kept.dtype).reshape(-1).view(np.uint8).data
            at = offset + start * kept.row_bytes
            while len(view):
                done = os.pwrite(file.fileno(), view, at)
                view, at = view[done:], at + done
        os.fsync(file.fileno())


def read_rows(dataset: h5py.Dataset, kept: ArraySpec, start: int, stop: int) -> np.ndarray:
    """Rows of a dataset of `create_contiguous`."""
    rows = np.ascontiguousarray(dataset[start:stop], np.empty(0, kept.dtype).real.dtype)
    return rows.view(kept.dtype).reshape(stop - start, *kept.shape[1:])
