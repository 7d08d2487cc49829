"""Open a data file of any known format."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym import registry
from adorym.data.checks import check_counts
from adorym.data.containers import SINGLE, open_container
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.hdf5 import check_file, open_hdf5
from adorym.data.keymap import KeyMap
from adorym.data.overrides import Overrides
from adorym.data.patterns import check_stack, load
from adorym.data.pictures import PICTURES, is_series, order_note, read_series, series_files
from adorym.data.readers import Reader
from adorym.data.readers.base import Raw, assemble
from adorym.errors import ConfigError, DataError, ExtensionError
from adorym.extension import is_foreign, user_code

GIB = 2**30
IN_MEMORY = "patterns in memory"
LOG = logging.getLogger("adorym")


def open_dataset(
    path: str | Path | np.ndarray, overrides: Mapping[str, Any] | Overrides | None = None, *, check: bool = True
) -> Dataset:
    """The data set in ``path``, its format recognized from the content.

    Patterns that fit ``memory_limit_gib`` are read now, others batch by batch.

    Args:
        path: The file, or the patterns themselves, ``(n, y, x)``, or ``(rows, columns, y, x)`` of a raster.
        overrides: Values that win over the file's; see `adorym.data.overrides.Overrides` for the keys.
        check: Read all counts once, block by block, leave out patterns that fall out, and refuse counts that no model
            can fit.

    Raises:
        DataError: No such file, no known format, something missing, shapes that do not fit, or bad counts.
        ConfigError: An override is unknown or of the wrong kind.
    """
    wanted = Overrides.of(overrides)
    dataset = _opened(path, wanted)
    dataset = replace(dataset, patterns=load(dataset.patterns, wanted.memory_limit_gib * GIB))
    return check_counts(dataset, wanted) if check else dataset


def _opened(path: str | Path | np.ndarray, wanted: Overrides) -> Dataset:
    if isinstance(path, np.ndarray):
        check_stack(path, IN_MEMORY)
        return replace(_pictures(IN_MEMORY, path, wanted), format="array")
    if is_series(path) and not wanted.map:
        return _pictures(path, read_series(path), wanted, order_note(series_files(path)))
    file = Path(path).expanduser() if wanted.format is not None else check_file(path)
    if wanted.map:
        return KeyMap.parse(wanted.map).read(file, wanted)
    if wanted.format is None and not h5py.is_hdf5(file) and (frames := _only_array(file)) is not None:
        return _pictures(file, frames, wanted)
    return _read(find_reader(file, wanted.format), file, wanted)


def _read(reader: Reader, file: Path, wanted: Overrides) -> Dataset:
    try:
        with user_code(reader, method="extract"):
            return reader.read(file, wanted)
    except KeyError as error:
        raise DataError(
            str(file),
            f"not laid out as the format '{reader.kind}' is",
            found=str(error.args[0]) if error.args else None,
            remedy="leave 'data.format' out to have the format recognized, or say where things are with data.map",
        ) from error


def _only_array(path: Path) -> np.ndarray | None:
    """The array in a picture file, which needs no map to find it; ``None`` for other files."""
    try:
        container = open_container(path)
    except DataError:
        return None  # whoever reads it next says what is wrong
    return container.read(SINGLE) if container.kind in PICTURES and container.loaded[SINGLE].ndim >= 2 else None


def _pictures(path: str | Path, frames: np.ndarray, wanted: Overrides, *notes: str) -> Dataset:
    """Raw pictures as a data set of one angle."""
    stack = frames.reshape(-1, *frames.shape[-2:])
    raw = Raw(
        patterns=ArrayPatterns(stack),
        scan_shape=frames.shape[:-2],
        notes=(f"{len(stack)} raw pictures, taken as intensities", *notes),
    )
    return replace(assemble(raw, wanted, str(path)), format="pictures")


def _made(name: str) -> Reader:
    cls = registry.lookup("reader", name, "data.format")
    with user_code(cls, method="__init__"):
        reader = cls()
    if not isinstance(reader, Reader):
        expected, remedy = "a class derived from adorym.Reader", "derive it, and fill in 'recognizes' and 'extract'"
        raise ConfigError("data.format", f"'{name}' is no reader", expected=expected, remedy=remedy)
    return reader


def find_reader(path: Path, name: str | None = None) -> Reader:
    """The reader called ``name``, else the one that recognizes the file.

    Raises:
        DataError: None does, with what the file holds.
        ConfigError: There is no reader of that name.
    """
    if name is not None:
        reader = _made(name)
        if not is_foreign(reader):
            check_file(path)
        return reader
    is_hdf5 = h5py.is_hdf5(path)
    for candidate in registry.names("reader"):
        try:
            reader = _made(candidate)
            with user_code(reader, method="recognizes"):
                if (is_hdf5 or is_foreign(reader)) and reader.recognizes(path):
                    return reader
        except ExtensionError as error:  # somebody's reader of something else
            LOG.warning("a reader is left out: %s", error)
    with open_hdf5(path) as content:
        found = ", ".join(content) or "an empty file"
    raise DataError(
        str(path),
        "no reader recognizes the file",
        expected=f"the layout of one of {', '.join(registry.names('reader'))}",
        found=found,
        remedy="say where things are with data.map; 'adorym inspect' suggests it",
    )
