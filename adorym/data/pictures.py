"""Raw pictures: one file or a series of files as a stack, flat and dark fields, hot pixels."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.containers import SINGLE, open_container, read_array
from adorym.errors import DataError

PICTURES = ("tif", "image", "npy", "edf", "cbf", "dm", "mib", "empad")
WILD = "*?["
# Of a normal distribution, the standard deviation over the median of the absolute deviations.
SIGMA_OF_MAD = 1.4826
# A quantity, a number with a unit right behind it, has decimals; in other names a point separates two numbers.
NUMBER = re.compile(r"(\d+\.\d+(?=[A-Za-z])|\d+)")
SHOWN_FILES = 4


def is_series(path: str | Path) -> bool:
    """Whether ``path`` is a pattern that stands for several files, such as ``hologram_*.tif``."""
    return any(c in str(path) for c in WILD) and not Path(path).exists()


def natural_order(paths: Iterable[str]) -> list[str]:
    """``paths`` sorted as people count: ``h_5cm`` before ``h_10cm``, ``h_2.25cm`` before ``h_2.5cm``."""

    def key(path: str) -> tuple[list[tuple[float, str]], str]:
        parts = NUMBER.split(path)  # text and numbers alternate
        return [(float(part), "") if i % 2 else (-1.0, part) for i, part in enumerate(parts)], path

    return sorted(paths, key=key)


def series_files(pattern: str | Path) -> list[str]:
    """The files that ``pattern`` stands for, in natural order.

    Raises:
        DataError: There is none.
    """
    paths = natural_order(glob.glob(str(Path(pattern).expanduser())))
    if not paths:
        raise DataError(str(pattern), "no file fits this pattern", remedy="check the folder and the ending")
    return paths


def order_note(paths: list[str]) -> str:
    """The order of a series for people: all names of a short one, the ends of a long one."""
    names = [Path(path).name for path in paths]
    if len(names) > 2 * SHOWN_FILES:
        names = [*names[:SHOWN_FILES], "...", *names[-SHOWN_FILES:]]
    return f"files in this order: {', '.join(names)}"


def read_series(files: Sequence[str]) -> np.ndarray:
    """``(n, y, x)`` float32 pictures of all files, in their order.

    Raises:
        DataError: They differ in size.
    """
    stacks = [_frames(path) for path in files]
    sizes = {stack.shape[1:] for stack in stacks}
    if len(sizes) != 1:
        raise DataError(files[0], "the pictures differ in size", found=", ".join(map(str, sorted(sizes))))
    return np.concatenate(stacks)


def field_files(source: Any) -> list[str]:
    """The files of flat or dark fields that are several files: a list, or a pattern; else none."""
    if isinstance(source, tuple):
        return [str(Path(each).expanduser()) for each in source]
    return series_files(source) if isinstance(source, str | Path) and is_series(source) else []


def read_fields(source: str | Path | np.ndarray | tuple[str, ...], role: str) -> np.ndarray:
    """Flat or dark fields ``(k, y, x)`` float64: an array, one file, several, or a pattern of several.

    Raises:
        DataError: No such file, or not pictures.
    """
    files = field_files(source)
    field = read_series(files) if files else read_array(source, role)[0]  # type: ignore[arg-type]
    if field.ndim < 2:
        raise DataError(str(source), f"the {role} field is no picture", expected="(..., y, x)", found=field.shape)
    return np.asarray(field, np.float64).reshape(-1, *field.shape[-2:])


def hot_pixels(picture: np.ndarray, deviations: float) -> np.ndarray:
    """``(y, x)`` bool, True where a pixel is far from the median of its neighbors, brighter or darker.

    Args:
        picture: ``(y, x)``, such as the mean of all patterns.
        deviations: How many standard deviations of that difference, estimated robustly, are too far.
    """
    difference = picture - scipy.ndimage.median_filter(picture, 3, mode="nearest")
    spread = SIGMA_OF_MAD * np.median(np.abs(difference))
    return np.abs(difference) > deviations * max(float(spread), 1e-12 * float(np.abs(picture).max()))


def _frames(path: str) -> np.ndarray:
    container = open_container(path)
    if SINGLE not in container.arrays:
        raise DataError(
            path, "not a picture", found=", ".join(container.arrays), remedy="name the arrays with data.map"
        )
    frames = container.read(SINGLE)
    return frames.reshape(-1, *frames.shape[-2:]).astype(np.float32)
