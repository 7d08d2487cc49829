"""Solvers in processes of their own, with their settings, and what is measured of them; part of ``peers.py``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure
from peers_environment import AbsentError, python_with

from adorym.data.dataset import Dataset
from adorym.data.native_write import write_native

WORKER = Path(__file__).with_name("peers_worker.py")
OURS = "adorym"
EVERY = 2  # epochs between two scores
BATCH = 50  # of the peers where an epoch is timed: they are faster than in the smaller ones that converge faster
PATIENCE = 4  # times as long as ours a peer may take


class FailedError(Exception):
    """A solver's process ended; the message is the last that it said."""


# -- settings: found on another seed than the one that is measured -----------------------------------------------------
def lsqml(modes: int, positions: bool) -> dict[str, Any]:
    """Defaults, but steps of the positions that are large enough for errors of 2 px."""
    parameters: dict[str, Any] = {"object": {}, "probe": {}}
    if positions:
        parameters["positions"] = {"step_size": 5.0}
    limits = {"update_magnitude_limit": 1.0}
    return {"engine": "lsqml", "batch": 50, "modes": modes, "parameters": parameters, "correction": limits}


def adam(modes: int, positions: bool) -> dict[str, Any]:
    """Larger rates, of either, and smaller batches diverged."""
    both = {"optimizer": "adam", "step_size": 0.01}
    parameters: dict[str, Any] = {"object": both, "probe": both}
    if positions:
        parameters["positions"] = {"optimizer": "adam", "step_size": 0.05}
    limits = {"clip_update_magnitude_by_mad": False, "update_magnitude_limit": None}
    return {"engine": "ad", "batch": 50, "modes": modes, "parameters": parameters, "correction": limits}


def rpie(modes: int, positions: bool) -> dict[str, Any]:
    """Small batches: updates of one batch are added up."""
    object_, probe = {"step_size": 1.0, "alpha": 0.05}, {"step_size": 0.5, "alpha": 0.1}
    if modes > 1:  # the same steps diverge
        object_ = probe = {"step_size": 0.2, "alpha": 0.1}
    parameters: dict[str, Any] = {"object": object_, "probe": probe}
    if positions:
        parameters["positions"] = {"step_size": 5.0}
    limits = {"update_magnitude_limit": 1.0}
    return {"engine": "rpie", "batch": 10, "modes": modes, "parameters": parameters, "correction": limits}


def cdtools(modes: int, positions: bool) -> dict[str, Any]:
    """Adam with a rate that falls when the loss no longer does."""
    steps = {"batch": 10, "rate": 0.05, "threshold": 0.03, "position_factor": 1.0}
    return {"modes": modes, "positions": positions, **steps}


def ptylab(modes: int, positions: bool) -> dict[str, Any]:
    """Larger steps than its defaults."""
    return {"modes": modes, "positions": positions, "beta": 0.5}


# name: (what the worker calls it, the environment's peer, settings)
PEERS: Mapping[str, tuple[str, str, Callable[[int, bool], dict[str, Any]]]] = {
    "pty_chi_lsqml": ("pty_chi", "pty_chi", lsqml),
    "pty_chi_ad": ("pty_chi", "pty_chi", adam),
    "pty_chi_rpie": ("pty_chi", "pty_chi", rpie),
    "cdtools": ("cdtools", "cdtools", cdtools),
    "ptylab": ("ptylab", "ptylab", ptylab),
}


