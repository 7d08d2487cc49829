"""The commands as a shell calls them: what they write, what they print, how they end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from command_line import Adorym, content, write_config, write_data

from adorym import cli
from adorym.callbacks.base import Callback
from adorym.commands import run as run_command
from adorym.config import load_config
from adorym.config_file import assigned
from adorym.data.open import open_dataset
from adorym.data.result import read_result
from adorym.errors import ConfigError, ConfigErrors, RunError
from adorym.report import style

SIMULATION = (
    "window_px=[16, 20]",
    "object_px=[34, 40]",
    "scan.step=3 px",
    "illumination={kind: focused_beam, aperture: 4 px}",
)


@pytest.fixture
def adorym(capsys):
    return Adorym(capsys)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Working directory with ``data.h5``."""
    write_data(tmp_path / "data.h5")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_a_simulation_to_its_report(adorym, tmp_path, monkeypatch):
    monkeypatch.setattr(style, "DPI", 30)
    monkeypatch.chdir(tmp_path)
    assigned = [word for each in SIMULATION for word in ("--set", each)]
    made = adorym(
        "simulate", "ptychography", "-o", "data.h5", "--seed", 3, *assigned, "--set", "illumination.kind=focused_beam"
    )
    assert made.status == 0 and "patterns of 16 x 20" in made.out
    n = open_dataset("data.h5").n_patterns
    assert f"{n} of 16 x 20 px" in adorym("inspect", "data.h5").out
    write_config(tmp_path, run={"epochs": 8}, output={"progress": "plain", "report": True})
    planned = adorym("check", "config.yaml")
    assert planned.status == 0 and "least_squares" in planned.out and "probe_positions" in planned.out
    ran = adorym("run", "config.yaml", "--output", "out")
    assert (ran.status, ran.err) == (0, "") and "Done: 8 epochs" in ran.out and "epoch 8/8" in ran.out
    assert {"result.h5", "checkpoint.h5", "log.txt", "report.html", "pictures", "live"} == set(os.listdir("out"))
    assert "Phase error" in (tmp_path / "out/report.html").read_text()  # the truth is known
    assert read_result("out").history["loss"][-1] < read_result("out").history["loss"][0]

    scored = adorym("score", "out", "--truth", "data.h5")
    assert scored.status == 0 and "resolution (FRC)" in scored.out
    assert json.loads(adorym("score", "out/result.h5", "--truth", "data.h5", "--json").out)["object_nrmse"] < 1

    page = adorym("report", "out", "--data", "data.h5", "--truth", "data.h5", "-o", "page.html")
    assert page.status == 0 and (tmp_path / "page.html").stat().st_size > 10_000
    for to, name in (("tiff", "object.tif"), ("vti", "object.vti"), ("cxi", "object.cxi"), ("npz", "object.npz")):
        assert adorym("export", "out", "--to", to).status == 0 and (tmp_path / "out" / name).is_file()
    assert adorym("export", "out", "--to", "npz", "--output", "x.npz").out == "x.npz\n"
    assert adorym("list").status == 0


def test_seed_decides_what_is_simulated(adorym, tmp_path):
    assigned = [word for each in SIMULATION for word in ("--set", each)]
    patterns = []
    for seed in (1, 1, 2):
        assert adorym("simulate", "ptychography", "-o", tmp_path / "d.h5", *assigned, "--seed", seed).status == 0
        patterns.append(open_dataset(tmp_path / "d.h5").patterns.array)
    np.testing.assert_array_equal(patterns[0], patterns[1])
    assert np.any(patterns[0] != patterns[2])


def test_convert_applies_settings_and_maps(adorym, folder):
    np.savez("unknown.npz", frames=open_dataset("data.h5").patterns.array, where=np.arange(40.0).reshape(20, 2))
    known = adorym("convert", "data.h5", "part.h5", "--set", "frames=0:5", "--set", "energy='9 keV'")
    assert known.status == 0 and known.out == "part.h5: 5 patterns of 12 x 14 pixels\n"
    assert open_dataset("part.h5").energy_ev == pytest.approx(9000)
    maps = ("--map", "patterns=frames", "--map", "positions=where")
    assert adorym("convert", "unknown.npz", "mapped.h5", *maps).status == 0
    np.testing.assert_array_equal(open_dataset("mapped.h5").probe_positions_px[7], [14, 15])


def test_inspect_takes_settings(adorym, folder):
    assert "9 keV" in adorym("inspect", "data.h5", "--set", "energy=9 keV").out


