"""HDF5 files opened with errors that say what to do, and datasets read in the unit their attributes name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from adorym import units
from adorym.errors import DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Spelled out so that ordinary files do not pay for importing pint, and because writers invent names for a pixel.
_FACTORS = {
    ("m", "m"): 1.0,
    ("cm", "m"): 1e-2,
    ("mm", "m"): 1e-3,
    ("um", "m"): 1e-6,
    ("nm", "m"): 1e-9,
    ("eV", "eV"): 1.0,
    ("keV", "eV"): 1e3,
    ("V", "V"): 1.0,
    ("rad", "rad"): 1.0,
    ("", ""): 1.0,
    ("px", "px"): 1.0,
    ("pixel", "px"): 1.0,
    ("pixels", "px"): 1.0,
}


def check_file(path: str | Path) -> Path:
    """``path``, once it is known to be a file.

    Raises:
        DataError: There is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "this is a folder, not a data file" if path.is_dir() else "no such file"
        raise DataError(str(path), what, remedy="check the path; a relative one starts at the current folder")
    return path


def open_hdf5(path: str | Path) -> h5py.File:
    """The file ``path``, opened for reading.

    Raises:
        DataError: No such file, not HDF5, or cut off before its end.
    """
    path = check_file(path)
    with open(path, "rb") as file:
        start = file.read(len(SIGNATURE))
    if start != SIGNATURE and not h5py.is_hdf5(path):  # a user block may come before the signature
        raise DataError(
            str(path),
            "not an HDF5 file",
            found="an empty file" if not start else f"a file that starts with {start!r}",
            remedy="name an HDF5 file, or convert this one with 'adorym convert IN OUT --map ...'",
        )
    _load_filters()
    try:
        # Parallel file systems often refuse locks, and reading needs none.
        return h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        with suppress(OSError):  # a detector may still be writing to it (single writer, multiple readers)
            return h5py.File(path, "r", swmr=True, libver="latest", locking="best-effort")
        what = "the HDF5 file is truncated" if "truncated" in str(error) else "the HDF5 file is damaged"
        raise DataError(str(path), what, found=str(error), remedy="copy the file again from its origin") from error


@lru_cache(maxsize=1)
def _load_filters() -> None:
    """Teach HDF5 the detectors' compressions (bitshuffle, LZ4, zstd) where the optional package is there."""
    if importlib.util.find_spec("hdf5plugin") is not None:
        importlib.import_module("hdf5plugin")


def find(group: h5py.Group, names: Iterable[str]) -> h5py.Dataset | None:
    """The first of ``names`` that is a dataset; a link that leads nowhere counts as absent."""
    for name in names:
        item = group.get(name)
        if isinstance(item, h5py.Dataset):
            return item
    return None


def require(group: h5py.Group, name: str) -> h5py.Dataset:
    """The dataset ``name``.

    Raises:
        DataError: It is missing, or a group.
    """
    dataset = find(group, [name])
    if dataset is None:
        full = f"{group.name.rstrip('/')}/{name}"
        raise DataError(group.file.filename, f"missing dataset '{full}'", found=", ".join(group) or "an empty group")
    return dataset


def text_attribute(dataset: h5py.Dataset | h5py.Group, *names: str) -> str | None:
    """The first of the attributes ``names`` as text."""
    for name in names:
        if name in dataset.attrs:
            value = np.ravel(dataset.attrs[name])
            if value.size:
                first = value[0]
                return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    return None


def unit_of(dataset: h5py.Dataset) -> str | None:
    """What ``@units`` says, ``None`` where nothing is said."""
    return text_attribute(dataset, "units", "unit") or None


def put(group: h5py.Group, name: str, value: object, unit: str) -> None:
    """Write the dataset ``name`` with its ``@units``."""
    group.create_dataset(name, data=value).attrs["units"] = unit


@lru_cache(maxsize=64)
def factor(unit: str, target: str) -> float:
    """Value of 1 ``unit`` in ``target``.

    Raises:
        ValueError: Unknown unit, or one of another dimension.
    """
    text = unit.strip()
    return _FACTORS[text, target] if (text, target) in _FACTORS else units.parse(f"1 {text}", target)


def quantity(dataset: h5py.Dataset, target: str, default: str | None = None) -> np.ndarray:
    """Value of ``dataset`` in ``target``, float64.

    Args:
        dataset: Any numeric dataset.
        target: ``"m"``, ``"eV"``, ``"rad"`` or ``"px"``.
        default: Unit of a dataset that names none; ``target`` when not given.

    Raises:
        DataError: The unit is unknown or of another dimension, or the value is no number.
    """
    unit, place = unit_of(dataset) or default or target, f"{dataset.file.filename}:{dataset.name}"
    try:
        scale = factor(unit, target)
    except ValueError as error:
        raise DataError(place, f"its unit is no unit of {target}", found=f"'{unit}'", remedy=str(error)) from error
    return numbers(dataset) * scale


def numbers(dataset: h5py.Dataset) -> np.ndarray:
    """Value of ``dataset`` as float64.

    Raises:
        DataError: It holds text or anything else that is no real number.
    """
    try:
        value = dataset[()]
        if isinstance(value, bytes):
            value = value.decode()
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OSError) as error:
        raise DataError(f"{dataset.file.filename}:{dataset.name}", "not a number", found=str(error)) from error


def single(values: np.ndarray) -> float | None:
    """One positive number from a scalar, or from an array that says the same for every pattern; else ``None``."""
    finite = values[np.isfinite(values)] if values.ndim else np.ravel(values)
    if finite.size == 0:
        return None
    value = float(np.median(finite))
    return value if np.isfinite(value) and value > 0 else None
