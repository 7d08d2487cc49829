"""Whatever ends a run, kill -9 at any moment too: the run that goes on ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import Adorym, write_config, write_data
from tiny_scan import Scan

from adorym import cli
from adorym.commands import run as run_command
from adorym.data.result import read_result
from adorym.engine import step

SCAN = Scan(modes=2)
STEADY = {"kind": "constant"}
SECTIONS = {
    "parameters": {
        "object": {"optimizer": {"kind": "preconditioned", "learning_rate": 0.2, "momentum": 0.6}, "schedule": STEADY},
        "probe": {"modes": 2, "optimizer": {"kind": "adam", "learning_rate": 0.01}, "schedule": STEADY},
        "probe_positions": {"optimizer": {"kind": "momentum", "learning_rate": 0.1}, "start": 1, "schedule": STEADY},
    },
    "run": {"backend": "autograd", "epochs": 3, "checkpoint_every": 1},
    "output": {"progress": "plain", "live": False},
}


@pytest.fixture
def adorym(capsys):
    return Adorym(capsys)


@pytest.fixture
def config(tmp_path, monkeypatch):
    write_data(tmp_path / "data.h5", SCAN)
    monkeypatch.chdir(tmp_path)
    # Snapshots depend on the time: the moments at which a run is killed would not be the same ones twice.
    return write_config(Path(), **SECTIONS)


def arrays(folder: str) -> dict[str, np.ndarray]:
    """What a run found; not the time that it took."""
    result = read_result(folder)
    found = {"object": result.object, "probe": result.probe, "loss": result.history["loss"]}
    return found | {name: parameter.value for name, parameter in result.parameters.items()}


def assert_same_result(folder: str, expected: dict[str, np.ndarray]) -> None:
    found = arrays(folder)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def assert_whole(path: Path) -> None:
    """A file that is there is there as a whole: every array in it can be read."""
    if path.exists():
        with h5py.File(path, "r") as file:
            file.visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)


# -- kill -9 at a moment that is chosen --------------------------------------------------------------------------------
def observed(monkeypatch: pytest.MonkeyPatch, event: Callable[[], None]) -> None:
    """Call ``event`` before every batch, before every array that is written, and around what makes a file final."""

    def before(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments, **options):
            event()
            done = original(*arguments, **options)
            if name == "replace":
                event()
            return done

        monkeypatch.setattr(owner, name, wrapped)

    for owner, name in ((step, "run_batch"), (h5py.Group, "__setitem__"), (os, "fsync"), (os, "replace")):
        before(owner, name)


def killed_at(moment: int, arguments: list[str]) -> int:
    """Status of a child process that runs the command and kills itself at event number ``moment``."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, RuntimeWarning):  # fork beside the threads of torch and jax: none is used
            warnings.simplefilter("ignore", kind)
        child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 3
    try:
        seen = 0

        def event() -> None:
            nonlocal seen
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        with pytest.MonkeyPatch.context() as patch:
            observed(patch, event)
            cli.main(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        os._exit(status)


def test_killed_at_any_moment(adorym, config, monkeypatch):
    moments = 0

    def count() -> None:
        nonlocal moments
        moments += 1

    assert adorym("run", config, "-o", "first").status == 0  # compiles kernels and files them, which are events, too
    with monkeypatch.context() as patch:
        observed(patch, count)
        assert adorym("run", config, "-o", "whole").status == 0
    whole, resumed = arrays("whole"), 0
    left = {"result.h5", "checkpoint.h5", "checkpoint.previous.h5", "log.txt"}
    assert moments > 40 and set(os.listdir("whole")) == left
    for moment in range(1, moments + 1, 9):
        folder = Path(f"killed_{moment}")
        status = killed_at(moment, ["run", str(config), "-o", str(folder)])
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        for name in ("checkpoint.h5", "result.h5"):
            assert_whole(folder / name)
        go_on = ["--resume"] if (folder / "checkpoint.h5").exists() else []
        resumed += len(go_on)
        assert adorym("run", config, "-o", folder, *go_on).status == 0, moment
        assert_same_result(str(folder), whole)
        assert set(os.listdir(folder)) == set(os.listdir("whole")), moment
    assert resumed > 2


def test_killed_again_and_again(adorym, config):
    """Each time a little later than the checkpoint that it went on from."""
    epochs = ["--set", "run.epochs=6"]
    assert adorym("run", config, "-o", "whole", *epochs).status == 0
    go_on: list[str] = []
    for moment in (30, 20, 25):
        killed_at(moment, ["run", str(config), "-o", "out", *epochs, *go_on])
        go_on = ["--resume"]
        assert Path("out/checkpoint.h5").exists() and not Path("out/result.h5").exists()
    assert adorym("run", config, "-o", "out", *epochs, "--resume").status == 0
    assert_same_result("out", arrays("whole"))


# -- signals from outside ----------------------------------------------------------------------------------------------
def started(config: Path, folder: str) -> subprocess.Popen[str]:
    """A run that would take hours, in a process of its own."""
    command = [sys.executable, "-m", "adorym.cli", "run", str(config), "-o", folder, "--set", "run.epochs=1000000"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_are_terminated_or_killed(adorym, config):
    signals = {"terminated": signal.SIGTERM, "killed": signal.SIGKILL}
    running = {folder: started(config, folder) for folder in signals}
    for folder, process in running.items():
        assert process.stdout is not None
        assert any(line.startswith("epoch 1/") for line in process.stdout)
        process.send_signal(signals[folder])
    (out, _), _ = (process.communicate(timeout=60) for process in running.values())
    assert running["terminated"].returncode == 0 and "Stopped early (SIGTERM) after epoch " in out
    assert running["killed"].returncode == -signal.SIGKILL
    assert Path("terminated/result.h5").exists() and not Path("killed/result.h5").exists()
    for folder in signals:
        assert_whole(Path(folder, "checkpoint.h5"))
        assert_same_after_resuming(adorym, config, folder)


def assert_same_after_resuming(adorym: Adorym, config: Path, folder: str) -> None:
    with h5py.File(Path(folder, "checkpoint.h5"), "r") as file:
        done = json.loads(file.attrs["progress"])["epoch"]
    epochs = ("--set", f"run.epochs={done + 2}", "--set", "run.checkpoint_every=1000")
    assert adorym("run", config, "-o", folder, *epochs, "--resume").status == 0
    assert adorym("run", config, "-o", f"{folder} not", *epochs).status == 0
    assert_same_result(folder, arrays(f"{folder} not"))


def test_signal_before_the_first_batch_is_not_lost(adorym, config, monkeypatch):
    """It may come while the run is still being prepared; what is then written can be resumed, too."""
    real = run_command.stop_on_signal

    @contextmanager
    def signalled(stop: Callable[[str], None], save: Callable[[], None]) -> Iterator[None]:
        with real(stop, save):
            os.kill(os.getpid(), signal.SIGTERM)
            yield

    with monkeypatch.context() as patch:
        patch.setattr(run_command, "stop_on_signal", signalled)
        stopped = adorym("run", config, "-o", "out")
    assert stopped.status == 0 and "Stopped early (SIGTERM) after epoch 0" in stopped.out
    assert adorym("run", config, "-o", "out", "--resume").status == 0
    assert adorym("run", config, "-o", "whole").status == 0
    assert_same_result("out", arrays("whole"))
