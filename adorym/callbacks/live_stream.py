"""A scan that is being measured, for `adorym watch`: its books, its loss, and its picture."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adorym.callbacks.live import EVERY_S, LiveFolder, Pace, memory_bytes
from adorym.data.looks import POINTS, Look, curve
from adorym.data.result import Result


class LiveStream:
    """Keeps the folder ``live`` of a stream.

    Args:
        folder: The output folder.
        title: Displayed title.
        look: Returns a look at the picture; ``None`` while there is none.
    """

    def __init__(self, folder: Path, title: str, look: Callable[[], Look[Result] | None]) -> None:
        self._live, self._pace, self._look = LiveFolder(folder), Pace(EVERY_S), look
        self._points: list[tuple[float, float, float]] = []  # looks, loss, memory
        self._state: dict[str, Any] = {
            "kind": "stream", "state": "running", "title": title, "snapshot": 0, "started_s": time.time()
        }  # fmt: skip
        self._books: Mapping[str, Any] = {}

    def add(self, books: Callable[[], Mapping[str, Any]], looks: float, loss: float) -> None:
        """A batch is over.

        Args:
            books: Returns the counts of frames.
            looks: How often a frame was used on average.
            loss: Of the batch.
        """
        if not self._pace.due(self._live):
            return
        began, self._books = time.perf_counter(), books()
        if math.isfinite(loss):
            self._points.append((looks, loss, memory_bytes()))
            if len(self._points) > 2 * POINTS:
                del self._points[::2]
        seen = self._look()
        self._state |= {"epoch": round(looks, 2), "snapshot": self._state["snapshot"] + (seen is not None)}
        self._live.write(self._present(), seen, self._books)
        self._pace.took(time.perf_counter() - began)

    def close(self, state: str, books: Mapping[str, Any]) -> None:
        """The live phase is over: ``finished``, ``stopped`` or ``failed``."""
        self._state["state"] = state
        self._live.close(self._present(), books)

    def _present(self) -> dict[str, Any]:
        curves = {}
        if self._points:
            looks, losses, memory = np.transpose(self._points)
            curves = {"loss": curve(looks, losses), "memory": curve(looks, memory, "B")}
        return self._state | {"updated_s": time.time(), "curves": curves}
