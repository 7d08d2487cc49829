"""Open a data file of any known format."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym import registry
from adorym.data.checks import check_counts
from adorym.data.containers import Container, opened
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.hdf5 import damage_named, lost_file
from adorym.data.keymap import KeyMap
from adorym.data.layouts import LAYOUTS, LayoutReader, layout_of
from adorym.data.links import need_strict
from adorym.data.overrides import DataFile, Overrides, given
from adorym.data.patterns import check_stack, load
from adorym.data.pictures import PICTURES
from adorym.data.readers import Reader
from adorym.data.readers.base import Raw, assemble
from adorym.data.readers.joined import at_distances, joined_raw, joined_scans, same_angles
from adorym.data.readers.pictures import pictures_raw, raw_of_parts, with_own_fields
from adorym.data.sources import PathLike, source_of
from adorym.data.suggest import guess
from adorym.errors import ConfigError, DataError, ExtensionError
from adorym.extension import is_foreign, user_code

GIB = 2**30
IN_MEMORY = "patterns in memory"
LOG = logging.getLogger("adorym")


def open_dataset(
    path: PathLike | Sequence[Any], overrides: Mapping[str, Any] | Overrides | None = None, *, check: bool = True
) -> Dataset:
    """The data set in ``path``, its format recognized from the content.

    Patterns that fit ``memory_limit_gib`` are read now, others batch by batch.

    Args:
        path: A file, several, a pattern such as ``p_*.tif``, a folder, or a run whose data are meant; or the patterns
            themselves, ``(n, y, x)``, or ``(rows, columns, y, x)`` of a raster. A list may hold scans with settings of
            their own (`adorym.data.overrides.DataFile`, or mappings).
        overrides: Values that win over the file's; see `adorym.data.overrides.Overrides` for the keys.
        check: Read all counts once, block by block, leave out patterns that fall out, and refuse counts that no model
            can fit.

    Raises:
        DataError: No such file, no known format, something missing, shapes that do not fit, or bad counts.
        ConfigError: An override is unknown or of the wrong kind.
    """
    wanted = Overrides.of(overrides)
    if isinstance(path, list | tuple) and any(isinstance(each, DataFile | Mapping) for each in path):
        return joined_scans([_one_scan(each, wanted, check=check) for each in path])
    dataset = _opened(path, wanted)
    dataset = replace(dataset, patterns=load(dataset.patterns, wanted.memory_limit_gib * GIB))
    return check_counts(dataset, wanted) if check else dataset


def _one_scan(path: Any, common: Overrides, *, check: bool) -> Dataset:
    """One of several scans, with its own settings."""
    own = path if isinstance(path, DataFile) else DataFile.of(path if isinstance(path, Mapping) else {"path": path})
    return open_dataset(own.path, given(common) | given(own), check=check)


def _opened(path: PathLike, wanted: Overrides) -> Dataset:
    raw, kind, wanted, name = raw_of(path, wanted)
    return replace(assemble(raw, wanted, name), format=kind)


def raw_of(path: PathLike, wanted: Overrides) -> tuple[Raw, str, Overrides, str]:
    """What the files of ``path`` say, the format, the overrides with those of an earlier run, and the first file.

    Raises:
        DataError: No such file, or no known format.
    """
    if isinstance(path, np.ndarray):
        check_stack(path, IN_MEMORY)
        return _in_memory(path), "array", wanted, IN_MEMORY
    if wanted.format is not None and ".py:" in wanted.format and isinstance(path, str | Path):
        file = Path(path).expanduser()  # somebody's own files, perhaps a folder
        return _raw(_made(wanted.format), file, wanted), wanted.format, wanted, str(file)
    source = source_of(path)
    if source.settings:
        wanted = Overrides.of(dict(source.settings) | given(wanted))
    if wanted.strict_links:
        need_strict(source.files)
    if source.parts and not wanted.map:
        raw, wanted = raw_of_parts(source, wanted)
        return raw, "pictures", wanted, str(source.files[0])
    raw, kind = _raw_of_files(source.files, wanted)
    wanted = with_own_fields(wanted, source, raw)
    return replace(raw, notes=(*source.notes, *raw.notes)), kind, wanted, str(source.files[0])


def _raw_of_files(files: Sequence[Path], wanted: Overrides) -> tuple[Raw, str]:
    if len(files) == 1 and not wanted.map:
        reader = find_reader(files[0], wanted.format)
        if reader is not None:
            return _raw(reader, files[0], wanted), reader.kind
    container = opened(files)
    if wanted.map:
        chosen = KeyMap.parse(wanted.map)
        return chosen.extract(
            container, (f"read with a map of its arrays: {chosen.describe()}",)
        ), f"map of {container.kind}"
    if all(part.kind in PICTURES and len(part.arrays) == 1 for part in container.parts or (container,)):
        return pictures_raw(container, files), "pictures"
    layout = layout_of(container) if wanted.format is None else _made(wanted.format)
    if isinstance(layout, LayoutReader):
        with damage_named(container.path):
            return layout.extract_from(container), layout.kind
    readers = [find_reader(file, wanted.format) if h5py.is_hdf5(file) else None for file in files]
    if len(files) > 1 and None not in readers:
        raws = [_raw(reader, file, wanted) for reader, file in zip(readers, files, strict=True) if reader is not None]
        kind = readers[0].kind if readers[0] is not None else ""
        return (at_distances if same_angles(raws) else joined_raw)(raws, str(files[0])), kind
    return _guessed(container, wanted)


def _in_memory(array: np.ndarray) -> Raw:
    stack = array.reshape(-1, *array.shape[-2:])
    note = f"{len(stack)} raw pictures, taken as intensities"
    return Raw(patterns=ArrayPatterns(stack), scan_shape=array.shape[:-2], notes=(note,))


def _guessed(container: Container, wanted: Overrides) -> tuple[Raw, str]:
    """A file of unknown layout, all of whose arrays that are needed are recognized.

    Raises:
        DataError: They are not; with the settings to begin with.
    """
    lost = next((info for info in container.arrays.values() if info.lost), None)
    if lost is not None:
        raise lost_file(f"{container.path}:/{lost.key}", lost.lost)
    with damage_named(container.path):
        found = guess(
            container,
            positions_needed=wanted.positions is None and wanted.scan.step is None,
            pixel_known=wanted.pixel_size is not None or wanted.detector_pixel_size is not None,
        )
    if not found.entries or found.doubts:
        remedy = f"say where things are, perhaps: data.map: [{', '.join(found.entries)}]" if found.entries else None
        raise DataError(
            str(container.path),
            "no reader recognizes the file",
            expected=f"the layout of one of {', '.join(registry.names('reader'))}",
            found="; ".join(found.doubts) or ", ".join(container.arrays) or "no array",
            remedy=remedy or "say where things are with data.map; 'adorym inspect' suggests it",
        )
    note = "a file of unknown layout, its arrays recognized by names, units and numbers; data.map says otherwise"
    chosen = KeyMap.parse(found.entries)
    return chosen.extract(
        container, (note, f"read with a map of its arrays: {chosen.describe()}")
    ), "recognized by names"


def _raw(reader: Reader, file: Path, wanted: Overrides) -> Raw:
    if is_foreign(reader):
        with user_code(reader, method="extract"):
            return reader.raw(file, wanted)
    with damage_named(file):
        try:
            return reader.raw(file, wanted)
        except KeyError as error:
            raise DataError(
                str(file),
                f"not laid out as the format '{reader.kind}' is",
                found=str(error.args[0]) if error.args else None,
                remedy="leave 'data.format' out to have the format recognized, or say where things are with data.map",
            ) from error


def _made(name: str) -> Reader:
    cls = registry.lookup("reader", name, "data.format")
    with user_code(cls, method="__init__"):
        reader = cls()
    if not isinstance(reader, Reader):
        expected, remedy = "a class derived from adorym.Reader", "derive it, and fill in 'recognizes' and 'extract'"
        raise ConfigError("data.format", f"'{name}' is no reader", expected=expected, remedy=remedy)
    return reader


def find_reader(path: Path, name: str | None = None) -> Reader | None:
    """The reader called ``name``, else the one that recognizes the file; ``None`` if none does.

    Raises:
        ConfigError: There is no reader of that name.
        DataError: Two recognize it.
    """
    if name is not None:
        return _made(name)
    known = [name for name in registry.names("reader") if name not in LAYOUTS]
    fitting = [reader for each in known if (reader := _asked(each, path)) is not None]
    certain = [reader for reader in fitting if reader.is_certain(path)]
    if not certain and h5py.is_hdf5(path):
        with damage_named(path):
            certain = [reader for each in LAYOUTS if (reader := _made(each)).recognizes(path)]
    certain = certain or fitting
    if len(certain) > 1:
        found = ", ".join(reader.kind for reader in certain)
        remedy = f"choose: data.format: {certain[0].kind}"
        raise DataError(str(path), "several formats fit", expected="one", found=found, remedy=remedy)
    return certain[0] if certain else None


def _asked(name: str, path: Path) -> Reader | None:
    """The reader ``name`` if it recognizes ``path``."""
    try:
        reader = _made(name)
        with user_code(reader, method="recognizes"):
            if is_foreign(reader):
                return reader if reader.recognizes(path) else None
        if h5py.is_hdf5(path):
            with damage_named(path):
                return reader if reader.recognizes(path) else None
    except ExtensionError as error:  # somebody's reader of something else
        LOG.warning("a reader is left out: %s", error)
    return None
