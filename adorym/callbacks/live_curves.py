"""Curves of what is no reconstruction, a training or a search, for `adorym watch`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from adorym.callbacks.live import EVERY_S, LiveFolder
from adorym.data.looks import curve


class LiveCurves:
    """Keeps ``live/state.json`` in a folder, inside a context, with the numbers of each step as curves.

    Args:
        folder: The output folder.
        title: Displayed title.
        steps: How many steps there will be, if that is known.
        step: What a step is called.
    """

    def __init__(self, folder: Path, title: str, steps: int | None = None, step: str = "epoch") -> None:
        self._live = LiveFolder(folder)
        self._curves: dict[str, list[tuple[float, float]]] = {}
        self._written = 0.0
        self._state: dict[str, Any] = {
            "kind": step, "state": "running", "title": title, "epoch": 0, "epochs": steps, "started_s": time.time()
        }  # fmt: skip

    def add(self, record: Mapping[str, float]) -> None:
        """A step has been made, with these numbers."""
        self._state["epoch"] += 1
        for name, value in record.items():
            if name != "epoch":
                self._curves.setdefault(name, []).append((self._state["epoch"], float(value)))
        if time.monotonic() - self._written >= EVERY_S:
            self._live.write(self._present())
            self._written = time.monotonic()

    def __enter__(self) -> LiveCurves:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._state["state"] = "finished" if error is None else "failed"
        if self._curves:
            self._live.close(self._present())
        else:  # nothing has happened: leave nothing behind
            self._live.close()

    def _present(self) -> dict[str, Any]:
        curves = {name: curve(*np.transpose(points)) for name, points in self._curves.items()}
        return self._state | {"updated_s": time.time(), "curves": curves}
