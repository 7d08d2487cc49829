"""VTK image data (``.vti``) and structured grids (``.vts``), written by hand: a few lines of XML and base64.

ParaView, VisIt, 3D Slicer and pyvista open them. Source: "VTK XML file formats", serial ``ImageData`` and
``StructuredGrid``, appended data.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import quoteattr

import numpy as np

_CHUNK = 3 << 20  # a multiple of 3 bytes: base64 of the parts is then base64 of the whole


def write_vti(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write scalar fields on a regular grid.

    Args:
        path: The file.
        arrays: Fields by name, ``(y, x, z)`` each, of one shape; written as little-endian float32.
        spacing: (y, x, z) distance between grid points.
        origin: (y, x, z) place of the first grid point.
    """
    extent = _extent(arrays)
    grid = f'WholeExtent="{extent}" Origin="{_xyz(origin)}" Spacing="{_xyz(spacing)}"'
    _write(path, "ImageData", grid, arrays, None)


def write_vts(path: Path, arrays: Mapping[str, np.ndarray], points: np.ndarray) -> None:
    """Write scalar fields on a grid that is not rectangular, such as the skew voxels of a Bragg peak.

    Args:
        path: The file.
        arrays: Fields by name, ``(y, x, z)`` each, of one shape; written as little-endian float32.
        points: ``(y, x, z, 3)`` place (x, y, z) of each grid point.
    """
    _write(path, "StructuredGrid", f'WholeExtent="{_extent(arrays)}"', arrays, points)


def _extent(arrays: Mapping[str, np.ndarray]) -> str:
    shape = next(iter(arrays.values())).shape
    return " ".join(f"0 {shape[axis] - 1}" for axis in (1, 0, 2))


def _write(path: Path, kind: str, grid: str, arrays: Mapping[str, np.ndarray], points: np.ndarray | None) -> None:
    size = int(np.prod(next(iter(arrays.values())).shape)) * 4
    encoded = 4 * -(-(size + 8) // 3)
    with open(path, "wb") as file:
        file.write(f'<?xml version="1.0"?>\n<VTKFile type="{kind}" version="1.0" '.encode())
        file.write(b'byte_order="LittleEndian" header_type="UInt64">\n')
        file.write(f'<{kind} {grid}>\n<Piece Extent="{_extent(arrays)}">\n'.encode())
        file.write(f"<PointData Scalars={quoteattr(next(iter(arrays)))}>\n".encode())
        for i, name in enumerate(arrays):
            place = f'format="appended" offset="{i * encoded}"'
            file.write(f'<DataArray type="Float32" Name={quoteattr(name)} {place}/>\n'.encode())
        file.write(b"</PointData>\n")
        if points is not None:
            place = f'format="appended" offset="{len(arrays) * encoded}"'
            file.write(f'<Points>\n<DataArray type="Float32" NumberOfComponents="3" {place}/>\n</Points>\n'.encode())
        file.write(f'</Piece>\n</{kind}>\n<AppendedData encoding="base64">\n_'.encode())
        for values in arrays.values():
            _write_base64(file, values, size)
        if points is not None:
            _write_base64(file, points, 3 * size)
        file.write(b"\n</AppendedData>\n</VTKFile>\n")


def _xyz(yxz: tuple[float, float, float]) -> str:
    return " ".join(repr(float(yxz[axis])) for axis in (1, 0, 2))


def _write_base64(file: BinaryIO, values: np.ndarray, size: int) -> None:
    """Byte count as uint64, then the numbers, x fastest and z slowest, as one base64 text."""
    pending = size.to_bytes(8, "little")
    for plane in np.moveaxis(values, 2, 0):
        pending += np.ascontiguousarray(plane, dtype="<f4").tobytes()
        whole = len(pending) // 3 * 3 if len(pending) >= _CHUNK else 0
        file.write(base64.b64encode(pending[:whole]))
        pending = pending[whole:]
    file.write(base64.b64encode(pending))
