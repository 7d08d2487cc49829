"""Gatan's DM3 and DM4 files of DigitalMicrograph: pictures, stacks, and four-dimensional scans with their calibration.

A file is a tree of tags. Lengths and counts are big-endian, of four bytes in DM3 and eight in DM4; values have the byte
order that the file states. ``ImageList`` holds a thumbnail and the data, whose ``Dimensions`` begin with the fastest.
Newer scans have the axes of the detector first and say so by ``Meta Data: Data Order Swapped``, older ones those of the
scan.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adorym.units import electron_wavelength_m, parse

START = (b"\x00\x00\x00\x03", b"\x00\x00\x00\x04")  # the version
GROUP, VALUE, STRUCTURE, STRING, ARRAY = 20, 21, 15, 18, 20
NUMBERS = {2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "u1", 9: "i1", 10: "u1", 11: "i8", 12: "u8"}
PIXELS = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 14: "u1", 39: "i8", 40: "u8"}
DEEPEST, LONGEST_TYPE, LONGEST_TEXT = 64, 4096, 4096
ANGLE, FREQUENCY = ("mrad", "rad", "deg"), ("1/nm", "1/um", "1/\N{MICRO SIGN}m", "1/m", "1/pm")


@dataclass(frozen=True)
class Block:
    """Numbers that stay in the file: where they begin, and how many bytes they take."""

    start: int
    n_bytes: int


class _Cursor:
    """Reads tags one after the other."""

    def __init__(self, data: Any) -> None:
        self.data, self.at = data, 4
        self.wide = data[3] == 4
        self.at += 8 if self.wide else 4  # the size of the tree
        self.order = "<" if self.number("I") == 1 else ">"

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack_from(">" + kind, self.data, self.at)
        self.at += struct.calcsize("=" + kind)
        return value

    def count(self) -> int:
        return int(self.number("Q" if self.wide else "I"))

    def group(self, depth: int = 0) -> dict[str, Any]:
        """Tags by name, or by number where they have none."""
        if depth > DEEPEST:
            raise ValueError("tags are nested too deeply")
        self.at += 2  # whether it is sorted, and open in the program
        found: dict[str, Any] = {}
        for i in range(self.count()):
            kind, length = self.number("B"), self.number("H")
            name = bytes(self.data[self.at : self.at + length]).decode("latin-1") or str(i)
            self.at += length + (8 if self.wide else 0)
            if kind not in (GROUP, VALUE):
                raise ValueError(f"a tag of the kind {kind}")
            found[name] = self.group(depth + 1) if kind == GROUP else self.value()
        return found

    def value(self) -> Any:
        """A number, or the place of an array."""
        if bytes(self.data[self.at : self.at + 4]) != b"%%%%":
            raise ValueError("a tag is damaged")
        self.at += 4
        n = self.count()
        if not 0 < n < LONGEST_TYPE:
            raise ValueError("the type of a tag is damaged")
        described = [self.count() for _ in range(n)]
        if described[0] == ARRAY:
            return self._array(described)
        if described[0] in NUMBERS:
            kind = np.dtype(self.order + NUMBERS[described[0]])
            value = np.frombuffer(self.data, kind, 1, self.at)[0]
            self.at += kind.itemsize
            return value.item()
        self.at += described[1] if described[0] == STRING else _size(described)
        return None

    def _array(self, described: list[int]) -> Block:
        each, length, start = _size(described[1:-1]), described[-1], self.at
        self.at += each * length
        if self.at > len(self.data):
            raise ValueError("the file is cut off")
        return Block(start, each * length)

    def text(self, tag: Any) -> str:
        """A tag as text, which is kept as an array of characters."""
        if not isinstance(tag, Block):
            return "" if tag is None else str(tag)
        stored = bytes(self.data[tag.start : tag.start + min(tag.n_bytes, LONGEST_TEXT)])
        return stored.decode("utf-16-le" if self.order == "<" else "utf-16-be", "replace").strip("\0 ")


def _size(described: list[int]) -> int:
    """Bytes of a number, or of a structure of numbers."""
    kinds = described[4::2] if described[0] == STRUCTURE else described[:1]
    return sum(np.dtype(NUMBERS[kind]).itemsize for kind in kinds)


@dataclass(frozen=True)
class Picture:
    """What a file holds.

    Attributes:
        shape: Shape, the slowest axis first; of a scan (scan y, scan x, y, x).
        dtype: Type of its numbers.
        load: Reads them; a memory map of a file.
        calibration: Of a scan, what is known, by name and unit: coordinates ``calibration/scan_y`` and ``scan_x`` in m,
            ``frequency_y`` and ``frequency_x`` in 1/m, and the acceleration ``voltage`` in V.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]
    calibration: Mapping[tuple[str, str], np.ndarray]


