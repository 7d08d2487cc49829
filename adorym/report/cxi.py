"""Results as a CXI file (version 1.6, Maia, Nature Methods 9, 854 (2012)), the exchange format of coherent imaging."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from adorym._version import __version__
from adorym.data.hdf5 import put
from adorym.data.result import Result

CXI_VERSION = 160


def write_cxi(path: Path, result: Result) -> None:
    """Object as ``entry_1/image_1``, probe as ``entry_1/instrument_1/source_1/illumination``, lengths in meters.

    The image is complex, ``(y, x)``, or ``(z, y, x)`` for more than one slice: the modulation function, or delta +
    i beta. Probe positions are written as translations of the *sample*, (x, y, z), the probe's with the sign turned.
    """
    with h5py.File(path, "w") as file:
        file["cxi_version"] = CXI_VERSION
        file["number_of_entries"] = 1
        entry = file.create_group("entry_1")
        entry["program_name"] = f"Adorym {__version__}"
        _write_image(entry.create_group("image_1"), result)
        entry["data_1/data"] = h5py.SoftLink("/entry_1/image_1/data")
        if result.probe is not None:
            put(entry, "instrument_1/source_1/illumination", result.probe, "sqrt(photons)")
        positions = result.parameters.get("probe_positions")
        if positions is not None and result.pixel_size_m is not None and positions.value.ndim == 2:
            meters = positions.value[:, 1::-1] * result.pixel_size_m[1::-1]
            translation = -np.column_stack([meters, np.zeros(len(meters))])
            put(entry, "sample_1/geometry_1/translation", translation, "m")


def _write_image(image: h5py.Group, result: Result) -> None:
    if result.representation == "real_imag":
        obj, kind = result.object, "electron density" if result.probe is None else "transmission function"
    elif result.representation == "attenuation":
        obj, kind = result.object, "linear attenuation coefficient"
    else:
        obj, kind = result.object[..., 0] + 1j * result.object[..., 1], "refractive index decrement delta + i beta"
    data = obj[..., 0] if obj.shape[2] == 1 else np.moveaxis(obj, 2, 0)
    image.create_dataset("data", data=data.astype(np.complex64)).attrs["axes"] = "y:x" if data.ndim == 2 else "z:y:x"
    image["data_type"], image["data_space"] = kind, "real"
    image["dimensionality"], image["is_fft_shifted"] = data.ndim, 0
    if result.voxel_size_m is not None:
        dy, dx, dz = result.voxel_size_m
        height, width, depth = obj.shape
        put(image, "x_pixel_size", dx, "m")
        put(image, "y_pixel_size", dy, "m")
        if data.ndim == 3:
            put(image, "z_pixel_size", dz, "m")
        put(image, "image_size", np.array([width * dx, height * dy, depth * dz])[: data.ndim], "m")
    process = image.create_group("process_1")
    process["command"], process["configuration"] = "adorym run", result.config
    for name, text in result.provenance.items():
        process[name] = text
    for name in ("epoch", "loss", "time_s"):
        if name in result.history:
            process[f"history/{name}"] = result.history[name]
