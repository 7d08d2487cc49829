"""Constraints, regularizers, gauges and bounds act when they should, on what they should; registering enrols them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from cases import CASES
from laws import relative_error
from tiny_runs import BACKENDS, SCAN, STEADY, calm, finished, measured, step, tiny, value_of

from adorym.constraints.object import MagnitudeLimit
from adorym.constraints.probe import OrthogonalModes, ProbePower
from adorym.constraints.support import ShrinkWrap, Support
from adorym.engine.step import run_batch
from adorym.engine.terms import projected
from adorym.forward.object import ObjectSettings
from adorym.initializers.simple import Random
from adorym.optimizers.first_order import Adam, GradientDescent
from adorym.optimizers.preconditioned import Preconditioned
from adorym.optimizers.schedules import Constant
from adorym.parameters import ParameterSettings
from adorym.regularizers.variation import TotalVariation

CONSTRAINTS = sorted(CASES["constraint"])
# The others act on another parameter, or between slices, of which this object has one.
REGULARIZERS = sorted(set(CASES["regularizer"]) - {"smoothness", "slice_crosstalk", "slice_smoothness"})
MOVING = {"probe_positions": Adam(learning_rate=0.3), "background": Adam(learning_rate=0.05)}


def constraint_for(run, name, folder):
    """The registered case, its mask fitted to the object of ``run``."""
    made = CASES["constraint"][name](folder)
    if name == "support":
        mask = np.ones(run.problem.store.shape)
        mask[:, :9] = 0
        np.save(folder / "fitting.npy", mask)
        made = Support(mask=str(folder / "fitting.npy"))
    return ShrinkWrap(threshold=0.4, blur=1.5, start=0, every=1) if name == "shrink_wrap" else made


def parameters_for(constraint):
    """Those of a calm run, and the one that the constraint acts on."""
    name = constraint.parameter
    return calm() | ({name: ParameterSettings(optimizer=MOVING[name])} if name in MOVING else {})


def violation(run, constraint):
    """How far the constraint's parameter is from its projection, as a part of its largest value."""
    xp, value = run.problem.xp, value_of(run, constraint.parameter)
    return relative_error(xp.to_numpy(projected(run.problem, constraint, xp.asarray(value.copy(), exact=True))), value)


# -- constraints -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraint_holds_when_it_says(tmp_path, name, backend):
    constraint = constraint_for(tiny(), name, tmp_path)
    parameters = parameters_for(constraint)
    run = tiny(parameters=parameters, terms={"constraints": (constraint,)}, backend=backend)
    violations = []
    for _ in run.epochs(3, watch=lambda progress: violations.append(violation(run, constraint))):
        assert violation(run, constraint) < 1e-9
    if constraint.when == "batch":
        assert max(violations) < 1e-9
    else:
        assert min(violations[:2]) > 1e-6  # not before the epoch is over
    free = tiny(parameters=parameters, backend=backend)
    assert violation(finished(free, 3), constraint) > 1e-3
    other = value_of(free, constraint.parameter)
    assert relative_error(value_of(run, constraint.parameter), other) > 1e-3


def test_several_constraints_act_one_after_the_other():
    """The last word has the last of them."""
    limits = MagnitudeLimit(maximum=0.8), MagnitudeLimit(maximum=2.0, minimum=1.1)
    for order, low, high in ((limits, 1.1, 1.1), (limits[::-1], 0.8, 0.8)):
        run = finished(tiny(terms={"constraints": order}), 1)
        modulus = np.abs(value_of(run, "object"))
        np.testing.assert_allclose((modulus.min(), modulus.max()), (low, high), rtol=1e-9)


def test_constraint_rests_while_its_parameter_is_not_refined():
    """It is a projection after a step: where there is no step, the start value stays as it was given."""
    parameters = calm()
    parameters["probe"] = type(parameters["probe"])(**(vars(parameters["probe"]) | {"start": 2}))
    run = tiny(parameters=parameters, terms={"constraints": (ProbePower(photons=9e3),)})
    power = [float(np.sum(np.abs(value_of(run, "probe")) ** 2))]
    for _ in run.epochs(3):
        power.append(float(np.sum(np.abs(value_of(run, "probe")) ** 2)))
    assert power[:3] == [power[0]] * 3 and power[3] == pytest.approx(9e3)


