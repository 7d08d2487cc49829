"""Files that are written completely or not at all, by one process or by all ranks together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adorym.comm import Communicator
from adorym.data.seal import seal
from adorym.errors import RunError

PARTIAL = ".partial-"


@contextmanager
def whole_file(
    path: str | Path,
    comm: Communicator | None = None,
    switch: Callable[[Path, Path], None] = os.replace,
    *,
    sealed: bool = False,
) -> Iterator[Path]:
    """Context that yields a name to write to; on success the file moves to ``path``, otherwise it is removed.

    A reader of ``path`` finds the old file or the complete new one, even after a power cut. Missing directories are
    created.

    Args:
        path: The file.
        comm: The ranks that write it together: all enter, and get the same name; by default one process writes.
        switch: How the complete file takes its place, called with both names.
        sealed: Append a checksum; see `adorym.data.seal`.

    Raises:
        OSError: The file cannot be written.
        RunError: The same, where ranks write together.
    """
    path, leads = Path(path), comm is None or comm.is_root
    # The suffix stays last: libraries choose a format by it.
    partial = path.with_name(f"{PARTIAL}{os.getpid() if comm is None else 'shared'}-{path.name}")
    try:
        if leads:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if comm is not None:
            comm.barrier(f"write {path.name}")
        if leads:
            if sealed:
                seal(partial)
            _to_disk(partial)  # the content must be on the disk before the name refers to it
            switch(partial, path)
            _to_disk(path.parent)
    except OSError as error:
        if comm is None:
            raise
        raise RunError(str(path), "cannot be written", found=error.strerror or str(error)) from error
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
