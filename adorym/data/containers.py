"""Files of unknown layout as named arrays: HDF5, npz, npy, mat, tif, jpg, png, perhaps compressed with bz2 or gzip.

What a file is, is read from its first bytes, not from its name.
"""

from __future__ import annotations

import bz2
import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym.data.hdf5 import SIGNATURE, check_file, find, open_hdf5, unit_of
from adorym.errors import DataError, suggestion

SINGLE = "data"  # name of the array in a file that holds just one


@dataclass(frozen=True)
class ArrayInfo:
    """An array in a file."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    unit: str = ""


@dataclass(frozen=True)
class Container:
    """The arrays of one file.

    Attributes:
        path: The file.
        kind: ``hdf5``, ``npz``, ``npy``, ``mat``, ``tif`` or ``image`` (JPEG, PNG).
        arrays: What is in it, by name.
        loaded: The arrays themselves where the format has no way to read one alone; empty for HDF5.
    """

    path: Path
    kind: str
    arrays: dict[str, ArrayInfo]
    loaded: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def read(self, key: str) -> np.ndarray:
        """The array ``key``.

        Raises:
            DataError: There is none of that name.
        """
        name = self.name_of(key)
        if self.kind != "hdf5":
            return self.loaded[name]
        with open_hdf5(self.path) as file:
            return np.asarray(file[name][()])

    def name_of(self, key: str) -> str:
        """The array's name as it stands in ``arrays``; a leading slash makes no difference.

        Raises:
            DataError: There is none of that name.
        """
        name = key.strip("/")
        if name not in self.arrays:
            raise DataError(str(self.path), f"no array '{key}'", remedy=suggestion(name, self.arrays))
        return name


def open_container(path: str | Path) -> Container:
    """The arrays in ``path``.

    Raises:
        DataError: No such file, an unknown kind, or a damaged file.
    """
    path = check_file(path)
    try:
        head = _content(path, 16)
        if head.startswith(SIGNATURE) or (h5py.is_hdf5(path) and not head.startswith(b"PK")):
            return Container(path, "hdf5", _hdf5_arrays(path))
        for kind, (magic, load) in _LOADERS.items():
            if head.startswith(magic):
                loaded = {name: np.asarray(array) for name, array in load(_content(path)).items()}
                arrays = {name: ArrayInfo(name, a.shape, str(a.dtype)) for name, a in loaded.items()}
                return Container(path, kind, arrays, loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(str(path), "the file is damaged", found=str(error), remedy="copy it again") from error
    expected = "HDF5, npz, npy, mat, tif, jpg or png, perhaps compressed with bz2 or gzip"
    found = f"a file that starts with {head[:8]!r}" if head else "an empty file"
    raise DataError(str(path), "unknown kind of file", expected=expected, found=found)


def _content(path: Path, size: int = -1) -> bytes:
    """The first ``size`` bytes of the content, or all of it; what it is packed in is taken off."""
    with open(path, "rb") as file:
        start = file.read(3)
    unpack: Any = bz2.open if start == b"BZh" else gzip.open if start.startswith(b"\x1f\x8b") else open
    with unpack(path, "rb") as file:
        return file.read(size)


def _hdf5_arrays(path: Path) -> dict[str, ArrayInfo]:
    found: dict[str, ArrayInfo] = {}

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = ArrayInfo(name, item.shape or (), str(item.dtype), unit_of(item) or "")

    with open_hdf5(path) as file:
        file.visititems(add)
        for name in list(file):  # visititems does not follow soft and external links
            if find(file, [name]) is not None and name not in found:
                add(name, file[name])
    return found


def _npz(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def _npy(content: bytes) -> dict[str, Any]:
    return {SINGLE: np.load(io.BytesIO(content), allow_pickle=False)}


def _tif(content: bytes) -> dict[str, Any]:
    import tifffile  # only for those who have such files

    return {SINGLE: tifffile.imread(io.BytesIO(content))}


def _mat(content: bytes) -> dict[str, Any]:
    import scipy.io  # slow to import

    entries = scipy.io.loadmat(io.BytesIO(content))
    return {
        name: value for name, value in entries.items() if isinstance(value, np.ndarray) and value.dtype.kind in "iufcb"
    }


def _image(content: bytes) -> dict[str, Any]:
    from PIL import Image  # only for those who have such files

    picture = np.asarray(Image.open(io.BytesIO(content)))
    # Colors of a gray scene say the same; an opacity says nothing.
    gray = picture if picture.ndim == 2 else picture[..., :3].mean(axis=-1)
    return {SINGLE: gray}


_LOADERS: dict[str, tuple[bytes | tuple[bytes, ...], Callable[[bytes], dict[str, Any]]]] = {
    "npz": (b"PK", _npz),
    "npy": (b"\x93NUMPY", _npy),
    "tif": ((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), _tif),
    "image": ((b"\xff\xd8\xff", b"\x89PNG"), _image),
    "mat": (b"MATLAB 5.0", _mat),
}


def read_mask(mask: str | Path | np.ndarray) -> tuple[np.ndarray, str]:
    """A mask, True where the array is not zero, and where it came from.

    Args:
        mask: An array, a file that holds one array, or ``file:name`` of an array in a file.

    Raises:
        DataError: No such file or array, the file holds several and none is named, or what it holds is no mask.
    """
    array, origin = read_array(mask, "mask")
    return _good(array, "data.mask" if isinstance(mask, np.ndarray) else origin), origin


def read_array(source: str | Path | np.ndarray, role: str) -> tuple[np.ndarray, str]:
    """One array, axes of length 1 removed if it comes from a file, and where it came from; as `read_mask`.

    Args:
        source: An array, a file that holds one array, or ``file:name`` of an array in a file.
        role: What it is needed for, for the error.

    Raises:
        DataError: No such file or array, or the file holds several and none is named.
    """
    if isinstance(source, np.ndarray):
        return source, "an array that was given"
    path, _, key = str(source).rpartition(":")
    if not path or Path(str(source)).expanduser().is_file():
        path, key = str(source), ""
    container = open_container(path)
    if not key and len(container.arrays) != 1:
        names = ", ".join(container.arrays)
        raise DataError(path, f"which array is the {role}?", found=names, remedy=f"write '{path}:NAME'")
    return container.read(key or next(iter(container.arrays))).squeeze(), str(source)


def _good(mask: np.ndarray, where: str) -> np.ndarray:
    if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all():
        found = mask.dtype if mask.dtype.kind not in "biuf" else "values that are not finite"
        raise DataError(where, "not a mask", expected="numbers, 0 where a pixel is bad", found=found)
    return mask != 0
