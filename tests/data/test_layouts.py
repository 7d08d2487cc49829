"""Files of instruments and other programs, read without a word about their layout."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from data_files import from_corner, write
from instrument_files import (
    DISTANCE_M,
    ENERGY_EV,
    GEOMETRY,
    MAKERS,
    MASK,
    PITCH_M,
    PIXEL_M,
    PLACES,
    STACK,
    TALL,
    WINDOW,
    N,
    aps_isn,
    csaxs,
    eiger,
    emd,
    fold_slice,
    hxn,
    lynx,
)

from adorym.data.layouts import LAYOUTS
from adorym.data.open import find_reader, open_dataset
from adorym.errors import DataError

# What each file says; what it does not say has to be given.
SAID = {
    "eiger": GEOMETRY | TALL,
    "nanomax": {"energy_ev": ENERGY_EV},
    "csaxs": GEOMETRY,
    "lynx": GEOMETRY,
    "aps_isn": GEOMETRY | TALL,
    "hxn": GEOMETRY,
    "hxn_scan": {"energy_ev": ENERGY_EV},
    "fold_slice": {"energy_ev": ENERGY_EV, "pixel_size_m": (PIXEL_M, PIXEL_M)},
    "ptychodus": {"energy_ev": ENERGY_EV, "distance_m": DISTANCE_M, "pixel_size_m": (PIXEL_M, PIXEL_M)},
    "ptylab": GEOMETRY,
    "ptychopinn": {},
    "emd": {"pixel_size_m": (1e-10 / (0.02 * WINDOW[0]), 1e-10 / (0.03 * WINDOW[1]))},
    "gatan": {"pixel_size_m": (1e-9 / (0.2 * WINDOW[0]), 1e-9 / (0.3 * WINDOW[1]))},
}
WITHOUT_POSITIONS = {"eiger", "csaxs", "lynx", "aps_isn"}


def test_every_layout_has_its_file():
    assert set(MAKERS) | {"ptyr"} == set(LAYOUTS)


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_is_recognized_and_read(tmp_path, name):
    path = MAKERS[name](tmp_path)
    given = {} if "pixel_size_m" in SAID[name] else {"pixel_size": PIXEL_M}
    dataset = open_dataset(path, given)
    assert dataset.format == name
    for field, value in SAID[name].items():
        assert getattr(dataset, field) == pytest.approx(value, rel=1e-6), field
    amplitudes = name in ("hxn", "ptychopinn")
    assert dataset.measured == ("amplitude" if amplitudes else "intensity")
    shown = dataset.patterns.read(np.arange(N))
    np.testing.assert_allclose(shown if not amplitudes else shown**2, STACK, rtol=1e-6)
    if name in WITHOUT_POSITIONS:
        assert dataset.probe_positions_px is None
        return
    pixel = np.array(dataset.pixel_size_m)
    expected = PLACES * PIXEL_M / pixel
    if name in ("emd", "gatan"):  # half a nanometer by .4 nm
        expected = np.array([(5.0 * row, 4.0 * column) for row in range(2) for column in range(3)]) * 1e-10 / pixel
    moved = dataset.probe_positions_px
    np.testing.assert_allclose(moved - moved.min(0), expected - expected.min(0), atol=1e-4)


def test_whole_files_behind_links_and_their_positions_beside(tmp_path):
    """The In Situ Nanoprobe's distance in millimeters or meters, its links to files, its positions in micrometers."""
    path = aps_isn(tmp_path)
    with h5py.File(path, "a") as file:
        file["configs/det_dist_mm"][()] = 1e3 * DISTANCE_M
        for k in range(N):
            del file[f"PTYCHO/line_{k}"]
            file[f"PTYCHO/line_{k}"] = h5py.ExternalLink(f"line_{k}.h5", "/")
    y, x = PLACES.T * PIXEL_M * 1e6
    beside = write(tmp_path / "positions.h5", {"entry/data/X_Position": x, "entry/data/Y_Position": y})
    dataset = open_dataset([path, beside])
    assert dataset.format == "aps_isn"
    for field, value in (GEOMETRY | TALL).items():
        assert getattr(dataset, field) == pytest.approx(value, rel=1e-6), field
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), STACK)
    moved, pixel = dataset.probe_positions_px, np.array(dataset.pixel_size_m)
    np.testing.assert_allclose(moved, from_corner(PLACES * PIXEL_M / pixel), atol=1e-5)


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        ("DataPoint TotalPoints Target_x Average_x_st_fzp Stdev_x_st_fzp Target_y Average_y_st_fzp Stdev_y_st_fzp", 8),
        ("Detector_Count Average_x_st_fzp Stdev_x_st_fzp Average_y_st_fzp Stdev_y_st_fzp", 5),
    ],
)
def test_the_tables_of_a_stage(tmp_path, names, columns):
    """Where the stage was, in micrometers, not where it should have been; the first line is the scan's name."""
    table, said = np.zeros((N, columns)), names.split()
    table[:, said.index("Average_y_st_fzp")], table[:, said.index("Average_x_st_fzp")] = PLACES.T * PIXEL_M * 1e6
    np.savetxt(tmp_path / "a.dat", table, header=f"scan 12, fly2d\n{names}", comments="")
    dataset = open_dataset(lynx(tmp_path), {"positions": str(tmp_path / "a.dat")})
    expected = from_corner(PLACES * PIXEL_M / dataset.pixel_size_m)
    np.testing.assert_allclose(dataset.probe_positions_px, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["nanomax", "hxn_scan"])
