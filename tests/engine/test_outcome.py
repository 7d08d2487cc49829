"""What a run hands over: in the file's frame, with units, and as much as is needed to judge it."""

from __future__ import annotations

import numpy as np
import pytest
from laws import relative_error
from tiny_runs import BACKENDS, SCAN, STEADY, calm, exact, finished, measured, step, tiny, value_of
from tiny_scan import PIXEL_M, Scan

from adorym.data.result import read_result, write_result
from adorym.engine.convention import share
from adorym.engine.outcome import outcome, predict_patterns
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.parameters import ParameterSettings


@pytest.mark.parametrize("backend", BACKENDS)
def test_result_is_what_the_run_found(backend, tmp_path):
    parameters = calm() | {"probe_positions": ParameterSettings(optimizer=step(0.2))}
    run = finished(tiny(parameters=parameters, backend=backend, precision="single"))
    result = outcome(run, "text of the configuration")
    assert result.representation == "real_imag" and result.config == "text of the configuration"
    shared = share(run.problem)
    np.testing.assert_array_equal(result.object[..., 0], shared.scaled(run.problem, value_of(run, "object")))
    assert result.object.shape == (*run.problem.store.shape, 1) and result.object.dtype == np.complex64
    assert result.origin_px == run.problem.bound.origin_px and result.pixel_size_m == PIXEL_M
    positions = result.parameters["probe_positions"]
    np.testing.assert_array_equal(positions.value, value_of(run, "probe_positions"))
    np.testing.assert_array_equal(positions.start, SCAN.positions)
    assert positions.unit == "px" and set(result.parameters) == {"probe_positions"}
    assert result.history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert result.history["loss"].tolist() == run.progress.history["loss"]
    expected = {"backend": backend, "device": "cpu", "precision": "single", "seed": "1", "batch_size": "7"}
    assert expected.items() <= result.provenance.items()
    write_result(result, tmp_path / "result.h5")
    np.testing.assert_array_equal(read_result(tmp_path / "result.h5").object, result.object)


def test_a_result_does_not_change_with_the_run_that_goes_on():
    run = finished(tiny(), 1)
    early = outcome(run)
    kept = early.object.copy(), early.probe.copy(), early.parameters["probe_positions"].value.copy()
    finished(run, 2)
    np.testing.assert_array_equal(early.object, kept[0])
    np.testing.assert_array_equal(early.probe, kept[1])
    assert len(early.history["loss"]) == 1 and len(outcome(run).history["loss"]) == 3


def test_modes_are_orthogonal_strongest_first_and_predict_the_same():
    run = finished(
        tiny(parameters=calm() | {"probe": ProbeSettings(modes=3, per="run", optimizer=step(0.1), seeding="random")})
    )
    modes = outcome(run).probe.astype(np.complex128) / share(run.problem).of_probe
    flat = modes.reshape(3, -1)
    overlaps = flat.conj() @ flat.T
    powers = np.diag(overlaps).real
    assert (np.diff(powers) < 0).all() and np.abs(overlaps - np.diag(powers)).max() < 1e-5 * powers[0]
    before = run.problem.xp.to_numpy(predict_patterns(run.problem, np.arange(4)))
    run.problem.values["probe"].array = run.problem.xp.asarray(modes)
    after = run.problem.xp.to_numpy(predict_patterns(run.problem, np.arange(4)))
    assert relative_error(after, before) < 1e-5


def test_detector_images_are_in_the_frame_of_the_patterns():
    """Zero frequency at the corner inside, at the center outside."""
    y, x = np.indices(SCAN.window)
    scan = Scan(modes=1, window=SCAN.window, background=1.0 + 0.2 * y + 0.05 * x)
    centered = np.asarray(scan.background)
    run = tiny(exact(scan), calm() | {"background": ParameterSettings(refine=False, initial=0.5)})
    problem = run.problem
    problem.values["background"].array = problem.xp.asarray(problem.bound.to_model_frame(centered[None]))
    np.testing.assert_allclose(outcome(run).parameters["background"].value, centered[None])
    np.testing.assert_allclose(outcome(run).parameters["background"].start, 0.5)


@pytest.mark.parametrize("regime", ["far_field", "fresnel"])
def test_fit_of_the_pattern_in_the_middle(regime):
    """With the truth in place, prediction and measurement agree pixel by pixel, in the file's frame."""
    scan = Scan(regime=regime, window=(24, 28), size_px=2.3)
    parameters = {
        "probe": ProbeSettings(power=scan.photons, optimizer=step(0.1)),
        "object": ObjectSettings(margin_px=4, optimizer=step(), schedule=STEADY),
    }
    run = tiny(exact(scan), parameters, {"model": Ptychography(propagation=regime)})
    store = run.problem.store
    store.restore(scan.object_array(store.shape, run.problem.bound.origin_px), store.state())
    fit = outcome(run).fit
    middle = int(fit["index"])
    assert np.linalg.norm(scan.positions[middle] - scan.positions.mean(0)) < scan.step_px
    np.testing.assert_allclose(fit["measured"], scan.patterns()[middle], rtol=1e-6)
    assert relative_error(fit["predicted"], fit["measured"]) < 1e-4


def test_amplitudes_are_shown_as_counts():
    data = measured()
    amplitudes = data.with_(patterns=type(data.patterns)(np.sqrt(data.patterns.array)), measured="amplitude")
    fits = [outcome(tiny(each)).fit for each in (data, amplitudes)]
    np.testing.assert_allclose(fits[1]["measured"], fits[0]["measured"], rtol=1e-5)
