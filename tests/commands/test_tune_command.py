"""Studies over named keys: ranges, the score of patterns left out, and going on where a study stopped."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from command_line import Adorym
from tiny_scan import Scan

from adorym.commands.tune import Range, held_out_patterns, score, tune
from adorym.config import load_config
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.errors import ConfigError, RunError

pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

RATE = "parameters.object.optimizer.learning_rate"


@pytest.fixture
def adorym(capsys):
    return Adorym(capsys)


@pytest.fixture
def config(tmp_path):
    write_native(Scan().noisy(), tmp_path / "data.h5")
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: data.h5\nforward_model: {kind: ptychography}\n"
        "parameters: {object: {optimizer: {kind: adam, learning_rate: 1e-2}}}\n"
        "run: {epochs: 3, device: cpu}\n"
    )
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=0.1:2", Range("a.b", 0.1, 2.0)),
        ("a=1e-4:1:log", Range("a", 1e-4, 1.0, logarithmic=True)),
        ("run.batch_size=10:80", Range("run.batch_size", 10, 80, whole=True)),
        ("loss.kind=poisson,huber", Range("loss.kind", choices=("poisson", "huber"))),
        ("x=1,2.5,true", Range("x", choices=(1, 2.5, True))),
    ],
)
def test_ranges(text, expected):
    assert Range.parse(text) == expected


@pytest.mark.parametrize("text", ["a", "a=1", "a=2:1", "a=0:1:log", "=1:2", "a=1:2:3", "a=x:y"])
def test_what_is_no_range(text):
    with pytest.raises(ConfigError, match=r"--vary: .*; expected key=low:high, key=low:high:log, or key=a,b,c"):
        Range.parse(text)


def test_the_same_patterns_are_left_out():
    chosen = held_out_patterns(40, 0.1, 3)
    assert len(chosen) == 4 and (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, held_out_patterns(40, 0.1, 3))
    assert len(held_out_patterns(3, 0.01, 0)) == 1
    with pytest.raises(
        ConfigError, match="--held-out: not a fraction of the patterns; expected between 0 and 1; found 1.5"
    ):
        held_out_patterns(10, 1.5, 0)


def test_left_out_patterns_are_not_seen(config):
    """What they count does not matter to the run."""
    made = load_config(config)
    dataset = open_dataset(made.data.path, made.data)
    left = held_out_patterns(dataset.n_patterns, 0.2, 1)
    from adorym.engine.loop import Reconstruction

    run = Reconstruction(dataset, made.recipe, made.run)
    run.leave_out(left)
    seen = np.concatenate(run.batches())
    assert not np.intersect1d(seen, left).size and len(seen) + len(left) == dataset.n_patterns


def test_the_score_falls_with_a_better_fit(config):
    made = load_config(config)
    dataset = open_dataset(made.data.path, made.data)
    left = held_out_patterns(dataset.n_patterns, 0.2, 1)
    short, long = (score(load_config(config, [f"run.epochs={n}"]), dataset, left) for n in (1, 30))
    assert 0 < long < 0.7 * short


def test_a_study_finds_the_better_rate_and_goes_on(config, tmp_path, adorym):
    first = tune(config, [f"{RATE}=1e-5:3e-2:log"], trials=3, output=tmp_path / "study")
    again = tune(config, [f"{RATE}=1e-5:3e-2:log"], trials=2, output=tmp_path / "study")
    assert (first.trials, again.trials, again.failed) == (3, 5, 0)
    assert again.score <= first.score and again.best[RATE] > 1e-4
    assert again.picture.read_bytes()[:4] == b"\x89PNG"
    kept = json.loads((tmp_path / "study" / "best.json").read_text())
    assert kept == {"score": again.score, "set": dict(again.best)}


def test_the_command(config, tmp_path, adorym):
    ended = adorym("tune", config, "--vary", "loss.kind=poisson,least_squares", "--trials", 2, "-o", tmp_path / "s")
    assert ended.status == 0, ended.err
    assert "2 trials" in ended.out and "--set loss.kind=" in ended.out
    assert adorym("tune", config).status == 2
    assert "--vary: nothing to vary" in adorym("tune", config).err
    assert adorym("tune", config, "--vary", "run.epoch=1:3", "--trials", 1, "-o", tmp_path / "t").status == 2


def test_a_failed_trial_does_not_end_the_study(config, tmp_path):
    # A step this long diverges; the other choice does not.
    wild = ["parameters.object.optimizer={kind: gradient_descent, learning_rate: 1e30}"]
    with pytest.raises(RunError, match="every trial failed; found 1 trials; choose narrower ranges"):
        tune(config, ["run.seed=1:2"], wild, trials=1, output=tmp_path / "wild")


def test_without_optuna(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        ConfigError, match=r"tune: needs the optional library optuna; install it with 'pip install adorym"
    ):
        tune(config, ["run.seed=1:2"], output=tmp_path)
