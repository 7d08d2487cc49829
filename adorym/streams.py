"""Standard output that may be lost without harm: a closed pipe or a full disk never ends a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Expendable:
    """A text stream whose errors of writing are swallowed; from the first one on its output goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (OSError, ValueError):  # ValueError: it is closed
            self._lose()

    def _lose(self) -> None:
        """Let the file descriptor point nowhere, so that what is buffered leaves without an error at the exit."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def expendable_output() -> Iterator[None]:
    """Inside the context standard output and standard error are `Expendable`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Expendable(before[0]), Expendable(before[1])
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = before
