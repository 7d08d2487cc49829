"""A polite end: SIGINT and SIGTERM ask the loop to stop, a second SIGINT stops at once; SIGUSR1 asks to save."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CAUGHT = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal(stop: Callable[[str], None], save: Callable[[], None] | None = None) -> Iterator[None]:
    """While the context lasts, the signals `CAUGHT` call ``stop`` with their name instead of ending the process.

    SIGUSR1, which batch systems send ahead of a job's end and which people may send at any time, calls ``save``.
    Only the main thread can catch signals; in another one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop(signal.Signals(number).name)
        if number == signal.SIGINT:
            # Who presses Ctrl-C twice does not want to wait for the batch.
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in CAUGHT}
    if save is not None:
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda number, frame: save())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
