"""Files that are written completely or not at all, by one process or by all ranks together."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from adorym.comm import Communicator
from adorym.data.seal import seal
from adorym.errors import WriteError

PARTIAL = ".partial-"
# Larger files are compared with the free space only: to reserve space takes long on some file systems of clusters.
RESERVED_AT_MOST = 1 << 28
MARGIN_BYTES = 1 << 13  # what HDF5 needs beside each array
T = TypeVar("T")


@contextmanager
def whole_file(
    path: str | Path,
    comm: Communicator | None = None,
    switch: Callable[[Path, Path], None] = os.replace,
    *,
    sealed: bool = False,
    n_bytes: int = 0,
) -> Iterator[Path]:
    """Context that yields a name to write to; on success the file moves to ``path``, otherwise it is removed.

    A reader of ``path`` finds the old file or the complete new one, even after a power cut. Missing directories are
    created.

    Args:
        path: The file.
        comm: The ranks that write it together: all enter, and get the same name; by default one process writes.
        switch: How the complete file takes its place, called with both names.
        sealed: Append a checksum; see `adorym.data.seal`.
        n_bytes: Space that must be free before anything is written: HDF5 does not survive a full disk.

    Raises:
        OSError: The file cannot be written.
        WriteError: The same on every rank, where ranks write together.
    """
    path, leads = Path(path), comm is None or comm.is_root
    # The suffix stays last: libraries choose a format by it.
    partial = path.with_name(f"{PARTIAL}{os.getpid() if comm is None else 'shared'}-{path.name}")

    def begin() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        need_space(path.parent, n_bytes)

    def finish() -> None:
        if sealed:
            seal(partial)
        _to_disk(partial)  # the content must be on the disk before the name refers to it
        switch(partial, path)
        _to_disk(path.parent)

    try:
        if comm is None:
            begin()
            yield partial
            finish()
        else:
            together(comm, path, begin, on_root=True)
            yield partial
            comm.barrier(f"write {path.name}")
            together(comm, path, finish, on_root=True)
    finally:
        if leads:
            partial.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a small file that need not survive a power cut: a reader finds the old content or the new one."""
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def together(comm: Communicator, path: Path, work: Callable[[], T], *, on_root: bool = False) -> T:
    """What ``work`` returns, which writes to ``path`` on every rank; collective.

    Args:
        on_root: Only rank 0 works; all return what it does.

    Raises:
        WriteError: One rank cannot write; on all of them.
    """
    value: Any = None
    fault: BaseException | None = None
    if comm.is_root or not on_root:
        try:
            value = work()
        except (OSError, RuntimeError, WriteError) as error:  # RuntimeError: HDF5
            fault = error
    text = "" if fault is None else reason(fault)
    faults = comm.gather(np.frombuffer(text.encode(), np.uint8), f"write {path.name}")
    found = next((bytes(each).decode() for each in faults if len(each)), "")
    if found:
        raise WriteError(
            str(path), "cannot be written", found=found, remedy="make room, or write to another folder"
        ) from fault
    return comm.broadcast(value, f"write {path.name}") if on_root else value


def need_space(folder: Path, n_bytes: int) -> None:
    """Raise unless ``n_bytes`` can be written in ``folder``.

    Raises:
        OSError: They cannot.
    """
    if n_bytes <= 0:
        return
    free = os.statvfs(folder)
    if n_bytes > free.f_bavail * free.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if n_bytes <= RESERVED_AT_MOST:  # a quota, or a limit of the process, stands nowhere
        with tempfile.TemporaryFile(prefix=PARTIAL, dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)


def reason(error: BaseException) -> str:
    """Why something could not be written."""
    if isinstance(error, WriteError):
        return str(error.found)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def write_json(path: Path, value: object) -> None:
    """Write plain data as JSON."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def remove_partial(folder: str | Path) -> None:
    """Remove partial files of killed processes from ``folder``."""
    for path in Path(folder).glob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
