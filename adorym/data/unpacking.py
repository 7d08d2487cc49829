"""What is packed in a file, unpacked in bounded steps: a small file must not fill the memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adorym.data.hdf5 import GIB, SMALL, need_plausible
from adorym.errors import DataError

LARGEST_UNPACKED = 16 * GIB  # by bz2 or gzip
AT_ONCE = 2**24
# Compressions of TIFF pages that do not say how much they unpack to, by their number: two of Deflate, and LZMA.
_STREAMS: dict[int, Callable[[], Any]] = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    34925: lzma.LZMADecompressor,
}
MATLAB_PACKED = 15  # the type of such an element
MOST_BY_STREAM = 8192  # times its size that any of them unpacks to


def packing(path: Path) -> Any:
    """What opens ``path``: `open`, or that of bz2 or gzip."""
    with open(path, "rb") as file:
        start = file.read(3)
    return bz2.open if start == b"BZh" else gzip.open if start.startswith(b"\x1f\x8b") else open


def content(path: Path, size: int = -1) -> bytes:
    """The first ``size`` bytes of the content, or all of it; what it is packed in is taken off.

    Raises:
        DataError: It unpacks to far more than its size, or to more than can be read.
    """
    opener = packing(path)
    with open(path, "rb") as raw, raw if opener is open else opener(raw, "rb") as file:
        if size >= 0:
            return file.read(size)
        found, packed = io.BytesIO(), path.stat().st_size
        while block := file.read(AT_ONCE):
            found.write(block)
            need_plausible(str(path), found.tell(), packed if found.tell() < 4 * SMALL else raw.tell())
            if found.tell() > LARGEST_UNPACKED:
                expected = f"at most {LARGEST_UNPACKED // GIB} GiB"
                raise DataError(str(path), "unpacks to more than can be read", expected=expected)
        return found.getvalue()


def need_bounded_pages(file: Any) -> None:
    """Look at the pages of an open `tifffile.TiffFile` before they are unpacked.

    Raises:
        DataError: They promise far more than they take in the file, or hold more than they promise.
    """
    place, pages = file.filename, [page for page in file.series[0].pages if page is not None]
    need_plausible(place, file.series[0].nbytes, sum(sum(page.databytecounts) for page in pages))
    for page in pages:
        stream = _STREAMS.get(int(page.keyframe.compression))
        for at, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            if stream is not None and length * MOST_BY_STREAM > SMALL:
                file.filehandle.seek(at)
                _need_length(place, file.filehandle.read(length), stream(), page.keyframe.nbytes)


def _need_length(place: str, packed: bytes, stream: Any, most: int) -> None:
    """Unpack a stream in pieces, which are thrown away, until it is longer than ``most``."""
    total, rest = 0, packed
    while not stream.eof:
        piece = stream.decompress(rest, AT_ONCE)
        rest = getattr(stream, "unconsumed_tail", b"")  # LZMA keeps it itself
        total += len(piece)
        if total > most:
            raise DataError(place, "a page holds more than it says", expected=f"at most {most} bytes")
        if not piece and not rest:
            break


def need_bounded_matrices(place: str, stream: Any) -> None:
    """Look at what the packed matrices of a MATLAB 5 file say of their size, before scipy unpacks them.

    Raises:
        DataError: It is far more than they take in the file.
    """
    order = "<" if stream.read(128)[126:] == b"IM" else ">"
    while len(tag := stream.read(8)) == 8:
        kind, length = struct.unpack(f"{order}2I", tag)
        packed = stream.read(length)
        if kind == MATLAB_PACKED:
            inner = zlib.decompressobj().decompress(packed, 8)
            if len(inner) == 8:
                need_plausible(place, struct.unpack(f"{order}2I", inner)[1], length)
