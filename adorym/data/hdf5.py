"""HDF5 files opened with errors that say what to do, and datasets read in the unit their attributes name."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - teaches HDF5 the detectors' compressions: bitshuffle, LZ4, zstd
import numpy as np

from adorym import units
from adorym.data.first_look import look_first
from adorym.errors import AdorymError, DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_LINKS = 16  # in a row, as HDF5 itself has it
GIB = 2**30
LARGEST_ARRAY = 8 * GIB  # everything but the patterns is small
SMALL = 2**27  # bytes, which become several times as many while they are read
LARGEST_RATIO = 256  # of what is unpacked to what is in the file: sparse counts come to a hundred
LEAST_WRITTEN = 1e-3  # fraction of a dataset in chunks

JOULE_PER_EV = 1.602176634e-19
# Spelled out so that ordinary files do not pay for importing pint, and because writers invent names for a pixel.
_FACTORS = {
    ("m", "m"): 1.0,
    ("cm", "m"): 1e-2,
    ("mm", "m"): 1e-3,
    ("um", "m"): 1e-6,
    ("nm", "m"): 1e-9,
    ("eV", "eV"): 1.0,
    ("keV", "eV"): 1e3,
    ("A", "m"): 1e-10,  # which pint takes for an ampere
    ("Å", "m"): 1e-10,
    ("Angstrom", "m"): 1e-10,
    ("angstrom", "m"): 1e-10,
    ("micron", "m"): 1e-6,
    ("microns", "m"): 1e-6,
    ("J", "eV"): 1 / JOULE_PER_EV,
    ("1/m", "1/m"): 1.0,
    ("A^-1", "1/m"): 1e10,
    ("1/A", "1/m"): 1e10,
    ("nm^-1", "1/m"): 1e9,
    ("1/nm", "1/m"): 1e9,
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
        DataError: No such file, not HDF5, cut off before its end, or so damaged that the library does not survive it.
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
    look_first(path)
    try:
        # Parallel file systems often refuse locks, and reading needs none.
        return h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        with suppress(OSError):  # a detector may still be writing to it (single writer, multiple readers)
            return h5py.File(path, "r", swmr=True, libver="latest", locking="best-effort")
        what = "the HDF5 file is truncated" if "truncated" in str(error) else "the HDF5 file is damaged"
        raise DataError(str(path), what, found=str(error), remedy="copy the file again from its origin") from error


# What the libraries that read files raise where a file is not what it says it is.
BROKEN_FILE = (
    OSError, RuntimeError, ValueError, TypeError, IndexError, KeyError, OverflowError, EOFError, AttributeError,
    struct.error, zlib.error, zipfile.BadZipFile, MemoryError,
)  # fmt: skip


@contextmanager
def damage_named(path: str | Path, *more: type[Exception]) -> Iterator[None]:
    """Whatever a library raises over a damaged file ``path``, as one error that names the file.

    Raises:
        DataError: Anything of `BROKEN_FILE` or ``more`` that is no error of this package.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, AdorymError) or not isinstance(error, BROKEN_FILE + more):
            raise
        if isinstance(error, MemoryError):
            raise DataError(
                str(path), "what the file says it holds does not fit into memory", found=str(error)
            ) from error
        found = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DataError(
            str(path), "the file is damaged, or not laid out as it says", found=found[:300], remedy="copy it again"
        ) from error


def find(group: h5py.Group, names: Iterable[str]) -> h5py.Dataset | None:
    """The first of ``names`` that is a dataset; a soft link that leads nowhere counts as absent.

    Raises:
        DataError: An external link on the way to one of them is broken.
    """
    for name in names:
        item = member(group, name)
        if isinstance(item, h5py.Dataset):
            return item
    return None


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """What ``name`` leads to through links of every kind, ``None`` where there is nothing.

    Raises:
        DataError: An external link on the way is broken.
    """
    try:
        return group[name]
    except (KeyError, OSError, RuntimeError, ValueError):
        link = broken_link(group, name)
        if link is not None:
            raise lost_file(f"{group.file.filename}:/{name.strip('/')}", link) from None
        return None


def lost_file(place: str, link: str) -> DataError:
    """The error about the broken external link at ``place``."""
    remedy = "put the linked file beside this one, under the name that the link has"
    return DataError(place, "an external link leads nowhere", found=link, remedy=remedy)


def broken_link(group: h5py.Group, name: str, depth: int = 0) -> str | None:
    """Of the broken external link on the way to ``name``: what is missing; ``None`` if there is no such link."""
    here = group.file["/"] if name.startswith("/") else group
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for i, part in enumerate(parts):
        try:
            link = here.get(part, getlink=True)
        except (KeyError, OSError, RuntimeError, ValueError):
            return None
        rest = "/".join(parts[i + 1 :])
        if isinstance(link, h5py.SoftLink) and depth < MAX_LINKS:
            return broken_link(here, f"{link.path}/{rest}", depth + 1)
        if isinstance(link, h5py.ExternalLink):
            target = linked_file(here.file.filename, link.filename)
            if not target.is_file():
                return f"no file '{link.filename}'"
            if depth >= MAX_LINKS:
                return f"more than {MAX_LINKS} links in a row"
            with open_hdf5(target) as file:
                inside = broken_link(file, f"{link.path}/{rest}", depth + 1)
                if inside is None and link.path.strip("/") and link.path not in file:
                    return f"no '{link.path}' in '{link.filename}'"
                return inside
        try:
            here = here[part]
        except (KeyError, OSError, RuntimeError, ValueError):
            return None
        if not isinstance(here, h5py.Group):
            return None
    return None


