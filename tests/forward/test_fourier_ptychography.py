"""Fourier ptychography: what a picture holds of a wave, files and their lamps, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import insert, microscope_cases

import adorym
from adorym.commands.simulate import simulate
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, DataError
from adorym.forward.fourier_ptychography import FourierPtychography
from adorym.losses.counting import LeastSquares
from adorym.optimizers.preconditioned import Preconditioned

WAVELENGTH_M, PIXEL_M, SHAPE = 0.63e-6, 1.6e-6, (20, 24)
LEDS_PX = np.array([[0.0, 0.0], [3.3, -1.0], [-2.4, 2.0]])


def pictures(**changes: Any) -> Dataset:
    given = {
        "energy_ev": 1.239841984e-6 / WAVELENGTH_M,
        "pixel_size_m": (PIXEL_M, PIXEL_M),
        "extra": {"leds_px": LEDS_PX},
    }
    return Dataset(ArrayPatterns(np.full((3, *SHAPE), 50, np.float32)), **(given | changes))


def problem(data: Dataset, **model: Any) -> Any:
    made = FourierPtychography(**({"numerical_aperture": 0.1} | model))
    settings = RunSettings(threads=1, precision="double")
    return Reconstruction(data, Recipe(made, {}, LeastSquares()), settings).problem


def test_a_grating_is_seen_where_its_light_passes_the_pupil():
    """A wave in the object, q0 in the spectrum, comes through if q0 lies within the pupil around the lamp's place."""
    made = problem(pictures(), buffer_px=0)
    (ny, nx), radius = made.store.shape, 0.1 * np.array(SHAPE) * PIXEL_M / WAVELENGTH_M
    y, x = np.indices((ny, nx))
    for q0 in ((0, 0), (3, -1), (6, 2), (-4, 3), (-7, 7)):
        made.store.restore(np.exp(2j * np.pi * (q0[0] * y / ny + q0[1] * x / nx)), made.store.state())
        found = made.xp.to_numpy(predict_patterns(made, np.arange(3))).mean((1, 2))
        away = np.hypot(*((np.array(q0) - LEDS_PX) / radius).T)
        for counts, off in zip(found / 50, away, strict=True):
            if abs(off - 1) > 0.25:
                assert counts == pytest.approx(float(off < 1), abs=0.15), (q0, off)


def test_vacuum_has_the_counts_of_the_bright_pictures():
    made = problem(pictures())
    found = made.xp.to_numpy(predict_patterns(made, np.arange(3)))
    np.testing.assert_allclose(found, 50, rtol=0.05)


def test_a_lamp_of_one_place_in_meters_and_in_pixels():
    """``q = sin / wavelength``, times the width of a picture."""
    leds_m = np.array([[0.0, 0.0], [5e-3, 0.0], [3e-3, -4e-3]])
    sines = leds_m / np.sqrt((leds_m**2).sum(1, keepdims=True) + 0.08**2)
    expected = sines * np.array(SHAPE) * PIXEL_M / WAVELENGTH_M
    found = problem(pictures(extra={"leds_m": leds_m}), led_distance=0.08).bound.geometry.places_px
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_lamps_may_lie_in_a_table(tmp_path):
    (tmp_path / "leds.csv").write_text("y_mm,x_mm\n0,0\n5,0\n3,-4\n")
    made = problem(pictures(extra={}), leds=str(tmp_path / "leds.csv"), led_distance=0.08)
    leds_m = np.array([[0.0, 0.0], [5e-3, 0.0], [3e-3, -4e-3]])
    same = problem(pictures(extra={"leds_m": leds_m}), led_distance=0.08)
    np.testing.assert_allclose(made.bound.geometry.places_px, same.bound.geometry.places_px, rtol=1e-9)


def test_a_simulated_file_brings_its_lamps(tmp_path):
    simulate("fourier_ptychography", tmp_path / "frames.h5", {"window_px": [16, 20], "lamps": 3})
    data = adorym.open_dataset(tmp_path / "frames.h5", {"frames": "1:5"})
    assert data.extra["leds_m"].shape == (4, 2) and data.probe_positions_px is None
    made = problem(data, led_distance=0.08)
    assert made.bound.dataset.pixel_size_m == pytest.approx((0.8e-6, 0.8e-6))


def test_places_of_lamps_are_found_where_the_object_is_known():
    case = microscope_cases()[1]
    settings = {name: replace(each, refine=False) for name, each in case.settings.items()}
    steps = Preconditioned(regularization=1e-3, maximum_step=0.5)
    settings["led_places"] = replace(settings["led_places"], refine=True, optimizer=steps)
    made = replace(case, settings=settings).reconstruction(epochs=30)
    truth = case.truth(made.problem.store.shape, made.problem.bound.origin_px)
    insert(made.problem, {name: value for name, value in truth.items() if name != "led_places"})
    for _ in made.epochs():
        pass
    wrong = [each - truth["led_places"] for each in (made.problem.values["led_places"].first, _places(made.problem))]
    before, after = (np.sqrt(np.square(each - each.mean(0)).sum(1).mean()) for each in wrong)
    assert before > 0.05 and after < 0.1 * before


def _places(problem: Any) -> np.ndarray:
    return problem.present()["led_places"]


REFUSED = {
    "no lamps": ({"extra": {}}, {}, ConfigError, "places of the lamps are not known; give them"),
    "too few": ({"extra": {"leds_px": LEDS_PX[:2]}}, {}, ConfigError, "expected 3 finite places; found 2"),
    "distance": ({}, {"led_distance": 0.1}, ConfigError, "led_distance: has no effect: places are in pixels"),
    "no distance": ({"extra": {"leds_m": LEDS_PX}}, {}, ConfigError, "led_distance: absent, but places are lengths"),
    "coarse": (
        {"pixel_size_m": (4e-6, 4e-6)},
        {},
        ConfigError,
        "too coarse for it; expected pixels of at most 3.15e-06",
    ),
    "no pixel": ({"pixel_size_m": None}, {}, DataError, "plane of the sample is not known; give 'data.pixel_size'"),
    "a scan": ({"probe_positions_px": LEDS_PX}, {}, DataError, "only lamps change here; give 'forward_model.leds'"),
    "angles": (
        {"theta_rad": np.array([0.0, 1.0]), "angle_index": np.array([0, 0, 1])},
        {},
        ConfigError,
        "single rotation angle; found 2 angles; choose one",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    changes, model, kind, match = REFUSED[name]
    with pytest.raises(kind, match=match):
        problem(pictures(**changes), **model)
