"""Figures of the parallel modes: one answer, memory, communication, scaling, faults, and resuming elsewhere.

Usage: python benchmarks/parallel.py [--only NAME] [--json FILE]

Every figure is measured by real jobs under ``mpirun`` on this machine; ranks share its cores, so that the times of
more ranks than cores mean nothing.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from figures import Figure, main
from memory_limit import limited

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from command_line import write_config, write_data  # noqa: E402
from laws import relative_error  # noqa: E402
from mpi_launch import finish, run, start  # noqa: E402
from mpi_runs import recipes, solved  # noqa: E402

from adorym.data.result import Result, read_result  # noqa: E402
from adorym.storage.layout import Slabs, cover, covers, window_boxes  # noqa: E402

WORKER = str(ROOT / "benchmarks" / "parallel_worker.py")
ANSWER = str(ROOT / "tests" / "mpi" / "one_answer.py")
ADORYM = ["-m", "adorym.cli", "run", "config.yaml", "-o", "out"]
MIB = 1 << 20
BIG_SIDE_PX = 23170  # 4 GiB of complex numbers of 8 bytes
# A 100 Gbit/s network between nodes: latency of a message, and bandwidth of one rank of eight a node.
LATENCY_S, BANDWIDTH = 2e-6, 12.5e9 / 8


def worker(ranks: int, limit_s: float = 3000, *arguments: object, **settings: object) -> list[dict[str, Any]]:
    """One run of the worker; what each rank tells, rank 0 first."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("ADORYM_SCRATCH")) as folder:
        if settings.get("store") == "h5":
            settings["scratch"] = folder
        command = [WORKER, *map(str, arguments), "--run", json.dumps(settings)]
        ended = run(ranks, command, Path(folder), limit_s, ADORYM_MPI_TIMEOUT="3000")
    assert ended.status == 0, ended.err
    told = [json.loads(line) for line in ended.out.splitlines() if line.startswith("{")]
    return sorted(told, key=lambda each: each["rank"])