def linked_file(master: str, name: str) -> Path:
    """The file ``name`` of a link in ``master``: HDF5 looks beside the master."""
    beside = Path(master).parent / name
    return beside if beside.is_file() or not Path(name).is_file() else Path(name)


def check_sources(dataset: h5py.Dataset, seen: tuple[str, ...] = ()) -> None:
    """Refuse a dataset that is not in its file, and would be read as zeros, as bytes of any other file, or for ever.

    Raises:
        DataError: A virtual dataset whose sources are not there, or that holds itself; raw storage in other files; a
            dataset that was hardly written.
    """
    place = f"{dataset.file.filename}:{dataset.name}"
    if dataset.external:
        names = ", ".join(str(name) for name, *_ in dataset.external[:3])
        remedy = "copy it into one file: 'h5repack -l CONTI IN OUT' where the files are trusted"
        raise DataError(place, "its bytes lie in files that are no HDF5", found=names, remedy=remedy)
    if place in seen or len(seen) > MAX_LINKS:
        raise DataError(place, "a virtual dataset that points at itself")
    if not dataset.is_virtual:
        _need_content(dataset, place)
        return
    for file_name, name in dict.fromkeys((each.file_name, each.dset_name) for each in dataset.virtual_sources()):
        if "%b" in file_name:  # a row of files, of which some may be still to come
            continue
        path = Path(dataset.file.filename) if file_name == "." else linked_file(dataset.file.filename, file_name)
        if not path.is_file():
            raise lost_file(place, f"no file '{file_name}'")
        with open_hdf5(path) as file:
            source = find(file, [name])
            if source is None:
                raise lost_file(place, f"no '{name}' in '{file_name}'")
            check_sources(source, (*seen, place))


def _need_content(dataset: h5py.Dataset, place: str) -> None:
    if dataset.chunks is None or not dataset.size:
        return
    written = dataset.id.get_num_chunks() * math.prod(dataset.chunks) / dataset.size
    if written < LEAST_WRITTEN:
        promised = f"{dataset.nbytes / GIB:.3g} GiB promised"
        raise DataError(place, "hardly anything of it was written", expected=promised, found=f"{written:.2g} of it")
    need_plausible(place, math.prod(dataset.chunks) * dataset.dtype.itemsize, dataset.id.get_storage_size())


def need_plausible(place: str, content: float, packed: float) -> None:
    """Refuse what is small in the file and would fill the memory.

    Args:
        place: File and array, for the message.
        content: Bytes that it unpacks to, or says it does.
        packed: Bytes in the file.

    Raises:
        DataError: There are more than `SMALL`, and more than measurements are ever compressed by.
    """
    if content > SMALL and content > LARGEST_RATIO * packed:
        expected = f"at most {SMALL // 2**20} MiB, or {LARGEST_RATIO} times its size"
        raise DataError(
            place, "a small file that unpacks to very much", expected=expected,
            found=f"{content / 2**20:.4g} MiB from {packed / 2**20:.3g} MiB",
            remedy="if you trust it, save it without compression",
        )  # fmt: skip


def whole(dataset: h5py.Dataset) -> Any:
    """All of a dataset that is not a stack of patterns.

    Raises:
        DataError: It is too large for that, or not in the file; see `check_sources`.
    """
    if dataset.size and dataset.nbytes > LARGEST_ARRAY:
        place = f"{dataset.file.filename}:{dataset.name}"
        expected, found = f"at most {LARGEST_ARRAY // GIB} GiB", f"{dataset.nbytes / GIB:.4g} GiB"
        raise DataError(place, "too large to be read whole", expected=expected, found=found)
    check_sources(dataset)
    if dataset.chunks is not None:
        need_plausible(f"{dataset.file.filename}:{dataset.name}", dataset.nbytes, dataset.id.get_storage_size())
    return dataset[()]


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
    text = unit.strip().strip("[]").replace("_", "")  # EMD writes [n_m]
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
        value = whole(dataset)
        if isinstance(value, bytes):
            value = value.decode()
        return np.asarray(value, dtype=np.float64)
    except DataError:
        raise
    except (TypeError, ValueError, OSError) as error:
        raise DataError(f"{dataset.file.filename}:{dataset.name}", "not a number", found=str(error)) from error


def single(values: np.ndarray) -> float | None:
    """One positive number from a scalar, or from an array that says the same for every pattern; else ``None``."""
    finite = values[np.isfinite(values)] if values.ndim else np.ravel(values)
    if finite.size == 0:
        return None
    value = float(np.median(finite))
    return value if np.isfinite(value) and value > 0 else None
