"""The links by which an HDF5 file takes data from others: listed before anything of them is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from adorym.data.hdf5 import BROKEN_FILE, linked_file, lost_file, open_hdf5
from adorym.data.hdf5_tree import MOST_NAMES
from adorym.errors import DataError

SHOWN = 5


@dataclass(frozen=True)
class Link:
    """A link of the file ``master``, or a virtual dataset in it, and the file it leads to."""

    master: Path
    name: str
    target: Path

    @property
    def leads_out(self) -> bool:
        """Whether the target lies neither in the folder of the master nor below."""
        return not self.target.resolve().is_relative_to(self.master.resolve().parent)


def links_of(path: Path) -> list[Link]:
    """External links and sources of virtual datasets in ``path``, each target once; none is followed."""
    found: dict[Path, Link] = {}
    with open_hdf5(path) as file:
        for name, other in _named(file):
            target = linked_file(file.filename, other)
            found.setdefault(target, Link(path, name, target))
    return list(found.values())


def _named(file: h5py.File) -> Iterator[tuple[str, str]]:
    """Name of a link and of its file, as the file has them."""
    groups: list[h5py.Group] = [file]
    for _ in range(MOST_NAMES):
        if not groups:
            return
        group = groups.pop(0)
        for key in group:
            try:
                link = group.get(key, getlink=True)
                item = group[key] if isinstance(link, h5py.HardLink) else None
                sources = item.virtual_sources() if isinstance(item, h5py.Dataset) and item.is_virtual else ()
            except BROKEN_FILE:
                continue
            name = f"{group.name.rstrip('/')}/{key}"
            if isinstance(link, h5py.ExternalLink):
                yield name, link.filename
            yield from ((name, each.file_name) for each in sources if each.file_name != ".")
            if isinstance(item, h5py.Group):
                groups.append(item)


def links_out(files: Iterable[Path]) -> tuple[str, ...]:
    """A note about links that lead out of the folders of ``files``."""
    out = [link for file in files if h5py.is_hdf5(file) for link in links_of(file) if link.leads_out]
    if not out:
        return ()
    shown = ", ".join(str(link.target) for link in out[:SHOWN]) + (", ..." if len(out) > SHOWN else "")
    return (f"takes data from {len(out)} files in other folders, which data.strict_links refuses: {shown}",)


def need_strict(files: Iterable[Path]) -> None:
    """Refuse files with any link that is broken, or leads out of their folder.

    Raises:
        DataError: The first of them.
    """
    for link in (link for file in files if h5py.is_hdf5(file) for link in links_of(file)):
        place = f"{link.master}:{link.name}"
        if link.leads_out:
            remedy = "leave data.strict_links out if the file can be trusted"
            raise DataError(place, "a link that leads out of the folder", found=str(link.target), remedy=remedy)
        if not link.target.is_file() and "%b" not in link.target.name:
            raise lost_file(place, f"no file '{link.target.name}'")
