"""Files of instruments and other programs, each written here by hand, and read without a word about their layout."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from data_files import counts, positions, write

from adorym.data.layouts import LAYOUTS
from adorym.data.open import find_reader, open_dataset
from adorym.errors import DataError

N = 6
WINDOW = (8, 12)
PIXEL_M = 20e-9
STACK = counts(N, window=WINDOW)
PLACES = positions(N)  # (y, x) px
ENERGY_EV, DISTANCE_M, PITCH_M = 8000.0, 2.0, 75e-6
WAVELENGTH_M = 1.239841984332e-6 / ENERGY_EV
MASK = np.zeros(WINDOW, np.uint32)
MASK[2, 3] = 1


def eiger(folder: Path) -> Path:
    for k, part in enumerate((STACK[:2], STACK[2:]), 1):
        write(folder / f"s_data_{k:06d}.h5", {"entry/data/data": part.astype("uint32")})
    detector = "entry/instrument/detector/"
    master = write(folder / "s_master.h5", {
        detector + "detector_distance": (DISTANCE_M * 1e3, "mm"),
        detector + "x_pixel_size": (PITCH_M, "m"),
        detector + "y_pixel_size": (2 * PITCH_M, "m"),
        detector + "detectorSpecific/photon_energy": (ENERGY_EV, "eV"),
        detector + "detectorSpecific/pixel_mask": MASK,
        "entry/instrument/beam/incident_wavelength": (WAVELENGTH_M * 1e10, "angstrom"),
    })  # fmt: skip
    with h5py.File(master, "a") as file:
        for k in (1, 2):
            file[f"entry/data/data_{k:06d}"] = h5py.ExternalLink(f"s_data_{k:06d}.h5", "/entry/data/data")
    return master


def nanomax(folder: Path) -> Path:
    write(folder / "eiger.hdf5", {"entry/measurement/Eiger/data": STACK})
    y, x = PLACES.T * PIXEL_M * 1e6
    path = write(folder / "000001.h5", {"entry/measurement/pseudo/x": x, "entry/measurement/pseudo/y": y,
                                        "entry/snapshot/energy": [ENERGY_EV]})  # fmt: skip
    with h5py.File(path, "a") as file:
        file["entry/measurement/eiger1m/frames"] = h5py.ExternalLink("eiger.hdf5", "/entry/measurement/Eiger/data")
    return path


def csaxs(folder: Path) -> Path:
    return write(folder / "a.h5", {
        "entry/data/data": STACK,
        "entry/instrument/monochromator/energy": ENERGY_EV / 1e3,
        "entry/instrument/monochromator/distance": (DISTANCE_M * 1e3, "mm"),
        "entry/instrument/eiger_4/x_pixel_size": PITCH_M * 1e6,
        "entry/instrument/eiger_4/y_pixel_size": PITCH_M * 1e6,
    })  # fmt: skip


def lynx(folder: Path) -> Path:
    path = write(folder / "a.h5", {"entry/data/eiger_4": STACK})
    said = {"Pixel_size": [PITCH_M], "Detector_distance_m": [DISTANCE_M], "Photon_energy_kev": [ENERGY_EV / 1e3]}
    with h5py.File(path, "a") as file:
        file["entry/data/eiger_4"].attrs.update(said | {"Center_x_pixel": [6], "Count_cutoff": [4095]})
    return path


def aps_isn(folder: Path) -> Path:
    for k in range(N):
        write(folder / f"line_{k}.h5", {"entry/data/data": STACK[k : k + 1]})
    path = write(folder / "a.h5", {"configs/photon_energy_eV": ENERGY_EV, "configs/det_dist_mm": DISTANCE_M,
                                   "configs/pix_size_x": PITCH_M, "configs/pix_size_y": 2 * PITCH_M,
                                   "configs/num_images": N, "configs/num_exposures_per_img": 1})  # fmt: skip
    with h5py.File(path, "a") as file:
        for k in range(N):
            file[f"PTYCHO/line_{k}"] = h5py.ExternalLink(f"line_{k}.h5", "/entry/data/data")
    return path


def hxn(folder: Path) -> Path:
    return write(folder / "a.h5", {
        "diffamp": np.sqrt(STACK), "points": PLACES.T[::-1] * PIXEL_M * 1e6, "ccd_pixel_um": PITCH_M * 1e6,
        "lambda_nm": WAVELENGTH_M * 1e9, "z_m": DISTANCE_M, "angle": 0.0,
    })  # fmt: skip


def hxn_scan(folder: Path) -> Path:
    places = PLACES[:, ::-1].T * PIXEL_M * 1e6
    return write(folder / "a.h5", {"diff_data/merlin1/det_images": STACK, "scan/scan_positions": places,
                                   "scan/energy": ENERGY_EV / 1e3})  # fmt: skip


def fold_slice(folder: Path) -> Path:
    y, x = PLACES.T * PIXEL_M
    write(folder / "roi0_para.hdf5", {"ppX": x, "ppY": y, "lambda": WAVELENGTH_M, "dx": PIXEL_M})
    return write(folder / "roi0_dp.hdf5", {"dp": STACK})


def ptychodus(folder: Path) -> Path:
    y, x = PLACES.T * PIXEL_M
    probe = np.ones((1, *WINDOW), np.complex64)
    path = write(folder / "s_para.hdf5", {"probe_position_y_m": y, "probe_position_x_m": x, "probe": probe,
                                          "object": np.ones((1, 40, 40), np.complex64)})  # fmt: skip
    with h5py.File(path, "a") as file:
        file.attrs.update({"probe_energy_eV": ENERGY_EV, "detector_object_distance_m": DISTANCE_M})
        file["object"].attrs.update({"pixel_height_m": PIXEL_M, "pixel_width_m": PIXEL_M})
    return write(folder / "s_dp.hdf5", {"dp": STACK})


def ptylab(folder: Path) -> Path:
    encoder = (PLACES - PLACES.mean(0)) * PIXEL_M
    return write(folder / "a.hdf5", {"ptychogram": STACK, "encoder": encoder, "dxd": PITCH_M, "zo": DISTANCE_M,
                                     "wavelength": WAVELENGTH_M, "Nd": WINDOW[0], "No": 64})  # fmt: skip


def ptychopinn(folder: Path) -> Path:
    path = folder / "a.npz"
    arrays = {"probeGuess": np.ones(WINDOW, complex), "objectGuess": np.ones((50, 50), complex)}
    arrays |= {"xcoords": PLACES[:, 1], "ycoords": PLACES[:, 0], "scan_index": np.zeros(N)}
    np.savez(path, diffraction=np.sqrt(STACK), **arrays)
    return path


def emd(folder: Path) -> Path:
    """Two rows of three; the axes of the raster say start and step, those of the detector every value."""
    cube = "experiment/datacube/"
    frequency = np.arange(WINDOW[0]) * 0.02, np.arange(WINDOW[1]) * 0.03
    return write(folder / "a.h5", {
        cube + "data": STACK.reshape(2, 3, *WINDOW), cube + "dim0": ([0.0, 5.0], "A"), cube + "dim1": ([0.0, 4.0], "A"),
        cube + "dim2": (frequency[0], "A^-1"), cube + "dim3": (frequency[1], "A^-1"),
    })  # fmt: skip


MAKERS = {f.__name__: f for f in (eiger, nanomax, csaxs, lynx, aps_isn, hxn, hxn_scan, fold_slice, ptychodus, ptylab,
                                  ptychopinn, emd)}  # fmt: skip
GEOMETRY = {"energy_ev": ENERGY_EV, "distance_m": DISTANCE_M, "detector_pixel_size_m": (PITCH_M, PITCH_M)}
TALL = {"detector_pixel_size_m": (2 * PITCH_M, PITCH_M)}
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
    if name == "emd":
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
    np.testing.assert_allclose(moved * pixel, (PLACES - PLACES.min(0)) * PIXEL_M, atol=1e-13)


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
    moved = dataset.probe_positions_px * np.array(dataset.pixel_size_m)
    np.testing.assert_allclose(moved, (PLACES - PLACES.min(0)) * PIXEL_M, atol=1e-13)


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
