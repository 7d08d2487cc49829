"""SIGINT and SIGTERM end the loop after the current batch, a second SIGINT at once; SIGUSR1 saves a checkpoint.

Before a run has anything to save they end the process with a message (`end_on_signal`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], Any]


class Ended(BaseException):
    """A signal ends the process.

    Attributes:
        signal: Its name.
        status: Exit status of the process: 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        self.signal, self.status = signal.Signals(number).name, 128 + number
        super().__init__(self.signal)


@contextmanager
def end_on_signal() -> Iterator[None]:
    """Inside the context the signals `CAUGHT` raise `Ended`; SIGUSR1, which would end the process, does nothing."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    with _handling({**dict.fromkeys(CAUGHT, end), signal.SIGUSR1: lambda number, frame: None}):
        yield


@contextmanager
def stop_on_signal(stop: Callable[[str], None], save: Callable[[], None] | None = None) -> Iterator[None]:
    """Inside the context the signals `CAUGHT` call ``stop`` with their name instead of ending the process.

    SIGUSR1, which batch systems send before a job's end, calls ``save``.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        stop(signal.Signals(number).name)
        if number == signal.SIGINT:
            # A second Ctrl-C does not wait for the batch.
            signal.signal(signal.SIGINT, signal.default_int_handler)

    handlers: dict[int, Handler] = dict.fromkeys(CAUGHT, handle)
    if save is not None:
        handlers[signal.SIGUSR1] = lambda number, frame: save()
    with _handling(handlers):
        yield


@contextmanager
def _handling(handlers: Mapping[int, Handler]) -> Iterator[None]:
    """Handlers by signal; only the main thread can catch signals: in another thread this has no effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