def test_frames_where_others_look_for_them(tmp_path, name):
    path = MAKERS[name](tmp_path)
    with h5py.File(path, "a") as file:
        old, new = {"nanomax": ("entry/measurement/eiger1m/frames", "entry/instrument/Eiger/data"),
                    "hxn_scan": ("diff_data/merlin1/det_images", "entry/data/data")}[name]  # fmt: skip
        file.require_group(new.rpartition("/")[0])
        file.move(old, new)
    dataset = open_dataset(path, {"pixel_size": PIXEL_M})
    assert dataset.format == name
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), STACK)


@pytest.mark.parametrize("name", ["eiger", "csaxs"])
def test_a_mask_marks_bad_pixels(tmp_path, name):
    path = MAKERS[name](tmp_path)
    if name == "csaxs":
        with h5py.File(path, "a") as file:
            file["entry/instrument/eiger_4/pixel_mask"] = MASK
    np.testing.assert_array_equal(open_dataset(path).mask, MASK == 0)


def test_units_in_the_file_win(tmp_path):
    path = csaxs(tmp_path)
    with h5py.File(path, "a") as file:
        file["entry/instrument/monochromator/energy"][()] = ENERGY_EV
        file["entry/instrument/monochromator/energy"].attrs["units"] = "eV"
        file["entry/instrument/eiger_4/x_pixel_size"][()] = PITCH_M
        file["entry/instrument/eiger_4/x_pixel_size"].attrs["units"] = b"m"
    dataset = open_dataset(path)
    assert dataset.energy_ev == pytest.approx(ENERGY_EV)
    assert dataset.detector_pixel_size_m == pytest.approx((PITCH_M, PITCH_M))


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan])
def test_numbers_that_nobody_entered_are_unknown(tmp_path, nothing):
    """A detector whose distance and energy were not set writes 0; what else the file says of them is taken."""
    path = eiger(tmp_path)
    with h5py.File(path, "a") as file:
        detector = file["entry/instrument/detector"]
        detector["detector_distance"][()] = nothing
        detector["detectorSpecific/photon_energy"][()] = nothing
        file["entry/instrument/beam/incident_wavelength"][()] = 2.0
        file["entry/instrument/beam/incident_wavelength"].attrs["units"] = b"angstrom"
    dataset = open_dataset(path)
    assert dataset.distance_m is None and dataset.energy_ev == pytest.approx(6199.21, rel=1e-5)


