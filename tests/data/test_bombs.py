"""Small files that unpack to very much: one clear error, and hardly any memory."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
from fuzz.judge import verdict

from adorym.commands import inspect as inspect_command
from adorym.data.containers import SINGLE, open_container

BLOCK = bytes(2**24)
ROWS, MANY = 2**12, 160  # a block is a strip of ROWS x ROWS bytes; so many are 2.5 GiB


def tif(path, strips: int, rows: int, packed: bytes) -> None:
    """A gray picture of ROWS columns in ``strips`` strips of ``rows`` rows; the same Deflate stream is all of them."""
    entries = {256: [ROWS], 257: [strips * rows], 258: [8], 259: [8], 262: [1], 277: [1], 278: [rows]}
    after = 8 + len(packed)
    table = struct.pack(f"<{2 * strips}I", *[8] * strips, *[len(packed)] * strips)
    entries |= {273: [8] if strips == 1 else [after], 279: [len(packed)] if strips == 1 else [after + 4 * strips]}
    directory = struct.pack("<H", len(entries))
    for tag, values in sorted(entries.items()):
        directory += struct.pack("<HHII", tag, 4, strips if tag in (273, 279) else 1, values[0])
    head = struct.pack("<2sHI", b"II", 42, after + len(table))
    path.write_bytes(head + packed + table + directory + bytes(4))


def gzipped(path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (MANY * 2**24,)})
    path.write_bytes(gzip.compress(header.getvalue()) + gzip.compress(BLOCK) * 4 * MANY)


def bzipped(path) -> None:
    path.write_bytes(bz2.compress(b"\x93NUMPY") + bz2.compress(BLOCK) * MANY)


def zipped(path, start: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("counts.npy", start + BLOCK * 20)


def npz(path) -> None:
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, {"descr": "|u1", "fortran_order": False, "shape": (20, ROWS, ROWS)})
    zipped(path, start.getvalue())


def header(path) -> None:
    """The header of an array in an npz file says that it is 2 GiB long."""
    zipped(path, b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31))


def many_strips(path) -> None:
    tif(path, MANY, ROWS, zlib.compress(BLOCK))


def long_strip(path) -> None:
    """A strip that unpacks to more than the picture holds."""
    stream = zlib.compressobj(1)
    tif(path, 1, 64, b"".join(stream.compress(BLOCK) for _ in range(20)) + stream.flush())


def picture(path) -> None:
    """A PNG that says it has 13000 x 13000 pixels of three colors."""
    chunk = struct.pack(">2I5B", 13000, 13000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", chunk), (b"IDAT", zlib.compress(BLOCK)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def mat(path) -> None:
    scipy.io.savemat(path, {"counts": np.zeros((20, ROWS, ROWS), np.uint8)}, do_compression=True)


def hdf5(path) -> None:
    """One chunk of 2 GiB."""
    with h5py.File(path, "w") as file:
        counts = file.create_dataset(
            "entry/data", (2, 2**15, 2**15), "u1", chunks=(2, 2**15, 2**15), compression="gzip", compression_opts=1
        )
        counts.id.write_direct_chunk((0, 0, 0), zlib.compress(BLOCK) * 2)


BOMBS = {
    "gzip": (gzipped, "npy.gz", "unpacks to very much"),
    "bz2": (bzipped, "npy.bz2", "unpacks to very much"),
    "npz": (npz, "npz", "unpacks to very much"),
    "npz-header": (header, "npz", "damaged"),
    "tif": (many_strips, "tif", "unpacks to very much"),
    "tif-strip": (long_strip, "tif", "a page holds more than it says"),
    "png": (picture, "png", "unpacks to very much"),
    "mat": (mat, "mat", "unpacks to very much"),
    "hdf5": (hdf5, "h5", "unpacks to very much"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_file_that_unpacks_to_very_much_is_refused(tmp_path, name):
    """In a process that may take one GiB; the message is none about a lack of memory."""
    make, suffix, words = BOMBS[name]
    path = tmp_path / f"bomb.{suffix}"
    make(path)
    assert path.stat().st_size < 2e7

    def read() -> None:
        container = open_container(path)
        for key in container.arrays:
            container.read(key)

    ended, told = verdict(read)
    assert ended == "refused" and words in told, (ended, told)
    ended, told = verdict(lambda: inspect_command.inspect(path))  # which may do without the content
    assert ended == "fine" or words in told, (ended, told)


def test_what_is_packed_well_is_read(tmp_path):
    tif(tmp_path / "a.tif", 2, ROWS, zlib.compress(BLOCK[:-1] + b"\x07"))
    found = open_container(tmp_path / "a.tif").read(SINGLE)
    assert found.shape == (2 * ROWS, ROWS) and found[-1, -1] == 7 and found.sum() == 14