def read_dm(source: Path | bytes) -> Picture:
    """The largest picture of a file.

    Raises:
        ValueError: There is none, its pixels are no real numbers, or the file is damaged.
    """
    if isinstance(source, bytes):
        return _read(source, source)
    with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return _read(source, mapped)


def _read(source: Path | bytes, data: Any) -> Picture:
    cursor = _Cursor(data)
    images = [each for each in cursor.group().get("ImageList", {}).values() if "ImageData" in each]
    if not images:
        raise ValueError("no picture in it")
    image = max(images, key=lambda each: math.prod(each["ImageData"]["Dimensions"].values()))
    told, tags = image["ImageData"], image.get("ImageTags", {})
    if told["DataType"] not in PIXELS:
        raise ValueError(f"pixels of Gatan's type {told['DataType']} are no real numbers")
    kind, sizes, block = np.dtype(cursor.order + PIXELS[told["DataType"]]), [*told["Dimensions"].values()], told["Data"]
    sizes = sizes[: max(i for i, n in enumerate(sizes) if n > 1 or i < 2) + 1]
    if not isinstance(block, Block) or min(sizes) < 1 or math.prod(sizes) * kind.itemsize > block.n_bytes:
        raise ValueError("the picture is cut off")
    swapped = cursor.text(tags.get("Meta Data", {}).get("Data Order Swapped")).lower() in ("1", "true")
    order = (2, 3, 0, 1) if len(sizes) == 4 and not swapped else tuple(range(len(sizes)))

    def load() -> np.ndarray:
        shape = tuple(sizes[::-1])
        if isinstance(source, Path):
            return np.memmap(source, kind, "r", block.start, shape).transpose(order)
        return np.frombuffer(source, kind, math.prod(shape), block.start).reshape(shape).transpose(order)

    voltage = tags.get("Microscope Info", {}).get("Voltage")
    voltage = float(voltage) if isinstance(voltage, int | float) and voltage > 0 else None
    shape = tuple(sizes[::-1][i] for i in order)
    axes = told.get("Calibrations", {}).get("Dimension", {})
    scales = [axes.get(str(len(sizes) - 1 - i), {}) for i in order]
    steps = [(scale.get("Scale"), cursor.text(scale.get("Units"))) for scale in scales]
    return Picture(shape, kind, load, _calibration(shape, steps, voltage) if len(shape) == 4 else {})


def _calibration(
    shape: tuple[int, ...], steps: list[tuple[Any, str]], voltage: float | None
) -> dict[tuple[str, str], np.ndarray]:
    """The voltage, and coordinates along those axes of a scan whose unit is understood."""
    found = {} if voltage is None else {("calibration/voltage", "V"): np.array(voltage)}
    names = ("scan_y", "scan_x", "frequency_y", "frequency_x")
    for name, n, (step, unit) in zip(names, shape, steps, strict=True):
        held = "m" if name.startswith("scan") else "1/m"
        size = _in(held, step, unit, voltage)
        if size is not None and size > 0:
            found[f"calibration/{name}", held] = size * np.arange(n)
    return found


def _in(held: str, step: Any, unit: str, voltage: float | None) -> float | None:
    """A step in m or 1/m; angles are divided by the wavelength."""
    if not isinstance(step, int | float) or not math.isfinite(step):
        return None
    try:
        if held == "m":
            return parse(f"{step:.12g} {unit}", "m") if unit else None
        if unit in FREQUENCY:
            return step / parse(f"1 {unit.partition('/')[2]}", "m")
        if unit in ANGLE and voltage:
            return parse(f"{step:.12g} {unit}", "rad") / electron_wavelength_m(voltage)
    except ValueError:  # a unit of something else
        return None
    return None
