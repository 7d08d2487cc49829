"""Frames that are being written to disk: an HDF5 file that grows, or a folder of files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from pydantic import Field

from adorym.data.containers import read_array
from adorym.data.hdf5 import find, require
from adorym.data.pictures import natural_order
from adorym.data.recording import NUMBER, POSITION, POSITION_NUMBER, POSITION_TIME, TIME
from adorym.errors import AdorymError, ConfigError
from adorym.registry import register
from adorym.stream.base import IDLE_S, Begin, Event, Frame, Position, Source

BLOCK = 64  # frames read at once


@register("source", "hdf5")
class GrowingFile(Source):
    """A dataset of an HDF5 file that another program extends (single writer, multiple readers).

    Attributes:
        address: The file; it may come later.
        data: The dataset ``(n, y, x)``.
        positions: A dataset ``(n, 2)`` (y, x) of the same file, for frames whose positions are there.
        unit: Unit of the positions.
    """

    address: str
    data: str = "exchange/data"
    positions: str | None = None
    unit: str = "m"

    def events(self) -> Iterator[Event | None]:
        path = Path(self.address).expanduser()
        while not path.is_file():
            time.sleep(IDLE_S)
            yield None
        with h5py.File(path, "r", libver="latest", swmr=True, locking="best-effort") as file:
            frames = require(file, self.data)
            own = find(file, [NUMBER]) is not None and self.positions is None
            unit = file[POSITION].attrs.get("units", "px") if own else self.unit
            yield Begin({"positions_unit": str(unit)}, None if own else 0)
            done = placed = 0
            while True:
                for name in (self.data, *((NUMBER, TIME, POSITION, POSITION_NUMBER, POSITION_TIME) if own else ())):
                    file[name].id.refresh()
                available = min([len(frames), *(len(file[name]) for name in (NUMBER, TIME) if own)])
                if own:  # a recording of this package
                    until = min(len(file[name]) for name in (POSITION, POSITION_NUMBER, POSITION_TIME))
                    yield from _positions(file, placed, until)
                    placed = until
                if available == done:
                    time.sleep(IDLE_S)
                    yield None
                for start in range(done, available, BLOCK):
                    yield from self._frames(file, start, min(start + BLOCK, available), own)
                done = available

    def _frames(self, file: h5py.File, start: int, stop: int, own: bool) -> Iterator[Frame]:
        images = file[self.data][start:stop]
        numbers = file[NUMBER][start:stop] if own else np.arange(start, stop)
        times = file[TIME][start:stop] if own else np.full(stop - start, np.nan)
        positions = None
        if self.positions is not None:
            stored = require(file, self.positions)
            stored.id.refresh()
            positions = stored[start:stop]
        for i, image in enumerate(images):
            at = None if positions is None or i >= len(positions) else (float(positions[i][0]), float(positions[i][1]))
            yield Frame(int(numbers[i]), image, float(times[i]), at)


def _positions(file: h5py.File, start: int, stop: int) -> Iterator[Position]:
    if start == stop:
        return
    rows = (file[name][start:stop] for name in (POSITION, POSITION_NUMBER, POSITION_TIME))
    for position, number, time_s in zip(*rows, strict=True):
        yield Position((float(position[0]), float(position[1])), int(number), float(time_s))


@register("source", "folder")
class GrowingFolder(Source):
    """A folder to which another program adds files, each of one frame or a stack of frames.

    Frames are numbered in the order of the files' names, as people count. A file is read once its size no longer
    changes.

    Attributes:
        address: The folder.
        files: Pattern of the names.
        settle: Time in which a complete file does not change.
    """

    address: str
    files: str = "*.tif"
    settle: float = Field(0.2, gt=0)

    def events(self) -> Iterator[Event | None]:
        folder, done, sizes, number = Path(self.address).expanduser(), set[str](), dict[str, tuple[int, float]](), 0
        if not folder.is_dir():
            raise ConfigError("SOURCE", f"no folder '{folder}'", remedy="write folder:DIR")
        yield Begin(first=0)
        while True:
            coming = natural_order(str(file) for file in folder.glob(self.files) if str(file) not in done)
            for name in coming:
                size, now = Path(name).stat().st_size, time.monotonic()
                if sizes.get(name, (-1, 0.0))[0] != size:
                    sizes[name] = size, now
                if now - sizes[name][1] < self.settle:
                    break  # later files wait for it, so that numbers follow names
                for image in _stack(name):
                    yield Frame(number, image)
                    number += 1
                done.add(name)
            time.sleep(IDLE_S)
            yield None


def _stack(name: str) -> list[np.ndarray | None]:
    try:
        array, _ = read_array(name, "frame")
    except AdorymError:
        return [None]
    return list(array.reshape(-1, *array.shape[-2:])) if array.ndim >= 2 else [None]
