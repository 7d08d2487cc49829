"""The runs below the given folders, and their files; nothing else can be reached."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py

from adorym.data.live import LIVE, STATE
from adorym.data.result import RESULT_NAME
from adorym.errors import ConfigError, DataError

DEPTH, MOST = 3, 2000  # of folders below a given one; folders looked at
MARKS = (f"{LIVE}/{STATE}", RESULT_NAME)  # one of them makes a folder a run
GROUPS = 3  # levels of a result


@dataclass(frozen=True)
class Run:
    """A folder with a run.

    Attributes:
        key: Names it in addresses; says nothing of its path.
        name: Path below the folder that was given, for people.
        root: The given folder.
        folder: The run's own.
    """

    key: str
    name: str
    root: Path
    folder: Path


class Library:
    """The runs below some folders.

    Args:
        folders: Runs, or folders of runs.

    Raises:
        ConfigError: One of them is no folder.
    """

    def __init__(self, folders: Iterable[str | Path]) -> None:
        given = [Path(folder) for folder in folders]
        for folder in given:
            if not folder.is_dir():
                raise ConfigError(
                    "DIR", f"no folder '{folder}'", remedy="name the output folder of a run, or a folder of runs"
                )
        self.roots = list(dict.fromkeys(folder.resolve() for folder in given))

    def runs(self) -> dict[str, Run]:
        """The runs by key, in the order of their names."""
        found: dict[str, Run] = {}
        for root in self.roots:
            for folder in sorted(_folders(root)):
                if any(own_file(root, folder / mark) is not None for mark in MARKS):
                    run = self._run(root, folder)
                    found.setdefault(run.key, run)
        return found

    def _run(self, root: Path, folder: Path) -> Run:
        inner = folder.relative_to(root)
        parts = inner.parts if len(self.roots) == 1 and inner.parts else (root.name, *inner.parts)
        # Any name has a key that an address can carry, and a key leads nowhere but to a run that was found.
        key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        name = os.fsencode("/".join(parts)).decode("utf-8", "replace")
        return Run(key, name, root, folder)


def _folders(root: Path) -> Iterator[Path]:
    """``root`` and the folders below it, without following links."""
    for here, inner, _ in islice(os.walk(root), MOST):
        yield Path(here)
        deep = len(Path(here).relative_to(root).parts) >= DEPTH
        inner[:] = [] if deep else sorted(name for name in inner if not name.startswith(".") and name != LIVE)


def own_file(root: Path, path: Path) -> Path | None:
    """``path`` if it is a regular file below ``root``, wherever links lead; else ``None``."""
    try:
        real = path.resolve(strict=True)
        regular = stat.S_ISREG(real.stat().st_mode)
    except (OSError, RuntimeError):  # none, or links in a circle
        return None
    return real if regular and real.is_relative_to(root) else None


def stamp(root: Path, path: Path) -> tuple[int, int]:
    """(time of change in ns, size) of an `own_file`; zeros for none."""
    own = own_file(root, path)
    try:
        found = None if own is None else own.stat()
    except OSError:
        return 0, 0
    return (0, 0) if found is None else (found.st_mtime_ns, found.st_size)


def check_self_contained(path: Path) -> None:
    """Refuse an HDF5 file whose links or data lead to other files.

    Raises:
        DataError: They do.
    """
    with h5py.File(path, "r") as file:
        _check_group(file, path, GROUPS)


def _check_group(group: h5py.Group, path: Path, levels: int) -> None:
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise DataError(str(path), f"'{group.name}/{name}' is a link", expected="a result that contains its data")
        item = group[name]
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise DataError(
                str(path), f"'{item.name}' lies in another file", expected="a result that contains its data"
            )
        if isinstance(item, h5py.Group) and levels > 1:
            _check_group(item, path, levels - 1)
