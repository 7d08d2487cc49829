"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Context that yields a name to write to; when it ends well, the file moves to ``path``, else it is removed.

    Whoever reads ``path`` sees the old file or the new one, never a part, even after a power cut. Missing directories
    are made.

    Raises:
        OSError: The directory cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays the last part: libraries choose a format by it.
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        _to_disk(partial)  # the content must be on the disk before the name points at it
        os.replace(partial, path)
        _to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(folder: str | Path) -> None:
    """Remove what a process that was killed while it wrote has left in ``folder``."""
    for path in Path(folder).glob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
