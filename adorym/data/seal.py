"""A checksum at the end of a file, which tells whether the file is still what was written.

The last 64 bytes are a mark, and the SHA-256 digest of everything before it. HDF5 reads nothing beyond the end that its
header states, so that sealed files open anywhere. Whoever adds to such a file with another program breaks the seal.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

MARK = b"adorym: sha256 of all before".ljust(32)
LENGTH = len(MARK) + hashlib.sha256().digest_size
BLOCK = 1 << 20
State = Literal["whole", "damaged", "not sealed"]


def seal(path: Path) -> None:
    """Append the checksum to ``path``."""
    digest = _digest(path, path.stat().st_size)
    with open(path, "ab") as file:
        file.write(MARK + digest)


def state_of(path: Path) -> State:
    """Whether ``path`` is what was sealed; the whole file is read.

    Raises:
        OSError: It cannot be read.
    """
    size = path.stat().st_size - LENGTH
    if size < 0:
        return "not sealed"
    with open(path, "rb") as file:
        file.seek(size)
        mark, stored = file.read(len(MARK)), file.read()
    if mark != MARK:
        return "not sealed"
    return "whole" if _digest(path, size) == stored else "damaged"


def _digest(path: Path, size: int) -> bytes:
    found, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
    with open(path, "rb", buffering=0) as file:
        while size > 0 and (n := file.readinto(block[: min(BLOCK, size)])):
            found.update(block[:n])
            size -= n
    return found.digest()
