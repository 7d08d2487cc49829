"""Figures of the page that shows runs: what snapshots cost a run, and how fast the page follows.

``snapshots`` takes the processor time of the snapshots of one run on one thread. ``page`` needs a Chromium and the
extra ``watch``; it measures from the browser's question to the drawn page.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure

import adorym
from adorym.callbacks.live import LiveFolder, LiveSnapshots
from adorym.commands.simulate import simulate
from adorym.data.looks import curves_of, look_at
from adorym.data.result import Result

UPDATES, EPOCHS, RUN_EPOCHS = 15, 10_000, 30
SHARE_BAR, UPDATE_BAR_S = 0.02, 0.2


class _Timed(adorym.Callback):
    """Snapshots, with the processor time that they take and that of the process; the first epoch compiles."""

    def __init__(self) -> None:
        self.inner, self.began, self.mine, self.whole, self.taken = LiveSnapshots(), 0.0, 0.0, 0.0, 0

    def on_start(self, run: Any) -> None:
        self.inner.on_start(run)

    def on_batch(self, run: Any, progress: Any) -> None:
        self._call(self.inner.on_batch, run, progress)

    def on_epoch(self, run: Any, record: Any) -> None:
        self._call(self.inner.on_epoch, run, record)
        if record.epoch == 1:
            self.began, self.mine, self._before = time.process_time(), 0.0, self.inner._live.cost_s
        self.whole = time.process_time() - self.began
        self.writer = self.inner._live.cost_s - self._before

    def on_end(self, run: Any, result: Any) -> None:
        self.taken = self.inner._taken
        self.inner.on_end(run, result)

    def _call(self, function: Any, *arguments: Any) -> None:
        began = time.thread_time()
        function(*arguments)
        self.mine += time.thread_time() - began


def snapshots() -> Iterator[Figure]:
    """Processor time that snapshots take, on the run's thread and on their own, over that of the process."""
    with tempfile.TemporaryDirectory() as folder:
        data, timed = Path(folder, "data.h5"), _Timed()
        simulate("siemens_star_fly_scan", data, {}, seed=1)
        config = {
            "data": {"path": str(data)},
            "forward_model": "ptychography",
            "parameters": {"probe": {"modes": 5}},
            "run": {"epochs": RUN_EPOCHS, "threads": 1, "device": "cpu"},
            "output": {"live": False, "report": False, "progress": "quiet"},
        }
        adorym.reconstruct(config, output=Path(folder, "out"), callbacks=[timed])
    yield Figure("snapshots.over_run", (timed.mine + timed.writer) / timed.whole, SHARE_BAR)
    yield Figure("snapshots.in_the_run", timed.taken)
    yield Figure("snapshots.processor_s_of_the_run", timed.whole)


def page() -> Iterator[Figure]:
    """Seconds from a change that the page has noticed to its being drawn, after 10^4 epochs."""
    from playwright.sync_api import sync_playwright

    from adorym.watch.server import Server

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        _write(Path(folder), 0)
        server = Server([folder])
        threading.Thread(target=server.serve, daemon=True).start()
        path = shutil.which("chromium") or shutil.which("google-chrome") or playwright.chromium.executable_path
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1300, "height": 900})
        shown.goto(server.address)
        shown.wait_for_selector("canvas[data-version]")
        times = []
        for i in range(1, UPDATES + 1):
            before = shown.evaluate("document.querySelector('canvas').dataset.version")
            _write(Path(folder), i)
            while shown.evaluate("document.querySelector('canvas').dataset.version") == before:
                shown.wait_for_timeout(20)
            shown.wait_for_timeout(200)
            times.append(float(shown.evaluate("document.body.dataset.updateMs")) / 1000)
        browser.close()
        server.stop()
    yield Figure("page.update_median_s", float(np.median(times)), UPDATE_BAR_S)
    yield Figure("page.update_slowest_s", max(times))


def _write(folder: Path, number: int) -> None:
    """A run of 10^4 epochs with three refined numbers and an object of 512 x 512 pixels."""
    epochs = np.arange(1, EPOCHS + 1)
    history = {"epoch": epochs, "loss": 1 / epochs, "time_s": np.full(EPOCHS, 0.1)}
    history |= {f"parameter_{k}": np.sin(epochs / 500 + k) for k in range(3)}
    rng = np.random.default_rng(number)
    obj = np.exp(1j * rng.normal(size=(512, 512, 1))).astype(np.complex64)
    state = {
        "kind": "run", "state": "running", "title": "ptychography", "epoch": EPOCHS, "epochs": 2 * EPOCHS,
        "updated_s": time.time(), "snapshot": number, "curves": curves_of(history, {}),
    }  # fmt: skip
    live = LiveFolder(folder)
    live.write(state, look_at(Result(obj)))
    live.close(state | {"title": f"ptychography, look {number}"})