def test_lines_are_printed_whole_so_that_a_command_can_be_copied(adorym, tmp_path):
    path = tmp_path / ("long" * 40) / "unknown.npz"
    path.parent.mkdir()
    np.savez(path, frames=np.ones((6, 8, 9)), where=np.arange(12.0).reshape(6, 2))
    guess = next(line for line in adorym("inspect", path).out.splitlines() if line.startswith("  adorym convert"))
    assert str(path) in guess and "--map patterns=frames" in guess


def test_assignments_make_a_mapping():
    assert assigned([]) == {}
    assert assigned(["scan.step=9 px", "scan.jitter=0", "size=[4, 5]", "maps[0]=a=b", "maps[1]=c"]) == {
        "scan": {"step": "9 px", "jitter": 0},
        "size": [4, 5],
        "maps": ["a=b", "c"],
    }
    with pytest.raises(ConfigError, match="--set scan.step.x=1: 'x' has no mapping to stand in; found 9"):
        assigned(["scan.step=9", "scan.step.x=1"])


# -- the options of run ------------------------------------------------------------------------------------------------
CONSTANT = {"schedule": {"kind": "constant"}}


def test_set_overrides_the_file(adorym, folder):
    config = write_config(folder)
    assigned = ("--set", "run.epochs=2", "--set", "parameters.probe.modes=2", "--set", "output.directory=elsewhere")
    assert (
        adorym("run", config, *assigned, "--set", "regularizers[0]={kind: total_variation, weight: 1e-6}").status == 0
    )
    result = read_result("elsewhere")
    assert len(result.history["loss"]) == 2 and len(result.probe) == 2
    assert "total_variation" in result.config and not (folder / "out").exists()


def test_data_path_of_an_assignment_starts_where_it_is_typed(adorym, folder):
    (folder / "deeper").mkdir()
    config = write_config(folder / "deeper", data={"path": "nowhere.h5"})
    assert adorym("run", config, "--set", "data.path=data.h5", "--output", "out").status == 0


def test_output_wins_over_the_configured_directory(adorym, folder):
    config = write_config(folder, output={"directory": "configured"})
    assert adorym("run", config).status == 0 and (folder / "configured/result.h5").is_file()
    assert adorym("run", config, "-o", "given/deep").status == 0 and (folder / "given/deep/result.h5").is_file()


def test_resumed_run_equals_the_uninterrupted_one(adorym, folder):
    config = write_config(folder, parameters={"object": CONSTANT, "probe": CONSTANT, "probe_positions": {"start": 1}})
    assert adorym("run", config, "--set", "run.epochs=5", "-o", "whole").status == 0
    assert adorym("run", config, "-o", "halves").status == 0
    assert "Done: 5 epochs" in adorym("run", config, "--set", "run.epochs=5", "-o", "halves", "--resume").out
    whole, halves = read_result("whole"), read_result("halves")
    np.testing.assert_array_equal(halves.object, whole.object)
    np.testing.assert_array_equal(halves.probe, whole.probe)
    np.testing.assert_array_equal(halves.history["loss"], whole.history["loss"])
    moved = [result.parameters["probe_positions"].value for result in (whole, halves)]
    np.testing.assert_array_equal(*moved)


def test_resuming_a_finished_run_says_that_nothing_is_left(adorym, folder):
    config = write_config(folder)
    assert adorym("run", config).status == 0
    again = adorym("run", config, "--resume", "--set", "run.epochs=2")
    assert again.status == 0 and len(read_result("out").history["loss"]) == 3
    assert again.messages == ["warning: run.epochs: nothing to do: 3 of 2 epochs are done; raise it"]


def test_interrupted_run_says_how_to_go_on(adorym, folder, monkeypatch):
    class Interrupt(Callback):
        def on_epoch(self, run, record):
            if record.epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    config = write_config(folder)
    monkeypatch.setattr(run_command, "LogFile", Interrupt)
    stopped = adorym("run", config, "--set", "run.batch_size=5", "-o", "a folder")
    assert stopped.status == 0 and "Stopped early (SIGINT) after epoch 2" in stopped.out
    assert len(read_result("a folder").history["loss"]) == 2
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    line = next(line for line in stopped.out.splitlines() if line.startswith("Resume with: "))
    assert "Done: 3 epochs" in adorym(*shlex.split(line.removeprefix("Resume with: "))[1:]).out


def test_quick_run_still_refines_everything(adorym, folder):
    config = write_config(folder, run={"epochs": 100}, parameters={"probe_positions": {"start": 95, "stop": 97}})
    assert adorym("run", config, "--quick").status == 0
    result = read_result("out")
    assert len(result.history["loss"]) == 4
    positions = result.parameters["probe_positions"]
    assert np.abs(positions.value - positions.start).max() > 0


