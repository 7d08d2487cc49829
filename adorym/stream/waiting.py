"""The join of frames and positions while both arrive, in a waiting room of bounded size."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from adorym.data.recording import NO_NUMBER
from adorym.stream.base import Frame, Position
from adorym.stream.books import Books

NO_POSITION, OUTSIDE = "no_position", "outside_of_the_positions"
POSITIONS_PER_FRAME = 16  # positions that may wait for a frame, for each frame that may wait for a position


@dataclass(frozen=True, eq=False)
class Ready:
    """A frame with its position.

    Attributes:
        number: Of the frame.
        image: ``(y, x)``.
        position: (y, x) in the unit of the source.
        received_s: When it arrived, by the clock of `time.time`.
    """

    number: int
    image: np.ndarray
    position: tuple[float, float]
    received_s: float


class WaitingRoom:
    """Frames that wait for a position, and positions that wait for a frame.

    A frame whose position does not come before the room is full is refused for the picture; the recording has it, and
    the reconstruction after the scan uses it if its position has come by then.

    Args:
        room: Frames that may wait.
        books: Receives what is refused.
    """

    def __init__(self, room: int, books: Books) -> None:
        self._room, self._books = room, books
        self._frames: OrderedDict[int, tuple[Frame, float]] = OrderedDict()
        self._by_number: OrderedDict[int, tuple[float, float]] = OrderedDict()
        self._by_time: list[tuple[float, tuple[float, float]]] = []

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, frame: Frame, received_s: float) -> list[Ready]:
        """A frame has come; returns it if it has a position."""
        at = frame.position or self._by_number.pop(frame.number, None)
        if at is None and self._by_time and np.isfinite(frame.time_s):
            at = self._interpolated(frame.time_s)
            if at is None and frame.time_s < self._by_time[0][0]:
                self._books.refuse(OUTSIDE, 1)
                return []
        if at is not None:
            return [_ready(frame, received_s, at)]
        self._frames[frame.number] = frame, received_s
        if len(self._frames) > self._room:
            self._frames.popitem(last=False)
            self._books.refuse(NO_POSITION, 1)
        return []

    def position(self, position: Position) -> list[Ready]:
        """A position has come; returns the frames that have waited for it."""
        if position.number == NO_NUMBER:
            insort(self._by_time, (position.time_s, position.position))
            if len(self._by_time) > POSITIONS_PER_FRAME * self._room:
                del self._by_time[0]
            return self._timed()
        waiting = self._frames.pop(position.number, None)
        if waiting is not None:
            return [_ready(*waiting, position.position)]
        if position.number not in self._by_number:
            self._by_number[position.number] = position.position
        if len(self._by_number) > POSITIONS_PER_FRAME * self._room:
            self._by_number.popitem(last=False)
        return []

    def close(self) -> None:
        """The stream has ended: what still waits is refused."""
        self._books.refuse(NO_POSITION, len(self._frames))
        self._frames.clear()

    def _timed(self) -> list[Ready]:
        ready, before = [], 0
        for number, (frame, received_s) in list(self._frames.items()):
            if not np.isfinite(frame.time_s):
                continue
            at = self._interpolated(frame.time_s)
            if at is None and frame.time_s < self._by_time[0][0]:
                before += 1
            elif at is None:
                continue
            else:
                ready.append(_ready(frame, received_s, at))
            del self._frames[number]
        self._books.refuse(OUTSIDE, before)
        return ready

    def _interpolated(self, time_s: float) -> tuple[float, float] | None:
        """The position at ``time_s``; ``None`` outside of the known times."""
        after = bisect_left(self._by_time, (time_s, (-np.inf, -np.inf)))
        if after == len(self._by_time):
            return None
        stop, (y1, x1) = self._by_time[after]
        if stop == time_s:
            return y1, x1
        if after == 0:
            return None
        start, (y0, x0) = self._by_time[after - 1]
        part = (time_s - start) / (stop - start)
        return y0 + part * (y1 - y0), x0 + part * (x1 - x0)


def _ready(frame: Frame, received_s: float, at: tuple[float, float]) -> Ready:
    assert frame.image is not None  # damaged frames are not recorded
    return Ready(frame.number, frame.image, at, received_s)
