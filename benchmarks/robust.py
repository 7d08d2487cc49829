"""Figures of robustness: one answer on any ranks, damaged input, accidents, memory over thousands of epochs.

Usage: python benchmarks/robust.py [--only NAME] [--json FILE]

Runs are forks of this process (`tests/chaos.py`), mutations are those of `tests/fuzz`, with other seeds than the tests
have. ROBUST_SHARE=0.1 in the environment makes a tenth of the trials.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import math
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import chaos
from figures import Figure, main
from fuzz.judge import verdict
from fuzz.mutations import misconfigure
from fuzz.originals import CONFIGURATIONS, FILES
from fuzz.test_fuzz import SOUND, judged
from laws import relative_error
from mpi_launch import run as mpirun
from mpi_runs import recipes, solved

from adorym.commands.check import check
from adorym.commands.verify import NAMES, verify
from adorym.data.result import read_result
from adorym.data.seal import state_of
from adorym.engine.checkpoint import CHECKPOINT_NAME

TESTS = Path(__file__).resolve().parents[1] / "tests"
SHARE = float(os.environ.get("ROBUST_SHARE", "1"))
FIRST_SEED = 1_000_000  # the tests begin at 0
BACKENDS = ("autograd", "torch", "jax")
EPOCHS = 2000
MEMORY = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_runs import everything, measured, tiny
run = tiny(measured(), everything(), backend=sys.argv[2], epochs=int(sys.argv[3]))
for record in run.epochs():
    if record.epoch in (10, run.settings.epochs):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(pages, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
"""
ODD_RANK = (
    "import os; from adorym.cli import main; from adorym.comm import launched; launched()[1] and os.chdir('other'); "
    "main(['run', 'config.yaml', '-o', 'out'])"
)


def share(n: int) -> int:
    """As many trials as are asked for, of ``n``."""
    return max(1, math.ceil(SHARE * n))


