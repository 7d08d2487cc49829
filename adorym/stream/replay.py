"""Any data file as a source of frames, at a given rate or as fast as they are taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.data.hdf5 import find, open_hdf5
from adorym.data.lengths import LENGTHS
from adorym.data.open import open_dataset
from adorym.data.patterns import blocks
from adorym.data.readers.native import DATA
from adorym.errors import DataError
from adorym.registry import register
from adorym.stream.base import IDLE_S, Begin, End, Event, Frame, Source
from adorym.units import Frequency

# Types that frames are sent in, if they hold all counts without loss.
COUNTS = (np.uint8, np.uint16, np.uint32)
BLOCK_BYTES = 4 << 20


@register("source", "replay")
class Replay(Source):
    """The patterns of a data file of any readable format, numbered from 0, with their positions.

    Attributes:
        address: The file.
        rate: Frames per second; as fast as they are taken if absent.
    """

    address: str
    rate: Frequency | None = Field(None, gt=0)

    def events(self) -> Iterator[Event | None]:
        dataset = open_dataset(self.address, check=False)
        if dataset.n_angles > 1:
            raise DataError(
                self.address, "a stream is one scan at one angle", found=f"{dataset.n_angles} angles",
                remedy="choose a file of one angle",
            )  # fmt: skip
        kept, n = exact_type(dataset), dataset.n_patterns
        yield Begin(about_of(dataset), 0, n)
        positions, start = dataset.probe_positions_px, time.time()
        for first, block in blocks(dataset.patterns, BLOCK_BYTES):
            for number, image in enumerate(block.astype(kept), first):
                due = time.time() if self.rate is None else start + number / self.rate
                yield from _until(due)
                at = None if positions is None else (float(positions[number, 0]), float(positions[number, 1]))
                yield Frame(number, image, due, at)
        yield End(n - 1)


def _until(due: float) -> Iterator[None]:
    """Wait until the time ``due``."""
    while (left := due - time.time()) > 0:
        time.sleep(min(left, IDLE_S))
        if left > IDLE_S:
            yield None


def exact_type(dataset: Dataset) -> np.dtype:
    """The type of the file, or the smallest one for counts that holds all of them without loss, else float32."""
    if dataset.format == "adorym":
        with open_hdf5(dataset.path) as file:
            stored = find(file, [DATA])
            if stored is not None and stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
                return stored.dtype
    largest, whole = 0.0, True
    for _, block in blocks(dataset.patterns):
        whole = whole and bool((block == np.rint(block)).all() and block.min() >= 0)
        largest = max(largest, float(block.max()))
        if not whole or largest > np.iinfo(np.uint32).max:
            return np.dtype(np.float32)
    return np.dtype(next(kind for kind in COUNTS if largest <= np.iinfo(kind).max))


def about_of(dataset: Dataset) -> dict[str, Any]:
    """What a data set knows beside its patterns and positions."""
    names = [q.field for q in LENGTHS] + ["measured", "mask", "start_probe", "open_beam_counts", "computed"]
    about = {name: value for name in names if (value := getattr(dataset, name)) is not None and np.size(value)}
    if dataset.probe_positions_px is not None:
        about["positions_unit"] = "px"
    return about
