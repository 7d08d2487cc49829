"""Files of instruments and other programs, each written here by hand, not by what reads them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from data_files import counts, positions, write
from gatan_files import write_dm

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


def gatan(folder: Path) -> Path:
    steps = ((0.5, "nm"), (0.4, "nm"), (0.2, "1/nm"), (0.3, "1/nm"))
    return write_dm(folder / "a.dm4", STACK.reshape(2, 3, *WINDOW).astype(np.uint16), steps=steps, voltage_v=80e3)


MAKERS = {f.__name__: f for f in (eiger, nanomax, csaxs, lynx, aps_isn, hxn, hxn_scan, fold_slice, ptychodus, ptylab,
                                  ptychopinn, emd, gatan)}  # fmt: skip
GEOMETRY = {"energy_ev": ENERGY_EV, "distance_m": DISTANCE_M, "detector_pixel_size_m": (PITCH_M, PITCH_M)}
TALL = {"detector_pixel_size_m": (2 * PITCH_M, PITCH_M)}
