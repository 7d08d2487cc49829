"""Arrays of unknown files told by name, unit and number; what is not certain is refused with a configuration."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
from data_files import counts, from_corner, positions, write

from adorym.commands.formats import formats
from adorym.commands.inspect import inspect
from adorym.data.containers import open_container
from adorym.data.names import role_of, split_unit
from adorym.data.open import open_dataset
from adorym.data.suggest import guess
from adorym.errors import DataError

N = 30
WINDOW = (16, 16)
PIXEL_M = 200e-9
STACK = counts(N, window=WINDOW)
PLACES = positions(N)
LENGTHS = {"energy_kev": 8.0, "det_dist_mm": 2000.0, "detector_pixel_um": 75.0}  # 258 nm in the object


@pytest.mark.parametrize(
    ("name", "unit", "value", "role", "known"),
    [
        ("lambda_nm", "", 0.14, "wavelength", "nm"),
        ("wavelength", "", 1.4e-10, "wavelength", "m"),
        ("wavelength", "", 1.4, None, None),  # angstrom or nanometer
        ("entry/beam/incident_wavelength", "angstrom", 1.4, "wavelength", "angstrom"),
        ("photon_energy_eV", "", 8800.0, "energy", "eV"),
        ("energy", "", 8.8, "energy", "keV"),
        ("energy", "", 8800.0, "energy", "eV"),
        ("energy", "", 1.4e-15, "energy", "J"),
        ("energy", "", 300.0, None, None),  # electrons of 300 kV, or soft X-rays
        ("energy", "keV", 300.0, "energy", "keV"),
        ("dxd", "", 75e-6, "detector_pixel_size", "m"),
        ("ccd_pixel_um", "", 55.0, "detector_pixel_size", "um"),
        ("meta/pixel_size", "", 75e-6, "detector_pixel_size", "m"),
        ("meta/pixel_size", "", 12e-9, "pixel_size", "m"),
        ("dx", "", 1.2e-8, "pixel_size", "m"),
        ("x_pixel_size", "mm", 0.055, "detector_pixel_size", "mm"),
        ("pixel_size", "nm", 12.0, "pixel_size", "nm"),
        ("psize", "", 1.7e-6, None, None),  # may be either
        ("obj_pixel_size_m", "", 1e-8, "pixel_size", "m"),
        ("zo", "", 0.4, "distance", "m"),
        ("detectorDistance", "", 2.0, "distance", "m"),
        ("det_dist", "mm", 2000.0, "distance", "mm"),
        ("distance", "", 2000.0, "distance", "mm"),
        ("distance", "eV", 2.0, None, None),
        ("exposure_time_s", "", 0.1, None, None),
        ("posx_um", "", 3.0, None, None),
    ],
)
def test_a_number_by_name_unit_and_size(name, unit, value, role, known):
    assert role_of(name, unit, value) == (None if role is None else (role, known))


@pytest.mark.parametrize(
    ("name", "stem", "unit"),
    [("scan/posx_um", "posx", "um"), ("photonEnergy", "photon_energy", ""), ("detector_pixel", "detector_pixel", ""),
     ("probe@pixel_height_m", "pixel_height", "m"), ("z", "z", "")],
)  # fmt: skip
def test_a_name_is_taken_apart(name, stem, unit):
    assert split_unit(name) == (stem, unit)


def unknown(tmp_path, **arrays):
    y, x = PLACES.T * PIXEL_M * 1e6
    content = {"frames": STACK, "posy_um": y, "posx_um": x} | LENGTHS
    content.update(arrays)
    return write(tmp_path / "a.h5", {name: value for name, value in content.items() if value is not None})


def assert_read(dataset):
    wavelength = 1.239841984332e-6 / 8000
    assert dataset.energy_ev == pytest.approx(8000) and dataset.distance_m == pytest.approx(2)
    assert dataset.pixel_size_m == pytest.approx((wavelength * 2 / (16 * 75e-6),) * 2, rel=1e-6)
    expected = PLACES * PIXEL_M / dataset.pixel_size_m
    np.testing.assert_allclose(dataset.probe_positions_px, from_corner(expected), atol=1e-6)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {
            "posy_um": None,
            "posx_um": None,
            "pos_y": (PLACES[:, 0] * PIXEL_M, "m"),
            "pos_x": (PLACES[:, 1] * PIXEL_M, "m"),
        },
        {"posy_um": None, "posx_um": None, "translation": PLACES * PIXEL_M},  # only meters leave any overlap
        {"posy_um": None, "posx_um": None, "scan_xy_nm": PLACES[:, ::-1] * PIXEL_M * 1e9},
        {"energy_kev": None, "wavelength_nm": 1239.841984332 / 8000},
        {"det_dist_mm": None, "z": (200.0, "cm")},
        {"frames": np.moveaxis(STACK, 0, -1)},
    ],
)
def test_a_file_of_unknown_layout_is_read(tmp_path, arrays):
    dataset = open_dataset(unknown(tmp_path, **arrays))
    assert_read(dataset)
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), STACK)
    assert "unknown layout" in dataset.notes[0] and "patterns=frames" in dataset.notes[1]


def test_amplitudes_by_name_and_by_number(tmp_path):
    named = open_dataset(unknown(tmp_path, frames=None, diff_amplitude=np.sqrt(STACK).astype("f4")))
    by_number = open_dataset(unknown(tmp_path, frames=np.sqrt(STACK).astype("f4")))
    other = open_dataset(unknown(tmp_path, frames=(STACK * 0.37).astype("f4")))
    assert named.measured == by_number.measured == "amplitude" and other.measured == "intensity"


def test_a_map_of_attributes(tmp_path):
    path = unknown(tmp_path, **dict.fromkeys(LENGTHS))
    with h5py.File(path, "a") as file:
        file.attrs.update({"energy_kev": 8.0, "detector_distance_m": 2.0})
        file["frames"].attrs["detector_pixel_um"] = [75.0]
    assert_read(open_dataset(path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"posy_um": None}, "no array fits the number of patterns as positions"),
        ({"pattern": STACK}, "several arrays may be the patterns: .*frames.*pattern"),
        ({"energy_mono": (9.0, "keV")}, "energy: .*which differ"),
        (
            {"posy_um": None, "posx_um": None, "coords": PLACES, **dict.fromkeys(LENGTHS)},
            "the unit of the positions is not",
        ),
    ],
)
def test_what_is_not_certain_is_refused_with_a_map(tmp_path, arrays, message):
    path = unknown(tmp_path, **arrays)
    with pytest.raises(DataError, match=f"no reader recognizes the file.*{message}.*data.map: .patterns="):
        open_dataset(path)
    found = inspect(path)
    assert found.format == "unknown" and found.suggested_map[0].startswith("patterns=")
    assert found.configuration.startswith(f"data:\n  path: {path}\n  map: [patterns=")


@pytest.mark.parametrize("last", [True, False])
def test_matlab_keeps_its_axes_in_either_version(tmp_path, last):
    stack = counts(7, window=(4, 6))
    stored, places = np.moveaxis(stack, 0, -1) if last else stack, positions(7)
    scipy.io.savemat(tmp_path / "five.mat", {"dp": stored, "pos": places})
    with h5py.File(tmp_path / "seven.mat", "w", userblock_size=512) as file:  # MATLAB's axes are reversed in HDF5
        for name, array in (("dp", stored), ("pos", places)):
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with open(tmp_path / "seven.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b" " * 8 + b"\x00\x02IM")
    for name in ("five.mat", "seven.mat"):
        container = open_container(tmp_path / name)
        assert container.arrays["dp"].shape == stored.shape and container.arrays["pos"].shape == places.shape
        dataset = open_dataset(tmp_path / name, {"map": ["patterns=dp", "positions=pos"]})
        np.testing.assert_array_equal(dataset.patterns.read(np.array([5, 2])), stack[[5, 2]])
        np.testing.assert_allclose(dataset.probe_positions_px, places)


def test_python_objects_in_an_npz_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", data=STACK, scan=np.array([{"x": 1}, None], dtype=object))
    assert open_container(tmp_path / "a.npz").arrays["scan"].dtype == "object"
    with pytest.raises(DataError, match="scan: Python objects instead of numbers; found an object array"):
        open_dataset(tmp_path / "a.npz", {"map": ["patterns=data", "positions=scan"]})


def test_what_is_missing_by_technique(tmp_path):
    found = inspect(unknown(tmp_path, **dict.fromkeys(LENGTHS)))
    assert found.missing["ptychography"] == ("energy", "distance", "detector_pixel_size")
    assert found.missing["tomography"] == ("theta_range", "white")
    assert "  energy: " in found.configuration and found.configuration.endswith("forward_model: ptychography")
    complete = inspect(unknown(tmp_path))
    assert complete.missing["ptychography"] == complete.missing["bragg_cdi"] == ()
    assert complete.missing["holography"] == ("propagation_distance", "white")


def test_a_guess_of_nothing(tmp_path):
    assert guess(open_container(write(tmp_path / "b.h5", {"text": "words", "line": np.zeros(3)}))).entries == ()


def test_the_table_of_formats_names_every_reader_and_what_it_lacks():
    table = formats().renderables[0]
    rows = {str(name): str(lacks) for name, lacks in zip(table.columns[0].cells, table.columns[2].cells, strict=True)}
    assert {"adorym", "cxi", "eiger", "ptylab", "nexus"} <= rows.keys()
    assert rows["eiger"] == "data.positions" and rows["ptylab"] == ""
