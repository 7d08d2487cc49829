"""Files of DigitalMicrograph: pictures, stacks and scans, of both versions and both orders of the axes."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from gatan_files import write_dm

from adorym.data.containers import open_container
from adorym.data.open import open_dataset
from adorym.errors import DataError
from adorym.units import electron_wavelength_m

RNG = np.random.default_rng(3)
SCAN = RNG.poisson(50.0, (3, 4, 8, 10)).astype(np.uint16)
STEPS = ((0.5, "nm"), (0.4, "nm"), (0.2, "1/nm"), (0.25, "1/nm"))


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("swapped", [True, False])
def test_a_scan_has_its_patterns_positions_and_geometry(tmp_path, version, swapped):
    path = write_dm(tmp_path / "a.dm4", SCAN, version=version, swapped=swapped, steps=STEPS, voltage_v=80e3)
    dataset = open_dataset(path)
    assert dataset.format == "gatan"
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(12)), SCAN.reshape(12, 8, 10))
    assert 12.39841984332e-7 / dataset.energy_ev == pytest.approx(electron_wavelength_m(80e3), rel=1e-6)
    assert dataset.pixel_size_m == pytest.approx((1 / (0.2e9 * 8), 1 / (0.25e9 * 10)), rel=1e-6)
    y, x = np.divmod(np.arange(12), 4)
    expected = np.stack([y * 0.5e-9, x * 0.4e-9], axis=1)
    found = dataset.probe_positions_px * np.array(dataset.pixel_size_m)
    np.testing.assert_allclose(found - found[0], expected, rtol=1e-5, atol=1e-15)


def test_angles_become_frequencies_by_the_voltage(tmp_path):
    steps = (*STEPS[:2], (0.5, "mrad"), (0.5, "mrad"))
    dataset = open_dataset(write_dm(tmp_path / "a.dm4", SCAN, steps=steps, voltage_v=200e3))
    wave = electron_wavelength_m(200e3)
    assert dataset.pixel_size_m == pytest.approx((wave / (0.5e-3 * 8), wave / (0.5e-3 * 10)), rel=1e-6)


@pytest.mark.parametrize("unit", ["", "eV", "channels"])
def test_a_unit_that_says_nothing_is_left_to_the_user(tmp_path, unit):
    steps = ((1.0, unit),) * 4
    path = write_dm(tmp_path / "a.dm4", SCAN, steps=steps)
    dataset = open_dataset(path, {"pixel_size": 1e-11, "voltage": 80e3, "scan": {"step": 1e-10}})
    assert dataset.pixel_size_m == (1e-11, 1e-11)
    np.testing.assert_array_equal(dataset.patterns.read(np.array([5])), SCAN[1, 1][None])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_pictures_one_a_file_and_stacks(tmp_path, dtype):
    stack = RNG.poisson(9.0, (5, 6, 7)).astype(dtype)
    for k, picture in enumerate(stack):
        write_dm(tmp_path / f"p_{k:03d}.dm3", picture, version=3)
    write_dm(tmp_path / "stack.dm4", stack)
    given = {"pixel_size": 1e-9, "energy": 8e3, "positions": RNG.uniform(0, 9, (5, 2))}
    for path in (str(tmp_path / "p_*.dm3"), tmp_path / "stack.dm4"):
        dataset = open_dataset(path, given)
        np.testing.assert_array_equal(dataset.patterns.read(np.arange(5)), stack)


def test_a_compressed_file(tmp_path):
    path = write_dm(tmp_path / "a.dm4", SCAN)
    (tmp_path / "b.dm4.gz").write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(open_container(tmp_path / "b.dm4.gz").read("data"), SCAN)


def test_what_is_no_picture_is_refused(tmp_path):
    path = write_dm(tmp_path / "a.dm4", np.ones((6, 7), np.complex64))
    with pytest.raises(DataError, match="pixels of Gatan's type 3 are no real numbers"):
        open_container(path)
    whole = write_dm(tmp_path / "b.dm4", SCAN).read_bytes()
    for size in (3, 20, 200, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError):
            open_container(path)
