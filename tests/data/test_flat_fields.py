"""Flat fields of several moments: the beam between them, what file and user say, round trip, wrong input."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile

from adorym.data.dataset import ArrayPatterns
from adorym.data.flat_fields import Drift, DriftingPatterns, drift_of
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.errors import DataError
from adorym.simulate.foam import FoamTomography


@pytest.fixture
def moving_beam(tmp_path):
    """Counts of nothing but a beam that moves along x, flat fields before and after."""
    n, ny, nx = 9, 4, 12
    x, part = np.arange(nx), np.linspace(0, 1, n)[:, None, None]
    before, after = (np.broadcast_to(1e3 + slope * x, (ny, nx)) for slope in (20.0, -30.0))
    with h5py.File(tmp_path / "beam.h5", "w") as file:
        file["exchange/data"] = (1 - part) * before + part * after + 7
        file["exchange/data_white"] = np.stack([before, before, after, after]) + 7
        file["exchange/data_dark"] = np.full((2, ny, nx), 7.0)
        file["exchange/theta"] = np.linspace(0, 180, n)
    return tmp_path / "beam.h5"


def flat(dataset) -> float:
    """Largest deviation from the open beam."""
    frames = dataset.patterns.read(np.arange(dataset.n_patterns))
    return float(np.abs(frames / dataset.open_beam_counts - 1).max())


def test_the_mean_leaves_a_moving_beam_in(moving_beam):
    assert flat(open_dataset(moving_beam)) > 0.1


def test_before_and_after_are_joined_by_a_line(moving_beam):
    dataset = open_dataset(moving_beam, {"white_fields": "before_and_after"})
    frames = dataset.patterns.read(np.array([5, 0, 8]))
    np.testing.assert_allclose(frames / frames.mean(axis=(1, 2), keepdims=True), 1, rtol=1e-5)
    assert any("interpolated linearly in between" in note for note in dataset.notes)


def test_angles_of_the_white_fields_are_used(moving_beam):
    with h5py.File(moving_beam, "a") as file:
        file["exchange/theta_white"] = [0.0, 0.0, 180.0, 180.0]
    assert flat(open_dataset(moving_beam)) < 1e-4
    assert flat(open_dataset(moving_beam, {"white_fields": "mean"})) > 0.1
    assert flat(open_dataset(moving_beam, {"angles": "3:7"})) < 1e-4


def test_numbers_must_agree(moving_beam):
    with h5py.File(moving_beam, "a") as file:
        file["exchange/theta_white"] = [0.0, 180.0]
    with pytest.raises(DataError, match=r"flat fields and their angles differ in number; expected 4; found 2"):
        open_dataset(moving_beam)
    with h5py.File(moving_beam, "a") as file:
        del file["exchange/theta_white"], file["exchange/data_white"]
        file["exchange/data_white"] = np.full((1, 4, 12), 1e3)
    with pytest.raises(DataError, match="one flat field cannot be from before and after the scan"):
        open_dataset(moving_beam, {"white_fields": "before_and_after"})


def test_given_white_fields_take_the_place_of_those_in_the_file(moving_beam):
    """And drift as those do."""
    with h5py.File(moving_beam, "a") as file:
        given = file["exchange/data_white"][()]
        file["exchange/data_white"][...] = 1e3 * np.random.default_rng(0).random(given.shape) + 50
        file["exchange/theta_white"] = [0.0, 0.0, 180.0, 180.0]
    assert flat(open_dataset(moving_beam)) > 0.1
    assert flat(open_dataset(moving_beam, {"white_fields": "before_and_after", "white": given})) < 1e-4
    assert flat(open_dataset(moving_beam, {"white": given})) > 0.1


@pytest.mark.parametrize("kind", ["mean", "before_and_after"])
def test_a_given_dark_field_is_taken_off_the_white_fields_as_well(moving_beam, kind):
    expected = open_dataset(moving_beam, {"white_fields": kind})
    with h5py.File(moving_beam, "a") as file:
        file["exchange/data_dark"][...] = 300.0
    found = open_dataset(moving_beam, {"white_fields": kind, "dark": np.full((4, 12), 7.0)})
    every = np.arange(expected.n_patterns)
    np.testing.assert_allclose(found.patterns.read(every), expected.patterns.read(every), rtol=1e-5)
    assert found.open_beam_counts == pytest.approx(expected.open_beam_counts)


def test_written_fields_are_read_again(tmp_path):
    made = FoamTomography(size_px=(8, 20), angles=7, bubbles=3, beam_drift=0.3, counts=1e4).run(5)
    assert isinstance(made.patterns, DriftingPatterns)
    read = open_dataset(write_native(made, tmp_path / "foam.h5"))
    every = np.arange(made.n_patterns)
    np.testing.assert_allclose(read.patterns.read(every), made.patterns.read(every), rtol=1e-4)


def test_one_moment_is_no_drift():
    assert drift_of(np.ones((3, 2, 2)), np.zeros(3), np.zeros(4)) is None


def test_dark_pixels_stay_as_they_are():
    flats = np.ones((2, 1, 2))
    flats[1] = (3.0, 0.0)
    drift = Drift.of(flats, np.array([0.0, 1.0]))
    frames = DriftingPatterns(ArrayPatterns(np.array([[[2.0, 0.0]], [[6.0, 0.0]]], np.float32)), drift)
    np.testing.assert_allclose(frames.read(np.arange(2)), [[[4, 0]], [[4, 0]]])


def test_pixels_without_light_are_masked(moving_beam):
    with h5py.File(moving_beam, "a") as file:
        file["exchange/data_white"][:, 1, 3] = 0
    mask = open_dataset(moving_beam).mask
    assert not mask[1, 3] and mask.sum() == mask.size - 1


def test_line_integrals_become_transmissions(tmp_path):
    with h5py.File(tmp_path / "logged.h5", "w") as file:
        file["exchange/data"] = np.array([[[0.0, -0.1, 2.0]]] * 3)
        file["exchange/theta"] = [0.0, 60.0, 120.0]
    dataset = open_dataset(tmp_path / "logged.h5", {"measured": "line_integrals"})
    assert dataset.measured == "intensity" and dataset.open_beam_counts == 1
    np.testing.assert_allclose(dataset.patterns.read(np.array([1]))[0, 0], np.exp([0, 0.1, -2]), rtol=1e-6)


@pytest.fixture
def drifting_beam(tmp_path):
    """Three pictures of nothing but a beam that moves in between, and two flat fields of each."""
    rng = np.random.default_rng(0)
    beams = 1e3 * (1 + rng.random((3, 4, 12)))
    for i, beam in enumerate(beams):
        tifffile.imwrite(tmp_path / f"picture_{i}cm.tif", (beam + 7).astype("f4"))
        tifffile.imwrite(tmp_path / f"flat_{i}cm.tif", (beam + 7).astype("f4"))
        two = np.stack([beam * 0.9, beam * 1.1]) + 7
        tifffile.imwrite(tmp_path / f"two_{i}cm.tif", two.astype("f4"), photometric="minisblack")
    return tmp_path


def test_as_many_flat_fields_as_pictures_belong_to_one_each(drifting_beam):
    dark = np.full((4, 12), 7.0)
    keys = {"white": str(drifting_beam / "flat_*.tif"), "dark": dark}
    dataset = open_dataset(drifting_beam / "picture_*.tif", keys)
    assert flat(dataset) < 1e-4
    assert any("each has its own (data.white_fields: mean" in note for note in dataset.notes)
    assert flat(open_dataset(drifting_beam / "picture_*.tif", keys | {"white_fields": "mean"})) > 0.1
    again = open_dataset(write_native(dataset, drifting_beam / "series.h5"))
    assert flat(again) < 1e-4


def test_several_flat_fields_of_each_picture(drifting_beam):
    keys = {"white": str(drifting_beam / "two_*.tif"), "dark": np.full((4, 12), 7.0)}
    assert flat(open_dataset(drifting_beam / "picture_*.tif", keys)) > 0.1
    assert flat(open_dataset(drifting_beam / "picture_*.tif", keys | {"white_fields": "one_each"})) < 1e-4
    keys["white"] = str(drifting_beam / "two_[01]cm.tif")
    with pytest.raises(DataError, match="do not come one for each pattern; expected 3, or a multiple; found 4"):
        open_dataset(drifting_beam / "picture_*.tif", keys | {"white_fields": "one_each"})
