"""Reads image data and structured grids as ParaView does: XML with base64 behind it."""

from __future__ import annotations

import base64
from pathlib import Path
from xml.etree import ElementTree

import numpy as np


def read_vtk(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Arrays ``(y, x, z)`` by name, and the places ``(y, x, z, 3)`` of their points."""
    root = ElementTree.parse(path).getroot()
    grid = root.find(root.get("type"))
    x, y, z = (int(n) + 1 for n in grid.get("WholeExtent").split()[1::2])
    text, found, points = root.find("AppendedData").text.strip(), {}, None
    for entry in root.iter("DataArray"):
        start, parts = 1 + int(entry.get("offset")), int(entry.get("NumberOfComponents", 1))
        size = int.from_bytes(base64.b64decode(text[start : start + 12])[:8], "little")
        raw = base64.b64decode(text[start : start + 4 * -(-(size + 8) // 3)])[8 : 8 + size]
        array = np.moveaxis(np.frombuffer(raw, "<f4").reshape(z, y, x, parts), 0, 2)
        if entry.get("Name") is None:
            points = array
        else:
            found[entry.get("Name")] = array[..., 0]
    if points is None:
        origin, spacing = (np.array(grid.get(key).split(), float) for key in ("Origin", "Spacing"))
        at = np.stack(np.meshgrid(np.arange(y), np.arange(x), np.arange(z), indexing="ij"), axis=-1)[..., [1, 0, 2]]
        points = origin + spacing * at
    return found, points