def test_mixing_modes_into_orthogonal_ones_changes_no_pattern():
    free, mixed = (finished(tiny(terms={"constraints": c}), 1) for c in ((), (OrthogonalModes(),)))
    modes = [value_of(run, "probe") for run in (free, mixed)]
    assert relative_error(modes[1], modes[0]) > 1e-3
    coherence = [np.einsum("mp,mq->pq", m.reshape(2, -1), m.reshape(2, -1).conj()) for m in modes]
    assert relative_error(coherence[1], coherence[0]) < 1e-9


def test_a_mask_that_is_replaced_is_read_again(tmp_path):
    """Within one process, as in a notebook."""
    path, limits = tmp_path / "mask.npy", []
    for columns in (5, 9):
        mask = np.ones(tiny().problem.store.shape)
        mask[:, :columns] = 0
        np.save(path, mask)
        os.utime(path, ns=(columns, columns))
        run = finished(tiny(terms={"constraints": (Support(mask=str(path)),)}), 1)
        limits.append(int(np.argmax(np.any(value_of(run, "object") != 1, axis=0))))
    assert limits == [5, 9]


# -- regularizers ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizer_pulls_the_object_its_way(tmp_path, name, backend):
    """Where the scan sees it; pixels that nothing illuminates are pushed to and fro by the term alone."""
    made, left = CASES["regularizer"][name](tmp_path), []
    unit = type(made)(**(vars(made) | {"weight": 1.0}))
    for weight in (None, 0.01, 0.1):
        terms = () if weight is None else (type(made)(**(vars(made) | {"weight": weight})),)
        run = finished(tiny(terms={"regularizers": terms}, backend=backend), 4)
        seen = run.problem.xp.asarray(value_of(run, "object")[8:-8, 8:-8] - 1)
        left.append(float(unit.value(run.problem.xp, seen)))
    assert left[0] > left[1] > left[2]


def test_regularizers_rest_while_the_object_is_not_refined():
    """What a step of the object does not see does not belong to the loss of that epoch."""
    parameters, losses = calm(), []
    parameters["object"] = ObjectSettings(optimizer=step(), schedule=STEADY, margin_px=4, start=1)
    for terms in ((), (TotalVariation(weight=5.0),)):
        losses.append([r.loss for r in tiny(parameters=parameters, terms={"regularizers": terms}).epochs(2)])
    assert losses[0][0] == losses[1][0] and losses[0][1] != losses[1][1]


# -- parameters --------------------------------------------------------------------------------------------------------
def test_gauge_keeps_what_the_data_cannot_tell():
    parameters = calm() | {
        "probe_positions": ParameterSettings(optimizer=Preconditioned(learning_rate=0.3, maximum_step=0.1)),
        "intensity_scale": ParameterSettings(optimizer=step(0.3)),
        "probe_offset": ParameterSettings(optimizer=Adam(learning_rate=0.02)),
    }
    run = tiny(parameters=parameters)
    for _ in run.epochs(3):
        np.testing.assert_allclose(value_of(run, "probe_positions").mean(0), SCAN.positions.mean(0), atol=1e-9)
        np.testing.assert_allclose(value_of(run, "probe_offset").mean(0), 0, atol=1e-12)
        assert value_of(run, "intensity_scale").mean() == pytest.approx(1, abs=1e-9)
    for name in ("probe_positions", "intensity_scale", "probe_offset"):
        assert np.abs(value_of(run, name) - run.problem.values[name].first).max() > 1e-3


