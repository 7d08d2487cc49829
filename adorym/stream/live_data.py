"""The data set of a scan that goes on: frames are appended, and read as the data settings of the configuration say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.lengths import LENGTHS, Lengths
from adorym.data.overrides import Overrides
from adorym.data.positions import Recorded
from adorym.data.readers.arrays import modes_of
from adorym.data.readers.base import Raw, assemble
from adorym.stream.recorder import described
from adorym.stream.waiting import Ready

# Settings that choose among frames, or bring positions of their own; they belong to the run after the scan.
OF_THE_WHOLE: dict[str, Any] = {
    "frames": None,
    "angles": None,
    "drop_frames": "auto",
    "positions": None,
    "monitor": None,
    "weights": None,
}
EXACT_PX = 1e-6  # error of the map from recorded positions to pixels that counts as none


class GrowingStack:
    """Patterns ``(n, y, x)`` in memory, in the type that they came in; ``n`` grows."""

    def __init__(self, like: np.ndarray) -> None:
        self._array, self._n = np.empty((64, *like.shape), like.dtype), 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self._n, *self._array.shape[1:])

    def append(self, images: Sequence[np.ndarray]) -> None:
        """Add patterns at the end."""
        n = self._n + len(images)
        if n > len(self._array):
            wider = np.empty((max(n, 2 * len(self._array)), *self._array.shape[1:]), self._array.dtype)
            wider[: self._n] = self._array[: self._n]
            self._array = wider
        self._array[self._n : n] = images
        self._n = n

    def read(self, index: np.ndarray) -> np.ndarray:
        return self._array[index].astype(np.float32)


class LiveData:
    """Grows from frames that are ready.

    Crop, center, mask and orientation follow from the first frames and then stay. Positions in a length count from
    the first ones, which are the zero of the picture.

    Args:
        about: What the source knows, as `adorym.stream.base.Begin` has it.
        wanted: The section ``data`` of the configuration.
        path: Of the recording, for messages.

    Attributes:
        numbers: Number of every frame.
    """

    def __init__(self, about: dict[str, Any], wanted: Overrides, path: str) -> None:
        self._wanted, self._about, self._path = replace(wanted, **OF_THE_WHOLE), about, path
        self._stack: GrowingStack | None = None
        self._dataset: Dataset | None = None
        self._recorded = np.zeros((0, 2))
        self._map: np.ndarray | None = None
        self.numbers = np.zeros(0, np.int64)

    def add(self, frames: Sequence[Ready]) -> Dataset:
        """The data set with ``frames`` at its end.

        Raises:
            InputError: Data and settings do not fit each other.
        """
        if self._stack is None:
            self._stack = GrowingStack(frames[0].image)
        self._stack.append([frame.image for frame in frames])
        self.numbers = np.append(self.numbers, [frame.number for frame in frames])
        self._recorded = np.concatenate([self._recorded, [frame.position for frame in frames]])
        known, n = self._dataset, len(self.numbers)
        if known is None or known.probe_positions_px is None:
            self._dataset = self._assembled().with_(growing=True)
            self._learn(self._dataset.probe_positions_px)
            return self._dataset
        if self._map is None:
            positions = self._assembled().probe_positions_px
            assert positions is not None  # there were some before
            positions = positions + known.probe_positions_px[0] - positions[0]
            self._learn(positions)
        else:
            positions = np.concatenate([known.probe_positions_px, self._mapped(self._recorded[-len(frames) :])])
        self._dataset = known.with_(
            probe_positions_px=positions, angle_index=np.zeros(n, int), pattern_numbers=np.arange(n)
        )
        return self._dataset

    def _assembled(self) -> Dataset:
        assert self._stack is not None  # made by the caller
        known = described(self._about, np.empty(self._stack.shape[1:]))
        probe = known.start_probe
        raw = Raw(
            patterns=self._stack,
            recorded=Recorded(self._recorded, str(self._about.get("positions_unit", "px")), "the stream"),
            measured=known.measured,
            lengths=Lengths(**{q.field: getattr(known, q.field) for q in LENGTHS}),
            mask=known.mask,
            start_probe=None if probe is None else modes_of(probe, self._path),
            open_beam_counts=known.open_beam_counts,
            computed=known.computed,
        )
        return assemble(raw, self._wanted, self._path)

    def _learn(self, positions: np.ndarray | None) -> None:
        """Find the map from recorded positions to pixels, once they do not lie on a line."""
        if positions is None:
            return
        points = np.column_stack([self._recorded - self._recorded[0], np.ones(len(self._recorded))])
        spread = np.linalg.svd(points[:, :2], compute_uv=False)
        if len(points) < 3 or spread[1] < 0.05 * spread[0]:
            return
        found, *_ = np.linalg.lstsq(points, positions, rcond=None)
        if np.abs(points @ found - positions).max() < EXACT_PX:
            self._map = found

    def _mapped(self, recorded: np.ndarray) -> np.ndarray:
        assert self._map is not None  # asked by the caller
        return np.column_stack([recorded - self._recorded[0], np.ones(len(recorded))]) @ self._map
