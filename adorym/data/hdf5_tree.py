"""Everything in an HDF5 file, through links of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from adorym.data.hdf5 import BROKEN_FILE, broken_link
from adorym.errors import DataError

MOST_NAMES = 20_000
LONGEST_ATTRIBUTE = 16  # numbers; longer ones are no metadata


@dataclass(frozen=True)
class Leaf:
    """A dataset by the name that leads to it, or a link that leads nowhere and what it lacks."""

    name: str
    dataset: h5py.Dataset | None
    lost: str = ""
    identity: Any = None


def leaves(file: h5py.Group, attributes: dict[str, Any] | None = None) -> Iterator[Leaf]:
    """Every dataset under every name it has, and every broken external link, in the order of the file.

    Args:
        file: The file, or a group of it, whose name does not come before the names.
        attributes: Receives numbers in attributes as ``name@attribute``.

    Raises:
        DataError: More than `MOST_NAMES` names: groups that are linked into each other.
    """
    found = _below(file, "", {_identity(file)}, {} if attributes is None else attributes)
    for count, leaf in enumerate(found, 1):
        if count > MOST_NAMES:
            raise DataError(file.file.filename, f"more than {MOST_NAMES} names", remedy="say which with data.map")
        yield leaf


def _below(group: h5py.Group, prefix: str, above: set[Any], attributes: dict[str, Any]) -> Iterator[Leaf]:
    _keep_numbers(group, prefix, attributes)
    for key in group:
        name = f"{prefix}/{key}" if prefix else key
        try:
            item = group[key]
        except BROKEN_FILE:
            lost = broken_link(group, key)
            if lost is not None:
                yield Leaf(name, None, lost)
            continue
        identity = _identity(item)
        if isinstance(item, h5py.Dataset):
            _keep_numbers(item, name, attributes)
            yield Leaf(name, item, identity=identity)
        elif isinstance(item, h5py.Group) and identity not in above:  # a link back to a group that holds it
            yield from _below(item, name, above | {identity}, attributes)


def _identity(item: h5py.Group | h5py.Dataset | h5py.Datatype) -> Any:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _keep_numbers(item: h5py.Group | h5py.Dataset, name: str, attributes: dict[str, Any]) -> None:
    for key in item.attrs:
        try:
            kept = item.attrs.get_id(key)
            small = int(np.prod(kept.shape or (1,))) <= LONGEST_ATTRIBUTE
            if small and kept.dtype.kind in "iuf":
                attributes[f"{name}@{key}"] = item.attrs[key]
        except BROKEN_FILE:  # an attribute that nobody asked for
            continue
