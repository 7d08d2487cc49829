"""The intake: one thread receives, another one records and joins; the picture takes what is ready when it can."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from adorym.stream.base import Begin, End, Event, Frame, Position, Source
from adorym.stream.books import Books
from adorym.stream.policy import Policy
from adorym.stream.recorder import Recorder, begun, continued
from adorym.stream.waiting import Ready, WaitingRoom

MOST_AT_ONCE = 256  # events that are recorded together
COLLECT_S = 0.01  # time in which they are collected
AFTER_END_S = 0.3  # frames that were overtaken by the end may still come
POLL_S = 0.02
FIRST_POSITIONS_S = 1.0  # time in which a file of positions is read, before the first frame is taken
INBOX = 4096  # events between the two threads

Arrived = tuple[Event, float]


class Intake:
    """Receives, records and joins the frames of one scan.

    Args:
        source: Where they come from.
        path: The recording.
        policy: What happens when the picture is slower.
        waiting: Frames that may wait for a position.
        quiet_s: The scan ends when nothing has come for so long.
        resume: Go on with the recording in ``path``.
        positions: A second source, of positions; what else it gives is left out.

    Attributes:
        books: Where every frame went; use `locked` to change them.
        begin: What the source said at the beginning.
        ended: Why the stream ended; empty while it goes on.
    """

    def __init__(
        self,
        source: Source,
        path: Path,
        policy: Policy,
        *,
        waiting: int,
        quiet_s: float,
        resume: bool = False,
        positions: Source | None = None,
    ) -> None:
        self._recorder: Recorder | None = continued(path) if resume else None
        # What is known of a scan that was cut short is in its recording: the source may not say it again.
        self.books, self.begin, self.ended = Books(), Begin(self._recorder.told if self._recorder else {}), ""
        self.locked = threading.RLock()
        self._positions = positions
        self._source, self._path, self._policy, self._quiet_s = source, path, policy, quiet_s
        self._room = WaitingRoom(waiting, self.books)
        self._ready: deque[Ready] = deque()
        self._inbox: queue.Queue[Arrived | None] = queue.Queue(INBOX)
        self._stop, self._over = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._like: tuple[tuple[int, ...], np.dtype] | None = None
        self._known: list[Position] = []
        self._unit: dict[str, Any] = {}
        self._resumed, self._newest_s, self._began = resume, float("-inf"), False
        self._scans = 0
        works = [self._receive, self._record, *([] if positions is None else [self._receive_positions])]
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    # -- for the picture ---------------------------------------------------------------------------------------------
    @property
    def about(self) -> dict[str, Any]:
        """What the sources know of the experiment."""
        return {**self.begin.about, **self._unit}

    def start(self) -> None:
        """Begin to receive."""
        if self._positions is not None:
            # Positions of a file are there before the first frame, with their unit.
            self._threads[-1].start()
            self._threads[-1].join(FIRST_POSITIONS_S)
        for thread in self._threads[:2]:
            thread.start()

    def take(self, most: int | None = None) -> list[Ready]:
        """The frames that are ready, the oldest first; they count as waiting until `use` is called."""
        with self.locked:
            n = len(self._ready) if most is None else min(most, len(self._ready))
            return [self._ready.popleft() for _ in range(n)]

    def use(self, count: int) -> None:
        """``count`` of the frames taken are in the picture."""
        with self.locked:
            self.books.use(count)

    def refuse(self, reason: str, count: int) -> None:
        """``count`` of the frames taken will not be used."""
        with self.locked:
            self.books.refuse(reason, count)

    def told(self) -> dict[str, Any]:
        """The books at this moment."""
        with self.locked:
            return self.books.as_dict()

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the stream, which can then be resumed."""
        return self.ended.startswith("SIG")

    @property
    def over(self) -> bool:
        """Whether the recording is complete."""
        return self._over.is_set()

    def stop(self, reason: str) -> None:
        """End the stream; what has arrived is recorded."""
        self.ended = self.ended or reason
        self._stop.set()

    def join(self) -> None:
        """Wait until the recording is closed.

        Raises:
            Exception: Receiving or recording failed.
        """
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    # -- the thread that receives ------------------------------------------------------------------------------------
    def _receive(self) -> None:
        try:
            self._receive_all()
        except Exception as error:  # raised again by `join`
            self._fail(error)
        finally:
            self._put(None)

    def _fail(self, error: Exception) -> None:
        self._error = error
        self.stop(str(error))

    def _put(self, arrived: Arrived | None) -> None:
        while not self._over.is_set():
            try:
                self._inbox.put(arrived, timeout=POLL_S)
                return
            except queue.Full:
                continue

    def _receive_all(self) -> None:
        events, last, ending = self._source.events(), time.monotonic(), 0.0
        try:
            for event in events:
                now = time.monotonic()
                if self._stop.is_set():
                    return
                if event is not None:
                    self._put((event, time.time()))
                    last = now
                    ending = now if isinstance(event, End) else ending
                elif ending and now - ending > AFTER_END_S:
                    break
                elif now - last > self._quiet_s and self._began:
                    self.ended = f"nothing came for {self._quiet_s:g} s"
                    return
        finally:
            events.close()  # type: ignore[attr-defined]
        self.ended = self.ended or "end of the scan"

    # -- the thread that receives positions from a source of their own -----------------------------------------------
    def _receive_positions(self) -> None:
        assert self._positions is not None  # else there is no such thread
        try:
            for event in self._positions.events():
                if isinstance(event, Begin):
                    self._unit = {n: v for n, v in event.about.items() if n == "positions_unit"}
                elif isinstance(event, Position):
                    self._put((event, time.time()))
                if self._over.is_set() or isinstance(event, End):
                    return
        except Exception as error:  # raised again by `join`
            self._fail(error)

    # -- the thread that records -------------------------------------------------------------------------------------
    def _record(self) -> None:
        try:
            self._restore()
            while True:
                batch, last = self._collected()
                self._enter(batch)
                if last:
                    break
                while self._policy.full(self._ready) and not self._stop.is_set():
                    time.sleep(POLL_S / 4)
        except Exception as error:  # raised again by `join`
            self._fail(error)
        finally:
            with self.locked:
                self._room.close()
            if self._recorder is not None:
                self._recorder.close(self.books if self._error is None and not self.interrupted else None)
            self._over.set()

    def _collected(self) -> tuple[list[Arrived], bool]:
        """The events that have come, and whether they are the last ones."""
        batch: list[Arrived] = []
        until = time.monotonic() + COLLECT_S
        while len(batch) < MOST_AT_ONCE:
            try:
                event = self._inbox.get(timeout=POLL_S if not batch else max(until - time.monotonic(), 1e-4))
            except queue.Empty:
                return batch, False
            if event is None:
                return batch, True
            batch.append(event)
        return batch, False

    def _restore(self) -> None:
        """Enter the frames of the recording that is continued."""
        recorder = self._recorder
        if recorder is None:
            return
        with self.locked:
            for position in recorder.stored_positions():
                self._admit(self._room.position(position))
        self._like = recorder.shape, recorder.dtype
        for start in range(0, recorder.frames, MOST_AT_ONCE):
            frames = recorder.stored(start, min(start + MOST_AT_ONCE, recorder.frames))
            with self.locked:
                for frame in frames:
                    self.books.arrived(frame.number, good=True)
                    self._newest_s = max(self._newest_s, frame.time_s)
                    self._admit(self._room.frame(frame, time.time()))
            self._began = True

    def _enter(self, batch: list[Arrived]) -> None:
        """Record a batch of events, and join its frames and positions."""
        frames: list[Frame] = []
        received: list[float] = []
        positions: list[Position] = []
        for event, at in batch:
            if isinstance(event, Frame):
                if self._is_new(event):
                    frames.append(event)
                    received.append(at)
                    if event.position is not None:
                        positions.append(Position(event.position, event.number))
            elif isinstance(event, Position):
                positions.append(event)
            elif isinstance(event, End):
                with self.locked:
                    self.books.last = event.last
            else:
                self._begin(event)
        if self._recorder is None:
            if not frames:
                self._known += positions
                with self.locked:
                    for position in positions:
                        self._admit(self._room.position(position))
                return
            assert frames[0].image is not None  # damaged frames are not recorded
            self._recorder = begun(self._path, self.about, frames[0].image)
            self._recorder.write((), (), self._known)
        self._recorder.write(frames, received, positions)
        with self.locked:
            own = {frame.number for frame in frames if frame.position is not None}
            for position in positions:
                if position.number not in own:
                    self._admit(self._room.position(position))
            for frame, at in zip(frames, received, strict=True):
                self._admit(self._room.frame(frame, at))

    def _begin(self, event: Begin) -> None:
        self._scans += 1
        if self._scans > 1:
            self._other_scan()
            return
        self.begin = Begin({**self.begin.about, **event.about}, event.first, event.count)
        with self.locked:
            self.books.first = event.first
            if event.count is not None and event.first is not None:
                self.books.last = event.first + event.count - 1

    def _is_new(self, frame: Frame) -> bool:
        """Whether ``frame`` is to be recorded; enters it in the books."""
        books, image = self.books, frame.image
        with self.locked:
            if self.ended == OTHER_SCAN or self._starts_again(frame):
                self._other_scan()
                books.received += 1
                books.other_scan += 1
                return False
            good = image is not None and image.ndim == 2 and image.dtype.kind in "iuf" and image.size > 0
            if good and image is not None:
                self._like = self._like or (image.shape, image.dtype)
                good = self._like == (image.shape, image.dtype)
            new = books.arrived(frame.number, good=good)
            self._began = self._began or new
            self._newest_s = max(self._newest_s, frame.time_s)
            return new

    def _starts_again(self, frame: Frame) -> bool:
        """Whether the numbers begin anew: a number that was there, taken later than all other frames."""
        return frame.number in self.books.recorded and frame.time_s > self._newest_s and not self._resumed

    def _other_scan(self) -> None:
        self.ended = OTHER_SCAN
        self._stop.set()

    def _admit(self, frames: list[Ready]) -> None:
        for frame in frames:
            self._policy.admit(self._ready, frame, self.books)


OTHER_SCAN = "another scan began"
