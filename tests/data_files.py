"""Small data files of every format, made on the spot; windows are never square."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

WINDOW = (6, 8)
JOULE_PER_EV = 1.602176634e-19


def counts(n: int, seed: int = 0, window: tuple[int, int] = WINDOW) -> np.ndarray:
    """``(n, y, x)`` float32 Poisson counts, none of the patterns empty."""
    patterns = np.random.default_rng(seed).poisson(5.0, (n, *window)).astype(np.float32)
    patterns[:, window[0] // 2, window[1] // 2] += 1
    return patterns


def positions(n: int, seed: int = 1) -> np.ndarray:
    """``(n, 2)`` pixels."""
    return np.random.default_rng(seed).uniform(-20, 30, (n, 2))


def write(path: Path, entries: dict[str, Any], **attributes: dict[str, Any]) -> Path:
    """An HDF5 file of ``entries``; ``(value, "unit")`` sets ``@units``, a group's attributes come by name."""
    with h5py.File(path, "w") as file:
        for name, value in entries.items():
            unit = None
            if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
                value, unit = value
            file[name] = value
            if unit is not None:
                file[name].attrs["units"] = unit
        for group, named in attributes.items():
            for key, value in named.items():
                file[group.replace("__", "/")].attrs[key] = value
    return path


def native(path: Path, n: int = 5, **entries: Any) -> Path:
    """A file as the original Adorym reads it; ``entries`` replace or, when None, remove (``__`` stands for ``/``)."""
    content: dict[str, Any] = {
        "exchange/data": counts(n)[None],
        "metadata/energy_ev": 8800.0,
        "metadata/psize_cm": 1e-6,
        "metadata/probe_pos_px": positions(n),
    }
    for name, value in entries.items():
        content[name.replace("__", "/", 1)] = value
    return write(path, {name: value for name, value in content.items() if value is not None})


def cxi(path: Path, n: int = 5, **entries: Any) -> Path:
    """A CXI file: 10 keV, 55 um x 75 um (y, x) pixels, 2 m; ``entries`` are relative to ``entry_1``."""
    content: dict[str, Any] = {
        "data_1/data": counts(n),
        "data_1/translation": translations(n),
        "instrument_1/source_1/energy": 1e4 * JOULE_PER_EV,
        "instrument_1/detector_1/distance": 2.0,
        "instrument_1/detector_1/x_pixel_size": 75e-6,
        "instrument_1/detector_1/y_pixel_size": 55e-6,
    }
    for name, value in entries.items():
        content[name.replace("__", "/")] = value
    named = {f"entry_1/{name}": value for name, value in content.items() if value is not None}
    return write(path, {"cxi_version": 150, **named})


def translations(n: int) -> np.ndarray:
    """``(n, 3)`` (x, y, z) of the sample in meters."""
    return np.random.default_rng(3).uniform(-1e-6, 1e-6, (n, 3))


def from_corner(places: np.ndarray) -> np.ndarray:
    """Positions ``(n, 2)`` in pixels as they are read from a length: they begin at 2."""
    return places - places.min(axis=0) + 2


def edf(path, picture):
    """An ESRF data file of 16 bits."""
    header = "{\nHeaderID = EH:000001 ;\nByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\n"
    header += f"Dim_1 = {picture.shape[1]} ;\nDim_2 = {picture.shape[0]} ;\n"
    path.write_bytes((header.ljust(510) + "}\n").encode() + picture.astype("<u2").tobytes())


def cbf(path, picture):
    """Differences in one byte; larger ones in two or four, after the smallest number of fewer bytes."""
    packed, last = b"", 0
    for value in picture.astype(int).ravel():
        step, last = value - last, value
        if abs(step) < 128:
            packed += int(step).to_bytes(1, "little", signed=True)
        elif abs(step) < 32768:
            packed += b"\x80" + int(step).to_bytes(2, "little", signed=True)
        else:
            packed += b"\x80\x00\x80" + int(step).to_bytes(4, "little", signed=True)
    header = f'###CBF: VERSION 1.5\nconversions="x-CBF_BYTE_OFFSET"\nX-Binary-Size: {len(packed)}\n'
    header += (
        f"X-Binary-Size-Fastest-Dimension: {picture.shape[1]}\nX-Binary-Size-Second-Dimension: {picture.shape[0]}\n\n"
    )
    path.write_bytes(header.encode() + b"\x0c\x1a\x04\xd5" + packed)
