"""Files of unknown layout as named arrays: HDF5, npz, npy, mat, tif, jpg, png, EDF, CBF, DM3, DM4, MIB, raw EMPAD.

What a file is, is read from its first bytes, not from its name. Nothing is unpacked before it is asked for, except for
what bz2 or gzip has around it.
"""

from __future__ import annotations

import io
import logging
import math
import signal
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym.data.detector_files import EMPAD_FRAME, is_empad, read_cbf, read_edf, read_empad, read_mib
from adorym.data.gatan import START as GATAN
from adorym.data.gatan import read_dm
from adorym.data.hdf5 import (
    GIB,
    LARGEST_ARRAY,
    SIGNATURE,
    check_file,
    damage_named,
    lost_file,
    need_plausible,
    open_hdf5,
    require,
    unit_of,
    whole,
)
from adorym.data.hdf5_tree import Leaf, leaves
from adorym.data.scan_records import scans_of
from adorym.data.unpacking import content, need_bounded_matrices, need_bounded_pages, packing
from adorym.errors import DataError, suggestion

SINGLE = "data"  # name of the array in a file that holds just one
MATLAB = b"MATLAB 7.3"  # of an HDF5 file with a user block
LONGEST_HEADER = 2**16  # of an array in an npz file; it could be packed, too


