"""What the data leave open is fixed by a convention: the object is 1 in vacuum, the probe has the beam's photons."""

from __future__ import annotations

import numpy as np
import pytest
from vacuum_scan import PHOTONS, inside, scan

import adorym
from adorym.config import config_from
from adorym.data.dataset import Dataset
from adorym.engine.convention import share
from adorym.engine.gradients import batch_gradients
from adorym.engine.loop import Reconstruction
from adorym.optics.vacuum import passed


def solved(data: Dataset, epochs: int = 25, run: dict | None = None, **more) -> Reconstruction:
    settings = {"data": {"path": "-"}, "forward_model": {"kind": "ptychography"}} | more
    settings["run"] = {"epochs": epochs, "backend": "autograd", "device": "cpu"} | (run or {})
    made = config_from(settings)
    found = Reconstruction(data, made.recipe, made.run)
    for _ in found.epochs():
        pass
    return found


def loss_of(run: Reconstruction) -> float:
    patterns = np.arange(run.problem.dataset.n_patterns)
    return batch_gradients(run.problem, patterns, frozenset(["probe"]), frozenset())[0]


def vacuum_modulus(run: Reconstruction, side: str) -> np.ndarray:
    result = adorym.outcome(run)
    return np.abs(result.object[..., 0][inside(side, result.origin_px, result.object.shape[:2])])


@pytest.mark.parametrize(("side", "modes"), [("left", 1), ("right", 1), ("top", 2)])
def test_the_object_is_one_in_vacuum_and_the_probe_has_the_photons(side, modes):
    more = {"parameters": {"probe": {"modes": modes}}}
    run = solved(scan(side, modes), **more)
    result = adorym.outcome(run)
    assert np.median(vacuum_modulus(run, side)) == pytest.approx(1, abs=0.01)
    assert (np.abs(result.probe) ** 2).sum() == pytest.approx(PHOTONS, rel=0.02)
    assert result.provenance["photons"] == "the object is 1 in vacuum"


def test_a_strong_absorber_beside_the_vacuum_changes_nothing():
    run = solved(scan("left", attenuation=1.2))
    assert np.median(vacuum_modulus(run, "left")) == pytest.approx(1, abs=0.015)


def test_without_vacuum_the_brightest_patterns_fix_the_probe():
    data = scan("none")
    result = adorym.outcome(solved(data))
    brightest = np.percentile(data.patterns.array.sum((1, 2)), 98)
    assert (np.abs(result.probe) ** 2).sum() == pytest.approx(brightest, rel=0.03)
    assert result.provenance["photons"].startswith("no vacuum is seen")


def test_without_vacuum_a_given_number_of_photons_fixes_it():
    result = adorym.outcome(solved(scan("none"), parameters={"probe": {"power": 3.3e5}}))
    assert (np.abs(result.probe) ** 2).sum() == pytest.approx(3.3e5, rel=1e-4)


def test_a_held_probe_or_a_constraint_fixes_it_instead():
    held = solved(scan(), 2, parameters={"probe": {"refine": False}})
    assert share(held.problem).of_object.size == 0
    power = [{"kind": "probe_power", "photons": 1e4}]
    assert share(solved(scan(), 2, constraints=power).problem).of_object.size == 0
    assert share(solved(scan(), 1, run={"epochs": 2}, constraints=[{"kind": "orthogonal_modes"}]).problem).by


@pytest.mark.parametrize("representation", ["real_imag", "delta_beta"])
def test_the_loss_stays(representation):
    more = {"parameters": {"object": {"representation": representation}}}
    run = solved(scan(), 3, run={"precision": "double"}, **more)
    factor = 1.7
    run.problem.store.apply(lambda tile, row: run.problem.bound.space.scaled(tile, factor))
    run.problem.values["probe"].array = run.problem.values["probe"].array / factor
    before = loss_of(run)
    shared = share(run.problem)
    assert np.abs(shared.of_object - 1).max() > 0.3
    run.problem.store.apply(lambda tile, row: shared.scaled(run.problem, tile))
    run.problem.values["probe"].array = run.problem.values["probe"].array * shared.of_probe
    assert loss_of(run) == pytest.approx(before, rel=1e-9)
    assert share(run.problem).of_object.size == 0  # idempotent


@pytest.mark.parametrize("store", ["do", "h5"])
def test_every_store_comes_to_the_same(store, tmp_path):
    where = {"scratch": str(tmp_path)} if store == "h5" else {}
    results = [
        adorym.outcome(solved(scan(), 3, run={"precision": "double", "store": kind, **more}))
        for kind, more in (("dp", {}), (store, where))
    ]
    np.testing.assert_allclose(results[1].object, results[0].object, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(results[1].probe, results[0].probe, rtol=1e-6, atol=1e-3)


def test_the_result_is_the_runs_state_but_for_the_factor():
    run = solved(scan(), 3)
    shared = share(run.problem)
    assert shared.of_probe * shared.of_object[0] == pytest.approx(1)
    state = run.problem.store.values()
    np.testing.assert_allclose(adorym.outcome(run).object[..., 0], state * shared.of_object[0], rtol=1e-6)


def test_a_ramp_is_vacuum_and_a_grating_is_not():
    y, x = np.mgrid[:24, :24] - 11.5
    light = np.exp(-(y**2 + x**2) / 2 / 4**2)
    ramp = 0.8 * np.exp(1j * (0.6 * y - 0.4 * x + 1))
    grating = 0.8 * np.exp(0.5j * np.sin(x))
    assert passed(np.stack([ramp] * 4), light).vacuum.all()
    assert abs(passed(np.stack([ramp] * 4), light).vacuum_value) == pytest.approx(0.8)
    assert not passed(np.stack([grating] * 4), light).vacuum.any()


def test_a_flat_place_darker_than_others_is_no_vacuum():
    light, flat = np.ones((8, 8)), np.full((8, 8, 8), 0.7 + 0j)
    rng = np.random.default_rng(1)
    brighter = np.exp(2j * rng.random((8, 8, 8)))
    assert passed(flat, light).vacuum_value == pytest.approx(0.7)
    assert passed(np.concatenate([flat, brighter]), light).vacuum_value is None
