"""Results as files for other programs: TIFF (ImageJ), VTK (ParaView), CXI (coherent imaging), NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile

from adorym._version import __version__
from adorym.data.atomic import whole_file
from adorym.data.cxi_write import start_file, write_instrument, write_translation
from adorym.data.hdf5 import put
from adorym.data.lengths import Lengths
from adorym.data.result import Result
from adorym.errors import ConfigError, DataError, suggestion
from adorym.report.vtk import write_vti

_LARGEST_TIFF = 4_000_000_000  # bytes; beyond, offsets need 64 bits (BigTIFF)
_SMALLEST_TIFF_PIXEL_M = 1e-2 / 2**32  # the tag counts pixels per centimetre in 32 bits


def write_tiff(path: Path, result: Result) -> None:
    """Float32 pages: slice by slice, amplitude then phase, or delta then beta.

    Read back whole it is ``(z, channel, y, x)``, without the axes of length 1; of a volume that turned about y
    ``(y, channel, z, x)``, slices across the axis of rotation. ImageJ opens a hyperstack with named
    channels; the pixel size is in the standard resolution tags (pixels per centimetre).
    """
    channels = result.channels()
    across = (0, 2, 1) if result.turned else (2, 0, 1)
    planes = np.stack([values.transpose(across) for values in channels.values()], axis=1).astype(np.float32)
    tags: dict[str, Any] = {"metadata": {"axes": "ZCYX", "Labels": list(channels) * len(planes)}}
    size = result.pixel_size_m
    if size is not None and min(size[:2]) > _SMALLEST_TIFF_PIXEL_M:
        dy, dx = (size[2], size[1]) if result.turned and len(size) == 3 else size[:2]
        tags |= {"resolution": (1e-2 / dx, 1e-2 / dy), "resolutionunit": "CENTIMETER"}
    if planes.nbytes > _LARGEST_TIFF:
        tifffile.imwrite(path, planes, bigtiff=True, photometric="minisblack", **tags)
    else:
        tifffile.imwrite(path, planes, imagej=True, **tags)


def write_npz(path: Path, result: Result) -> None:
    """Arrays ``object`` and its channels, ``probe``, ``origin_px``, ``pixel_size_m``, ``parameter_*``, ``history_*``.

    The channels are ``amplitude`` and ``phase``, or ``delta`` and ``beta``.
    """
    arrays: dict[str, np.ndarray] = {"object": result.object, **result.channels()}
    arrays["origin_px"] = np.array(result.origin_px)
    if result.probe is not None:
        arrays["probe"] = result.probe
    if result.pixel_size_m is not None:
        arrays["pixel_size_m"] = np.array(result.pixel_size_m)
    arrays |= {f"parameter_{name}": parameter.value for name, parameter in result.parameters.items()}
    arrays |= {f"history_{name}": values for name, values in result.history.items()}
    with open(path, "wb") as file:  # given a name, NumPy would append its own ending
        np.savez(file, **arrays)  # type: ignore[arg-type]


def write_vtk(path: Path, result: Result) -> None:
    """Both channels on a grid in meters (pixels where their size is not known), the data's (0, 0) at the origin."""
    spacing = result.voxel_size_m or (1.0, 1.0, 1.0)
    corner = (-result.origin_px[0] * spacing[0], -result.origin_px[1] * spacing[1], 0.0)
    write_vti(path, result.channels(), spacing, corner)


def write_cxi(path: Path, result: Result) -> None:
    """CXI 1.6 (Maia, Nature Methods 9, 854 (2012)), the exchange format of coherent imaging.

    Object as ``entry_1/image_1``, probe as ``entry_1/instrument_1/source_1/illumination``, lengths in meters, the
    photon energy in joule.

    The image is complex, ``(y, x)``, or ``(z, y, x)`` for more than one slice: the modulation function, or delta +
    i beta. Probe positions are written as translations of the *sample*, (x, y, z).
    """
    size = result.pixel_size_m
    with h5py.File(path, "w") as file:
        entry = start_file(file, f"Adorym {__version__}")
        _write_image(entry.create_group("image_1"), result)
        entry["data_1/data"] = h5py.SoftLink("/entry_1/image_1/data")
        far = "propagation_distance_m" not in result.provenance
        window = None if result.probe is None else (result.probe.shape[1], result.probe.shape[2])
        write_instrument(entry, _lengths(result), window if far else None)
        if result.probe is not None:
            put(
                entry,
                "instrument_1/source_1/illumination",
                result.probe.reshape(-1, *result.probe.shape[-2:]),
                "sqrt(photons)",
            )
        positions = result.parameters.get("probe_positions")
        if positions is not None and size is not None and positions.value.ndim == 2:
            write_translation(entry, positions.value, size)


def _lengths(result: Result) -> Lengths:
    """Energy and lengths that the run knew."""
    known = {name: np.array(text.split(), float) for name in ("energy_ev", "distance_m", "detector_pixel_size_m")
             if (text := result.provenance.get(name))}  # fmt: skip
    energy, distance, pitch = (known.get(name) for name in ("energy_ev", "distance_m", "detector_pixel_size_m"))
    size = result.pixel_size_m
    return Lengths(
        energy_ev=None if energy is None else float(energy[0]),
        pixel_size_m=None if size is None else (size[0], size[1]),
        detector_pixel_size_m=None if pitch is None else (float(pitch[0]), float(pitch[-1])),
        distance_m=None if distance is None else float(distance[0]),
    )


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


FORMATS: dict[str, Callable[[Path, Result], None]] = {
    "tiff": write_tiff,
    "vti": write_vtk,
    "cxi": write_cxi,
    "npz": write_npz,
}
ENDINGS = {"tiff": ".tif", "vti": ".vti", "cxi": ".cxi", "npz": ".npz"}


def export(result: Result, target: str | Path, to: str) -> Path:
    """Write ``result`` to the file ``target`` in format ``to``: ``tiff``, ``vti``, ``cxi`` or ``npz``.

    Raises:
        ConfigError: There is no such format.
        DataError: The file cannot be written.
    """
    check_format(to)
    target = Path(target)
    try:
        with whole_file(target) as partial:
            FORMATS[to](partial, result)
    except OSError as error:
        raise DataError(str(target), "the export cannot be written", found=str(error)) from error
    return target


def check_format(to: str) -> None:
    """Refuse an unknown format, with the list of what there is."""
    if to not in FORMATS:
        raise ConfigError("to", f"no export format '{to}'", expected=", ".join(FORMATS), remedy=suggestion(to, FORMATS))
