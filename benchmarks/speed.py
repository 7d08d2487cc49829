"""Figures of speed: epochs beside their Fourier transforms, growth, start of commands, busy neighbors, device, memory.

Usage: python benchmarks/speed.py [--only NAME] [--json FILE]

An epoch is measured as in ``core.py``: processor times on one thread, in turn with the transforms that it cannot do
without. Commands are measured in processor time, the best of several; threads in seconds, so that they need
a machine that is idle otherwise. Traffic is counted in batches of every forward model on a device that is none.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from core import SEEDS, epoch_over_floor
from figures import Figure, main
from reference_problem import make
from speed_memory import memory
from speed_techniques import growth, techniques

from adorym.data.native_write import write_native

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

SIZES = ((64, 400), (128, 200), (256, 100))  # pixels and patterns
STARTS = 5
BUSY = 2
EPOCHS = """
import json, sys, time
import adorym
run = adorym.prepare({"data": sys.argv[1], "forward_model": "ptychography", "run": json.loads(sys.argv[2])})
epochs = run.epochs(40)
next(epochs)
times = []
for _ in range(30):
    start = time.perf_counter()
    next(epochs)
    times.append(time.perf_counter() - start)
print(sorted(times)[len(times) // 2])
"""


def epoch() -> Iterator[Figure]:
    """Processor time of an epoch over that of the transforms it cannot do without, with object and probe refined."""
    for size, patterns in SIZES:
        for modes in (1, 5):
            for between, where, bar in ((False, "whole_pixels", 1.7), (True, "between_pixels", 1.6)):
                ratio, _ = epoch_over_floor(size, patterns, modes, between)
                yield Figure(f"epoch.{size}x{size}.{modes}_modes.{where}.over_fft_floor", ratio, bar)


def start() -> Iterator[Figure]:
    """Processor seconds until a command is done, the best of `STARTS`."""
    with tempfile.TemporaryDirectory() as folder:
        write_native(make(SEEDS[0]), Path(folder) / "data.h5")
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"data": f"{folder}/data.h5", "forward_model": "ptychography"}))
        command = [sys.executable, "-m", "adorym"]
        yield Figure("start.import_s", _cpu_s([sys.executable, "-c", "import adorym"]), 0.3)
        yield Figure("start.help_s", _cpu_s([*command, "--help"]), 0.3)
        yield Figure("start.list_s", _cpu_s([*command, "list"]), 1.0)
        yield Figure("start.check_s", _cpu_s([*command, "check", str(config)]), 2.0)


def _cpu_s(command: Sequence[str]) -> float:
    times = []
    with tempfile.TemporaryDirectory() as compiled:  # an installed package brings its bytecode
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        for _ in range(STARTS):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, capture_output=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def threads() -> Iterator[Figure]:
    """Seconds of an epoch with two threads over those with one, alone and beside two busy processes."""
    with tempfile.TemporaryDirectory() as folder:
        write_native(make(SEEDS[0]), Path(folder) / "data.h5")
        alone = _epoch_s(folder, threads=2) / _epoch_s(folder, threads=1)
        yield Figure("threads.two_over_one", alone, 1 / 1.7)
        with ExitStack() as busy:
            for _ in range(BUSY):
                each = subprocess.Popen([sys.executable, "-c", "while True: pass"])
                busy.callback(each.wait)
                busy.callback(each.kill)
            beside = _epoch_s(folder) / _epoch_s(folder, threads=1)
        yield Figure("threads.default_over_one.beside_two_busy", beside, 1.3)


def _epoch_s(folder: str, **run: int) -> float:
    # What users have: nothing in the environment says how many threads there are.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", EPOCHS, f"{folder}/data.h5", json.dumps(run)]
    times = []
    for _ in range(3):
        done = subprocess.run(command, check=True, capture_output=True, env=environment)
        times.append(float(done.stdout.split()[-1]))
    return float(np.median(times))


def device() -> Iterator[Figure]:
    """Copies to the host and waits for it in a batch of every forward model, on a device that is none."""
    from cases import MODELS  # of the tests
    from device_runs import ON_DEVICE, near_truth, traffic

    for name, cases in MODELS.items():
        seen = [line for case in cases() for line in traffic(near_truth(case, **ON_DEVICE))]
        for line in sorted(set(seen)):
            print(f"  {name}: {line}")
        yield Figure(f"device.{name}.copies_and_waits", len(seen), 0)


MAKERS = {f.__name__: f for f in (epoch, techniques, growth, start, threads, device, memory)}

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
