"""Detectors' own files: EDF, CBF (miniCBF with byte offsets), Merlin's MIB, and raw EMPAD."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from adorym.errors import DataError

EDF_TYPES = {
    "signedbyte": "i1", "unsignedbyte": "u1", "signedshort": "i2", "unsignedshort": "u2", "signedinteger": "i4",
    "unsignedinteger": "u4", "signedlong": "i4", "unsignedlong": "u4", "signed64": "i8", "unsigned64": "u8",
    "float": "f4", "floatvalue": "f4", "real": "f4", "double": "f8", "doublevalue": "f8",
}  # fmt: skip
MIB_TYPES = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}
CBF_START = b"\x0c\x1a\x04\xd5"
# A frame has 130 rows of 128 numbers, the last two of which are no picture.
EMPAD_ROWS, EMPAD_COLUMNS = 128, 128
EMPAD_FRAME = 130 * 128 * 4
MOST_PIXELS = 2**31

Source = Path | bytes


def _bytes(source: Source) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def read_edf(source: Source) -> np.ndarray:
    """``(y, x)``, or ``(n, y, x)``, of an ESRF data file, all of whose frames have one size."""
    content, frames, at = _bytes(source), [], 0
    while (start := content.find(b"{", at)) >= 0 and (end := content.find(b"}\n", start)) >= 0:
        text = content[start + 1 : end].decode("latin-1")
        header = {k.strip().lower(): v.strip() for k, _, v in (line.partition("=") for line in text.split(";"))}
        if "dim_1" not in header:
            break
        shape = (int(header.get("dim_2", 1)), int(header["dim_1"]))
        kind = EDF_TYPES[header["datatype"].lower()]
        order = ">" if header.get("byteorder", "").lower().startswith("high") else "<"
        frames.append(np.frombuffer(content, order + kind, int(np.prod(shape)), end + 2).reshape(shape))
        at = end + 2 + frames[-1].nbytes
    if not frames:
        raise ValueError("no frame with Dim_1 and DataType")
    return frames[0] if len(frames) == 1 else np.stack(frames)


def read_cbf(source: Source) -> np.ndarray:
    """``(y, x)`` int32 of a miniCBF file; differences of one, two or four bytes are summed up."""
    content = _bytes(source)
    header, _, packed = content.partition(CBF_START)
    text = header.decode("latin-1")
    if "x-CBF_BYTE_OFFSET" not in text:
        raise ValueError("only the compression x-CBF_BYTE_OFFSET is known")
    found = [re.search(rf"X-Binary-Size-{name}-Dimension:\s*(\d+)", text) for name in ("Second", "Fastest")]
    rows, columns = (int(each.group(1)) if each else 0 for each in found)
    if not 0 < rows * columns <= MOST_PIXELS:
        raise ValueError(f"a picture of {rows} x {columns} pixels")
    picture, complete = _compiled(_summed_up)(np.frombuffer(packed, np.uint8), rows * columns)
    if not complete:
        raise ValueError("the picture is cut off")
    return picture.reshape(rows, columns)


@lru_cache(maxsize=1)
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    from numba import njit  # slow to import

    return njit(function)


def _summed_up(packed: np.ndarray, n: int) -> tuple[np.ndarray, bool]:
    """Running sum of ``n`` differences, and whether all are there."""
    out, value, at, end = np.zeros(n, np.int32), np.int64(0), 0, len(packed)
    for i in range(n):
        width, step = 1, np.int64(0)
        while True:
            if at + width > end:
                return out, False
            step = np.int64(0)
            for k in range(width):
                step |= np.int64(packed[at + k]) << (8 * k)
            at += width
            sign = np.int64(1) << (8 * width - 1)
            if step != sign or width == 4:
                break
            width *= 2  # the smallest number says that the next width holds the difference
        if step >= sign:
            step -= sign << 1
        value += step
        out[i] = value
    return out, True


def read_mib(source: Source) -> np.ndarray:
    """``(n, y, x)`` of a Merlin file, whose frames each have a header; a memory map of a file."""
    if isinstance(source, bytes):
        head, size = source[:512], len(source)
    else:
        with open(source, "rb") as file:
            head = file.read(512)
        size = source.stat().st_size
    fields = head.decode("latin-1").split(",")
    offset, columns, rows, kind = int(fields[2]), int(fields[4]), int(fields[5]), fields[6].strip()
    if kind not in MIB_TYPES:
        raise DataError(str(source), "pixels packed by the detector", expected=", ".join(MIB_TYPES), found=kind,
                        remedy="save the frames with 8, 16 or 32 bits a pixel")  # fmt: skip
    frame = np.dtype([("header", f"V{offset}"), ("data", MIB_TYPES[kind], (rows, columns))])
    n = size // frame.itemsize
    if n == 0:
        raise ValueError("the first frame is cut off")
    if isinstance(source, Path):
        return np.memmap(source, frame, "r", shape=(n,))["data"]
    return np.frombuffer(source, frame, n)["data"]


def is_empad(path: Path) -> bool:
    """Whether ``path`` has the ending and the size of a raw EMPAD file, which says nothing about itself."""
    size = path.stat().st_size
    return path.suffix.lower() == ".raw" and size > 0 and size % EMPAD_FRAME == 0


def read_empad(path: Path) -> np.ndarray:
    """``(n, 128, 128)`` float32, a memory map."""
    return np.memmap(path, "<f4", "r").reshape(-1, EMPAD_FRAME // 4 // EMPAD_COLUMNS, EMPAD_COLUMNS)[:, :EMPAD_ROWS]