def test_quick_run_keeps_the_order_of_refinements(folder):
    """What waits for the object waits for an epoch at least, and never beyond the last."""
    started = {"probe": {"start": 3, "stop": 4}, "probe_positions": {"start": 99}}
    quick = load_config(folder / write_config(folder, run={"epochs": 100}, parameters=started), quick=True)
    assert {name: (quick.parameters[name].start, quick.parameters[name].stop) for name in started} == {
        "probe": (1, 2),
        "probe_positions": (3, None),
    }


def test_options_without_effect_are_named_and_logged(adorym, folder):
    config = write_config(folder, parameters={"object": {"stop": 9}})
    ran = adorym("run", config)
    assert ran.status == 0
    assert ran.messages == ["warning: parameters.object.stop: has no effect: the run has 3 epochs"]
    assert "parameters.object.stop: has no effect" in (folder / "out/log.txt").read_text()


def test_snapshots_and_report_are_written_when_asked_for(adorym, folder, monkeypatch):
    monkeypatch.setattr(style, "DPI", 30)
    assert adorym("run", write_config(folder, output={"snapshots_every": 2})).status == 0
    assert os.listdir("out/snapshots") == ["epoch_00002.png"] and not (folder / "out/report.html").exists()


def test_check_writes_nothing(adorym, folder):
    config = write_config(folder, output={"report": True})
    before = content(folder)
    plan = json.loads(adorym("check", config, "--set", "run.epochs=7", "--json").out)
    assert plan["batches"]["epochs"] == 7 and plan["data"]["patterns"] == 20 and content(folder) == before


# -- how commands end --------------------------------------------------------------------------------------------------
def test_failed_run_ends_with_status_1(adorym, folder):
    optimizer = {"optimizer": {"kind": "gradient_descent", "learning_rate": 1e30}}
    ended = adorym("run", write_config(folder, parameters={"object": optimizer, "probe": optimizer}))
    assert ended.status == 1 and len(ended.messages) == 1
    assert (
        ended.err.startswith("run failed: run: the loss is not a finite number in epoch ") and "lower them" in ended.err
    )


def test_debug_shows_the_traceback(folder):
    config = write_config(folder, run={"epochs": -1})
    with pytest.raises(ConfigErrors, match=r"run.epochs: expected >= 0, found -1 \(line 9\)"):
        cli.main(["--debug", "run", str(config)])


def test_internal_error_ends_with_status_1(adorym, folder, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("of mine")

    monkeypatch.setattr(run_command, "run", fail)
    ended = adorym("run", write_config(folder))
    assert ended.status == 1 and "internal error: ZeroDivisionError: of mine" in ended.err and "--debug" in ended.err
    with pytest.raises(ZeroDivisionError):
        cli.main(["--debug", "run", "config.yaml"])


@pytest.mark.parametrize(
    ("raised", "status"),
    [(KeyboardInterrupt(), 130), (RunError("run", "it failed"), 1), (MemoryError("28 PiB"), 1)],
    ids=["interrupt", "failure", "memory"],
)
def test_status_of_what_ends_a_command(adorym, folder, monkeypatch, raised, status):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(run_command, "run", fail)
    ended = adorym("run", write_config(folder))
    assert ended.status == status
    if isinstance(raised, MemoryError):
        assert ended.messages == [
            "run failed: not enough memory: 28 PiB; make the problem smaller; 'run.memory' limits a run"
        ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reconstruct"], "No such command 'reconstruct'"),
        (["run", "config.yaml", "--epochs", "3"], "No such option: --epochs"),
        (["run"], "Missing argument 'CONFIG'"),
        (["simulate", "ptychography"], "Missing option '--output'"),
    ],
)
def test_unknown_words_end_with_status_2(adorym, arguments, words):
    ended = adorym(*arguments)
    assert ended.status == 2 and words in ended.err and "Usage: adorym" in ended.err


def test_version_and_help(adorym):
    assert adorym("--version").out.startswith("adorym ")
    words = adorym("--help").out
    for command in ("run", "check", "inspect", "convert", "simulate", "score", "report", "export", "list"):
        assert f"  {command}" in words


def test_help_is_quick_because_it_imports_little():
    code = (
        "import sys, adorym.cli; sys.exit(bool({'torch', 'numba', 'matplotlib', 'h5py', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "adorym", "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0 and done.stdout.strip().startswith("adorym ")
