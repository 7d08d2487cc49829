"""The verdict at the end of a run: converged, not converged, or a model that does not fit; noise known or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_runs import finished, tiny
from tiny_scan import Scan
from vacuum_scan import scan

import adorym
from adorym.config import config_from
from adorym.data.dataset import Dataset
from adorym.data.result import read_result, write_result
from adorym.data.verdict import Verdict
from adorym.engine.loop import Reconstruction
from adorym.engine.verdict import verdict


def solved(data: Dataset, epochs: int = 30) -> Reconstruction:
    run = {"epochs": epochs, "backend": "autograd", "device": "cpu"}
    made = config_from({"data": {"path": "-"}, "forward_model": {"kind": "ptychography"}, "run": run})
    return finished(Reconstruction(data, made.recipe, made.run))


def shuffled(data: Dataset) -> Dataset:
    positions = data.probe_positions_px
    return data.with_(probe_positions_px=positions + np.random.default_rng(3).normal(0, 2, positions.shape))


def test_a_good_run_fits_to_the_noise(tmp_path):
    result = adorym.outcome(solved(scan()))
    found = result.verdict
    assert found.kind == "converged" and 0.8 < found.times_noise < 1.3 and found.reasons == ()
    assert found.noise == "photon counts" and found.epoch == 30
    assert found.text == f"Fits to {found.times_noise:.3g} x the noise: converged."
    write_result(result, tmp_path / "result.h5")
    assert read_result(tmp_path / "result.h5").verdict == found


def test_a_few_epochs_are_not_enough():
    found = verdict(solved(scan(), 3))
    assert found.kind == "not converged" and found.times_noise > 1.3
    assert "few epochs" in found.reasons[0] and "run.epochs" in found.reasons[0]


def test_wrong_positions_do_not_fit():
    found = verdict(solved(shuffled(scan())))
    assert found.kind == "the model does not fit" and found.times_noise > 2
    assert any("parameters.probe_positions" in reason for reason in found.reasons)
    assert found.lines[0].endswith("the model does not fit; likeliest reasons first:")


def test_normalized_counts_have_the_noise_of_counts():
    data = scan()
    found = verdict(solved(data.with_(patterns=replace(data.patterns, array=data.patterns.array * np.float32(0.0025)))))
    assert found.kind == "converged" and 0.8 < found.times_noise < 1.3
    assert found.noise == "photon counts times 0.0025"


def test_the_noise_of_data_without_any_is_not_known_and_a_good_fit_is_success():
    found = verdict(solved(scan(noise=False), 60))
    assert np.isnan(found.times_noise) and found.kind == "converged"
    assert "noise unknown" in found.text and found.relative < 0.05
    wrong = verdict(solved(shuffled(scan(noise=False))))
    assert wrong.kind == "the model does not fit" and wrong.relative > 2 * found.relative


def test_the_run_stays_as_it_is():
    run = tiny()
    finished(run, 2)
    before = run.problem.store.values(), run.problem.store.state(), run.problem.present()["probe"].copy()
    verdict(run)
    np.testing.assert_array_equal(run.problem.store.values(), before[0])
    for one, other in zip(run.problem.store.state(), before[1], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(run.problem.present()["probe"], before[2])


def test_every_store_gives_the_same(tmp_path):
    found = []
    for store, more in (("dp", {}), ("do", {}), ("h5", {"scratch": str(tmp_path)})):
        found.append(verdict(finished(tiny(store=store, **more))))
    for other in found[1:]:
        assert other.kind == found[0].kind and other.misfit == pytest.approx(found[0].misfit, rel=1e-6)


def test_a_single_pattern_cannot_be_halved():
    data = Scan(grid=(1, 1)).noisy()
    assert verdict(finished(tiny(data.with_(start_probe=Scan().probe()), batch_size=1), 4)).kind in (
        "converged",
        "not converged",
    )


def test_it_says_what_it_does_not_know():
    found = Verdict("converged", 0.1, np.nan, 0.0123, "the values are no counts", 7)
    assert found.text == "Fits to 1.2 % of the amplitude (noise unknown: the values are no counts): converged."
