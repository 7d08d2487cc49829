"""Results as files for other programs: TIFF (ImageJ), VTK (ParaView), CXI (coherent imaging), NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from adorym.data.atomic import whole_file
from adorym.data.result import Result
from adorym.errors import ConfigError, DataError, suggestion
from adorym.report.cxi import write_cxi
from adorym.report.vtk import write_vti

_LARGEST_TIFF = 4_000_000_000  # bytes; beyond, offsets need 64 bits (BigTIFF)
_SMALLEST_TIFF_PIXEL_M = 1e-2 / 2**32  # the tag counts pixels per centimetre in 32 bits


def write_tiff(path: Path, result: Result) -> None:
    """Float32 pages: slice by slice, amplitude then phase, or delta then beta.

    Read back whole it is ``(z, channel, y, x)``, without the axes of length 1. ImageJ opens a hyperstack with named
    channels; the pixel size is in the standard resolution tags (pixels per centimetre).
    """
    channels = result.channels()
    planes = np.stack([np.moveaxis(values, 2, 0) for values in channels.values()], axis=1).astype(np.float32)
    tags: dict[str, Any] = {"metadata": {"axes": "ZCYX", "Labels": list(channels) * len(planes)}}
    size = result.pixel_size_m
    if size is not None and min(size[:2]) > _SMALLEST_TIFF_PIXEL_M:
        dy, dx = size[:2]
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
