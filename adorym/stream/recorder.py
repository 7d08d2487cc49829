"""The recording: every frame as it came, without loss, in the package's own layout, readable while it grows.

The file is written by one process and may be read by others at the same time (SWMR). After `Recorder.write` returns,
its frames survive the end of the process, however it ends. A recording that was cut short is continued in a copy of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from adorym.data.atomic import PARTIAL
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.hdf5 import open_hdf5, put, text_attribute
from adorym.data.lengths import LENGTHS
from adorym.data.native_write import FORMAT_VERSION, write_metadata
from adorym.data.overrides import Overrides
from adorym.data.readers.native import DATA, NativeReader
from adorym.data.recording import (
    NUMBER,
    POSITION,
    POSITION_NUMBER,
    POSITION_TIME,
    RECEIVED,
    TIME,
)
from adorym.errors import DataError
from adorym.stream.base import Frame, Position
from adorym.stream.books import Books

# What a data set may take from the source.
FIELDS = (*(q.field for q in LENGTHS), "measured", "mask", "start_probe", "open_beam_counts")
BOOKS = "stream/books"
ROWS = 4096  # of the lists of numbers that are kept together
FRAMES = {NUMBER: np.int64, TIME: np.float64, RECEIVED: np.float64}
POSITIONS = {POSITION_NUMBER: np.int64, POSITION_TIME: np.float64}


class Recorder:
    """Appends to a recording; `begun` and `continued` make one.

    Args:
        path: The file, for messages and for `close`.
        file: The same, open for writing, with all its datasets.
        told: What the source knew, as `adorym.stream.base.Begin` has it.

    Attributes:
        frames: Frames written so far.
        shape: (y, x) size of a frame.
        dtype: Its type.
    """

    def __init__(self, path: Path, file: h5py.File, told: Mapping[str, Any]) -> None:
        self.path, self._file, self.told = path, file, told
        self.frames, self._positions = len(file[NUMBER]), len(file[POSITION])
        self.shape, self.dtype = file[DATA].shape[1:], file[DATA].dtype
        file.swmr_mode = True

    def write(self, frames: Sequence[Frame], received_s: Sequence[float], positions: Sequence[Position]) -> None:
        """Append frames and positions; they are in the file when this returns.

        Raises:
            DataError: The disk is full, or the file is lost.
        """
        try:
            # Positions first: a frame that is in the file is not taken again, and must have its position by then.
            if positions:
                self._append({
                    POSITION: [each.position for each in positions],
                    POSITION_NUMBER: [each.number for each in positions],
                    POSITION_TIME: [each.time_s for each in positions],
                }, self._positions)  # fmt: skip
                self._positions += len(positions)
            if frames:
                self._append({
                    NUMBER: [frame.number for frame in frames],
                    TIME: [frame.time_s for frame in frames],
                    RECEIVED: received_s,
                }, self.frames)  # fmt: skip
                self._append({DATA: np.stack([np.asarray(frame.image) for frame in frames])}, self.frames)
                self.frames += len(frames)
        except (OSError, RuntimeError) as error:
            raise DataError(str(self.path), "the recording cannot be written", found=str(error)) from error

    def _append(self, columns: Mapping[str, Any], start: int) -> None:
        for name, values in columns.items():
            dataset = self._file[name]
            dataset.resize(start + len(values), axis=0)
            dataset[start:] = values
            dataset.flush()

    def stored(self, start: int, stop: int) -> list[Frame]:
        """The frames in rows ``start`` to ``stop`` of the file."""
        images, numbers, times = (self._file[name][start:stop] for name in (DATA, NUMBER, TIME))
        return [Frame(int(n), image, float(t)) for n, image, t in zip(numbers, images, times, strict=True)]

    def stored_positions(self) -> list[Position]:
        """All positions in the file."""
        rows = (self._file[name][()] for name in (POSITION, POSITION_NUMBER, POSITION_TIME))
        return [Position((float(p[0]), float(p[1])), int(n), float(t)) for p, n, t in zip(*rows, strict=True)]

    def close(self, books: Books | None = None) -> None:
        """End the recording; with its books, which also say that it is complete."""
        self._file.close()
        if books is None:
            return
        with h5py.File(self.path, "r+", libver="latest") as file:
            for name, numbers in books.lost().items():
                put(file, f"stream/lost/{name}", numbers, "")
            put(file, BOOKS, json.dumps(books.as_dict()), "")


def settle_books(path: Path, books: Books) -> None:
    """Replace the books of a complete recording: after its last frame, frames still become part of a picture or not."""
    if not path.is_file() or not is_complete(path):
        return
    with h5py.File(path, "r+", libver="latest") as file:
        file[BOOKS][()] = json.dumps(books.as_dict())


def begun(path: Path, about: Mapping[str, Any], like: np.ndarray) -> Recorder:
    """A new recording.

    Args:
        path: The file; one that exists is replaced.
        about: What the source knows, as `adorym.stream.base.Begin` has it.
        like: A frame: size and type of all.

    Raises:
        DataError: The file cannot be written, or what the source knows does not fit the frame.
    """
    dataset = described(about, like)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = h5py.File(path, "w", libver="latest")
    except OSError as error:
        raise DataError(str(path), "the recording cannot be written", found=str(error)) from error
    file.attrs["format"], file.attrs["format_version"] = "adorym", FORMAT_VERSION
    data = _frames(file, like.shape, like.dtype)
    data.attrs["measured"] = dataset.measured
    data.attrs["units"] = "photons" if dataset.measured == "intensity" else "sqrt(photons)"
    write_metadata(file, dataset)
    if dataset.start_probe is not None:
        put(file, "start/probe", dataset.start_probe, "sqrt(photons)")
    _lists(file, str(about.get("positions_unit", "px")))
    return Recorder(path, file, about)


def _frames(file: h5py.File, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
    # One frame a chunk: no chunk is ever written twice, and none is lost with a part of it.
    chunk, most = (1, *shape), (None, *shape)
    return file.create_dataset(DATA, (0, *shape), dtype, maxshape=most, chunks=chunk, **hdf5plugin.Bitshuffle())


def _lists(file: h5py.File, unit: str) -> None:
    for name, kind in (FRAMES | POSITIONS).items():
        file.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(ROWS,))
    positions = file.create_dataset(POSITION, (0, 2), np.float64, maxshape=(None, 2), chunks=(ROWS, 2))
    positions.attrs["units"] = unit
    for name in (TIME, RECEIVED, POSITION_TIME):
        file[name].attrs["units"] = "s"


def continued(path: Path) -> Recorder:
    """A recorder that goes on with the recording ``path``, which was cut short.

    Frames are copied as they are stored to a new file, which replaces the old one once it holds all of them.

    Raises:
        DataError: The recording cannot be read, or the copy not be written.
    """
    partial = path.with_name(f"{PARTIAL}continued-{path.name}")
    try:
        with open_hdf5(path) as old, suppress(KeyError):
            told = _told(path)
            file = h5py.File(partial, "w", libver="latest")
            for name, value in old.attrs.items():
                file.attrs[name] = value
            for name in ("metadata", "start"):
                if name in old:
                    old.copy(name, file)
            data = _frames(file, old[DATA].shape[1:], old[DATA].dtype)
            for name, value in old[DATA].attrs.items():
                data.attrs[name] = value
            _lists(file, text_attribute(old[POSITION], "units") or "px")
            _copy(old, file)
            made = Recorder(path, file, told)
            os.replace(partial, path)
            return made
    except (OSError, RuntimeError) as error:
        raise DataError(str(path), "the recording cannot be continued", found=str(error)) from error
    raise DataError(str(path), "not a recording", remedy="name another folder with '--output', or leave '--resume' out")


def _copy(old: h5py.File, file: h5py.File) -> None:
    """Copy all that was written completely."""
    for group in ((*FRAMES, DATA), (*POSITIONS, POSITION)):
        n = min(len(old[name]) for name in group)
        for name in group:
            file[name].resize(n, axis=0)
            if name != DATA:
                file[name][:] = old[name][:n]
    target, source = file[DATA].id, old[DATA].id
    for i in range(len(file[DATA])):
        place = (i, 0, 0)
        mask, chunk = source.read_direct_chunk(place)
        target.write_direct_chunk(place, chunk, mask)


def is_complete(path: Path) -> bool:
    """Whether the recording was ended."""
    with open_hdf5(path) as file:
        return BOOKS in file


def _told(path: Path) -> dict[str, Any]:
    """What the source knew, from its recording."""
    raw = NativeReader().extract(path, Overrides())
    values = {q.field: getattr(raw.lengths, q.field) for q in LENGTHS}
    values |= {name: getattr(raw, name) for name in ("measured", "mask", "start_probe", "open_beam_counts", "computed")}
    unit = {} if raw.recorded is None else {"positions_unit": raw.recorded.unit}
    return {name: value for name, value in values.items() if value is not None and np.size(value)} | unit


def described(about: Mapping[str, Any], like: np.ndarray) -> Dataset:
    """A data set of one frame with what the source knows.

    Raises:
        DataError: What it tells does not fit the frames.
    """
    given = {name: about[name] for name in FIELDS if about.get(name) is not None}
    for q in LENGTHS:
        if q.field in given:
            given[q.field] = q.of(np.ravel(np.asarray(given[q.field], np.float64)))
    for name in ("mask", "start_probe"):
        if name in given:
            given[name] = np.asarray(given[name])
    if "mask" in given:
        given["mask"] = given["mask"].astype(bool)
    computed = tuple(about.get("computed", ()))
    return Dataset(ArrayPatterns(np.zeros((1, *like.shape), np.float32)), computed=computed, **given)