class Worker:
    """A solver that runs an epoch when it is told to."""

    def __init__(self, python: str, solver: str, folder: Path, settings: Mapping[str, Any]) -> None:
        """Start it.

        Raises:
            FailedError: It does not accept the data.
        """
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the worker)
        command = [python, str(WORKER), solver, str(folder), json.dumps(settings)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True, bufsize=1
        )
        self._answer()

    def epoch(self, file: str = "") -> dict[str, float]:
        """Processor seconds and peak memory; object and positions go to ``file``."""
        assert self.process.stdin is not None
        print(file, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.said.seek(0)
            raise FailedError((self.said.read().strip().splitlines() or ["no message"])[-1])
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.said.close()


def solver(name: str, folder: Path, modes: int, *, positions: bool = False, **changes: int) -> Worker:
    """Ours, or the peer of that name, with ``changes`` of its settings.

    Raises:
        AbsentError: It is not installed and does not install.
        FailedError: It does not accept the data.
    """
    if name == OURS:
        return Worker(sys.executable, OURS, folder, {"modes": modes, "positions": positions, **changes})
    kind, peer, settings = PEERS[name]
    return Worker(python_with(peer), kind, folder, {**settings(modes, positions), **changes})


def write_case(dataset: Dataset, folder: Path) -> None:
    """The data for every solver, without the truth."""
    patterns = dataset.patterns.read(np.arange(dataset.n_patterns))
    probe = np.asarray(dataset.start_probe)[0].astype(np.complex64)
    np.savez(folder / "data.npz", patterns=patterns, positions=dataset.probe_positions_px, probe=probe)
    write_native(dataset, folder / "data.h5")


def absent(cell: str, name: str, error: Exception) -> Figure:
    """The row of a peer that did not run; why is printed."""
    print(f"  {cell}: {name}: {error}", file=sys.stderr)
    return Figure(f"{cell}.{name}.did_not_run", nan)


# -- cells -------------------------------------------------------------------------------------------------------------
def epoch_cell(cell: str, dataset: Dataset, modes: int, rounds: int, bars: Mapping[str, float]) -> Iterator[Figure]:
    """Seconds of an epoch of every solver, in turn, and ours over theirs."""
    times: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_case(dataset, Path(folder))
        workers = {}
        for name in (OURS, *PEERS):
            try:
                changes = {"epochs": 1000} if name == OURS else {"batch": BATCH}
                workers[name] = stack.enter_context(solver(name, Path(folder), modes, **changes))
                workers[name].epoch()  # what is compiled, planned and allocated once
                times[name] = []
            except (AbsentError, FailedError) as error:
                workers.pop(name, None)
                yield absent(cell, name, error)
        for _ in range(rounds):
            for name, worker in workers.items():
                answer = worker.epoch()
                times[name].append(answer["processor_s"])
                peaks[name] = answer["peak_mib"]
    ours = float(np.median(times[OURS]))
    yield Figure(f"{cell}.{OURS}.seconds", ours)
    yield Figure(f"{cell}.{OURS}.peak_mib", peaks[OURS])
    for name in [each for each in PEERS if each in times]:
        theirs = float(np.median(times[name]))
        yield Figure(f"{cell}.{name}.seconds", theirs)
        yield Figure(f"{cell}.{name}.peak_mib", peaks[name])
        yield Figure(f"{cell}.ours_over_{name}", ours / theirs, bars.get(name))


def quality_cell(
    cell: str,
    dataset: Dataset,
    modes: int,
    epochs: int,
    error_of: Callable[[Mapping[str, np.ndarray]], float],
    enough: float,
    *,
    positions: bool = False,
) -> Iterator[Figure]:
    """Seconds until the error is small enough, and ours over theirs; a peer may take `PATIENCE` times as long."""
    with tempfile.TemporaryDirectory() as folder:
        write_case(dataset, Path(folder))
        with solver(OURS, Path(folder), modes, positions=positions, epochs=epochs) as worker:
            ours, error = _until(worker, Path(folder), error_of, enough, (np.inf, epochs))
        yield Figure(f"{cell}.{OURS}.seconds", ours)
        yield Figure(f"{cell}.{OURS}.error", error, enough)
        reached = []
        for name in PEERS:
            try:
                with solver(name, Path(folder), modes, positions=positions) as worker:
                    theirs, error = _until(worker, Path(folder), error_of, enough, (PATIENCE * ours, 1000))
            except (AbsentError, FailedError) as error_:
                yield absent(cell, name, error_)
                continue
            done = error <= enough
            reached += [theirs] if done else []
            yield Figure(f"{cell}.{name}.{'seconds' if done else 'stopped_after_seconds'}", theirs)
            yield Figure(f"{cell}.{name}.{'error' if done else 'error_then'}", error)
            yield Figure(f"{cell}.ours_over_{name}{'' if done else '_at_most'}", ours / theirs, 1.0)
    # None there in time: the best takes longer than the time that all were given.
    best = min([*reached, PATIENCE * ours])
    yield Figure(f"{cell}.ours_over_best{'' if reached else '_at_most'}", ours / best, 1 / 3)


def _until(
    worker: Worker,
    folder: Path,
    error_of: Callable[[Mapping[str, np.ndarray]], float],
    enough: float,
    most: tuple[float, int],
) -> tuple[float, float]:
    """Processor seconds and the error then; ``most`` seconds and epochs."""
    seconds, error, file = 0.0, np.inf, str(folder / "found.npz")
    for epoch in range(1, most[1] + 1):
        scored = epoch % EVERY == 0
        seconds += worker.epoch(file if scored else "")["processor_s"]
        if scored:
            with np.load(file) as found:
                error = error_of(found)
            if error <= enough:
                break
        if seconds > most[0] and scored:
            break
    return seconds, error
