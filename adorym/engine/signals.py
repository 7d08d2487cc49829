"""SIGINT and SIGTERM end the loop after the current batch, a second SIGINT at once; SIGUSR1 saves a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CAUGHT = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal(stop: Callable[[str], None], save: Callable[[], None] | None = None) -> Iterator[None]:
    """Inside the context the signals `CAUGHT` call ``stop`` with their name instead of ending the process.

    SIGUSR1, which batch systems send before a job's end, calls ``save``. Only the main thread can catch signals; in
    another thread this has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop(signal.Signals(number).name)
        if number == signal.SIGINT:
            # A second Ctrl-C does not wait for the batch.
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in CAUGHT}
    if save is not None:
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda number, frame: save())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
