"""Reading in a thread what will be asked for next, while something else is computed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

AHEAD = 2  # what is read but not asked for yet: more only takes memory


class ReadAhead:
    """Reads in the order in which it is told to expect, at most `AHEAD` parts ahead.

    Args:
        read: ``f(index)`` gives the patterns ``index``; called from one thread, never twice at the same time.
    """

    def __init__(self, read: Callable[[np.ndarray], Any]) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(1, "adorym-reader")
        self._coming: OrderedDict[bytes, Future[Any]] = OrderedDict()
        self._expected: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def prefetch(self, parts: Sequence[np.ndarray]) -> None:
        """These parts will be asked for, in this order; what was expected otherwise is forgotten."""
        self._expected = OrderedDict((part.tobytes(), part) for part in parts)
        for key in [key for key in self._coming if key not in self._expected]:
            self._coming.pop(key).cancel()
        self._begin()

    def take(self, index: np.ndarray) -> Any:
        """The patterns ``index``, waited for if they are being read."""
        key = index.tobytes()
        self._expected.pop(key, None)
        coming = self._coming.pop(key, None) or self._threads.submit(self._read, index)
        self._begin()
        return coming.result()

    def _begin(self) -> None:
        for key, index in self._expected.items():
            if len(self._coming) >= AHEAD:
                return
            if key not in self._coming:
                self._coming[key] = self._threads.submit(self._read, index)
