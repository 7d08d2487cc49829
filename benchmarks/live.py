"""Figures of streams: every frame accounted for, the rate of the recording, the lag and the quality of the picture.

Usage: python benchmarks/live.py [--only NAME] [--json FILE]

Sender and receiver are processes of one machine. A lag is the time from the arrival of a frame to the end of the first
batch that it is in. The quality of the picture is its error, aligned, over that of a run of 40 epochs on the recording.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from figures import Figure, main
from live_watch import page, snapshots

from adorym.commands.run import run
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.commands.stream import StreamOptions, stream
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.stream.base import Begin, End, Event, Frame, Source
from adorym.stream.intake import Intake
from adorym.stream.policy import policy_of

CONFIG = """
data: {path: scan.h5}
forward_model: {kind: ptychography}
parameters: {probe: {initial: {kind: aperture, outer_radius: 10 px, defocus: 70 um}}}
run: {epochs: 40, threads: 1}
output: {progress: quiet, report: false}
"""
SCAN = {"window_px": [64, 64], "object_px": [240, 240]}
FRAMES, PATTERNS = 10_000, 100
PORT = 15770


class Faulty(Source):
    """Frames of which some are lost, damaged, repeated and out of order, by a seed; it counts what it does."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        kind = rng.choice(4, FRAMES, p=rng.dirichlet([20, 2, 2, 2]))
        self.lost, self.damaged = int((kind == 1).sum()), int((kind == 2).sum())
        sent = np.repeat(np.arange(FRAMES), np.choose(kind, [1, 0, 1, 2]))
        self.order = sent[np.argsort(np.arange(len(sent)) + rng.uniform(0, rng.integers(1, 500), len(sent)))]
        self.bad = kind == 2

    def events(self) -> Iterator[Event | None]:
        yield Begin({}, 0, FRAMES)
        for n in self.order.tolist():
            image = None if self.bad[n] else np.full((4, 4), n % 251, np.uint8)
            yield Frame(n, image, float(n), (0.1 * n, 0.0))
        yield End(FRAMES - 1)


def accounting() -> Iterator[Figure]:
    """A million frames in a hundred patterns of faults: what the books and the recording say against what was sent."""
    wrong = rows = 0
    for seed in range(PATTERNS):
        with tempfile.TemporaryDirectory() as folder:
            source, path = Faulty(seed), Path(folder) / "r.h5"
            intake = Intake(source, path, policy_of("newest"), waiting=100, quiet_s=10)
            intake.start()
            intake.join()
            intake.books.check()
            told = intake.told()
            good = FRAMES - source.lost - source.damaged
            wrong += told["published"] != FRAMES or told["recorded"] != good
            wrong += told["lost"]["damaged"] != source.damaged or sum(told["lost"].values()) != FRAMES - good
            with h5py.File(path) as file:
                numbers, images = file["stream/number"][()], file["exchange/data"]
                rows += len(numbers)
                wrong += len(np.unique(numbers)) != good
                wrong += any(images[i, 0, 0] != numbers[i] % 251 for i in range(0, len(numbers), 97))
    yield Figure("accounting.patterns_of_faults_that_do_not_balance", wrong, 0)
    yield Figure("accounting.frames_recorded", rows)


def serve(file: Path, port: int, rate: str | None) -> subprocess.Popen[bytes]:
    """A detector in a process of its own."""
    words = [sys.executable, "-m", "adorym", "serve", str(file), "--to", f"zmq://127.0.0.1:{port}"]
    return subprocess.Popen([*words, *(("--rate", rate) if rate else ())], stdout=subprocess.DEVNULL)


def streamed(folder: Path, rate: str, name: str, finish: str = "none") -> tuple[dict[str, float], Path]:
    """Stream ``folder / scan.h5`` at ``rate``; the lags in seconds, the counts, and the output folder."""
    (folder / "c.yaml").write_text(CONFIG)
    port, output = PORT + abs(hash(name)) % 1000, folder / name
    sender = serve(folder / "scan.h5", port, rate)
    options = StreamOptions(finish=finish, settle=2.0)
    done = stream(f"zmq://127.0.0.1:{port}", folder / "c.yaml", output, options=options)
    sender.wait()
    lost = sum(done.books["lost"].values())
    half, most = np.percentile(done.lags_s, (50, 99))
    return {"p50_ms": 1e3 * half, "p99_ms": 1e3 * most, "lost": lost, "looks": done.looks}, output


