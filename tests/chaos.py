"""Runs to which something happens: killed, sent signals, on full disks, without output, with damaged checkpoints.

A run is a fork of this process, which has imported everything, so that many of them take little time.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from command_line import write_config, write_data
from tiny_scan import Scan

from adorym.cli import main
from adorym.commands import run as _loads_everything  # noqa: F401
from adorym.data import atomic
from adorym.data.result import read_result
from adorym.engine.checkpoint import CHECKPOINT_NAME, previous

LIMIT_S = 300
EPOCHS = 6
STEADY = {"schedule": {"kind": "constant"}}
UNPROTECTED = 99  # exit status: a signal came before the command caught signals, or after it
RUN = ("run", "config.yaml", "-o", "out")


@dataclass(frozen=True)
class Ended:
    """Status (negative: the number of the signal that killed it), what it wrote, and how long it took."""

    status: int
    out: str
    err: str
    seconds: float


def prepare(folder: Path) -> None:
    """Data and a configuration in ``folder``: double precision, a checkpoint after every epoch."""
    write_data(folder / "data.h5", Scan(modes=2))
    adam = {"optimizer": {"kind": "adam", "learning_rate": 0.02}, **STEADY}
    run = {"precision": "double", "epochs": EPOCHS, "checkpoint_every": 1, "backend": "autograd"}
    write_config(folder, run=run, parameters={"object": adam, "probe": {"modes": 2, **STEADY}, "probe_positions": {}})


def start(
    arguments: Sequence[str], folder: Path, *, before: Callable[[], None] | None = None, out: str | None = None
) -> int:
    """Fork a process that does what the command line does with ``arguments``; its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork beside threads, which the child does not use
        process = os.fork()
    if process:
        return process
    status = 70
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: os._exit(UNPROTECTED))
    try:
        os.chdir(folder)
        for number, name in ((1, out or "out.txt"), (2, "err.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        if before is not None:
            before()
        main(list(arguments))
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def finish(process: int, folder: Path) -> Ended:
    """Wait for a process of `start`.

    Raises:
        TimeoutError: It hangs.
    """
    began = time.monotonic()
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > LIMIT_S:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            raise TimeoutError(f"a run hangs in {folder}")
        time.sleep(0.005)
    texts = [path.read_text() if (path := folder / name).is_file() else "" for name in ("out.txt", "err.txt")]
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return Ended(code, *texts, time.monotonic() - began)


def saved_epoch(folder: Path) -> int:
    """Epochs in the checkpoint; 0 if there is none."""
    for path in (folder / "out" / CHECKPOINT_NAME, previous(folder / "out" / CHECKPOINT_NAME)):
        try:
            with h5py.File(path, "r", locking=False) as file:
                return int(json.loads(file.attrs["progress"])["epoch"])
        except (OSError, KeyError, ValueError):
            continue
    return 0


def full_disk(after: int) -> Callable[[], None]:
    """Makes the disk full for all files but the first ``after``; to be called in the process of the run."""
    true, count = atomic.need_space, iter(range(1_000_000))

    def need_space(folder: Path, n_bytes: int) -> None:
        if n_bytes and next(count) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true(folder, n_bytes)

    def before() -> None:
        atomic.need_space = need_space

    return before


def flip(path: Path, rng: np.random.Generator) -> None:
    """Change one bit of a file."""
    at = int(rng.integers(path.stat().st_size))
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ (1 << int(rng.integers(8)))
        file.seek(at)
        file.write(bytes([byte]))


def harm(folder: Path, rng: np.random.Generator) -> bool:
    """Damage the newest checkpoint if there is another one; whether it was."""
    newest = folder / "out" / CHECKPOINT_NAME
    if not newest.is_file() or not previous(newest).is_file():
        return False
    if rng.random() < 0.5:
        flip(newest, rng)
    else:
        os.truncate(newest, int(rng.integers(newest.stat().st_size)))
    return True


KINDS = ("kill", "SIGTERM", "SIGINT", "SIGUSR1", "full", "output")


def link(folder: Path, rng: np.random.Generator, lasts_s: float, kinds: Sequence[str] = KINDS) -> tuple[str, Ended]:
    """One run of a chain, to which one of ``kinds`` happens at a random moment; what, and how it ended."""
    store = str(rng.choice(["dp", "do", "h5"]))
    resume = ["--resume"] if (folder / "out" / CHECKPOINT_NAME).is_file() else []
    arguments = [*RUN, "--set", f"run.store={store}", *resume]
    what = str(rng.choice(kinds))
    before = full_disk(int(rng.integers(4))) if what == "full" else None
    process = start(arguments, folder, before=before, out="/dev/full" if what == "output" else None)
    if what not in ("full", "output"):
        time.sleep(float(rng.uniform(0, lasts_s)))
        try:
            os.kill(process, signal.SIGKILL if what == "kill" else signal.Signals[what])
        except ProcessLookupError:
            what = "nothing"
    return what, finish(process, folder)


def fault_of(what: str, ended: Ended) -> str:
    """What is wrong with the end of a run; nothing if its status and its message are what they should be."""
    allowed = {
        "kill": (-signal.SIGKILL, 0), "SIGTERM": (0, 143), "SIGINT": (0, 130), "SIGUSR1": (0,), "full": (0, 1, 2),
        "output": (0,), "nothing": (0,),
    }[what]  # fmt: skip
    if "Traceback" in ended.err or "internal error" in ended.err:
        return "a traceback"
    if ended.status == UNPROTECTED and (not ended.out or "Result:" in ended.out or ended.err):
        return ""
    if ended.status not in allowed:
        return f"status {ended.status}"
    if ended.status > 0 and not ended.err.strip():
        return f"status {ended.status} without a message"
    return ""


def result_of(folder: Path) -> dict[str, np.ndarray]:
    """What a chain ended with."""
    found = read_result(folder / "out")
    return {"object": found.object, "probe": found.probe, "loss": found.history["loss"]}
