"""Data in memory: the same run as from a file, numbers in SI units, the same checks and messages."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import data_set, settings, write_data
from data_files import from_corner
from tiny_scan import ENERGY_EV, PIXEL_M, Scan

import adorym
from adorym.config import load_config
from adorym.errors import ConfigError, ConfigErrors, DataError

# A third of the steps is refined, so that positions matter.
CONFIG = {key: value for key, value in settings(parameters={"probe_positions": {"start": 1}}).items() if key != "data"}
COUNTS = np.random.default_rng(0).poisson(Scan().patterns()).astype(np.float32)
METERS = Scan().positions * PIXEL_M
GIVEN = {"patterns": COUNTS, "positions": METERS, "pixel_size": PIXEL_M, "energy": ENERGY_EV}


def test_arrays_are_reconstructed_as_a_file_is(tmp_path):
    start = {"probe": {"initial": {"kind": "mean_pattern"}}}
    config = CONFIG | {"parameters": CONFIG["parameters"] | start}
    low = Scan().positions - Scan().positions.min(axis=0)
    data = data_set(patterns=adorym.data.dataset.ArrayPatterns(COUNTS), probe_positions_px=low, start_probe=None)
    path = write_data(tmp_path / "a.h5", patterns=data.patterns, probe_positions_px=low, start_probe=None)
    by_file = adorym.reconstruct(config | {"data": str(path)})
    result = adorym.reconstruct(config, **GIVEN, output=tmp_path / "out")
    np.testing.assert_allclose(result.object, by_file.object, atol=1e-5)
    stored = adorym.read_result(tmp_path / "out")
    assert stored.provenance["data"] == "patterns in memory"
    assert "positions: array of float64 (20, 2), CRC-32 " in stored.config
    again = adorym.reconstruct(config, **GIVEN, output=tmp_path / "out", resume=True)
    np.testing.assert_array_equal(again.object, result.object)
    with pytest.raises(adorym.errors.InputError, match="data.positions"):
        adorym.reconstruct(config, **GIVEN | {"positions": METERS[::-1]}, output=tmp_path / "out", resume=True)


def test_lists_units_and_other_keys():
    lists = GIVEN | {
        "patterns": COUNTS.tolist(),
        "positions": METERS.tolist(),
        "energy": "8 keV",
        "pixel_size": "80 nm",
    }
    dataset = adorym.prepare(CONFIG, **lists, frames="::2", mask=np.ones(COUNTS.shape[1:]).tolist()).problem.dataset
    assert dataset.n_patterns == 10 and dataset.energy_ev == 8000 and dataset.mask.all()
    np.testing.assert_allclose(dataset.pixel_size_m, 80e-9)
    microns = adorym.prepare(CONFIG, **GIVEN | {"positions": METERS * 1e6}, positions_unit="um").problem.dataset
    np.testing.assert_allclose(microns.probe_positions_px, from_corner(METERS / PIXEL_M), atol=1e-9)


def test_positions_in_pixels_are_recognized():
    dataset = adorym.prepare(CONFIG, **GIVEN | {"positions": Scan().positions}).problem.dataset
    np.testing.assert_allclose(dataset.probe_positions_px, Scan().positions)
    assert any("taken as px" in note for note in dataset.notes)


def test_a_raster_in_memory():
    y, x = np.arange(4) * 250e-9, np.arange(5) * 200e-9
    cube = COUNTS.reshape(4, 5, *COUNTS.shape[1:])
    given = {"patterns": cube, "pixel_size": PIXEL_M, "energy": ENERGY_EV}
    dataset = adorym.prepare(CONFIG, **given, scan={"step": ("250 nm", "200 nm")}).problem.dataset
    expected = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2) / PIXEL_M
    np.testing.assert_allclose(dataset.probe_positions_px, expected + 2, atol=1e-9)


def test_a_configuration_file_without_data_and_one_with_data(tmp_path):
    (tmp_path / "a.yaml").write_text("forward_model: {kind: ptychography}\nrun: {epochs: 1}\n")
    assert adorym.prepare(tmp_path / "a.yaml", **GIVEN).problem.dataset.n_patterns == 20
    write_data(tmp_path / "data.h5")
    (tmp_path / "b.yaml").write_text("data: {path: data.h5}\nforward_model: {kind: ptychography}\n")
    made = load_config(tmp_path / "b.yaml")
    assert adorym.prepare(made, frames=":7").problem.dataset.n_patterns == 7
    assert adorym.prepare(made, frames=":7").problem.dataset.path.endswith("data.h5")
    assert repr(made).startswith(f"Config(ptychography of {tmp_path / 'data.h5'}; ")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"positons": METERS}, ConfigError, "data.positons: unknown key; did you mean 'positions'"),
        ({"pixel_size": "thin"}, ConfigError, "data.pixel_size: cannot read 'thin'"),
        ({"pixel_size": "thin", "energy": "8 um"}, ConfigErrors, "data.energy: (.|\n)*data.pixel_size: "),
        ({"positions": METERS[:-1]}, DataError, "expected 20 positions; found 19"),
        ({"positions": None, "mask": np.ones((3, 3))}, DataError, "the mask does not fit"),
        ({"positions": None}, DataError, "no probe positions"),
        ({"patterns": COUNTS * np.nan}, DataError, "patterns in memory.*not finite"),
        ({"patterns": COUNTS[0, 0]}, DataError, "patterns in memory.*wrong shape"),
        ({"patterns": COUNTS * 1j}, DataError, "patterns in memory.*not real numbers"),
        ({"pixel_size": None}, DataError, "pixel size of the object is unknown; give data.pixel_size"),
    ],
)
def test_the_same_messages_as_for_a_file(change, error, words):
    with pytest.raises(error, match=words):
        adorym.prepare(CONFIG, **GIVEN | change)