def test_the_zero_frequency_at_the_corner_is_noticed(tmp_path):
    peaked = STACK.copy()
    peaked[:, 3:6, 5:8] += 500
    amplitude = np.fft.ifftshift(np.sqrt(peaked), axes=(1, 2))
    numbers = {"lambda_nm": 0.15, "z_m": 1.0, "ccd_pixel_um": 55.0}
    path = write(tmp_path / "a.h5", {"diffamp": amplitude, "points": PLACES.T[::-1], **numbers})
    np.testing.assert_allclose(open_dataset(path).patterns.read(np.arange(N)) ** 2, peaked, rtol=1e-5)


def test_a_pair_may_have_any_names(tmp_path):
    data, other = fold_slice(tmp_path).rename(tmp_path / "one.h5"), (tmp_path / "roi0_para.hdf5")
    dataset = open_dataset([data, other.rename(tmp_path / "two.h5")])
    assert dataset.format == "fold_slice" and dataset.probe_positions_px.shape == (N, 2)
    assert any("one.h5, two.h5" in note for note in dataset.notes)


def test_axes_that_count_pixels_are_no_lengths(tmp_path):
    path = emd(tmp_path)
    with h5py.File(path, "a") as file:
        for k in range(4):
            file[f"experiment/datacube/dim{k}"].attrs["units"] = "pixels"
    dataset = open_dataset(path)
    assert dataset.probe_positions_px is None and dataset.pixel_size_m is None
    assert any("give the scan's step" in note for note in dataset.notes)


@pytest.mark.parametrize("wrong", [0.0, np.nan])
def test_frequencies_without_a_step_are_refused(tmp_path, wrong):
    path = emd(tmp_path)
    with h5py.File(path, "a") as file:
        file["experiment/datacube/dim2"][()] = wrong
    with pytest.raises(DataError, match="no step of the spatial frequency; expected > 0; .*; give data.pixel_size"):
        open_dataset(path)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.inf])
def test_what_is_no_wavelength_is_unknown_or_refused_where_it_was_named(tmp_path, wrong):
    path = hxn(tmp_path)
    with h5py.File(path, "a") as file:
        file["lambda_nm"][()] = wrong
    assert open_dataset(path, {"pixel_size": 1e-8}).energy_ev is None
    named = ["patterns=diffamp", "positions=points", "positions_unit=um", "wavelength=lambda_nm nm"]
    with pytest.raises(DataError, match="lambda_nm nm: no wavelength; expected > 0; .*; give data.energy"):
        open_dataset(path, {"map": named, "pixel_size": 1e-8})


def test_a_reconstruction_of_ptypy_is_refused_with_what_it_is_good_for(tmp_path):
    entries = {f"content/{kind}/S00G00/data": np.ones((1, 8, 8), complex) for kind in ("probe", "obj")}
    with pytest.raises(DataError, match=r"holds no patterns; start from it: .*content/probe/S00G00/data"):
        open_dataset(write(tmp_path / "a.ptyr", entries))


def test_two_formats_that_fit_are_named(tmp_path):
    path = hxn(tmp_path)
    with h5py.File(path, "a") as file:
        file["ptychogram"], file["encoder"] = STACK, PLACES
    with pytest.raises(
        DataError, match="several formats fit; expected one; found hxn, ptylab; choose: data.format: hxn"
    ):
        find_reader(path)
    assert open_dataset(path, {"format": "hxn"}).format == "hxn"


def test_a_layout_that_is_asked_for_and_not_there(tmp_path):
    with pytest.raises(DataError, match="not the layout 'hxn'; expected diffamp and points; found encoder"):
        open_dataset(write(tmp_path / "a.h5", {"encoder": PLACES}), {"format": "hxn"})
