"""A polite end: SIGINT and SIGTERM ask the loop to stop, a second SIGINT stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CAUGHT = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal(stop: Callable[[str], None]) -> Iterator[None]:
    """While the context lasts, the signals `CAUGHT` call ``stop`` with their name instead of ending the process.

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
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
