"""SIGINT and SIGTERM end the loop after the current batch, a second SIGINT at once; SIGUSR1 saves a checkpoint.

Before a run has anything to save they end the process with a message (`end_on_signal`).
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], Any]
# The signals that raised `Ended`: compiled code may swallow an exception, or put one of its own in its place.
_CAME: list[int] = []


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
    """Inside the context the signals `CAUGHT` raise `Ended`; SIGUSR1, which would end the process, does nothing.

    What fails after such a signal failed by it, whatever its exception says; where an exception cannot go on, as in a
    callback, it is lost, and nothing is printed of it.
    """

    def end(number: int, frame: FrameType | None) -> None:
        _CAME.append(number)
        raise Ended(number)

    def unraisable(lost: Any) -> None:
        if not isinstance(lost.exc_value, Ended):
            tells(lost)

    tells, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        with _handling({**dict.fromkeys(CAUGHT, end), signal.SIGUSR1: lambda number, frame: None}):
            yield
    except Exception:
        _raise_if_ended()
        raise
    finally:
        sys.unraisablehook = tells
        _CAME.clear()


def _raise_if_ended() -> None:
    if _CAME:
        raise Ended(_CAME[0])


@contextmanager
def stop_on_signal(stop: Callable[[str], None], save: Callable[[], None] | None = None) -> Iterator[None]:
    """Inside the context the signals `CAUGHT` call ``stop`` with their name instead of ending the process.

    SIGUSR1, which batch systems send before a job's end, calls ``save``.

    Raises:
        Ended: A signal came before, and its exception was lost in compiled code.
    """
    _raise_if_ended()

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
