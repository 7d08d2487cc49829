"""Reading a probe from a file, and fitting it to another window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from adorym.errors import DataError, suggestion

Fit = Literal["error", "crop_or_pad", "resample"]

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".cxi", ".nxs")
DEFAULT_KEY = "probe"


def read_probe(path: str | Path, key: str | None = None) -> np.ndarray:
    """Modes ``(m, y, x)`` complex128 from an npy, npz or HDF5 file.

    Args:
        path: The file, or the folder of a run, whose ``result.h5`` is meant.
        key: Name of the array in an npz or HDF5 file; by default ``probe``, or the only array of an npz.

    Raises:
        DataError: No such file or key, an unknown format, or an array that is no probe.
    """
    path = Path(path).expanduser()
    path = path / "result.h5" if path.is_dir() else path
    if not path.is_file():
        remedy = "paths are relative to the directory the program was started in"
        raise DataError(str(path), "no such file", remedy=remedy)
    suffix = path.suffix.lower()
    readers: dict[str, Callable[[Path, str | None], Any]] = {".npy": _read_npy, ".npz": _read_npz}
    read = _read_hdf5 if suffix in HDF5_SUFFIXES else readers.get(suffix)
    if read is None:
        expected = "a name that ends in " + ", ".join([*readers, *HDF5_SUFFIXES])
        raise DataError(str(path), "not a probe file", expected=expected, found=suffix or path.name)
    try:
        array = np.asarray(read(path, key))
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(str(path), "cannot be read as a probe", found=str(error)) from error
    return _as_modes(array, str(path))


def fit_window(probe: np.ndarray, window_px: tuple[int, int], fit: Fit, where: str) -> np.ndarray:
    """``probe`` ``(m, y, x)`` on a window of another size.

    ``"crop_or_pad"`` keeps the pixel size and cuts, or fills with zeros, around the middle: for another field of view.
    ``"resample"`` keeps the width of the window in meters and changes the pixel size, by cutting or filling the probe's
    Fourier transform: for patterns that were cropped or padded.

    Raises:
        DataError: The windows differ and ``fit`` is ``"error"``.
    """
    if probe.shape[-2:] == tuple(window_px):
        return probe
    if fit == "crop_or_pad":
        return _around_middle(probe, window_px)
    if fit == "resample":
        return _resample(probe, window_px)
    raise DataError(
        where,
        "the probe's window differs from the patterns'",
        expected=tuple(window_px),
        found=probe.shape[-2:],
        remedy="set fit to 'resample' (same width in meters) or 'crop_or_pad' (same pixel size)",
    )


def _read_npy(path: Path, key: str | None) -> np.ndarray:
    if key is not None:
        raise DataError(str(path), "an npy file has no keys", found=f"key '{key}'", remedy="leave out the key")
    return np.load(path, allow_pickle=False)


def _read_npz(path: Path, key: str | None) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        only = arrays.files[0] if len(arrays.files) == 1 else DEFAULT_KEY
        wanted = only if key is None else key
        if wanted not in arrays.files:
            raise DataError(str(path), f"no array '{wanted}'", remedy=suggestion(wanted, arrays.files))
        return arrays[wanted]


def _read_hdf5(path: Path, key: str | None) -> np.ndarray:
    wanted = DEFAULT_KEY if key is None else key.strip("/")
    with h5py.File(path, "r") as file:
        entry = file.get(wanted)
        if not isinstance(entry, h5py.Dataset):
            found: list[str] = []
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            raise DataError(str(path), f"no dataset '/{wanted}'", remedy=suggestion(wanted, found))
        return entry[()]


def _as_modes(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "iufc":
        raise DataError(where, "the probe is not an array of numbers", found=array.dtype)
    shape = array.shape
    while len(shape) > 3 and shape[0] == 1:  # some programs write (1, 1, 1, modes, y, x)
        shape = shape[1:]
    shape = (1, *shape) if len(shape) == 2 else shape
    if len(shape) != 3 or 0 in shape:
        raise DataError(where, "the probe has the wrong shape", expected="(modes, y, x) or (y, x)", found=array.shape)
    probe = array.reshape(shape).astype(np.complex128)
    if not np.isfinite(probe).all() or not probe.any():
        raise DataError(where, "the probe is dark or not finite")
    return probe


def _around_middle(a: np.ndarray, window_px: tuple[int, int]) -> np.ndarray:
    """Crop or zero-pad the last two axes; the middle stays the middle, to half a pixel when parities differ."""
    for axis, n in zip((-2, -1), window_px, strict=True):
        a = _span(a, axis, int((a.shape[axis] - n) / 2), n)
    return a


def _resample(a: np.ndarray, window_px: tuple[int, int]) -> np.ndarray:
    """Fourier interpolation of the last two axes about the middle of the window."""
    before, after = a.shape[-2:], window_px
    ramps = [np.exp(2j * np.pi * np.fft.fftfreq(n) * (n - 1) / 2) for n in (*before, *after)]
    # With the middle as the origin, both grids see the same spectrum; only its extent differs.
    spectrum = np.fft.fftshift(np.fft.fft2(a, norm="ortho") * ramps[0][:, None] * ramps[1][None, :], axes=(-2, -1))
    for axis, n in zip((-2, -1), after, strict=True):
        spectrum = _span(spectrum, axis, spectrum.shape[axis] // 2 - n // 2, n)  # the zero frequency comes to n // 2
    spectrum = np.fft.ifftshift(spectrum, axes=(-2, -1))
    return np.fft.ifft2(spectrum * ramps[2].conj()[:, None] * ramps[3].conj()[None, :], norm="ortho")


def _span(a: np.ndarray, axis: int, first: int, n: int) -> np.ndarray:
    """Entries ``first`` to ``first + n`` along ``axis``, 0 where there are none."""
    have, widths = a.shape[axis], [(0, 0)] * a.ndim
    widths[axis] = (max(0, -first), max(0, first + n - have))
    return np.take(np.pad(a, widths), np.arange(n) + max(0, first), axis)
