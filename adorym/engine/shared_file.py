"""Files that all ranks write together, and that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adorym.comm import Communicator
from adorym.data.atomic import PARTIAL
from adorym.errors import RunError


@contextmanager
def written_together(
    comm: Communicator, path: Path, switch: Callable[[Path, Path], None] = os.replace
) -> Iterator[Path]:
    """Context that yields, on every rank, a name to write to; when all have ended well, ``switch(name, path)`` is done.

    Whoever reads ``path`` sees the old file or the new one, whatever happens and when. Every rank has what it wrote on
    the disk before it leaves the context.

    Raises:
        RunError: The file cannot be written.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}")
    try:
        if comm.is_root:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        comm.barrier(f"write {path.name}")
        if comm.is_root:
            switch(partial, path)
            to_disk(path.parent)
    except OSError as error:
        raise RunError(str(path), "cannot be written", found=error.strerror or str(error)) from error
    finally:
        if comm.is_root:
            partial.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
