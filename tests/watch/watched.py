"""Folders of runs for the page's tests: finished ones, one that goes on, and one whose name is markup."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from result_cases import ptychography_result

from adorym.callbacks.base import EpochRecord, RunInfo
from adorym.callbacks.live import LiveSnapshots
from adorym.data.looks import look_at
from adorym.data.result import ParameterResult, Result, write_result

MARKUP = "<img src=x onerror=alert(1)>"


def volume() -> Result:
    """Delta and beta of a box, 20 x 24 x 28, that grows brighter along z: slice k has delta k."""
    delta = np.zeros((20, 24, 28)) + np.arange(28)
    epochs = np.arange(1, 9)
    return Result(
        np.stack([delta, 2 * delta], -1),
        "delta_beta",
        pixel_size_m=(1e-6,) * 3,
        history={"epoch": epochs, "loss": 1.0 / epochs, "time_s": np.full(8, 0.5)},
        parameters={"rotation_axis": ParameterResult(np.array(11.0), "px", np.array(12.0))},
    )


def scan(epochs: int = 30, factor: complex = 1.0) -> Result:
    """A ptychographic result; ``factor`` changes its amplitude."""
    result = ptychography_result(epochs=epochs)
    return replace(result, object=result.object * factor)


def finished(root: Path, name: str, result: Result) -> Path:
    """A run that left a result and a log."""
    write_result(result, root / name / "result.h5")
    (root / name / "log.txt").write_text(f"end of {name}\n")
    return root / name


class GoingOn:
    """A run that goes on: epochs happen when they are asked for.

    Args:
        folder: Its output folder.
        title: As shown.
        epochs: Of the whole run.
    """

    def __init__(self, folder: Path, title: str = "ptychography: star.h5", epochs: int = 100) -> None:
        folder.mkdir(parents=True)
        self.folder, self.epoch, self.result = folder, 0, scan(0)
        self._callback = LiveSnapshots(every_s=0.0)
        self._info = RunInfo(
            title, epochs, 4, 100, output=folder, glance=lambda due: look_at(self.result) if due else None
        )
        self._callback.on_start(self._info)
        self._callback._start -= 1e6  # as if the run had lasted so long that every snapshot is affordable
        self.wait()

    def advance(self, epochs: int = 1, factor: complex = 1.0) -> None:
        """Let some epochs pass; the object's amplitude changes by ``factor``."""
        self.epoch += epochs
        before = self.state()["snapshot"]
        self.result = replace(scan(self.epoch, factor), fit={})
        self._callback.on_epoch(self._info, EpochRecord(self.epoch, self._info.epochs, 1.0, 0.1, {"object": 0.25}))
        self.wait(before)

    def end(self) -> None:
        self._callback.on_end(self._info, None)

    def state(self) -> dict[str, Any]:
        return json.loads((self.folder / "live" / "state.json").read_text())

    def wait(self, before: int = -1) -> None:
        """Until the files are there."""
        for _ in range(5000):
            if (self.folder / "live" / "state.json").is_file() and self.state()["snapshot"] > before:
                return
            time.sleep(0.01)
        raise AssertionError("no snapshot")