def one_answer() -> Iterator[Figure]:
    """Largest relative difference to one process, in the store ``dp``, after three epochs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for precision, bar in (("double", 1e-10), ("single", 1e-4)):
            expected = {case: solved(case, folder, precision=precision) for case in ("positions", "volume")}
            for ranks in (1, 2, 3, 4):
                run(ranks, [ANSWER, name, precision, "torch", ",".join(expected), "dp,do,h5"], folder)
                for case, arrays in expected.items():
                    for store in ("dp", "do", "h5"):
                        with np.load(folder / f"{case}-{store}-{precision}-{ranks}.npz") as found:
                            worst = max(relative_error(found[key], array) for key, array in arrays.items())
                        yield Figure(f"one_answer.{precision}.{case}.{store}.{ranks}_ranks", worst, bar)
        assert set(expected) <= set(recipes(folder))


def memory() -> Iterator[Figure]:
    """Peak anonymous memory of a rank in MiB: with ``do`` a constant and a share of the object, with ``h5`` bounded.

    The object of 4 GiB makes a file of 16 GiB: with its gradient and Adam's two moments. Where the system allows it,
    one rank is run again with all its memory limited to 1 GiB by the kernel, pages of the file included.
    """
    side = 6000
    peaks = {n: max(r["peak_bytes"] for r in worker(n, 600, "--side", side, store="do")) / MIB for n in (1, 2, 4)}
    whole = 4 * 8 * side**2 / MIB  # object, gradient, two moments
    for ranks, peak in peaks.items():
        yield Figure(f"memory.do.{ranks}_ranks.peak_mib", peak)
        yield Figure(f"memory.do.{ranks}_ranks.beyond_its_share_mib", peak - whole / ranks, 1000)
    big = ("--side", BIG_SIDE_PX, "--patterns", 16, "--batch", 8, "--epochs", 1)
    losses = []
    for ranks in (1, 2):
        told = worker(ranks, 3000, *big, store="h5", memory=256e6)
        losses.append(told[0]["loss"][-1])
        yield Figure(f"memory.h5.4_gib_object.{ranks}_ranks.peak_mib", max(r["peak_bytes"] for r in told) / MIB, 1024)

    with limited(1 << 30) as possible:
        told = worker(1, 3000, *big, store="h5", memory=256e6) if possible else []
    if told:
        difference = abs(told[0]["loss"][-1] / losses[0] - 1)
        yield Figure("memory.h5.4_gib_object.within_1_gib_by_the_kernel.loss_difference", difference, 1e-6)


def communication() -> Iterator[Figure]:
    """Bytes that an epoch sends with ``do`` over what the union of the windows asked for takes at least."""
    for ranks in (2, 3, 4):
        for window in (32, 64):
            sizes = ("--side", 300, "--patterns", 120, "--batch", 40, "--window", window, "--epochs", 1)
            told = worker(ranks, 600, *sizes, store="do")
            ratio = told[0]["sent_bytes"] / told[0]["predicted_bytes"]
            yield Figure(f"communication.{ranks}_ranks.window_{window}.sent_over_least", ratio, 1.1)


def scaling() -> Iterator[Figure]:
    """Seconds an epoch on one and two ranks of one thread; speed-up with the same work (strong) and twice it (weak)."""
    for store in ("dp", "do"):
        base = ("--side", 700, "--window", 128, "--epochs", 5)
        times = {
            (n, p): worker(n, 900, *base, "--patterns", p, "--batch", p // 2, store=store)[0]["epoch_s"]
            for n, p in ((1, 768), (2, 768), (2, 1536))
        }
        yield Figure(f"scaling.{store}.one_rank_s", times[1, 768])
        yield Figure(f"scaling.{store}.strong_speed_up_of_2", times[1, 768] / times[2, 768])
        yield Figure(f"scaling.{store}.weak_efficiency_of_2", times[1, 768] / times[2, 1536])


def exchange() -> tuple[float, float]:
    """(latency in s, bandwidth in bytes/s) between two ranks of this machine, by `Communicator.exchange`."""
    with tempfile.TemporaryDirectory() as folder:
        ended = run(2, [str(ROOT / "benchmarks" / "exchange_worker.py")], Path(folder), 300)
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    return found["latency_s"], found["bandwidth"]


def planning(y: int, x: int, ranks: int, window: tuple[int, int]) -> float:
    """Seconds that a rank takes to find out which pixels go from and to whom, with a window at random on each rank."""
    rng = np.random.default_rng(0)
    corners = np.stack([rng.integers(0, y - window[0], ranks), rng.integers(0, x - window[1], ranks)], axis=1)
    boxes, slabs = [window_boxes(corner[None], window) for corner in corners], Slabs(y, ranks)
    taken = []
    for rank in range(0, ranks, 64):
        began = time.perf_counter()
        cover(boxes[rank], (0, y)).pixels_before(slabs.edges)
        covers(boxes, slabs.of(rank))
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def charcoal() -> Iterator[Figure]:
    """A model of the charcoal of the Adorym paper on 1024 ranks: one angle, all of its 1024 tiles of 25 x 52 a batch.

    One tile a rank; every rank asks the owners of its rows for its window and gives the gradient back. Latency,
    bandwidth and computing are measured on this machine, between two ranks and on one core; for comparison the exchange
    is also given for a network of 100 Gbit/s shared by eight ranks a node, with a latency of 2 us, as is assumed.
    """
    y, x, z, ranks, (wy, wx) = 800, 1653, 1653, 1024, (25, 52)
    slab_rows = max(1, y // ranks)  # 800 ranks own one row each, the others only compute
    owners = -(-wy // slab_rows)
    window_bytes = wy * wx * z * 8
    yield Figure("charcoal.1024_ranks.object_gib", y * x * z * 8 / 2**30)
    yield Figure("charcoal.1024_ranks.slab_mib_with_adam", slab_rows * x * z * 8 * 4 / MIB)
    yield Figure("charcoal.1024_ranks.window_mib", window_bytes / MIB)
    latency, bandwidth = exchange()
    yield Figure("charcoal.measured.latency_us", 1e6 * latency)
    yield Figure("charcoal.measured.bandwidth_gb_per_s", bandwidth / 1e9)
    times = {"measured": 2 * (owners * latency + window_bytes / bandwidth)}
    times["assumed_network"] = 2 * (owners * LATENCY_S + window_bytes / BANDWIDTH)
    yield Figure("charcoal.1024_ranks.planning_s", planning(y, x, ranks, (wy, wx)))
    wave = (np.ones((wy, wx)) + 0j).astype(np.complex64)
    began = time.perf_counter()
    for _ in range(400):
        np.fft.ifft2(np.fft.fft2(wave))
    slice_s = 3 * (time.perf_counter() - began) / 400  # there, back with its recomputation
    yield Figure("charcoal.1024_ranks.computing_s", slice_s * z)
    step = 12 * slab_rows * x * z * 8 / 5e9  # passes over the slab at the bandwidth of memory that one core has
    yield Figure("charcoal.1024_ranks.step_s", step)
    for name, time_s in times.items():
        yield Figure(f"charcoal.{name}.exchange_s", time_s)
        yield Figure(f"charcoal.{name}.exchange_share", time_s / (time_s + slice_s * z + step))


# -- runs that end early -----------------------------------------------------------------------------------------------
def _prepare(folder: Path) -> None:
    write_data(folder / "data.h5")
    steady = {"schedule": {"kind": "constant"}}
    write_config(
        folder,
        run={"precision": "double", "epochs": 8, "checkpoint_every": 1, "backend": "autograd"},
        parameters={"object": {"optimizer": {"kind": "adam", "learning_rate": 0.02}} | steady, "probe": steady},
    )


def _adorym(ranks: int, folder: Path, *arguments: str) -> None:
    ended = run(ranks, [*ADORYM, *arguments], folder)
    assert ended.status == 0, ended.err


def _difference(folder: Path, epochs: int) -> float:
    """Largest relative difference between the run in ``out`` and an unbroken one of one process."""
    ended = run(1, [*ADORYM[:-1], "whole", "--set", f"run.epochs={epochs}"], folder, ADORYM_MPI="0")
    assert ended.status == 0, ended.err
    found, whole = (read_result(folder / name) for name in ("out", "whole"))
    return max(relative_error(getattr(found, key), getattr(whole, key)) for key in ("object", "probe"))


def faults(times: int = 20) -> Iterator[Figure]:
    """Kill -9 of a random rank at a random moment, in each store in turn, then resume."""
    from mpi.test_faults import ranks_of

    rng, slowest, worst = np.random.default_rng(0), 0.0, 0.0
    for i in range(times):
        with tempfile.TemporaryDirectory() as name:
            folder, store = Path(name), ("dp", "do", "h5")[i % 3]
            _prepare(folder)
            command = [*ADORYM, "--set", "run.epochs=3000", "--set", f"run.store={store}"]
            job = start(2, command, folder, ADORYM_TEST_JOB=name)
            while not (folder / "out" / "checkpoint.h5").exists():
                assert job.poll() is None, job.communicate()
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 1.5))
            os.kill(int(rng.choice(ranks_of(name))), signal.SIGKILL)
            began = time.monotonic()
            assert finish(job, 30).status != 0
            slowest = max(slowest, time.monotonic() - began)
            with h5py.File(folder / "out" / "checkpoint.h5") as file:
                epochs = json.loads(file.attrs["progress"])["epoch"] + 2
            _adorym(2, folder, "--resume", "--set", f"run.epochs={epochs}", "--set", f"run.store={store}")
            worst = max(worst, _difference(folder, epochs))
    yield Figure(f"faults.{times}_kills.slowest_end_s", slowest, 10)
    yield Figure(f"faults.{times}_kills.worst_difference", worst, 1e-6)


def resume_across() -> Iterator[Figure]:
    """Three epochs on 4 ranks with ``do``, three on 2 with ``h5``, two of one process: against an unbroken run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder)
        _adorym(4, folder, "--set", "run.epochs=3", "--set", "run.store=do")
        _adorym(2, folder, "--set", "run.epochs=6", "--set", "run.store=h5", "--resume")
        ended = run(1, [*ADORYM, "--resume"], folder, ADORYM_MPI="0")
        assert ended.status == 0, ended.err
        result: Result = read_result(folder / "out")
        assert len(result.history["loss"]) == 8
        yield Figure("resume_across.worst_difference", _difference(folder, 8), 1e-4)


MAKERS = {f.__name__: f for f in (one_answer, memory, communication, scaling, charcoal, faults, resume_across)}

if __name__ == "__main__":
    raise SystemExit(main(__doc__.splitlines()[0], MAKERS))
