"""A run that is stopped and resumed ends where an uninterrupted one does, bit for bit."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest
from laws import arrays_of, assert_same_state
from tiny_runs import BACKENDS, everything, finished, measured, stopped_after, tiny, value_of
from tiny_scan import Scan

from adorym.config import Config, DataSettings, OutputSettings
from adorym.constraints.object import MagnitudeLimit
from adorym.constraints.probe import OrthogonalModes
from adorym.engine.checkpoint import load_checkpoint, previous, save_checkpoint
from adorym.engine.settings import Plateau, RunSettings
from adorym.errors import ConfigError, DataError, RunError
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import Poisson
from adorym.optimizers.first_order import Momentum
from adorym.parameters import ParameterSettings
from adorym.regularizers.variation import TotalVariation

IDENTITY = {"run": {"seed": 1}, "loss": {"kind": "poisson"}}
TERMS = {
    "loss": Poisson(),
    "regularizers": (TotalVariation(weight=1e-3),),
    "constraints": (OrthogonalModes(), MagnitudeLimit(maximum=1.1)),
}
DATA = measured()


def full(**run):
    """Every part of the engine in one run: five epochs of three batches."""
    return tiny(DATA, everything(), TERMS, **run)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.h5"


def resumed(path, **run):
    again = full(**run)
    load_checkpoint(again, path, IDENTITY)
    return again


# -- law 5: resume -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_order", ["random", "compact"])
def test_resumed_run_equals_the_uninterrupted_one(path, backend, precision, batch_order):
    """Stopped after an epoch, then in the middle of one, then after the last batch but one."""
    run = {"backend": backend, "precision": precision, "batch_order": batch_order}
    whole = finished(full(**run))
    parts = full(**run)
    for epoch, batch in ((1, len(parts.batches())), (3, 1), (5, 2)):
        stopped_after(parts, epoch, batch)
        save_checkpoint(parts, path, IDENTITY)
        standing, parts = parts, resumed(path, **run)
        assert_same_state(parts, standing)
    assert_same_state(finished(parts), whole)
    assert np.isfinite(arrays_of(whole)["loss"]).all() and whole.progress.epoch == 5


def test_stopped_at_every_batch(path):
    whole, parts = finished(full(epochs=3)), full(epochs=3)
    stops = [(epoch, batch) for epoch in (1, 2, 3) for batch in range(1, len(parts.batches()) + 1)]
    for epoch, batch in stops:
        stopped_after(parts, epoch, batch)
        save_checkpoint(parts, path, IDENTITY)
        parts = resumed(path, epochs=3)
    assert_same_state(parts, whole)


def test_checkpoint_changes_nothing_in_the_run(path):
    watched = full()
    for _ in watched.epochs(watch=lambda progress: save_checkpoint(watched, path, IDENTITY)):
        pass
    assert_same_state(watched, finished(full()))


def test_more_epochs_than_planned_before(path):
    """Rates that do not depend on the number of epochs: seven epochs are five and two more."""
    parameters = everything()
    parameters["object"] = type(parameters["object"])(optimizer=parameters["object"].optimizer, margin_px=4)
    parameters = {n: type(p)(**(vars(p) | {"schedule": parameters["probe"].schedule})) for n, p in parameters.items()}
    whole = finished(tiny(DATA, parameters, epochs=7))
    save_checkpoint(finished(tiny(DATA, parameters, epochs=5)), path, IDENTITY)
    again = tiny(DATA, parameters, epochs=7)
    load_checkpoint(again, path, IDENTITY)
    assert_same_state(finished(again), whole)


def test_resumed_after_the_learning_rates_were_lowered(path):
    """Too long steps of the object, and a probe that is held: what the loop did about it is part of the state."""
    parameters = {
        "object": ObjectSettings(optimizer=Momentum(learning_rate=400, decay=0.5), margin_px=4),
        "probe": ProbeSettings(modes=2, refine=False),
        "probe_positions": ParameterSettings(optimizer=Momentum(learning_rate=1e-3), start=1),
    }
    whole = tiny(DATA, parameters, epochs=12)
    rates = [record.learning_rates["object"] for record in whole.epochs()]
    assert rates[0] > rates[4] > 0
    parts = tiny(DATA, parameters, epochs=12)
    for epoch, batch in ((2, 3), (3, 2), (4, 3), (5, 1)):
        stopped_after(parts, epoch, batch)
        save_checkpoint(parts, path, IDENTITY)
        parts = tiny(DATA, parameters, epochs=12)
        load_checkpoint(parts, path, IDENTITY)
    assert_same_state(finished(parts), whole)


def test_finished_run_has_nothing_left_to_do(path):
    done = finished(full())
    save_checkpoint(done, path, IDENTITY)
    again = resumed(path)
    assert list(again.epochs()) == []
    assert_same_state(again, done)


# -- the file ----------------------------------------------------------------------------------------------------------
def test_failure_while_writing_leaves_the_old_checkpoint(path, monkeypatch):
    run = finished(full(), 1)
    save_checkpoint(run, path, IDENTITY)
    before = path.read_bytes()
    finished(run, 1)
    for place, name in ((h5py.Group, "__setitem__"), (os, "fsync"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, _no_space)
            with pytest.raises(RunError, match="No space left"):
                save_checkpoint(run, path, IDENTITY)
        assert path.read_bytes() == before and os.listdir(path.parent) == ["checkpoint.h5"]


def _no_space(*arguments):
    raise OSError(28, "No space left on device")


def test_values_that_are_no_numbers_do_not_replace_a_checkpoint(path):
    """The step after which a loss is not a number must not cost the state before it."""
    run = finished(full(), 2)
    save_checkpoint(run, path, IDENTITY)
    before = path.read_bytes()
    values = value_of(run, "object")
    values[3, 4] = np.nan
    run.problem.store.restore(values, run.problem.store.state())
    run.progress.epoch += 1
    with pytest.raises(RunError, match=r"run: values are not finite after epoch 3; found object; lower"):
        save_checkpoint(run, path, IDENTITY)
    assert path.read_bytes() == before
    assert resumed(path).progress.epoch == 2


def damage_text(path):
    path.write_text("not a checkpoint at all")


def damage_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_empty(path):
    path.write_bytes(b"")


def edited(change):
    def damage(path):
        with h5py.File(path, "a") as file:
            change(file)

    return damage


def _other_progress(file):
    file.attrs["progress"] = json.dumps({"epoch": 3, "time": 4})


DAMAGES = {
    "text": damage_text,
    "half of it": damage_half,
    "empty": damage_empty,
    "no object": edited(lambda file: file.pop("object")),
    "no value": edited(lambda file: file.pop("parameters/probe/value")),
    "no parameter": edited(lambda file: file.pop("parameters/background")),
    "no state": edited(lambda file: file.pop("parameters/probe/state_1")),
    "no identity": edited(lambda file: file.attrs.pop("identity")),
    "no progress": edited(lambda file: file.attrs.pop("progress")),
    "identity that is no JSON": edited(lambda file: file.attrs.__setitem__("identity", "{seed")),
    "progress of another version": edited(_other_progress),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_refused(path, damage):
    save_checkpoint(finished(full(), 1), path, IDENTITY)
    DAMAGES[damage](path)
    untouched, fresh = full(), full()
    with pytest.raises(DataError, match=r"checkpoint\.h5: this checkpoint is damaged; found .+; start without"):
        load_checkpoint(fresh, path, IDENTITY)
    assert_same_state(fresh, untouched)


def test_a_damaged_checkpoint_is_never_kept_as_the_one_before(path):
    """Damage, a run from the one before, one more checkpoint, and damage again: one of the two is always whole."""
    run = finished(full(), 1)
    save_checkpoint(run, path, IDENTITY)
    for _ in range(3):
        save_checkpoint(run, path, IDENTITY)
        damage_half(path)
        run = resumed(path)
        assert not previous(path).exists()  # it took the place of the damaged one
        assert_same_state(resumed(path), run)


def test_a_checkpoint_of_a_former_version_is_refused_by_name(path):
    save_checkpoint(full(), path, IDENTITY)
    with h5py.File(path, "r+") as file:
        del file.attrs["format"]
        file.attrs["adorym_version"] = "0.1.0"
    match = (
        r"--resume: the checkpoint was written by adorym 0\.1\.0, in a format .*; finish the run with adorym 0\.1\.0"
    )
    with pytest.raises(ConfigError, match=match):
        resumed(path)


def test_missing_checkpoint_is_refused(path):
    with pytest.raises(ConfigError, match=r"--resume: no checkpoint '.*checkpoint\.h5'; leave '--resume' out"):
        load_checkpoint(full(), path, IDENTITY)


# -- whose checkpoint --------------------------------------------------------------------------------------------------
def test_checkpoint_of_another_configuration_is_refused(path):
    save_checkpoint(full(), path, IDENTITY)
    other = {"run": {"seed": 2}, "loss": {"kind": "poisson"}, "solver": {"kind": "newton"}}
    with pytest.raises(ConfigError, match="--resume: .*other settings; found changed: run.seed, solver; restore"):
        load_checkpoint(full(), path, other)


def test_checkpoint_of_other_data_is_refused(path):
    save_checkpoint(full(), path, IDENTITY)
    other = tiny(measured(Scan(modes=2, scans=2, grid=(4, 6))), everything(), TERMS)
    untouched = arrays_of(other)
    with pytest.raises(ConfigError, match=r"--resume: .* has another size; expected \(.*\); found \(.*\)"):
        load_checkpoint(other, path, IDENTITY)
    for name, array in arrays_of(other).items():
        np.testing.assert_array_equal(array, untouched[name])


def config(**sections):
    base = {"data": DataSettings(path="data.h5"), "forward_model": Ptychography(), "loss": Poisson()}
    return Config(**(base | sections))


@pytest.mark.parametrize(
    "free",
    [
        {"run": RunSettings(epochs=7)},
        {"run": RunSettings(threads=1)},
        {"run": RunSettings(checkpoint_every=1)},
        {"run": RunSettings(plateau=Plateau())},
        {"output": OutputSettings(directory="elsewhere", report=False, snapshots_every=3)},
    ],
    ids=str,
)
def test_what_may_change_between_a_run_and_its_continuation(free):
    assert config(**free).identity() == config().identity()


@pytest.mark.parametrize(
    "bound",
    [
        {"run": RunSettings(seed=2)},
        {"run": RunSettings(batch_size=9)},
        {"run": RunSettings(batch_order="compact")},
        {"run": RunSettings(backend="autograd")},
        {"run": RunSettings(precision="double")},
        {"loss": Poisson(floor=0.1)},
        {"regularizers": (TotalVariation(weight=1.0),)},
        {"constraints": (OrthogonalModes(),)},
        {"data": DataSettings(path="data.h5", frames=(1, 2, 3))},
        {"parameters": {"probe": type(everything()["probe"])(modes=2)}},
        {"forward_model": Ptychography(propagation="fresnel")},
    ],
    ids=str,
)
def test_what_may_not(bound):
    assert config(**bound).identity() != config().identity()


def changed_run(**changes):
    """A run with settings that differ from those of `full`, and its identity."""
    rates = {"optimizer": {"kind": "adam", "learning_rate": 0.01}, "start": 0}
    identity = {"run": {"seed": 1, "batch_size": 7}, "parameters": {"probe": rates}, "regularizers": []}
    for key, value in changes.items():
        section, _, rest = key.partition("__")
        at = identity[section] = dict(identity[section]) if rest else value
        for name in rest.split("__")[:-1]:
            at[name] = dict(at[name])
            at = at[name]
        if rest:
            at[rest.split("__")[-1]] = value
    return identity


def test_settings_that_do_not_contradict_may_change_and_are_said(path, caplog):
    stopped = full()
    stopped_after(stopped, 2, 1)
    save_checkpoint(stopped, path, changed_run())
    again = full()
    load_checkpoint(again, path, changed_run(parameters__probe__optimizer__learning_rate=0.02))
    assert "from epoch 2 on with other settings: parameters.probe.optimizer.learning_rate 0.01 -> 0.02" in caplog.text
    assert again.progress.batch == 1
    load_checkpoint(again, path, changed_run(run__batch_size=5, regularizers=[{"kind": "l1"}]))
    assert 'regularizers [] -> [{"kind": "l1"}], run.batch_size 7 -> 5' in caplog.text
    assert again.progress.batch == 0 and again.progress.partial_loss == 0 and again.progress.new_problem == 2


@pytest.mark.parametrize(
    "changes, key",
    [
        ({"run__seed": 2}, "run.seed"),
        ({"parameters__probe__optimizer__kind": "momentum"}, "parameters.probe.optimizer.kind"),
        ({"parameters__probe__optimizer__momentum": 0.5}, "parameters.probe.optimizer.momentum"),
        ({"parameters__probe__modes": 2}, "parameters.probe.modes"),
    ],
)
def test_settings_that_contradict_are_named(path, changes, key):
    save_checkpoint(full(), path, changed_run())
    with pytest.raises(ConfigError, match=f"other settings; found changed: {key}; restore them, or begin a new run"):
        load_checkpoint(full(), path, changed_run(**changes))