def test_bounds_hold_after_every_batch():
    """Steps of a thousand photons and of a hundred pixels."""
    parameters = calm() | {
        "background": ParameterSettings(optimizer=Adam(learning_rate=1e3), initial=5.0),
        "probe_positions": ParameterSettings(optimizer=Adam(learning_rate="100 px")),
        "intensity_scale": ParameterSettings(optimizer=Adam(learning_rate=5.0)),
    }
    run, lowest = tiny(parameters=parameters, backoff=1.0), []

    def watch(progress):
        values = {name: value_of(run, name) for name in parameters}
        lowest.append((values["background"].min(), values["intensity_scale"].min()))
        corners = run.problem.corners_px(np.arange(SCAN.n))
        assert (corners >= 0).all()
        assert (corners + SCAN.window <= run.problem.store.shape).all()
        low, high = run.problem.values["probe_positions"].bounds
        assert (values["probe_positions"] >= low).all() and (values["probe_positions"] <= high).all()

    for _ in run.epochs(1, watch=watch):
        pass
    assert min(b for b, _ in lowest) == 0 and min(s for _, s in lowest) == pytest.approx(1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_moves_the_rows_of_its_patterns_only(backend):
    """The others move together, by what the gauge takes out: the mean of all stays."""
    parameters = calm() | {
        "object": ObjectSettings(initial=Random(), margin_px=4),  # vacuum would look the same from everywhere
        "probe_positions": ParameterSettings(optimizer=step(0.3, 0.5)),
        "probe_offset": ParameterSettings(optimizer=Adam(learning_rate=0.02)),
    }
    run = tiny(parameters=parameters, backend=backend)
    names = ("probe_positions", "probe_offset")
    batch = np.array([2, 4, 10])  # all of the first of two scans
    before = {name: value_of(run, name) for name in names}
    run_batch(run.problem, batch, {name: run.problem.values[name].rate for name in names}, 0.15)
    moves = {name: value_of(run, name) - before[name] for name in names}
    for name, rows in {"probe_positions": [2, 4, 10], "probe_offset": [0]}.items():
        gauge = np.delete(moves[name], rows, axis=0)
        np.testing.assert_allclose(gauge, gauge[:1] + 0 * gauge, atol=1e-12)
        assert (np.abs(moves[name][rows] - gauge[0]).max(axis=1) > 1e-6).all()
    np.testing.assert_allclose(moves["probe_offset"].mean(axis=0), 0, atol=1e-12)  # positions have bounds, too
    to_numpy = run.problem.xp.to_numpy
    velocity, count = (to_numpy(run.problem.values[n].state[-1]) for n in names)
    assert np.flatnonzero(np.any(velocity != 0, axis=1)).tolist() == [2, 4, 10]
    assert count.ravel().tolist() == [1, 0]


def test_what_is_not_named_in_the_rates_is_not_touched():
    run = tiny()
    before = {name: value_of(run, name) for name in ("object", "probe")}
    run_batch(run.problem, np.arange(7), {"probe": 0.1}, 0.35)
    np.testing.assert_array_equal(value_of(run, "object"), before["object"])
    assert (value_of(run, "probe") != before["probe"]).any()
    kept = value_of(run, "probe")
    run_batch(run.problem, np.arange(7), {"object": 0.1}, 0.35)
    np.testing.assert_array_equal(value_of(run, "probe"), kept)
    assert (value_of(run, "object") != before["object"]).any()


def test_gradient_of_one_batch_does_not_leak_into_the_next():
    """Two steps on two batches are what two runs of one step each give."""
    slow = ObjectSettings(optimizer=GradientDescent(learning_rate=1.0), schedule=Constant(), margin_px=4)
    first, second = np.arange(7), np.arange(12, 20)
    both = tiny(parameters=calm() | {"object": slow})
    run_batch(both.problem, first, {"object": 1.0}, 0.35)
    halfway = value_of(both, "object")
    run_batch(both.problem, second, {"object": 1.0}, 0.4)
    fresh = tiny(parameters=calm() | {"object": slow})
    fresh.problem.store.restore(halfway, fresh.problem.store.state())
    run_batch(fresh.problem, second, {"object": 1.0}, 0.4)
    np.testing.assert_array_equal(value_of(both, "object"), value_of(fresh, "object"))


def test_masked_pixels_have_no_say():
    """Whatever a bad pixel holds, not-a-number too."""
    mask = np.ones(SCAN.window, bool)
    mask[3:6, 8] = mask[11, 2] = False
    runs = []
    for rubbish in (0.0, 1e6, np.nan):
        data = measured(mask=mask)
        data.patterns.array[:, ~mask] = rubbish
        runs.append(value_of(finished(tiny(data.with_(start_probe=SCAN.probe()), power_given()), 2), "object"))
    np.testing.assert_array_equal(runs[1], runs[0])
    np.testing.assert_array_equal(runs[2], runs[0])
    assert relative_error(value_of(finished(tiny(parameters=power_given()), 2), "object"), runs[0]) > 1e-4


def power_given():
    parameters = calm()
    return parameters | {"probe": type(parameters["probe"])(**(vars(parameters["probe"]) | {"power": 9e3}))}