def ingest() -> Iterator[Figure]:
    """Frames of 128 x 128 counts: the rate at which they are recorded without a loss, and 1 kHz for five seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = np.random.default_rng(0).poisson(3.0, (5000, 128, 128)).astype(np.uint16)
        positions = np.random.default_rng(1).uniform(0, 100, (5000, 2))
        write_native(Dataset(ArrayPatterns(counts), positions), folder / "scan.h5")
        (folder / "c.yaml").write_text(CONFIG)
        for i, (label, rate) in enumerate((("flat_out", None), ("1kHz", "1kHz"))):
            sender = serve(folder / "scan.h5", PORT + 50 + i, rate)
            options = StreamOptions(picture=False, finish="none")
            done = stream(f"zmq://127.0.0.1:{PORT + 50 + i}", folder / "c.yaml", folder / label, options=options)
            sender.wait()
            with h5py.File(folder / label / "recording.h5") as file:
                received = file["stream/received_s"][()]
                size = file["exchange/data"].id.get_storage_size() / counts.nbytes
            yield Figure(f"ingest.{label}_ms_per_frame", 1e3 * np.ptp(received) / len(received), 1.05)
            yield Figure(f"ingest.{label}_lost", sum(done.books["lost"].values()), 0)
        yield Figure("ingest.size_of_the_recording", size)


def picture() -> Iterator[Figure]:
    """Scans of 64 x 64 frames at 500 Hz and at 1 kHz: lag, and the error two seconds after the last frame."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate("ptychography", folder / "scan.h5", SCAN, seed=1)
        (folder / "c.yaml").write_text(CONFIG)
        for rate, bar in (("500Hz", 250.0), ("1kHz", None)):
            told, output = streamed(folder, rate, rate)
            yield Figure(f"picture.{rate}_lag_p50_ms", told["p50_ms"])
            yield Figure(f"picture.{rate}_lag_p99_ms", told["p99_ms"], bar)
            yield Figure(f"picture.{rate}_lost", told["lost"], 0)
            yield Figure(f"picture.{rate}_looks", told["looks"])
        error = score(output, folder / "scan.h5")["object_nrmse"]
        run(folder / "c.yaml", [f"data.path={output / 'recording.h5'}"], output=folder / "offline")
        offline = score(folder / "offline", folder / "scan.h5")["object_nrmse"]
        yield Figure("picture.error_over_that_of_40_epochs", error / offline, 1.3)


def kill() -> Iterator[Figure]:
    """The receiver is killed in mid-scan and resumed: what a reader had seen of the recording and is not there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate("ptychography", folder / "scan.h5", SCAN, seed=1)
        (folder / "c.yaml").write_text(CONFIG)
        path = folder / "out" / "recording.h5"
        words = [sys.executable, "-m", "adorym", "stream", f"replay:{folder / 'scan.h5'}?rate=200Hz", "--config",
                 str(folder / "c.yaml"), "-o", str(folder / "out"), "--stream", "finish=none"]  # fmt: skip
        seen: set[int] = set()
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            while len(seen) < 100 and process.poll() is None:
                time.sleep(0.02)
                seen = _numbers(path) or seen
            process.send_signal(signal.SIGKILL)
        yield Figure("kill.frames_lost", len(seen - _numbers(path)), 0)
        subprocess.run([*words, "--resume"], stdout=subprocess.DEVNULL, check=True)
        with h5py.File(path) as file:
            books = json.loads(file["stream/books"].asstr()[()])
        yield Figure("kill.frames_missing_after_resume", books["published"] - books["recorded"], 0)


def _numbers(path: Path) -> set[int]:
    try:
        with h5py.File(path, "r", swmr=True, libver="latest", locking="best-effort") as file:
            return set(file["stream/number"][()].tolist())
    except (OSError, KeyError):
        return set()


MAKERS = {f.__name__: f for f in (accounting, ingest, picture, kill, snapshots, page)}

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
