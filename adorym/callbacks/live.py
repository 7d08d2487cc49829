"""Snapshots of a run while it goes on, for `adorym watch`: cheap, and never a reason for the run to fail or to wait.

Rank 0 packs and writes them in a thread of their own. If the file system hangs or is full, or the folder is gone, there
are no snapshots, and the run goes on.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from adorym.callbacks.base import BatchProgress, Callback, EpochRecord, RunInfo
from adorym.data.atomic import PARTIAL, replace_file
from adorym.data.live import LIVE, SNAPSHOT, STATE, packed
from adorym.data.looks import POINTS, Look, curve, curves_of
from adorym.data.result import Result

LOG = logging.getLogger("adorym")
EVERY_S = 1.0
SHARE = 0.015  # of the run's time that snapshots may take
FIRST_COST_S = 0.02  # of a snapshot, before one has been taken
PATIENCE_S = 5.0  # for the last file, at the end of a run


class LiveFolder:
    """Writes the files of a folder ``live`` in a thread; a file that cannot be written is dropped, with one warning.

    Args:
        output: The folder of the run.

    Attributes:
        cost_s: Processor time of the thread so far.
    """

    def __init__(self, output: Path) -> None:
        self._folder, self._warned, self.cost_s = output / LIVE, False, 0.0
        self._waiting: queue.Queue[tuple[dict[str, Any], Look[Result] | None] | None] = queue.Queue(1)
        self._thread = threading.Thread(target=self._work, name="adorym-live", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether everything has been written."""
        return self._waiting.unfinished_tasks == 0

    def write(self, state: Mapping[str, Any], seen: Look[Result] | None = None) -> None:
        """Write soon; nothing if the thread still writes."""
        if self.idle:
            self._waiting.put((dict(state), seen))

    def close(self, state: Mapping[str, Any] | None = None) -> None:
        """Write the last state, if any, and wait for it a few seconds at most."""
        until = time.monotonic() + PATIENCE_S
        while not self.idle and time.monotonic() < until:
            time.sleep(0.002)
        if state is not None:
            self.write(state)
        with suppress(queue.Full):
            self._waiting.put(None, timeout=PATIENCE_S)
        self._thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            began = time.thread_time()
            try:
                self._write(*task)
            except (OSError, ValueError, TypeError, MemoryError) as error:
                if not self._warned:
                    LOG.warning("%s: no snapshots for 'adorym watch': %s", self._folder, error)
                self._warned = True
            self.cost_s += time.thread_time() - began
            self._waiting.task_done()

    def _write(self, state: dict[str, Any], seen: Look[Result] | None) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir()  # not its parents: a folder that was removed stays so
        if seen is not None:
            replace_file(self._folder / SNAPSHOT, packed(seen))
        replace_file(self._folder / STATE, json.dumps(state, allow_nan=False).encode())


class LiveSnapshots(Callback):
    """Writes ``live/state.json`` and ``live/snapshot.npz`` in the output folder.

    Args:
        every_s: Shortest time between two snapshots; they are rarer where more often would cost the run more than 1.5 %
            of its time.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._live: LiveFolder | None = None
        self._state: dict[str, Any] = {}
        self._samples: list[tuple[float, ...]] = []  # epoch, patterns per second, memory
        self._moves: dict[str, list[tuple[float, ...]]] = {}  # epoch, change
        self._start = self._last = self._mine_s = self._patterns = 0.0
        self._taken = 0

    def on_start(self, run: RunInfo) -> None:
        self._start = self._last = time.monotonic()
        if run.rank != 0 or run.output is None:
            return
        for old in (run.output / LIVE).glob(f"{PARTIAL}*"):
            old.unlink(missing_ok=True)
        self._live = LiveFolder(run.output)
        self._state = {
            "kind": "run", "state": "running", "title": run.title, "remarks": list(run.remarks),
            "epoch": 0, "epochs": run.epochs, "batch": 0, "n_batches": run.n_batches, "n_patterns": run.n_patterns,
            "started_s": time.time(), "snapshot": 0, "curves": {},
        }  # fmt: skip
        self._live.write(self._stamped())

    def on_batch(self, run: RunInfo, progress: BatchProgress) -> None:
        self._patterns += run.n_patterns / progress.n_batches
        self._state |= {"epoch": progress.epoch - 1, "batch": progress.batch, "n_batches": progress.n_batches}
        self._look(run, progress.epoch - 1 + progress.batch / progress.n_batches)

    def on_epoch(self, run: RunInfo, record: EpochRecord) -> None:
        self._state |= {
            "epoch": record.epoch, "epochs": record.epochs, "batch": 0, "learning_rates": record.learning_rates,
        }  # fmt: skip
        self._look(run, record.epoch)

    def on_end(self, run: RunInfo, result: Result | None) -> None:
        if self._live is None:
            return
        over = result is not None and self._state["epoch"] >= self._state["epochs"]
        self._state["state"] = "finished" if over else "failed" if result is None else "stopped"
        if result is not None:
            self._curves(result)
        self._live.close(self._stamped())
        self._live = None

    def _look(self, run: RunInfo, epoch: float) -> None:
        """Take a snapshot if one is due."""
        if run.glance is None or run.output is None:
            return
        due, began = self._due(), time.perf_counter()
        seen = run.glance(due)  # on every rank: rank 0 says when
        if seen is None or self._live is None:
            return
        self._sample(seen.result, epoch)
        self._curves(seen.result)
        self._taken += 1
        self._state["snapshot"] = self._taken
        self._live.write(self._stamped(), seen)
        self._last = time.monotonic()
        self._mine_s += time.perf_counter() - began

    def _due(self) -> bool:
        """Whether the last snapshot is long enough ago, written, and another one affordable."""
        now, live = time.monotonic(), self._live
        if live is None or now - self._last < self._every_s or not live.idle:
            return False
        spent = self._mine_s + live.cost_s
        each = spent / self._taken if self._taken else FIRST_COST_S
        return spent + each <= SHARE * (now - self._start)

    def _sample(self, result: Result, epoch: float) -> None:
        """Add a point to the curves of speed, memory and the way of large parameters."""
        passed = max(time.monotonic() - self._last, 1e-9)
        self._samples.append((epoch, self._patterns / passed, memory_bytes()))
        self._patterns = 0.0
        for name, each in result.parameters.items():
            if each.start is not None and each.start.shape == each.value.shape and each.value.size > 1:
                change = np.sqrt(np.mean(np.abs(each.value - each.start) ** 2))
                self._moves.setdefault(name, []).append((epoch, float(change)))
        for points in (self._samples, *self._moves.values()):
            if len(points) > 2 * POINTS:
                del points[::2]

    def _curves(self, result: Result) -> None:
        units = {name: each.unit for name, each in result.parameters.items()}
        curves = curves_of(result.history, units)
        for name, points in self._moves.items():
            epochs, change = zip(*points, strict=True)
            if any(change):
                curves[f"change of {name}"] = curve(epochs, change, units.get(name, ""))
        if self._samples:
            epochs, speed, memory = zip(*self._samples, strict=True)
            curves |= {"patterns_per_s": curve(epochs, speed, "1/s"), "memory": curve(epochs, memory, "B")}
        self._state["curves"] = curves

    def _stamped(self) -> dict[str, Any]:
        return self._state | {"updated_s": time.time()}


def memory_bytes() -> float:
    """Resident memory of this process in bytes; its largest so far where the present one is not known."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
