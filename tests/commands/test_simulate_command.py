"""Simulating to a file."""

import h5py
import numpy as np
import pytest

from adorym.commands.simulate import simulate
from adorym.data.open import open_dataset
from adorym.errors import ConfigError, ConfigErrors

SETTINGS = {
    "window_px": [32, 24],
    "object_px": [56, 52],
    "illumination": {"kind": "focused_beam", "aperture": 5},
    "scan": {"pattern": "jittered", "step": "8 px", "position_error": "1 px"},
}


def test_file_holds_the_data_set_and_its_truth(tmp_path):
    made = simulate("ptychography", tmp_path / "data.h5", SETTINGS, seed=4)
    read = open_dataset(tmp_path / "data.h5")
    np.testing.assert_array_equal(read.patterns.read(np.arange(made.n_patterns)), made.patterns.array)
    np.testing.assert_allclose(read.probe_positions_px, made.probe_positions_px)
    np.testing.assert_allclose(read.pixel_size_m, made.pixel_size_m)
    np.testing.assert_array_equal(read.start_probe, made.start_probe)
    assert read.truth.keys() == made.truth.keys()
    for name, value in made.truth.items():
        np.testing.assert_array_equal(read.truth[name], value)
    assert made.path == str(tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5") as file:
        assert file["truth/probe_positions_px"].attrs["units"] == "px"


def test_same_seed_writes_the_same_data(tmp_path):
    first, again, other = (
        simulate("ptychography", tmp_path / "d.h5", SETTINGS, seed=s).patterns.array for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_unknown_simulation_is_refused_with_a_suggestion(tmp_path):
    with pytest.raises(ConfigError, match="no simulation named 'ptychograpy'; did you mean 'ptychography'"):
        simulate("ptychograpy", tmp_path / "d.h5")


def test_all_wrong_settings_are_listed(tmp_path):
    with pytest.raises(
        ConfigErrors, match=r"(?s)photns: unknown key; did you mean 'photons'.*|energy: .*unit"
    ) as caught:
        simulate("ptychography", tmp_path / "d.h5", {"photns": 3, "energy": "8 m"})
    assert len(caught.value.errors) == 2
    assert not (tmp_path / "d.h5").exists()


def test_negative_seed_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="seed: must not be negative; expected >= 0; found -1"):
        simulate("ptychography", tmp_path / "d.h5", SETTINGS, seed=-1)
