"""Python as a way in: names that type checkers know, a light import, short reprs, runs like those of the command."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import write_config, write_data
from laws import assert_same_state
from tiny_runs import finished, tiny, value_of

import adorym
from adorym.errors import ConfigError, ConfigErrors
from adorym.forward.object import ObjectSettings
from adorym.optimizers.schedules import LateDecay
from adorym.parameters import ParameterSettings

PACKAGE = Path(adorym.__file__).parent


@pytest.fixture
def config(tmp_path):
    write_data(tmp_path / "data.h5")
    return write_config(tmp_path)


# -- names and types ---------------------------------------------------------------------------------------------------
def test_stub_and_module_name_the_same_things():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    told = {(node.module, alias.name) for node in tree.body for alias in node.names}  # type: ignore[attr-defined]
    assert told == {(home, name) for name, home in adorym._HOME.items()} | {("adorym._version", "__version__")}
    assert all(getattr(adorym, name) is not None for name in adorym.__all__)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'adorym' has no attribute 'reconstrukt'"):
        adorym.reconstrukt  # noqa: B018


def test_type_checker_knows_the_names(tmp_path):
    (tmp_path / "script.py").write_text(
        "import adorym\n"
        "reveal_type(adorym.reconstruct('a.yaml'))\n"
        "reveal_type(adorym.prepare('a.yaml').refine)\n"
        "adorym.reconstrukt('a.yaml')\n"
    )
    call = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", str(tmp_path), "script.py"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, env={"MYPYPATH": str(PACKAGE.parent)})
    assert 'Revealed type is "adorym.data.result.Result"' in done.stdout, done.stdout + done.stderr
    assert 'Revealed type is "def (name: str, on: bool =)"' in done.stdout.replace("builtins.", "")
    assert 'script.py:4: error: Module has no attribute "reconstrukt"; maybe "reconstruct"?' in done.stdout


@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_passively_unless_the_user_says_otherwise(own, expected):
    """OpenMP tells what it has read when torch loads it."""
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | {"OMP_DISPLAY_ENV": "TRUE"}
    if own is not None:
        env["OMP_WAIT_POLICY"] = own
    script = "import adorym\nadorym.get_backend('torch')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"OMP_WAIT_POLICY *= *'?{expected}", done.stderr), done.stderr


def test_import_is_light():
    heavy = ["torch", "numba", "h5py", "numpy", "scipy", "pydantic", "matplotlib"]
    script = f"import sys, adorym; sys.exit(', '.join(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""


# -- short to look at --------------------------------------------------------------------------------------------------
def test_reprs(config):
    made = adorym.load_config(config)
    reconstruction = adorym.prepare(made)
    shape = " x ".join(map(str, reconstruction.problem.store.shape))
    loss = [record.loss for record in reconstruction.epochs(1)][-1]
    result = adorym.outcome(reconstruction)
    probe = reconstruction.problem.values["probe"]
    shown = {
        repr(made): f"Config(ptychography of {config.parent / 'data.h5'}; {made.run.epochs} epochs, ",
        repr(reconstruction): f"Reconstruction(ptychography: object {shape}, epoch 1 of {made.run.epochs}, "
        f"loss {loss:.4e}; refines object, probe",
        repr(result): f"Result(real_imag object {shape} x 1, probe 1 x 12 x 14; 1 epochs, loss {loss:.4e}; parameters",
        repr(reconstruction.problem.dataset): "Dataset(20 patterns of 12 x 14, ",
        repr(probe): "Value(probe: 1 x 12 x 14 ",
        repr(result.parameters["probe_positions"]): "ParameterResult(20 x 2 px)",
    }
    for text, start in shown.items():
        assert text.startswith(start) and len(text) < 240 and "\n" not in text, text


# -- the same run ------------------------------------------------------------------------------------------------------
def test_run_from_python_leaves_what_the_command_leaves(config, capsys):
    folder, config = config.parent / "from_python", adorym.load_config(config, ["output.report=true"])
    seen = []

    class Watch(adorym.Callback):
        def on_epoch(self, run, record):
            seen.append(record.epoch)

    result = adorym.reconstruct(config, output=folder, callbacks=[Watch()])
    left = {path.name for path in folder.iterdir()}
    assert {"result.h5", "checkpoint.h5", "log.txt", "report.html", "pictures"} <= left
    assert seen == list(range(1, len(result.history["loss"]) + 1))
    again = adorym.read_result(folder)
    np.testing.assert_array_equal(again.object, result.object)


def test_resume_needs_a_folder(config):
    with pytest.raises(ConfigError, match=r"^resume: there is no checkpoint to go on from; name the run's folder"):
        adorym.reconstruct(config, resume=True)


# -- portions and changes ----------------------------------------------------------------------------------------------
DECAYING = {"object": ObjectSettings(schedule=LateDecay(), margin_px=4)}


def test_twenty_times_one_epoch_is_twenty_epochs():
    portions, whole = tiny(parameters=DECAYING, epochs=20), tiny(parameters=DECAYING, epochs=20)
    rates = [record.learning_rates["object"] for _ in range(20) for record in portions.epochs(1)]
    assert_same_state(portions, finished(whole, 20))
    assert rates[0] == rates[9] and rates[-1] == pytest.approx(0.05 * rates[0])


def test_schedules_are_stretched_when_more_epochs_are_asked_for():
    run = tiny(parameters=DECAYING, epochs=4)
    rates = [record.learning_rates["object"] for record in run.epochs(8)]
    assert rates[3] == rates[0] > rates[4] > rates[-1]


def test_rate_is_changed_from_the_next_epoch_on():
    run = tiny(parameters={**DECAYING, "probe_positions": ParameterSettings(optimizer=None)})
    before = next(run.epochs(1)).learning_rates
    run.set_rate("object", 0.01)
    run.set_rate("probe_positions", "0.25")
    after = next(run.epochs(1)).learning_rates
    assert after["object"] == pytest.approx(0.01 * run.problem.obj.scale) and before["object"] > after["object"]
    assert "probe_positions" in after and len(list(run.epochs(1))) == 1


def test_refinement_is_switched_on_and_off():
    run = tiny(parameters={**DECAYING, "probe_positions": ParameterSettings(refine=False)})
    start = value_of(run, "probe_positions")
    finished(run, 1)
    assert np.array_equal(value_of(run, "probe_positions"), start)
    run.refine("probe_positions")
    finished(run, 1)
    moved = value_of(run, "probe_positions")
    assert not np.array_equal(moved, start)
    run.refine("probe_positions", False)
    finished(run, 1)
    assert np.array_equal(value_of(run, "probe_positions"), moved)


def test_way_of_a_number_has_an_entry_an_epoch_whenever_it_is_refined():
    run = tiny(parameters={**DECAYING, "probe_defocus": ParameterSettings(refine=False)})
    finished(run, 1)
    run.refine("probe_defocus")
    finished(run, 1)
    run.refine("probe_defocus", False)
    finished(run, 1)
    assert len(run.progress.history["probe_defocus"]) == 3


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda r: r.refine("probe_postions"), ConfigError, "no parameter named 'probe_postions' in this run; did you"),
        (lambda r: r.set_rate("objekt", 1), ConfigError, "no parameter named 'objekt' in this run; did you mean 'obj"),
        (
            lambda r: r.set_rate("object", -1),
            ConfigErrors,
            "parameters.object.optimizer.learning_rate: a learning rate",
        ),
        (lambda r: r.set_rate("probe", "1 mm"), ConfigErrors, r"parameters.probe.optimizer.learning_rate: .*mm"),
    ],
)
def test_changes_are_checked(change, error, match):
    with pytest.raises(error, match=match):
        change(tiny(parameters={**DECAYING, "probe_positions": ParameterSettings()}))
