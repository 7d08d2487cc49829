"""Near-field models compute distance, pixel size and positions from focus, sample and detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.engine.build import bind
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import GeometryError
from adorym.forward.holography import Holography
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.simulate.experiments import Ptychography as Experiment

Z1, Z2, PITCH, ENERGY = 0.01, 0.49, 10e-6, 1e4
MAGNIFICATION, EFFECTIVE = 50.0, 0.0098
FAR_PIXEL = 1.23984198e-6 / ENERGY * Z2 / (32 * PITCH)
POSITIONS_M = np.array([[0.0, 1e-6], [3e-6, 0.0], [2e-6, 4e-6]])


def measured(scanned: bool = True, **fields) -> Dataset:
    """What a reader makes of a file with three lengths and an energy: pixel and positions of the far field."""
    known = {
        "energy_ev": ENERGY,
        "detector_pixel_size_m": (PITCH, PITCH),
        "distance_m": Z2,
        "source_distance_m": Z1,
        "pixel_size_m": (FAR_PIXEL, FAR_PIXEL),
        "computed": ("pixel_size_m", "probe_positions_px"),
    }
    scan = {"probe_positions_px": POSITIONS_M / FAR_PIXEL} if scanned else {}
    return Dataset(ArrayPatterns(np.ones((3 if scanned else 1, 32, 32), "f4")), **(known | scan | fields))


def bound(dataset: Dataset, model=None):
    return bind(dataset, Recipe(model or Ptychography(propagation="fresnel"), {}, LeastSquares()), RunSettings())


def test_a_scan_in_a_cone_beam():
    made = bound(measured())
    assert made.geometry.effective_distance_m == pytest.approx(EFFECTIVE)
    assert made.geometry.grid("near_field").pixel_size_m == pytest.approx((PITCH / MAGNIFICATION,) * 2)
    np.testing.assert_allclose(made.dataset.probe_positions_px, POSITIONS_M / (PITCH / MAGNIFICATION))


def test_positions_in_pixels_stay():
    made = bound(measured(computed=("pixel_size_m",)))
    np.testing.assert_allclose(made.dataset.probe_positions_px, POSITIONS_M / FAR_PIXEL)


def test_without_a_focus_the_pixel_is_the_detectors():
    made = bound(measured(source_distance_m=None, distance_m=0.1))
    assert made.geometry.effective_distance_m == 0.1 and made.dataset.pixel_size_m == (PITCH, PITCH)


def test_the_magnification_follows_from_the_effective_distance():
    known = {"distance_m": None, "pixel_size_m": None, "computed": ()}
    made = bound(measured(propagation_distance_m=np.array([EFFECTIVE]), **known))
    assert made.dataset.pixel_size_m == pytest.approx((PITCH / MAGNIFICATION,) * 2)
    with pytest.raises(GeometryError, match="data.source_distance: shorter than the effective propagation distance"):
        bound(measured(propagation_distance_m=np.array([0.021]), **known))


def test_a_hologram_in_a_cone_beam():
    made = bound(measured(scanned=False), Holography())
    np.testing.assert_allclose(made.geometry.distances_m, [EFFECTIVE])
    assert made.geometry.object_grid.pixel_size_m == pytest.approx((PITCH / MAGNIFICATION,) * 2)


def test_a_stated_pixel_that_contradicts_is_refused_with_a_remedy_that_works():
    wrong = measured(pixel_size_m=(1e-7, 1e-7), computed=())
    words = r"pixel size: .*near field.* expected 2e-07 x 2e-07 m.*'data.pixel_size: 2e-07 m'.*'data.source_distance'"
    with pytest.raises(GeometryError, match=words):
        bound(wrong)
    assert bound(replace(wrong, pixel_size_m=(2e-7, 2e-7))).dataset.pixel_size_m == (2e-7, 2e-7)


def test_a_simulated_cone_beam_is_accepted_and_so_is_its_file(tmp_path):
    data = Experiment(
        window_px=(32, 32), object_px=(64, 64), propagation="near_field", energy=17e3, distance=0.9,
        source_distance=0.1, detector_pixel=20e-6,
    ).run(0)  # fmt: skip
    write_native(data, tmp_path / "cone.h5")
    for dataset in (data, open_dataset(tmp_path / "cone.h5")):
        made = bound(dataset)
        assert made.geometry.effective_distance_m == pytest.approx(0.09)
        assert made.geometry.magnification == pytest.approx(10)


def test_what_was_computed_is_known_after_a_file_was_written(tmp_path):
    write_native(measured(), tmp_path / "a.h5")
    for keys, pixel in (({}, PITCH / MAGNIFICATION), ({"pixel_size": 3e-7, "detector_pixel_size": 1.5e-5}, 3e-7)):
        made = bound(open_dataset(tmp_path / "a.h5", keys))
        assert made.dataset.pixel_size_m == pytest.approx((pixel, pixel))