def law_1() -> Iterator[Figure]:
    """Largest difference, relative, from one process with the store dp; all cases of the tests' law."""
    for precision, bar in (("double", 1e-10), ("single", 1e-4)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            cases = list(recipes(folder))[:: math.ceil(1 / SHARE)]
            alone = {case: solved(case, folder, precision=precision) for case in cases}
            worst = _Worst()
            for memory in (20e3, 1e6):  # of the store h5: many blocks, and one
                for case in cases:
                    found = solved(case, folder, precision=precision, store="h5", memory=memory)
                    worst.add(f"{case}, h5, memory {memory:g}", alone[case], found)
            for ranks in (2, 3, 4):
                script = str(TESTS / "mpi" / "one_answer.py")
                command = [script, name, precision, "torch", ",".join(cases), "dp,do,h5"]
                ended = mpirun(ranks, command, folder, 3000)
                if ended.status:
                    raise RuntimeError(ended.err)
                for case in cases:
                    for store in ("dp", "do", "h5"):
                        with np.load(folder / f"{case}-{store}-{precision}-{ranks}.npz") as found:
                            worst.add(f"{case}, {store}, {ranks} ranks", alone[case], found)
        print(f"  worst in {precision} precision: {worst.where}")
        yield Figure(f"law_1.{precision}", worst.value, bar)


class _Worst:
    """The largest relative difference so far, and where it is."""

    def __init__(self) -> None:
        self.value, self.where = 0.0, ""

    def add(self, where: str, expected: dict, found: dict) -> None:
        for key, array in expected.items():
            error = relative_error(found[key], array)
            if not error <= self.value:
                self.value, self.where = error, f"{where}: {key}"


def mutants() -> Iterator[Figure]:
    """Mutated files and configurations that end in a traceback, a crash, a hang, or beyond a GiB."""
    seeds = range(FIRST_SEED, FIRST_SEED + share(300))
    ends: Counter[str] = Counter()
    for kind in FILES:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                found, text = judged(kind, seed, Path(folder))
            ends[found] += 1
            if found not in SOUND:
                print(f"  {kind}, seed {seed}: {found}: {text.strip().splitlines()[-1:]}")
    yield Figure("mutants.files", sum(ends.values()))
    yield Figure("mutants.files_refused_in_a_message", ends["refused"])
    yield Figure("mutants.files_that_are_faults", sum(n for end, n in ends.items() if end not in SOUND), 0)
    faults, n = 0, share(600)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        FILES["written"](folder).rename(folder / "data.h5")
        for seed in range(FIRST_SEED, FIRST_SEED + n):
            text = misconfigure(CONFIGURATIONS[seed % len(CONFIGURATIONS)], np.random.default_rng([seed, 1]))
            (folder / "config.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
            found, message = verdict(lambda: check(folder / "config.yaml").render())
            if found not in SOUND:
                faults += 1
                print(f"  configuration, seed {seed}: {found}: {message.strip().splitlines()[-1:]}")
    yield Figure("mutants.configurations", n)
    yield Figure("mutants.configurations_that_are_faults", faults, 0)


def accidents() -> Iterator[Figure]:
    """Kills, signals, full disks and lost outputs at random moments: bad ends, and epochs that were saved and lost."""
    rng = np.random.default_rng(FIRST_SEED)
    with tempfile.TemporaryDirectory() as name:
        whole = _folder(Path(name), "whole")
        lasts_s = chaos.finish(chaos.start(chaos.RUN, whole), whole).seconds
        for group, kinds, n in (
            ("kills", ["kill"], 60), ("signals", ["SIGTERM", "SIGINT", "SIGUSR1"], 40), ("full_disks", ["full"], 20),
            ("lost_outputs", ["output"], 20),
        ):  # fmt: skip
            bad = lost = 0
            for trial in range(share(n)):
                folder = _folder(Path(name), f"{group}-{trial}")
                for _ in range(2):  # the second goes on from the first
                    saved = chaos.saved_epoch(folder)
                    what, ended = chaos.link(folder, rng, lasts_s, kinds)
                    fault = chaos.fault_of(what, ended)
                    damaged = (folder / "out").is_dir() and any(each.state != "whole" for each in _verified(folder))
                    lost += chaos.saved_epoch(folder) < saved or damaged
                    bad += bool(fault)
                    if fault or damaged:
                        print(f"  {group}, trial {trial}, {what}: {fault or 'damaged'}; {ended.err.strip()[-200:]}")
            yield Figure(f"accidents.{group}.bad_ends", bad, 0)
            yield Figure(f"accidents.{group}.lost", lost, 0)


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    chaos.prepare(folder)
    return folder


def _verified(folder: Path) -> list:
    return verify(folder / "out") if any((folder / "out" / name).exists() for name in NAMES) else []


def flips() -> Iterator[Figure]:
    """Single bits of a checkpoint that are flipped and not noticed."""
    rng = np.random.default_rng(FIRST_SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = _folder(Path(name), "run")
        chaos.finish(chaos.start(chaos.RUN, folder), folder)
        path = folder / "out" / CHECKPOINT_NAME
        sound, missed, n = path.read_bytes(), 0, share(200)
        for _ in range(n):
            path.write_bytes(sound)
            chaos.flip(path, rng)
            missed += state_of(path) == "whole"
    yield Figure("flips.trials", n)
    yield Figure("flips.not_noticed", missed, 0)


def two_runs() -> Iterator[Figure]:
    """A second run in the folder of a running one: harm to the first, and seconds until the second refuses."""
    rng, slowest, harmed, refused = np.random.default_rng(FIRST_SEED), 0.0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        whole = _folder(Path(name), "whole")
        lasts_s, n = chaos.finish(chaos.start(chaos.RUN, whole), whole).seconds, share(20)
        for trial in range(n):
            folder = _folder(Path(name), str(trial))
            first = chaos.start([*chaos.RUN, "--set", "run.epochs=100000"], folder)
            until = time.monotonic() + 60
            while not (folder / "out" / ".running").exists() and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(float(rng.uniform(0, 0.5 * lasts_s)))
            second_folder = folder / "second"  # where it writes its output; it runs in the same ``out``
            second_folder.mkdir()
            arguments = ["run", str(folder / "config.yaml"), "-o", str(folder / "out")]
            ended = chaos.finish(chaos.start(arguments, second_folder), second_folder)
            if "another run uses the folder" in ended.err and ended.status == 2:
                refused, slowest = refused + 1, max(slowest, ended.seconds)
            while not chaos.saved_epoch(folder) and time.monotonic() < until:  # it has begun
                time.sleep(0.01)
            os.kill(first, signal.SIGTERM)
            told = chaos.finish(first, folder)
            if told.status or not len(read_result(folder / "out").history["loss"]):
                harmed += 1
                print(f"  trial {trial}: status {told.status}; {told.err.strip()[-300:]}")
    yield Figure("two_runs.first_harmed", harmed, 0)
    yield Figure("two_runs.second_not_refused", n - refused, 0)
    yield Figure("two_runs.slowest_refusal_s", slowest, 2)


def ranks() -> Iterator[Figure]:
    """Seconds until two ranks with different data or configurations are refused by name, with their start."""
    for what in ("data", "configuration"):
        with tempfile.TemporaryDirectory() as name:
            folder = _folder(Path(name), "run")
            other = _folder(folder, "other")
            if what == "data":
                with h5py.File(other / "data.h5", "r+") as file:
                    file["exchange/data"][0, 3, 4, 5] += 1
            else:
                config = other / "config.yaml"
                config.write_text(config.read_text().replace('"checkpoint_every": 1', '"checkpoint_every": 2'))
            began = time.monotonic()
            ended = mpirun(2, ["-c", ODD_RANK], folder)
            seconds = time.monotonic() - began
        told = re.search(rf"rank 1 does not have the same [\w ]*{what}", ended.err)
        yield Figure(f"ranks.{what}.not_refused_by_name", float(ended.status != 2 or not told), 0)
        yield Figure(f"ranks.{what}.seconds", seconds, 5)


def memory() -> Iterator[Figure]:
    """Growth of the memory from the tenth epoch to the last of 2000, and of file descriptors and threads."""
    for backend in BACKENDS:
        command = [sys.executable, "-c", MEMORY, str(TESTS), backend, str(max(20, int(SHARE * EPOCHS)))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        tenth, last = (list(map(int, line.split())) for line in done.stdout.splitlines())
        yield Figure(f"memory.{backend}.growth", last[0] / tenth[0] - 1, 0.05)
        yield Figure(f"memory.{backend}.more_files_and_threads", last[1] + last[2] - tenth[1] - tenth[2], 0)


MAKERS: dict[str, Callable[[], Iterator[Figure]]] = {
    f.__name__: f for f in (law_1, mutants, accidents, flips, two_runs, ranks, memory)
}

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
