"""Parameters that follow the object by a rule: the support of a crystal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from laws import assert_same_state
from tiny_crystal import Peak
from tiny_runs import stopped_after

from adorym.constraints.support import ShrinkWrap
from adorym.engine.build import bind
from adorym.engine.checkpoint import load_checkpoint, save_checkpoint
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import InputError
from adorym.forward.bragg_cdi import BraggCdi
from adorym.forward.crystal import CrystalObject
from adorym.initializers.simple import File
from adorym.losses.counting import LeastSquares
from adorym.parameters import ParameterSettings
from adorym.updates import FactorGauge, OffsetGauge, State, SupportUpdate
from adorym.updates.support import SupportSettings


def small(folder: Path, backend: str = "autograd", every: int = 2, **run) -> Reconstruction:
    """A crystal with half of its amplitude and a support that is too large."""
    peak = Peak(background=0.0, sigma=(0, 0, 0))
    grown = np.abs(peak.object) + 0.3 * np.roll(np.abs(peak.object), 3, 2)
    np.save(folder / "first.npy", 0.5 * peak.object + 0.01 * grown)
    settings = {
        "object": CrystalObject(initial=File(path=str(folder / "first.npy"))),
        "support": SupportSettings(every=every, threshold=0.15),
    }
    recipe = Recipe(BraggCdi(), settings, LeastSquares())
    settings = {"backend": backend, "device": "cpu", "precision": "double", "epochs": 6, "backoff": 1.0}
    return Reconstruction(peak.dataset(), recipe, RunSettings(**(settings | run)))


def test_support_starts_with_the_object_and_follows_it(tmp_path):
    run = small(tmp_path)
    first = np.load(tmp_path / "first.npy")
    np.testing.assert_array_equal(run.problem.values["support"].array, (np.abs(first) > 0).astype(float))
    sizes = []
    for _ in run.epochs():
        sizes.append(int(np.sum(run.problem.values["support"].array)))
    assert sizes[0] == sizes[1] != sizes[2] == sizes[3]
    result = outcome(run)
    assert (result.object[result.parameters["support"].value == 0] == 0).all()
    assert run.progress.history["loss"][-1] < run.progress.history["loss"][0]


def test_whole_peak_is_one_batch_and_one_window(tmp_path):
    run = small(tmp_path)
    assert run.batch_size == run.problem.dataset.n_patterns
    obj, _, batch = run.problem.inputs(np.arange(20))
    assert obj.shape[0] == 1 and batch.target.shape[0] == 20


def test_answer_does_not_depend_on_how_frames_are_shared_out(tmp_path):
    whole, parts = small(tmp_path), small(tmp_path, batch_size=20)
    for _ in whole.epochs(2):
        pass
    for _ in parts.epochs(2):
        pass
    np.testing.assert_allclose(whole.problem.store.values(), parts.problem.store.values(), rtol=1e-12)


def test_resumed_run_is_the_uninterrupted_one(tmp_path):
    through, stopped, resumed = small(tmp_path), small(tmp_path), small(tmp_path)
    for _ in through.epochs():
        pass
    stopped_after(stopped, 4, 1)
    save_checkpoint(stopped, tmp_path / "c.h5", {})
    load_checkpoint(resumed, tmp_path / "c.h5", {})
    for _ in resumed.epochs():
        pass
    assert_same_state(through, resumed)


def test_a_support_update_is_pure_and_dilates():
    obj = np.zeros((9, 8, 7), complex)
    obj[3:6, 3:6, 3:5] = 2
    state = State(50, 100, {"support": np.ones(obj.shape)}, {}, lambda: obj)
    tight, wide = (
        SupportUpdate("support", SupportSettings(threshold=0.5, sigma=0.5, dilate=n)).apply(state).values["support"]
        for n in (0, 1)
    )
    assert 0 < tight.sum() < wide.sum() and state.values["support"].all()


def test_a_support_does_not_take_most_of_the_array():
    """A start object that is nowhere zero is cut by shrink-wrap; a floor that rises later leaves the support alone."""
    rule = SupportSettings(threshold=0.5, sigma=0.5)
    obj = np.full((9, 8, 7), 0.01 + 0j)
    obj[3:6, 3:6, 3:5] = 2
    first = SupportUpdate("support", rule).apply(State(0, 100, {"support": np.ones(obj.shape)}, {}, lambda: obj))
    support = first.values["support"]
    assert 0 < support.mean() < 0.2
    risen = obj + 3.0
    wide = {"support": np.where(np.arange(7) < 3, 1.0, 0.0) * np.ones(obj.shape)}
    held = SupportUpdate("support", SupportSettings(threshold=0.1, sigma=3.0)).apply(
        State(50, 100, wide, {}, lambda: risen)
    )
    np.testing.assert_array_equal(held.values["support"], wide["support"])


def test_a_factor_goes_into_what_is_refined_with_it():
    values = {"intensity_scale": np.array([[1.0], [3.0]]), "probe": np.ones((1, 2, 2), complex)}
    gauge = FactorGauge("intensity_scale", "probe")
    moved = gauge.apply(State(1, 2, values, {"intensity_scale": 1.0, "probe": 1.0}, np.zeros))
    np.testing.assert_allclose(moved.values["intensity_scale"].ravel(), [0.5, 1.5])
    np.testing.assert_allclose(moved.values["probe"], np.sqrt(2))
    held = State(1, 2, values, {"intensity_scale": 1.0}, np.zeros)
    assert gauge.apply(held) is held


def test_an_offset_goes_into_what_is_refined_with_it():
    values = {"object_shift": np.array([[0.0, 1.0], [0.0, 2.0]]), "rotation_center": np.array([5.0])}
    gauge = OffsetGauge("object_shift", "rotation_center", column=1)
    moved = gauge.apply(State(1, 2, values, dict.fromkeys(values, 1.0), np.zeros))
    np.testing.assert_allclose(moved.values["object_shift"], [[0, -0.5], [0, 0.5]])
    np.testing.assert_allclose(moved.values["rotation_center"], [6.5])
    held = State(1, 2, values, {"object_shift": 1.0}, np.zeros)
    assert gauge.apply(held) is held


def test_settings_without_effect_are_refused():
    for field in ({"optimizer": {"kind": "adam"}}, {"schedule": {"kind": "constant"}}):
        with pytest.raises(ValueError, match="has no effect: the support follows the object|optimizer|schedule"):
            SupportSettings(**field)


def test_constraints_that_mean_vacuum_are_refused():
    recipe = Recipe(BraggCdi(), {}, LeastSquares(), (), (ShrinkWrap(),))
    with pytest.raises(
        InputError, match=r"constraints\[0\]: 'shrink_wrap' sets the outside to vacuum.*parameters.support"
    ):
        bind(Peak().dataset(), recipe, RunSettings())


def test_unknown_parameters_of_the_model_are_refused():
    recipe = Recipe(BraggCdi(), {"probe": ParameterSettings()}, LeastSquares())
    with pytest.raises(InputError, match="parameters.probe: unknown parameter for forward model 'bragg_cdi'"):
        bind(Peak().dataset(), recipe, RunSettings())


def test_a_loss_that_rises_with_a_new_support_does_not_slow_the_run(tmp_path):
    run = small(tmp_path, every=3, backoff=0.5)
    for record in run.epochs():
        if record.epoch == 3:
            run.progress.history["loss"][-1] *= 0.1  # whatever comes now has risen
    assert run.progress.rises == 0
    other = small(tmp_path, every=3, backoff=0.5)
    for record in other.epochs():
        if record.epoch == 2:
            other.progress.history["loss"][-1] *= 0.1
    assert other.progress.rises == 1


def test_rates_are_parts_of_the_largest_amplitude_wherever_it_lies(tmp_path):
    run = small(tmp_path)
    first = np.abs(np.load(tmp_path / "first.npy"))
    assert first[0].max() < 0.1 * first.max()  # the first row says nothing
    assert run.problem.obj.scale == pytest.approx(first.max())
