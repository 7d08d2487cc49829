"""The live phase of a scan: frames are taken as they arrive, and the picture follows them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adorym.comm import Communicator
from adorym.config import Config
from adorym.data.result import Result
from adorym.errors import AdorymError
from adorym.stream.intake import Intake
from adorym.stream.picture import SMALLEST_BATCH, STEADY, Engine, LivePicture
from adorym.stream.waiting import Ready

LOG = logging.getLogger("adorym")
POLL_S = 0.005
GIB = 2**30
FAILED, NO_MEMORY = "picture_failed", "no_memory"


@dataclass(frozen=True)
class Settling:
    """When the picture starts, ends, and is shown.

    Attributes:
        start: Frames with which it starts.
        after_s: Time after the last frame in which it goes on.
        show_every_s: Time between two pictures that are shown.
    """

    start: int = SMALLEST_BATCH
    after_s: float = 2.0
    show_every_s: float = 0.5


@dataclass(frozen=True)
class Moment:
    """The state of the live phase.

    Attributes:
        books: Returns the counts.
        looks: How often a frame was used on average.
        loss: Of the last batch, NaN before the first one.
        lags_s: Of all frames in the picture: time from arrival to the end of the first batch.
    """

    books: Callable[[], dict[str, Any]]
    looks: float
    loss: float
    lags_s: Sequence[float]


class Live:
    """Follows a scan.

    Args:
        config: The configuration of the run.
        path: The recording.
        comm: The ranks; rank 0 has the intake, all work on the picture.
        intake: On rank 0.
        settling: When the picture starts, ends, and is shown.
        engine: What makes the picture.

    Attributes:
        picture: The picture, once there is one.
        failed: Why there is none, or why it stopped.
    """

    def __init__(
        self,
        config: Config,
        path: Path,
        comm: Communicator,
        intake: Intake | None,
        settling: Settling,
        engine: Engine = "iterative",
    ) -> None:
        self._engine: Engine = engine
        self._config, self._path, self._comm, self._intake, self._settling = config, path, comm, intake, settling
        self.picture: LivePicture | None = None
        self.failed = ""
        self._held: list[Ready] = []
        self._watch: Callable[[Moment], None] = lambda moment: None
        self._show: Callable[[Result, Moment], None] | None = None
        self._look: Callable[[LivePicture], None] | None = None
        self._shown_s = self._began_s = 0.0

    def follow(
        self,
        watch: Callable[[Moment], None],
        show: Callable[[Result, Moment], None] | None = None,
        look: Callable[[LivePicture], None] | None = None,
        *,
        solve: bool = True,
    ) -> None:
        """Follow the scan to its end.

        A picture that fails leaves the recording alone: it is said, and the rest of the frames is only recorded.

        Args:
            watch: Called on rank 0 after every batch.
            show: Called on rank 0 with the picture, at intervals and at the end.
            look: Called on every rank with the picture after every batch.
            solve: Make a picture; otherwise the scan is only recorded.
        """
        self._watch, self._show, self._look = watch, show, look
        while True:
            frames, over, size = self._comm.broadcast(self._coming(), "frames that have come")
            if frames or (self.picture is not None and not over and not self.failed):
                self._work(frames, size, solve)
            elif not over:
                time.sleep(POLL_S)
            self._tell()
            if over and not frames:
                break
        if self.picture is not None and not self.failed:
            self._settle()
            self._tell(last=True)

    def _coming(self) -> tuple[list[Ready], bool, int]:
        """What rank 0 does next: the frames that have come, whether the scan is over, and the size of the batch."""
        if self._intake is None:
            return [], False, 0
        over = self._intake.over
        size = SMALLEST_BATCH if self.picture is None else self.picture.batch_size
        self._held += self._intake.take(size if self.picture is not None else None)
        start = self._settling.start if self.picture is None and not self.failed and not over else 1
        frames, self._held = (self._held, []) if len(self._held) >= start else ([], self._held)
        return frames, over, max(size, len(frames))

    def _work(self, frames: list[Ready], size: int, solve: bool) -> None:
        """Add ``frames`` and take a step."""
        if not solve or self.failed:
            self._refuse("not_asked" if not solve else FAILED, len(frames))
            return
        frames = self._fitting(frames)
        try:
            if self.picture is None:
                if not frames:
                    return
                about = self._comm.broadcast(self._intake and self._intake.about, "what the source knows")
                self._began_s = time.monotonic()
                self.picture = LivePicture(self._config, about, self._path, self._engine)
            if frames:
                self.picture.add(frames)
            self.picture.step(size)
        except AdorymError as error:
            self._fail(error, len(frames))
            return
        if self._intake is not None:
            self._intake.use(len(frames))

    def _fail(self, error: AdorymError, frames: int) -> None:
        """The picture ends with ``error``; the recording goes on without it."""
        self.failed = error.message()
        LOG.warning("the picture stops, the recording goes on: %s", self.failed)
        self._refuse(FAILED, frames)

    def _fitting(self, frames: list[Ready]) -> list[Ready]:
        """As many of ``frames`` as the memory holds, and only those of a picture."""
        if not frames:
            return frames
        most = int(self._config.data.memory_limit_gib * GIB / frames[0].image.nbytes)
        free = max(0, most - (0 if self.picture is None else len(self.picture)))
        self._refuse(NO_MEMORY, len(frames) - min(free, len(frames)))
        return frames[:free]

    def _refuse(self, reason: str, count: int) -> None:
        if self._intake is not None:
            self._intake.refuse(reason, count)

    def _settle(self) -> None:
        """All frames as often as the others, then whole epochs, until the time is over and rates have fallen."""
        picture, after_s = self.picture, self._settling.after_s
        assert picture is not None  # asked by the caller
        before_s = time.monotonic() - self._began_s
        first, end = min(STEADY, before_s / max(before_s + after_s, 1e-9)), time.monotonic() + after_s
        while True:
            left = (end - time.monotonic()) / max(after_s, 1e-9)
            left, size = self._comm.broadcast((left, picture.batch_size), "time after the scan")
            if left <= 0:
                return
            try:
                picture.step(size, first + (1 - first) * (1 - left))
            except AdorymError as error:
                self._fail(error, 0)
                return
            self._tell()

    def _tell(self, *, last: bool = False) -> None:
        """Tell rank 0 how things stand, and show the picture if it is time."""
        picture, now = self.picture, time.monotonic()
        if picture is not None and not self.failed and self._look is not None:
            self._look(picture)
        due = last or (picture is not None and now - self._shown_s > self._settling.show_every_s)
        due = self._comm.broadcast(due and self._show is not None and not self.failed, "time for a picture")
        result = picture.result() if due and picture is not None else None
        if self._intake is None:
            return
        moment = Moment(self._intake.told, 0.0, math.nan, ())
        if picture is not None:
            moment = Moment(self._intake.told, picture.looks, picture.loss, picture.lags_s)
        self._watch(moment)
        if result is not None and self._show is not None:
            self._shown_s = now
            self._show(result, moment)