@dataclass(frozen=True)
class ArrayInfo:
    """An array in a file.

    Attributes:
        key: Its name.
        shape: Its shape, as the program that wrote it counts axes.
        dtype: Its type; ``object`` for Python objects, which are not read.
        unit: Unit in its attributes, empty if none.
        lost: What is missing, if it is a link that leads nowhere.
        identity: Equal for the same array under two names, ``None`` where that cannot be.
        path: The file, where a container is made of several.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str
    unit: str = ""
    lost: str = ""
    identity: Any = None
    path: Path | None = None

    @property
    def is_real(self) -> bool:
        """Whether it holds real numbers."""
        return self.dtype not in ("object", "") and np.dtype(self.dtype).kind in "iuf"


@dataclass(frozen=True)
class Container:
    """The arrays of one file, or of several that belong together.

    Attributes:
        path: The file.
        kind: ``hdf5``, ``mat73`` (HDF5 by MATLAB, whose axes are reversed), ``npz``, ``npy``, ``mat``, ``tif``,
            ``image`` (JPEG, PNG), ``edf``, ``cbf``, ``dm`` (DM3, DM4), ``mib``, ``empad``.
        arrays: What is in it, by name.
        attributes: Numbers in attributes of HDF5 groups and datasets, by ``name@attribute``.
        load: Reads an array, where the file is not HDF5.
        parts: The containers of several files.
    """

    path: Path
    kind: str
    arrays: dict[str, ArrayInfo]
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    load: Callable[[str], np.ndarray] | None = field(default=None, repr=False)
    parts: tuple[Container, ...] = ()

    def read(self, key: str) -> np.ndarray:
        """The array ``key``, or the attribute of that name.

        Raises:
            DataError: There is none of that name, it is too large, or it cannot be read.
        """
        name = self.name_of(key)
        if name in self.attributes:
            return np.asarray(self.attributes[name])
        info = self.arrays[name]
        if self.parts:
            return self.part_of(name).read(name)
        self._check(info)
        with damage_named(f"{self.path}:{name}", Exception):
            if self.load is not None:
                loaded = self.load(name)
                if np.shape(loaded) != tuple(info.shape):
                    raise ValueError(f"the header promises an array of {info.shape}, but there is {np.shape(loaded)}")
                return loaded
            with open_hdf5(self.path) as file:
                array = np.asarray(whole(require(file, name)))
                return array.T if self.kind == "mat73" else array

    def part_of(self, key: str) -> Container:
        """The container that holds ``key``: itself, or one of its parts."""
        name = self.name_of(key)
        return next((p for p in self.parts if name in p.arrays or name in p.attributes), self)

    def name_of(self, key: str) -> str:
        """The array's name as it stands in ``arrays``; a leading slash makes no difference.

        Raises:
            DataError: There is none of that name.
        """
        name = key.strip("/")
        if name not in self.arrays and name not in self.attributes:
            raise DataError(str(self.path), f"no array '{key}'", remedy=suggestion(name, self.arrays))
        return name

    def _check(self, info: ArrayInfo) -> None:
        place = f"{self.path}:{info.key}"
        if info.lost:
            raise lost_file(place, info.lost)
        if info.dtype == "object":
            remedy = f"save numbers: np.savez(FILE, {info.key}=np.asarray({info.key}.tolist(), float))"
            raise DataError(place, "Python objects instead of numbers", found=f"an object array {info.shape}",
                            remedy=remedy)  # fmt: skip
        size = int(np.prod(info.shape, dtype=float)) * np.dtype(info.dtype or "O").itemsize
        if size > LARGEST_ARRAY:
            expected = f"at most {LARGEST_ARRAY // GIB} GiB"
            raise DataError(place, "too large to be read whole", expected=expected, found=f"{size / GIB:.4g} GiB")
        if self.kind == "npz":
            need_plausible(place, size, self.path.stat().st_size)


def open_container(path: str | Path) -> Container:
    """The arrays in ``path``.

    Raises:
        DataError: No such file, an unknown kind, or a damaged file.
    """
    path = check_file(path)
    with damage_named(path, Exception):  # parsers have errors of their own
        head = content(path, 512)
        if head.startswith((SIGNATURE, MATLAB)) or (h5py.is_hdf5(path) and not head.startswith(b"PK")):
            return _hdf5(path, "mat73" if head.startswith(MATLAB) else "hdf5")
        packed = packing(path) is not open
        for kind, (magic, reader) in _KINDS.items():
            if head.startswith(magic):
                return _made(path, kind, reader(content(path) if packed else path))
        if is_empad(path):
            return _made(path, "empad", _whole(read_empad(path)))
    if scans := scans_of(path):
        few = ", ".join(f"{number} {command}".strip() for number, command in list(scans.items())[-3:])
        advice = f"give the frames to 'adorym prepare', with '--set scan={path.name}{':NUMBER' * ('' not in scans)}'"
        found = f"{len(scans)} scan{'s' * (len(scans) > 1)}, the last: {few}"
        raise DataError(str(path), "readings of motors and counters, no frames", found=found, remedy=advice)
    expected = "HDF5, npz, npy, mat, tif, jpg, png, EDF, CBF, DM3, DM4 or MIB, perhaps compressed with bz2 or gzip"
    found = f"a file that starts with {head[:8]!r}" if head else "an empty file"
    remedy = f"a raw EMPAD file has a multiple of {EMPAD_FRAME} bytes" if path.suffix == ".raw" else None
    raise DataError(str(path), "unknown kind of file", expected=expected, found=found, remedy=remedy)


def joined(parts: list[Container]) -> Container:
    """The arrays of several files under their names; of two with one name, those of the file that is named first."""
    arrays: dict[str, ArrayInfo] = {}
    attributes: dict[str, Any] = {}
    for part in parts:
        arrays = part.arrays | arrays
        attributes = dict(part.attributes) | attributes
    return Container(parts[0].path, parts[0].kind, arrays, attributes, parts=tuple(parts))


def opened(files: Sequence[Path]) -> Container:
    """The arrays of one file, or of several together."""
    return open_container(files[0]) if len(files) == 1 else joined([open_container(file) for file in files])


Source = Path | bytes  # a file, or what was packed in one
Loaders = Mapping[str, tuple[ArrayInfo, Callable[[], Any]]]


def _made(path: Path, kind: str, loaders: Loaders) -> Container:
    arrays = {name: info for name, (info, _) in loaders.items()}
    return Container(path, kind, arrays, load=lambda name: np.asanyarray(loaders[name][1]()))


def _opened(source: Source) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _hdf5(path: Path, kind: str) -> Container:
    with open_hdf5(path) as file:
        attributes: dict[str, Any] = {}
        found = {leaf.name: _info(leaf, kind) for leaf in leaves(file, attributes)}
    return Container(path, kind, found, attributes)


def _info(leaf: Leaf, kind: str) -> ArrayInfo:
    if leaf.dataset is None:
        return ArrayInfo(leaf.name, (), "", lost=leaf.lost)
    shape = leaf.dataset.shape or ()
    return ArrayInfo(
        key=leaf.name,
        shape=shape[::-1] if kind == "mat73" else shape,
        dtype=str(leaf.dataset.dtype),
        unit=unit_of(leaf.dataset) or "",
        identity=leaf.identity,
    )


def _whole(array: np.ndarray) -> Loaders:
    return {SINGLE: (ArrayInfo(SINGLE, array.shape, str(array.dtype)), lambda: array)}


def _npz(source: Source) -> Loaders:
    """The header of every array; an array is unpacked when it is asked for."""

    def load(name: str) -> np.ndarray:
        with np.load(_opened(source), allow_pickle=False) as file:
            return file[name]

    found = {}
    with zipfile.ZipFile(_opened(source)) as archive:
        for entry in archive.namelist():
            name = entry.removesuffix(".npy")
            with archive.open(entry) as member_file:
                shape, dtype = npy_header(io.BytesIO(member_file.read(LONGEST_HEADER)))
            found[name] = (ArrayInfo(name, shape, "object" if dtype.hasobject else str(dtype)),
                           partial(load, name))  # fmt: skip
    return found


def npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array in an npy file."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _npy(source: Source) -> Loaders:
    if isinstance(source, Path):
        return _whole(np.load(source, allow_pickle=False, mmap_mode="r"))
    return _whole(np.load(_opened(source), allow_pickle=False))


def _tif(source: Source) -> Loaders:
    import tifffile  # only for those who have such files

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # the error that follows says it in one line
    with tifffile.TiffFile(_opened(source)) as file:
        series = file.series[0]
        info = ArrayInfo(SINGLE, series.shape, str(series.dtype))
        in_place = isinstance(source, Path) and series.dataoffset is not None

    def load() -> np.ndarray:
        # Pages that lie one after the other, not compressed, are read when they are needed.
        if in_place:
            return tifffile.memmap(str(source), mode="r")
        with tifffile.TiffFile(_opened(source)) as file:
            need_bounded_pages(file)
            return file.asarray()

    return {SINGLE: (info, load)}


def _mat(source: Source) -> Loaders:
    import scipy.io  # slow to import

    numeric = {"double", "single", "logical", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64))}
    types = {"double": "float64", "single": "float32", "logical": "bool"}

    def load(name: str) -> np.ndarray:
        return np.asarray(scipy.io.loadmat(_opened(source), variable_names=[name])[name])

    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        need_bounded_matrices("file" if isinstance(source, bytes) else str(source), stream)
    _need_survival(source)
    listed = scipy.io.whosmat(_opened(source))
    return {
        name: (ArrayInfo(name, tuple(shape), types.get(kind, kind)), partial(load, name))
        for name, shape, kind in listed
        if kind in numeric
    }


def _need_survival(source: Source) -> None:
    """Try to read a file in another process: a damaged one can end the process that has scipy read it."""
    code = "import io, sys, scipy.io; scipy.io.loadmat(io.BytesIO(sys.stdin.buffer.read()))"
    packed = source if isinstance(source, bytes) else source.read_bytes()
    with suppress(OSError):  # no process can be started here
        tried = subprocess.run([sys.executable, "-I", "-c", code], input=packed, capture_output=True, check=False)
        if tried.returncode < 0:  # a Python error is told by the reading that follows
            raise ValueError(f"scipy is ended by {signal.Signals(-tried.returncode).name} when it reads the file")


def _image(source: Source) -> Loaders:
    from PIL import Image  # only for those who have such files

    place, packed = ("picture", len(source)) if isinstance(source, bytes) else (str(source), source.stat().st_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # an error tells it, or it is none
        with Image.open(_opened(source)) as image:
            need_plausible(place, math.prod(image.size) * (len(image.getbands()) + 8), packed)  # and its mean
            picture = np.asarray(image)
    # Colors of a gray scene say the same; an opacity says nothing.
    return _whole(picture if picture.ndim == 2 else picture[..., :3].mean(axis=-1))


def _dm(source: Source) -> Loaders:
    made = read_dm(source)
    calibration = {
        name: (ArrayInfo(name, values.shape, "float64", unit), partial(np.asarray, values))
        for (name, unit), values in made.calibration.items()
    }
    return {SINGLE: (ArrayInfo(SINGLE, made.shape, str(made.dtype)), made.load), **calibration}


def _detector(read: Callable[[Any], np.ndarray]) -> Callable[[Source], Loaders]:
    return lambda source: _whole(read(source))


_KINDS: dict[str, tuple[bytes | tuple[bytes, ...], Callable[[Any], Loaders]]] = {
    "npz": (b"PK", _npz),
    "npy": (b"\x93NUMPY", _npy),
    "tif": ((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), _tif),
    "image": ((b"\xff\xd8\xff", b"\x89PNG"), _image),
    "mat": (b"MATLAB 5.0", _mat),
    "dm": (GATAN, _dm),
    "cbf": (b"###CBF", _detector(read_cbf)),
    "mib": (b"MQ1,", _detector(read_mib)),
    "edf": ((b"{\n", b"{\r\n"), _detector(read_edf)),
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
