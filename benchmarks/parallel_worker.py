"""What `benchmarks/parallel.py` starts under ``mpirun``: one run; each rank tells what it took in a line of JSON."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from adorym.comm import communicator
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.gradients import shared_chunks
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.optimizers.first_order import Adam
from adorym.storage.layout import Slabs, bytes_asked, window_boxes


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


class Peak(threading.Thread):
    """Looks at the memory every few milliseconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.n_bytes = 0
        self.start()

    def run(self) -> None:
        while True:
            self.n_bytes = max(self.n_bytes, anonymous_bytes())
            time.sleep(0.005)


def scan(side_px: int, n: int, window_px: int) -> Dataset:
    """Patterns of noise at random places of an object of ``side_px``."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, side_px - window_px, (n, 2))
    positions[:2] = 0, side_px - window_px
    y, x = np.indices((window_px, window_px)) - (window_px - 1) / 2
    probe = 100 * np.exp(-(x**2 + y**2) / (window_px / 4) ** 2)[None] + 0j
    waves = probe * np.exp(0.3j * rng.normal(size=(n, window_px, window_px)))
    patterns = np.abs(np.fft.fftshift(np.fft.fft2(waves), axes=(1, 2))) ** 2 / window_px**2
    return Dataset(
        patterns=ArrayPatterns(patterns.astype(np.float32)),
        probe_positions_px=positions,
        start_probe=probe,
        energy_ev=8000.0,
        pixel_size_m=(1e-8, 1e-8),
    )


def predicted_bytes(run: Reconstruction) -> int:
    """What an epoch sends from rank to rank, by the layout alone: windows there, gradients back."""
    problem, total = run.problem, 0
    slabs = Slabs(problem.store.shape[0], problem.comm.size)
    for batch in run.batches():
        parts = [p for r in range(problem.comm.size) for p in np.array_split(batch, problem.comm.size)[r : r + 1]]
        boxes = [window_boxes(problem.corners_px(p), problem.dataset.window_px) for p in parts if len(p)]
        total += 2 * sum(bytes_asked(boxes, slabs, problem.xp.complex_dtype.itemsize))
    return total


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1000, help="object pixels along y and x")
    parser.add_argument("--patterns", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--run", type=json.loads, default={}, help="run settings as JSON")
    given = parser.parse_args()
    peak, comm = Peak(), communicator()
    settings: dict[str, Any] = {"epochs": given.epochs, "batch_size": given.batch, "device": "cpu", "threads": 1}
    parameters = {"object": ObjectSettings(optimizer=Adam(), margin_px=0), "probe": ProbeSettings()}
    dataset = scan(given.side, given.patterns, given.window)
    run = Reconstruction(
        dataset, Recipe(Ptychography(), parameters, LeastSquares()), RunSettings(**(settings | given.run))
    )
    assert all(len(c) for b in run.batches() for c in shared_chunks(b, 10**9, comm)), "a rank without patterns"
    ready, predicted = peak.n_bytes, predicted_bytes(run) if given.run.get("store") == "do" else 0
    sent, times = comm.sent_bytes, []
    for record in run.epochs():
        times.append(record.time_s)
    all_sent = float(comm.sum(np.array([float(comm.sent_bytes - sent)]))[0])
    shape = run.problem.store.shape
    found = {
        "rank": comm.rank,
        "object_bytes": 8 * int(np.prod(shape)),
        "ready_bytes": ready,
        "peak_bytes": peak.n_bytes,
        "epoch_s": min(times),
        "sent_bytes": all_sent / len(times),
        "predicted_bytes": predicted,
        "loss": run.progress.history["loss"],
    }
    sys.stdout.write(json.dumps(found) + "\n")


main()
