"""Write CXI 1.6 (Maia, Nature Methods 9, 854 (2012)): the beam, the detector and where the sample was, for any reader.

Programs that read such files compute the pixel size of the object from wavelength, distance and detector pixel, and
some refuse a file without these. Where only the pixel size is known, it describes a detector at 1 m that gives it.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from adorym.data.atomic import whole_file
from adorym.data.dataset import Dataset
from adorym.data.hdf5 import JOULE_PER_EV, put
from adorym.data.lengths import Lengths
from adorym.data.patterns import blocks
from adorym.errors import DataError
from adorym.units import wavelength_m

CXI_VERSION = 160
INSTRUMENT, TRANSLATION = "instrument_1", "sample_1/geometry_1/translation"
EQUIVALENT_M = 1.0


def start_file(file: h5py.File, program: str) -> h5py.Group:
    """The first entry of an empty file."""
    file["cxi_version"], file["number_of_entries"] = CXI_VERSION, 1
    entry = file.create_group("entry_1")
    entry["program_name"] = program
    return entry


def write_instrument(entry: h5py.Group, lengths: Lengths, window: tuple[int, int] | None) -> None:
    """Energy in joule, wavelength, and the detector's distance, pixel and axes: rows run down, columns against x.

    Args:
        entry: Of the file.
        lengths: What is known.
        window: (y, x) size of the patterns, if they are in the far field.
    """
    if lengths.energy_ev is None:
        return
    wavelength = wavelength_m(lengths.energy_ev)
    put(entry, f"{INSTRUMENT}/source_1/energy", lengths.energy_ev * JOULE_PER_EV, "J")
    put(entry, f"{INSTRUMENT}/source_1/wavelength", wavelength, "m")
    distance, pitch, pixel = lengths.distance_m, lengths.detector_pixel_size_m, lengths.pixel_size_m
    if (distance is None or pitch is None) and pixel is not None and window is not None:
        distance = EQUIVALENT_M if distance is None else distance
        pitch = (wavelength * distance / (window[0] * pixel[0]), wavelength * distance / (window[1] * pixel[1]))
        said = "calculated from the pixel size of the object, in the far field; not measured"
        entry[f"{INSTRUMENT}/detector_1/description"] = said
    if distance is not None:
        put(entry, f"{INSTRUMENT}/detector_1/distance", distance, "m")
    if pitch is not None:
        y, x = pitch
        put(entry, f"{INSTRUMENT}/detector_1/y_pixel_size", y, "m")
        put(entry, f"{INSTRUMENT}/detector_1/x_pixel_size", x, "m")
        put(entry, f"{INSTRUMENT}/detector_1/basis_vectors", np.array([[0, -y, 0], [-x, 0, 0]]), "m")


def write_translation(entry: h5py.Group, positions_px: np.ndarray, pixel_m: tuple[float, ...]) -> None:
    """Positions ``(n, 2)`` of the probe as translations ``(n, 3)`` of the sample, (x, y, z).

    The sample moves against the probe, and the detector's rows and columns against y and x: two signs that cancel.
    """
    meters = positions_px[:, 1::-1] * np.asarray(pixel_m)[1::-1]
    put(entry, TRANSLATION, np.column_stack([meters, np.zeros(len(meters))]), "m")


def write_cxi(dataset: Dataset, path: str | Path) -> Path:
    """Write the patterns of a scan, its positions, mask and first guess of the probe as a CXI file.

    Raises:
        DataError: The data set is no scan at one angle, lacks energy or pixel size, or the file cannot be written.
    """
    path = Path(path)
    positions, pixel = dataset.probe_positions_px, dataset.pixel_size_m
    if positions is None or dataset.n_angles > 1 or dataset.tile_corners_px is not None:
        remedy = "write the native layout: a target called .h5"
        raise DataError(str(path), "CXI holds the scan of a probe at one angle", remedy=remedy)
    missing = [name for name, value in (("energy", dataset.energy_ev), ("pixel_size", pixel)) if value is None]
    if pixel is None or missing:
        given = ", ".join(f"data.{name}" for name in missing)
        raise DataError(str(path), "CXI states lengths in meters", found=f"no {given}", remedy=f"give {given}")
    far = dataset.propagation_distance_m is None
    n, ny, nx = dataset.patterns.shape
    try:
        with whole_file(path) as partial, h5py.File(partial, "w") as file:
            entry = start_file(file, "Adorym")
            lengths = Lengths(dataset.energy_ev, pixel, dataset.detector_pixel_size_m, dataset.distance_m)
            write_instrument(entry, lengths, (ny, nx) if far else None)
            detector = entry.require_group(f"{INSTRUMENT}/detector_1")
            stored = detector.create_dataset("data", (n, ny, nx), np.float32)
            stored.attrs["axes"] = "translation:y:x"
            for start, frames in blocks(dataset.patterns):
                stored[start : start + len(frames)] = frames**2 if dataset.measured == "amplitude" else frames
            if dataset.mask is not None:
                detector["mask"] = (~dataset.mask).astype(np.uint32)
            write_translation(entry, np.asarray(positions, np.float64), pixel)
            if dataset.start_probe is not None:
                put(entry, f"{INSTRUMENT}/source_1/illumination", dataset.start_probe, "sqrt(photons)")
            detector["translation"] = h5py.SoftLink(f"/entry_1/{TRANSLATION}")
            for name in ("data", "translation"):
                entry[f"data_1/{name}"] = h5py.SoftLink(f"/entry_1/{INSTRUMENT}/detector_1/{name}")
    except OSError as error:
        raise DataError(str(path), "the data set cannot be written", found=str(error)) from error
    return path
