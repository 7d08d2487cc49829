"""Studies over named keys: ranges, the score of patterns left out, and going on where a study stopped."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from command_line import Adorym
from tiny_scan import Scan

from adorym.commands.ranges import Range
from adorym.commands.tune import held_out_patterns, score, tune
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
        ("d=100um:400um", Range("d", 1e-4, 4e-4, unit="m")),
        ("d=900 nm:1.1 um:log", Range("d", 9e-7, 1.1e-6, logarithmic=True, unit="m")),
        ("d=-3:3 deg", Range("d", -0.0523598775598, 0.0523598775598, unit="rad")),
        ("d=-300um:-100um", Range("d", -3e-4, -1e-4, unit="m")),
        (
            "o={kind: adam, beta1: 0.8},{kind: momentum}",
            Range("o", choices=("{kind: adam, beta1: 0.8}", "{kind: momentum}")),
        ),
    ],
)
def test_ranges(text, expected):
    assert Range.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["a", "a=1", "a=2:1", "a=0:1:log", "=1:2", "a=1:2:3", "a=x:y", "a=1 um:2 um:3 um", "a=1:nan"]
)
def test_what_is_no_range(text):
    with pytest.raises(
        ConfigError, match=r"--vary: .*; expected key=low:high, key=low:high:log, or key=a,b,c; with a unit"
    ):
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
    with pytest.raises(
        RunError, match="every trial failed; found 1 trials, the first with: run: .*; choose other ranges"
    ):
        tune(config, ["run.seed=1:2"], wild, trials=1, output=tmp_path / "wild")


def test_without_optuna(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        ConfigError, match=r"tune: needs the optional library optuna; install it with 'pip install adorym"
    ):
        tune(config, ["run.seed=1:2"], output=tmp_path)


DEFOCUS = "parameters.probe.initial.defocus"


@pytest.mark.parametrize("values", ["1um:4mm", "1e-6:4e-3"])
def test_a_refused_value_is_a_failed_trial(config, tmp_path, caplog, values):
    """A beam that is defocused too far outgrows the window: known only once the data are there."""
    config.write_text(config.read_text().replace("{object", "{probe: {initial: {kind: mean_pattern}}, object"))
    found = tune(config, [f"{DEFOCUS}={values}"], trials=6, output=tmp_path / "study")
    assert found.trials + found.failed == 6 and found.trials and found.failed
    assert f"failed with {DEFOCUS}=" in caplog.text and "wider than the window" in caplog.text
    value, unit = str(found.best[DEFOCUS]).split()
    assert unit == "m" and 1e-6 <= float(value) <= 4e-3
    load_config(config, [f"{DEFOCUS}={found.best[DEFOCUS]}"])


def test_the_geometry_can_be_varied(config, tmp_path):
    """Scaled positions do not fit the patterns: the data are opened anew for every trial."""
    keys = ["data.pixel_size=60nm:140nm", "data.flip_y=true,false"]
    more = ["parameters.probe={initial: {kind: gaussian, fwhm: 400 nm}}", "run.epochs=1"]
    found = tune(config, keys, more, trials=4, output=tmp_path / "study")
    assert found.trials == 4 and str(found.best["data.pixel_size"]).endswith(" m")


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("parameters.object.optimizer.learning_rat=1:2", "learning_rat: unknown key"),
        ("parameters.object.optimizer.learning_rate=1 kg:2 kg", "--vary: no unit of a configuration in"),
        ("run.epochs=1um:2um", "run.epochs: expected a whole number"),
        ("loss.kind=gauss,gaussian", "loss.kind: no loss named 'gauss'"),
    ],
)
def test_wrong_ranges_end_before_the_first_trial(config, tmp_path, adorym, vary, message):
    ended = adorym("tune", config, "--vary", vary, "--trials", 1, "-o", tmp_path / "t")
    assert ended.status == 2 and message in ended.err, ended.err


def test_whole_numbers_only_where_no_others_are_taken(config, tmp_path):
    found = tune(
        config, ["run.epochs=1:3", "parameters.object.optimizer.learning_rate=1:3"], trials=2, output=tmp_path / "t"
    )
    assert isinstance(found.best["run.epochs"], int) and isinstance(found.best[RATE], float)


def test_a_study_of_other_values_is_refused(config, tmp_path, adorym):
    folder = tmp_path / "study"
    tune(config, ["run.seed=1,2"], trials=1, output=folder)
    with pytest.raises(ConfigError, match="--vary: the study was begun with other values of 'run.seed'"):
        tune(config, ["run.seed=1,2,3"], trials=1, output=folder)
    (folder / "tune.db").write_bytes(b"not a data base" * 100)
    with pytest.raises(ConfigError, match="tune.db: not a study that can be continued; .*name another folder"):
        tune(config, ["run.seed=1,2"], trials=1, output=folder)
