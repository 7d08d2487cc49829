"""Figures of the page that shows runs: what snapshots cost a run, and how fast the page follows.

``snapshots`` runs the same reconstruction with and without snapshots, in turn, in one process on one thread. ``page``
needs a Chromium and the extra ``watch``; it measures the browser from the new files to the drawn page.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
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
from adorym.callbacks.live import LiveFolder
from adorym.commands.simulate import simulate
from adorym.data.looks import curves_of, look_at
from adorym.data.result import Result

REPEATS, UPDATES, EPOCHS = 5, 15, 10_000
RUN_EPOCHS = 25
SHARE_BAR, UPDATE_BAR_S = 0.02, 0.2


class _Timed(adorym.Callback):
    """Processor time of the process, without the first epoch, which compiles."""

    def __init__(self) -> None:
        self.began = self.taken = 0.0

    def on_epoch(self, run: Any, record: Any) -> None:
        if record.epoch == 1:
            self.began = time.process_time()
        self.taken = time.process_time() - self.began


def snapshots() -> Iterator[Figure]:
    """Processor time that snapshots add to a run, over that of the run without them; the median of several pairs."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.h5")
        simulate("siemens_star_fly_scan", data, {}, seed=1)
        config = {
            "data": {"path": str(data)},
            "forward_model": "ptychography",
            "parameters": {"probe": {"modes": 5}},
            "run": {"epochs": RUN_EPOCHS, "threads": 1, "device": "cpu"},
        }
        ratios, count = [], 0
        for i in range(REPEATS):
            times = {}
            for live in (True, False) if i % 2 else (False, True):
                timed, where = _Timed(), Path(folder, f"{i}_{live}")
                output = {"live": live, "report": False, "progress": "quiet"}
                adorym.reconstruct(config | {"output": output}, output=where, callbacks=[timed])
                times[live] = timed.taken
            count = json.loads((Path(folder, f"{i}_True") / "live" / "state.json").read_text())["snapshot"]
            ratios.append(times[True] / times[False] - 1)
    yield Figure("watch.snapshots_over_run", float(np.median(ratios)), SHARE_BAR)
    yield Figure("watch.snapshots_in_a_run", count)
    yield Figure("watch.seconds_of_a_run", times[False])


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
    yield Figure("watch.page_update_s", float(np.median(times)), UPDATE_BAR_S)


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
