"""A thread that detects when a rank waits endlessly for the others, reports where, and ends the job."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A rank that cannot abort its job, because MPI itself hangs, exits after this time.
LAST_RESORT_S = 3.0


class Watchdog:
    """Watches the collective operations of one rank.

    Args:
        rank: Number of this rank, for the message.
        limit_s: Longest wait in one operation.
        abort: Ends all ranks with an exit status.

    Attributes:
        where: Current place in the run, such as ``epoch 3, batch 5``, for the message.
    """

    def __init__(self, rank: int, limit_s: float, abort: Callable[[int], None]) -> None:
        self.where = ""
        self._rank, self._limit_s, self._abort = rank, limit_s, abort
        self._waits: tuple[str, float] | None = None
        self._main = threading.get_ident()
        threading.Thread(target=self._watch, name="adorym-watchdog", daemon=True).start()

    @contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Context of the collective operation ``name``."""
        self._waits = (name, time.monotonic())
        try:
            yield
        finally:
            self._waits = None

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self._limit_s / 4))
            waits = self._waits
            if waits is not None and time.monotonic() - waits[1] > self._limit_s:
                frame = sys._current_frames().get(self._main)
                stack = "".join(traceback.format_stack(frame)) if frame else ""
                where = f" ({self.where})" if self.where else ""
                write_error(
                    f"rank {self._rank} has waited {self._limit_s:g} s for the other ranks in '{waits[0]}'{where}; "
                    f"another rank has left, hangs, or is far behind\n{stack}"
                )
                end_process(1, self._abort)


def write_error(text: str) -> None:
    """Write ``text`` to the process's own standard error in one piece, whatever has been redirected."""
    stream = sys.__stderr__
    if stream is not None:
        stream.write(text.rstrip("\n") + "\n")
        stream.flush()


def end_process(status: int, abort: Callable[[int], None]) -> None:
    """Call ``abort(status)``; exit without it if it hangs."""
    timer = threading.Timer(LAST_RESORT_S, os._exit, (status,))
    timer.daemon = True
    timer.start()
    abort(status)
