"""Patterns that lie off their place on the detector, against Fourier sums at the shifted frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_gradients, relative_error
from tiny_scan import Exact, Scan, object_at

from adorym.config import config_from
from adorym.engine.guard import data_loss
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.engine.step import apply_update
from adorym.errors import ConfigErrors
from adorym.forward.detector import ShiftSettings
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.updates import TiltGauge
from adorym.updates.base import State

SCAN = Scan(window=(16, 18), size_px=2.2, step_px=1.8, grid=(7, 8), photons=1e5)


def without_map(shifts, positions):
    """Beside what depends on the positions smoothly, which is a curved phase of object and probe."""
    y, x = positions.T
    terms = np.column_stack([np.ones(len(y)), y, x, y * y, y * x, x * x])
    return shifts - terms @ np.linalg.lstsq(terms, shifts, rcond=None)[0]


SHIFTS = without_map(np.random.default_rng(8).uniform(-0.9, 0.9, (SCAN.n, 2)), SCAN.positions)


def patterns(shifts):
    """Far field at frequencies ``k - s``, zero frequency in the middle."""
    found = []
    y, x = np.arange(SCAN.window[0])[:, None], np.arange(SCAN.window[1])[None, :]
    for (py, px), shift in zip(SCAN.positions, shifts, strict=True):
        wave = object_at(py + y, px + x) * SCAN.probe()[0]
        sums = [
            np.exp(-2j * np.pi * (np.arange(n)[:, None] - n // 2 - s) * np.arange(n) / n)
            for n, s in zip(SCAN.window, shift, strict=True)
        ]
        found.append(np.abs(sums[0] @ wave @ sums[1].T) ** 2 / np.prod(SCAN.window))
    return np.array(found)


def made(shift=None, shifts=SHIFTS, order=None, **run):
    rows = np.arange(SCAN.n) if order is None else order
    data = SCAN.dataset(
        patterns=Exact(patterns(shifts)[rows]), start_probe=SCAN.probe(), probe_positions_px=SCAN.positions[rows]
    )
    settings = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings()}
    settings |= {} if shift is None else {"pattern_shift": shift}
    base = {"precision": "double", "backend": "torch", "device": "cpu", "threads": 1, "epochs": 40}
    return Reconstruction(data, Recipe(Ptychography(), settings, LeastSquares()), RunSettings(**base | run))


def truth(run, shifts=SHIFTS):
    problem = run.problem
    problem.values["pattern_shift"].array = problem.xp.asarray(shifts.copy(), exact=True)
    obj = SCAN.object_array(problem.store.shape, problem.bound.origin_px)
    problem.store.restore(obj.astype(np.complex128), problem.store.state())
    problem.values["probe"].array = problem.xp.asarray(SCAN.probe(), exact=True)
    return problem


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_the_prediction_is_shifted(backend):
    problem = truth(made(ShiftSettings(), backend=backend))
    found = problem.xp.to_numpy(predict_patterns(problem, np.arange(SCAN.n)))
    assert relative_error(problem.bound.from_model_frame(found), patterns(SHIFTS)) < 4e-3
    assert relative_error(problem.bound.from_model_frame(found), patterns(-SHIFTS)) > 0.1


@pytest.mark.parametrize("regime", ["fresnel", "angular_spectrum"])
def test_in_the_near_field_the_picture_is_moved(regime):
    scan = Scan(grid=(2, 3), regime=regime, window=(24, 26), size_px=2.2)
    settings = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings(), "pattern_shift": ShiftSettings()}
    run = RunSettings(precision="double", backend="autograd", device="cpu")
    data = scan.dataset(start_probe=scan.probe())
    problem = Reconstruction(data, Recipe(Ptychography(propagation=regime), settings, LeastSquares()), run).problem
    before = problem.xp.to_numpy(predict_patterns(problem, np.arange(scan.n)))
    problem.values["pattern_shift"].array = problem.xp.asarray(np.tile([2.0, -1.0], (scan.n, 1)), exact=True)
    after = problem.xp.to_numpy(predict_patterns(problem, np.arange(scan.n)))
    np.testing.assert_allclose(after, np.roll(before, (2, -1), (1, 2)), atol=1e-6 * before.max())


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_gradients(backend):
    problem = truth(made(ShiftSettings(), backend=backend))
    obj, params, batch = problem.inputs(np.arange(SCAN.n))

    def loss(tree):
        predicted = problem.model.predict(problem.xp, obj, {**params, **tree}, batch)
        return problem.loss.value(problem.xp, predicted, batch.target, batch.mask, batch.floor), None

    values = {"pattern_shift": 0.8 * SHIFTS, "probe": problem.xp.to_numpy(params["probe"])}
    assert_gradients(problem.xp, loss, values, {"pattern_shift": 0.1})


def test_shifts_are_found_with_object_and_probe():
    losses = {}
    for name, shift in (("without", None), ("with", ShiftSettings(start=2))):
        run = made(shift)
        losses[name] = [record.loss for record in run.epochs()][-1]
    wrong = run.problem.present()["pattern_shift"] - SHIFTS
    assert np.sqrt(np.mean(wrong**2)) < 0.25 * np.sqrt(np.mean(SHIFTS**2))
    assert losses["with"] < 0.02 * losses["without"]


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_a_drift_is_smooth(backend):
    """In random order: along the rows of a raster a drift is a phase of the object."""
    order = np.random.default_rng(3).permutation(SCAN.n)
    time = np.empty(SCAN.n)
    time[order] = (np.arange(SCAN.n) + 0.5) / SCAN.n
    drift = 0.7 * np.stack([np.cos(np.pi * time), np.cos(2 * np.pi * time)], axis=1)
    run = made(ShiftSettings(drift=2, start=2), shifts=drift, order=order, backend=backend)
    list(run.epochs())
    wrong = without_map(run.problem.present()["pattern_shift"] - drift[order], SCAN.positions[order])
    assert np.sqrt(np.mean(wrong**2)) < 0.15 * np.sqrt(np.mean(drift**2))


@pytest.mark.parametrize("groups", [(), (np.arange(0, 56, 2), np.arange(1, 56, 2))])
def test_a_mean_shift_is_a_tilt_of_the_probe(groups):
    per = "scan" if groups else "run"
    scan = np.zeros(SCAN.n, int)
    scan[1::2] = 1 if groups else 0
    settings = {
        "object": ObjectSettings(margin_px=4),
        "probe": ProbeSettings(per=per),
        "pattern_shift": ShiftSettings(),
    }
    data = SCAN.dataset(start_probe=SCAN.probe(), angle_index=scan, theta_rad=np.zeros(1 + bool(groups)))
    run = RunSettings(precision="double", backend="autograd", device="cpu")
    problem = Reconstruction(data, Recipe(Ptychography(), settings, LeastSquares()), run).problem
    shifted = [0.3, -0.2] + (scan[:, None] - 0.5) * [0.1, 0.2]
    problem.values["pattern_shift"].array = problem.xp.asarray(shifted, exact=True)
    before = data_loss(problem, [np.arange(SCAN.n)])
    gauge = next(each for each in problem.bound.updates if isinstance(each, TiltGauge))
    rates = {"pattern_shift": 1.0, "probe": 1.0}
    apply_update(problem, gauge, State(1, 2, problem.present(), rates, problem.store.values))
    assert data_loss(problem, [np.arange(SCAN.n)]) == pytest.approx(before, rel=1e-3)
    left = problem.present()["pattern_shift"]
    for rows in groups or (slice(None),):
        np.testing.assert_allclose(left[rows], 0, atol=1e-12)
    held = State(1, 2, problem.present(), {"pattern_shift": 1.0}, problem.store.values)
    assert gauge.apply(held) is held


def test_mistakes_are_told():
    given = {"data": "a.h5", "forward_model": "ptychography"}
    with pytest.raises(
        ConfigErrors, match=r"pattern_shift\.drift: has no effect: shifts are not refined; leave it out"
    ):
        config_from({**given, "parameters": {"pattern_shift": {"drift": 2, "refine": False}}})
    model = {"kind": "tomography"}
    with pytest.raises(ConfigErrors, match=r"pattern_shift: unknown parameter for forward model 'tomography'"):
        config_from({"data": "a.h5", "forward_model": model, "parameters": {"pattern_shift": {}}})
