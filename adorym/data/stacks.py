"""The patterns of a container as a stack that stays in the file, in one array or several, counted first or last."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np

from adorym.data.containers import SINGLE, ArrayInfo, Container, open_container
from adorym.data.dataset import ArrayPatterns, Patterns
from adorym.data.hdf5 import lost_file, open_hdf5, require
from adorym.data.patterns import Hdf5Patterns, JoinedPatterns, Orientation, OrientedPatterns, check_stack
from adorym.data.pictures import natural_order
from adorym.errors import DataError, suggestion

# Kinds of files of which a sample is read, how much of each axis, and how much more the counts differ over a pattern.
SAMPLED, SAMPLED_SIDES, CLEARLY, FEWEST_ON_A_SIDE = ("hdf5", "mat", "npz", "npy"), (8, 8, 32, 32), 3.0, 3
WILD = re.compile(r"[*?\[]")


def matching(container: Container, name: str) -> list[str]:
    """The arrays that ``name`` stands for, which may hold ``*``, ``?`` and ``[...]``, in natural order.

    ``*`` does not reach beyond a ``/``.

    Raises:
        DataError: There is none.
    """
    if not WILD.search(name):
        return [container.name_of(name)]
    found = fitting(container.arrays, name)
    if not found:
        raise DataError(str(container.path), f"no array '{name}'", remedy=suggestion(name, container.arrays))
    return found


def fitting(names: Iterable[str], pattern: str) -> list[str]:
    """Those of ``names`` that ``pattern`` stands for, in natural order."""
    parts = pattern.strip("/").split("/")
    fits = [
        name for name in names if len(split := name.split("/")) == len(parts) and all(map(fnmatchcase, split, parts))
    ]
    return natural_order(fits)


def patterns_of(container: Container, name: str, frame_axis: str, n: int | None, notes: list[str]) -> Patterns:
    """The stack of all patterns in the arrays ``name``, of every file that has them, one after the other.

    Args:
        container: The file or files.
        name: An array, or several: ``entry/data/data_*``.
        frame_axis: ``first``, ``last``, or ``auto`` to tell from the shape and ``n``.
        n: Number of positions, if known.
        notes: Receives what was decided.

    Raises:
        DataError: There is none, a link to one of them is broken, or they differ in size.
    """
    names = matching(container, name)
    holders = [(part, key) for key in names for part in container.parts or (container,) if key in part.arrays]
    lost = next((part.arrays[key] for part, key in holders if part.arrays[key].lost), None)
    if lost is not None:
        raise lost_file(f"{container.path}:/{lost.key}", lost.lost)
    infos = [part.arrays[key] for part, key in holders]
    last = frame_axis == "last" or (frame_axis == "auto" and len(infos) == 1 and frames_last(*holders[0], n))
    if last and frame_axis == "auto":
        notes.append(f"patterns: '{name}' {infos[0].shape} has them along the last axis")
    stacks = [_stack(part, key, last) for part, key in holders]
    sizes = sorted({stack.shape[1:] for stack in stacks})
    if len(sizes) != 1:
        raise DataError(f"{container.path}:{name}", "patterns differ in size", found=", ".join(map(str, sizes)))
    if len(stacks) > 1:
        notes.append(f"patterns: {len(stacks)} arrays joined, {_ends([key for _, key in holders])}")
    return stacks[0] if len(stacks) == 1 else JoinedPatterns(stacks)


def counted_last(info: ArrayInfo, n: int | None) -> bool:
    """Whether the patterns are counted along the last axes, from the number of positions or from a square window."""
    shape = info.shape
    if len(shape) < 3:
        return False
    ends = (int(np.prod(shape[:-2])), int(np.prod(shape[2:])))
    if n is not None and (ends[0] == n) != (ends[1] == n):
        return ends[1] == n
    return len(shape) == 3 and shape[0] == shape[1] != shape[2] and shape[0] > 1


def frames_last(container: Container, key: str, n: int | None) -> bool:
    """As `counted_last`; of a raster in four axes without positions the counts tell.

    They differ much over a pattern, and little over a scan.
    """
    info = container.arrays[key]
    telling = n is None and container.kind in SAMPLED and len(info.shape) == 4 and min(info.shape) >= FEWEST_ON_A_SIDE
    if not telling:
        return counted_last(info, n)
    first, last = (_contrast(mean) for mean in _means(container, key))
    return first > CLEARLY * last


def _means(container: Container, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Means of an array of four axes over the last two, and over the first two, of some of its numbers."""
    if container.kind == "hdf5":
        with open_hdf5(container.path) as file:
            stored = require(file, key)
            steps = [max(1, size // most) for size, most in zip(stored.shape, SAMPLED_SIDES, strict=True)]
            sample = stored[tuple(slice(step // 2, None, step) for step in steps)]
    else:
        sample = container.read(key)
    sample = np.nan_to_num(np.asarray(sample, np.float64), posinf=0, neginf=0)
    return sample.mean((2, 3)), sample.mean((0, 1))


def _contrast(mean: np.ndarray) -> float:
    return float(mean.std() / max(abs(mean.mean()), np.finfo(float).tiny))


def _stack(container: Container, key: str, last: bool) -> Patterns:
    if container.kind == "hdf5":
        return Hdf5Patterns(container.path, key, frames_last=last)
    if container.kind == "mat73":  # MATLAB's axes are reversed in the file: its last is the first, rows are columns
        return OrientedPatterns(Hdf5Patterns(container.path, key, frames_last=not last), Orientation(transpose=True))
    stack = container.read(key)
    check_stack(stack, f"{container.path}:{key}")
    if last and stack.ndim >= 3:
        stack = np.moveaxis(stack, (0, 1), (-2, -1))
    return ArrayPatterns(stack.reshape(-1, *stack.shape[-2:]))


def _ends(names: list[str]) -> str:
    return f"from '{names[0]}' to '{names[-1]}'"


def single_stack(container: Container) -> Patterns:
    """The pictures of a file that holds one array, as a stack."""
    array = container.read(SINGLE)
    check_stack(array, str(container.path))
    return ArrayPatterns(array.reshape(-1, *array.shape[-2:]))


class FilePatterns:
    """Pictures of many files, one after the other; each file is opened when one of its pictures is read.

    Args:
        containers: The files, opened.

    Raises:
        DataError: A file holds no picture, or one of another size.
    """

    def __init__(self, containers: Iterable[Container]) -> None:
        infos = [(container.path, container.arrays[SINGLE].shape) for container in containers]
        sizes = sorted({shape[-2:] for _, shape in infos})
        flat = next((path for path, shape in infos if len(shape) < 2), None)
        if flat is not None or len(sizes) != 1:
            what = "the pictures differ in size" if flat is None else "not a picture"
            raise DataError(str(flat or infos[0][0]), what, found=", ".join(map(str, sizes)))
        self.paths = tuple(path for path, _ in infos)
        self.ends = np.cumsum([int(np.prod(shape[:-2])) for _, shape in infos])
        height, width = sizes[0]
        self.shape: tuple[int, int, int] = (int(self.ends[-1]), height, width)

    def read(self, index: np.ndarray) -> np.ndarray:
        index = np.asarray(index, dtype=np.intp)
        owner = np.searchsorted(self.ends, index, side="right")
        frames = np.empty((len(index), *self.shape[1:]), np.float32)
        for i in np.unique(owner):
            pictures = open_container(self.paths[i]).read(SINGLE)
            pictures = pictures.reshape(-1, *pictures.shape[-2:])
            first = int(self.ends[i]) - len(pictures)
            frames[owner == i] = pictures[index[owner == i] - first]
        return frames
