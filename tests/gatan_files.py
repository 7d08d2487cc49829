"""DM3 and DM4 files of DigitalMicrograph, written here tag by tag."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PIXEL_TYPES = {
    "int16": 1,
    "float32": 2,
    "complex64": 3,
    "uint8": 6,
    "int32": 7,
    "uint16": 10,
    "uint32": 11,
    "float64": 12,
}
TAG_TYPES = {"int16": 2, "int32": 3, "uint16": 4, "uint32": 5, "float32": 6, "float64": 7, "uint8": 8, "complex64": 6}


def _count(n: int, version: int) -> bytes:
    return struct.pack(">Q" if version == 4 else ">I", n)


def _value(value: Any, version: int) -> bytes:
    if isinstance(value, str):
        value = np.frombuffer(value.encode("utf-16-le"), np.uint16)
    array = np.asarray(value)
    if array.dtype == np.int64:
        array = array.astype(np.uint32)
    kind, packed = TAG_TYPES[array.dtype.name], array.tobytes()
    described = (
        [kind]
        if array.ndim == 0
        else [20, kind, len(packed) // np.dtype(array.dtype.name.replace("complex64", "float32")).itemsize]
    )
    return b"%%%%" + b"".join(_count(n, version) for n in (len(described), *described)) + packed


def _group(tags: Mapping[str, Any], version: int) -> bytes:
    found = b"\x01\x00" + _count(len(tags), version)
    for name, value in tags.items():
        group = isinstance(value, Mapping)
        content = _group(value, version) if group else _value(value, version)
        label = b"" if name.isdigit() else name.encode("latin-1")  # numbered tags have no name
        found += struct.pack(">BH", 20 if group else 21, len(label)) + label
        found += struct.pack(">Q", len(content)) * (version == 4) + content
    return found


def write_dm(
    path: Path,
    array: np.ndarray,
    *,
    version: int = 4,
    swapped: bool = True,
    steps: tuple[tuple[float, str], ...] = (),
    voltage_v: float | None = None,
) -> Path:
    """Write ``(scan y, scan x, y, x)``, or a picture or a stack, behind a thumbnail.

    Args:
        path: The file.
        array: What it holds.
        version: Of the format.
        swapped: Whether the axes of the detector come first, as newer programs have them.
        steps: Step and unit along each axis of ``array``.
        voltage_v: Acceleration voltage.
    """
    order = tuple(range(array.ndim)) if swapped or array.ndim < 4 else (2, 3, 0, 1)
    stored = np.ascontiguousarray(array.transpose(order))
    sizes = {str(i): n for i, n in enumerate(stored.shape[::-1])}
    scales = [steps[i] for i in order[::-1]] if steps else []
    dimensions = {str(i): {"Origin": np.float32(0), "Scale": np.float32(step), "Units": unit}
                  for i, (step, unit) in enumerate(scales)}  # fmt: skip
    data = {
        "Calibrations": {"Dimension": dimensions}, "Data": stored.reshape(-1),
        "DataType": PIXEL_TYPES[stored.dtype.name], "Dimensions": sizes, "PixelDepth": stored.itemsize,
    }  # fmt: skip
    tags: dict[str, Any] = {} if voltage_v is None else {"Microscope Info": {"Voltage": voltage_v}}
    if swapped and array.ndim == 4:
        tags["Meta Data"] = {"Data Order Swapped": np.uint8(1), "Format": "Diffraction image"}
    thumbnail = {"Data": np.zeros(4, np.int32), "DataType": 23, "Dimensions": {"0": 2, "1": 2}, "PixelDepth": 4}
    root = {"ImageList": {"0": {"ImageData": thumbnail}, "1": {"ImageData": data, "ImageTags": tags, "Name": "scan"}}}
    content = _group(root, version)
    head = struct.pack(">I", version) + _count(len(content), version) + struct.pack(">I", 1)
    path.write_bytes(head + content + b"\x00" * 8)
    return path
