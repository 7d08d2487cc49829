"""Any readable data file into the package's own layout, or into CXI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adorym.data.cxi_write import write_cxi
from adorym.data.dataset import Dataset
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.data.overrides import Overrides
from adorym.data.sources import PathLike, source_of
from adorym.errors import DataError


def convert(
    source: PathLike,
    target: str | Path,
    mapping: Sequence[str] = (),
    overrides: Mapping[str, Any] | Overrides | None = None,
) -> Dataset:
    """Read ``source``, write it to ``target`` in native HDF5, or in CXI if it is called ``.cxi``, and return it.

    Args:
        source: Data file, or anything else that a run takes as data.
        target: File to write; one that is there is replaced once the new one is complete.
        mapping: Where things lie in a file of unknown layout, entries of `adorym.data.keymap.KeyMap`.
        overrides: Values that win over the file's, and choices of patterns.

    Raises:
        DataError: The source cannot be read, or the target cannot be written or is the source.
        ConfigError: A wrong entry of the map, or a wrong override.
    """
    wanted = Overrides.of(overrides)
    if wanted.format is None and Path(target).exists() and any(map(Path(target).samefile, source_of(source).files)):
        raise DataError(str(target), "source and target are the same file", remedy="name another target")
    dataset = open_dataset(source, replace(wanted, map=tuple(mapping)) if mapping else wanted)
    write = write_cxi if Path(target).suffix.lower() == ".cxi" else write_native
    write(dataset, target)
    return dataset
