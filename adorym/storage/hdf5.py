"""An object in a file: object, gradient and optimizer state in one HDF5 file, with a few blocks in memory.

The datasets are contiguous and allocated at once, ``(y, x, ..., 2)`` real numbers. With the driver ``memmap`` HDF5 only
provides their offsets; each rank then maps the file into memory, which needs neither a parallel HDF5 nor a lock, and
the kernel decides which pages stay in memory. With ``mpio`` the datasets are read and written through a parallel HDF5.
The file is unlinked once created, so nothing remains however the run ends.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym.comm import Communicator, parallel_hdf5_options
from adorym.data.contiguous import ALIGNMENT, ArraySpec, create_contiguous, read_rows
from adorym.errors import ConfigError
from adorym.optimizers.base import Optimizer
from adorym.storage.base import BLOCK_BYTES, LikeObject
from adorym.storage.layout import pack
from adorym.storage.slabs import MemoryRows, Plan, RowBackend, SlabStore, Start, copy_unless_same
from adorym.wrapper.base import Backend

# Temporaries of a step as a multiple of its block of the object, measured: those of Adam, and those of a regularizer's
# gradient. The messages of a batch are not included.
STEP_FACTOR = 16


@dataclass(frozen=True)
class FileSettings:
    """Settings of the store in a file.

    Attributes:
        folder: Folder of the file.
        memory_bytes: Memory that a rank may use for its blocks.
        driver: ``memmap`` or ``mpio``.
    """

    folder: Path
    memory_bytes: float | None = None
    driver: str = "memmap"

    @property
    def block_bytes(self) -> int:
        """Object bytes per block."""
        return BLOCK_BYTES if self.memory_bytes is None else int(min(BLOCK_BYTES, self.memory_bytes / STEP_FACTOR))


class MappedRows(RowBackend):
    """Rows of a mapped dataset, ``first`` being the number of its first row."""

    def __init__(self, mapped: np.memmap, first: int = 0) -> None:
        self._first, self.mapped = first, mapped
        self._mmap: mmap.mmap = mapped._mmap  # type: ignore[attr-defined]
        self._begin = mapped.offset % mmap.ALLOCATIONGRANULARITY  # the map itself begins at a page
        self._row_bytes = mapped[:1].nbytes

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.mapped[start - self._first : stop - self._first].view(np.ndarray)

    def write(self, start: int, rows: np.ndarray) -> None:
        copy_unless_same(self.read(start, start + len(rows)), rows)

    def done(self, start: int, stop: int) -> None:
        self._advise(mmap.MADV_DONTNEED, start, stop)  # pages of a file lose no data by that

    def soon(self, start: int, stop: int) -> None:
        self._advise(mmap.MADV_WILLNEED, start, stop)

    def _advise(self, advice: int, start: int, stop: int) -> None:
        first = self._begin + (start - self._first) * self._row_bytes
        page = first // mmap.PAGESIZE * mmap.PAGESIZE
        length = first + (stop - start) * self._row_bytes - page
        if length > 0:
            self._mmap.madvise(advice, page, length)


def _mapped(path: Path, offset: int, kept: ArraySpec) -> np.memmap:
    return np.memmap(path, kept.dtype, "r+", offset, kept.shape)


class DatasetRows(RowBackend):
    """Rows of a dataset accessed through HDF5: real numbers, the two parts of complex ones on the last axis."""

    def __init__(self, dataset: h5py.Dataset, kept: ArraySpec) -> None:
        self._dataset, self._kept = dataset, kept

    def read(self, start: int, stop: int) -> np.ndarray:
        return read_rows(self._dataset, self._kept, start, stop)

    def write(self, start: int, rows: np.ndarray) -> None:
        if len(rows):
            real = np.ascontiguousarray(rows).view(self._dataset.dtype)
            self._dataset[start : start + len(rows)] = real.reshape(len(rows), *self._dataset.shape[1:])


class Hdf5Store(SlabStore):
    """The object in a file; each rank works on its slab of it, block by block."""

    def __init__(
        self, xp: Backend, start: Start, optimizer: Optimizer, comm: Communicator, settings: FileSettings
    ) -> None:
        self._settings = settings
        self._file: h5py.File | None = None
        self._spare: list[np.memmap] = []  # files of arrays that are no longer needed
        if settings.memory_bytes is not None:
            self.window_bytes = settings.memory_bytes / STEP_FACTOR
        super().__init__(xp, start, optimizer, comm, settings.block_bytes)

    def empty(self) -> LikeObject:
        low, high = self.local_rows
        kept = ArraySpec((high - low, *self.shape[1:]), self._kept["value"].dtype)
        if high == low:
            return MemoryRows(np.zeros(kept.shape, kept.dtype), low)
        rows = MappedRows(self._spare.pop() if self._spare else self._alone(kept), low)
        # To make a file takes longer than to fill it: when nobody needs the array any more, the next one has its file.
        weakref.finalize(rows, self._spare.append, rows.mapped).atexit = False
        return rows

    def _alone(self, kept: ArraySpec) -> np.memmap:
        """An array in a file of this rank alone."""
        made = self._reserved({"new": kept})
        if isinstance(made, ConfigError):
            raise made
        path, offsets = made
        try:
            return _mapped(path, offsets["new"], kept)
        finally:
            path.unlink()

    def _make_rows(self, kept: dict[str, ArraySpec]) -> dict[str, RowBackend]:
        made = self.comm.broadcast(self._reserved(kept) if self.comm.is_root else None, "make the object's file")
        if isinstance(made, ConfigError):  # raised on every rank
            raise made
        path, offsets = made
        try:
            return self._opened(path, offsets, kept)
        finally:
            self.comm.barrier("open the object's file")
            if self.comm.is_root:
                path.unlink()

    def _opened(self, path: Path, offsets: dict[str, int], kept: dict[str, ArraySpec]) -> dict[str, RowBackend]:
        if self._settings.driver == "memmap":
            return {name: MappedRows(_mapped(path, offsets[name], k)) for name, k in kept.items()}
        file = h5py.File(path, "r+", **parallel_hdf5_options(self.comm))
        self._file = file
        return {name: DatasetRows(file[name], k) for name, k in kept.items()}

    def _reserved(self, kept: dict[str, ArraySpec]) -> Any:
        """(path, offset of each array) of a new file whose space is reserved; or the error."""
        folder = self._settings.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".object-", suffix=".h5", dir=folder)
        except OSError as error:
            return ConfigError("run.scratch", f"cannot write to '{folder}'", found=error.strerror)
        os.close(handle)
        path = Path(name)
        with h5py.File(path, "w", **ALIGNMENT) as file:
            offsets = {name: create_contiguous(file, name, k) for name, k in kept.items()}
        try:
            reserve(path)
        except OSError as error:
            needed, free = path.stat().st_size, shutil.disk_usage(folder).free
            path.unlink()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            return ConfigError(
                "run.scratch",
                f"no room for the object's file in '{folder}'",
                expected=f"{needed / 2**30:.3g} GiB: object, gradient and optimizer state",
                found=f"{free / 2**30:.3g} GiB free",
                remedy="name another folder with 'run.scratch'",
            )
        return path, offsets

    def _fetch(self, plan: Plan, array: RowBackend) -> np.ndarray:
        # On one machine all ranks share the file's pages; on several, only the owner of a row has its current values.
        shared = array is self._rows["value"] and self._settings.driver == "memmap"
        if not shared or self.comm.local_size < self.comm.size:
            return super()._fetch(plan, array)
        depth = self._pixel * self._parts
        packed = np.empty(plan.asked.n_pixels * depth, self._real)
        if plan.asked.n_pixels:
            rows = self._flat(array.read(0, self.shape[0]))
            pack(rows, 0, plan.asked.as_arrays(), depth, packed)
        return packed

    def _written(self, name: str) -> None:
        self.comm.barrier(name)

    def close(self) -> None:
        self._rows.clear()
        self._spare.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


def reserve(path: Path) -> None:
    """Reserve the file's whole size on the disk, since a full disk would kill processes that map the file.

    Raises:
        OSError: There is not enough space.
    """
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
