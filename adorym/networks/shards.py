"""Training sets on disk: shards, HDF5 files of patterns with the crystals that made them.

Each holds ``modulus``, ``shape`` and ``phase``, ``(n, z, y, x)`` float16, and says in its attributes how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from adorym.data.atomic import whole_file
from adorym.errors import DataError

FORMAT = "adorym crystals"
ARRAYS = ("modulus", "shape", "phase")


@dataclass(frozen=True, eq=False)
class Examples:
    """Patterns and their crystals, ``(n, z, y, x)`` each: modulus with maximum 1, amplitude, phase in radian."""

    modulus: np.ndarray
    shape: np.ndarray
    phase: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """All of ``parts``, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Modulus, shape and phase."""
        return self.modulus, self.shape, self.phase

    def __len__(self) -> int:
        return len(self.modulus)

    def rows(self, index: np.ndarray | slice) -> Examples:
        """Some of them."""
        return Examples(self.modulus[index], self.shape[index], self.phase[index])


@dataclass(frozen=True)
class Turn:
    """One of the 48 ways to lay a cube's axes: no axis is special, so that each makes another example of a crystal.

    Attributes:
        axes: New order of the axes 1 to 3.
        mirrored: Axes that are turned round.
    """

    axes: tuple[int, ...]
    mirrored: tuple[int, ...]

    @classmethod
    def random(cls, rng: np.random.Generator) -> Turn:
        """Any of them."""
        axes, mirrored = 1 + rng.permutation(3), 1 + np.flatnonzero(rng.integers(0, 2, 3))
        return cls(tuple(axes.tolist()), tuple(mirrored.tolist()))

    def of(self, examples: Examples) -> list[np.ndarray]:
        """Modulus, shape and phase, turned."""
        turned = [np.flip(a.transpose(0, *self.axes), self.mirrored) for a in examples.arrays]
        # Crystals are mirrored at their middle between two voxels, patterns at the zero frequency, which is a voxel.
        turned[0] = np.roll(turned[0], 1, self.mirrored) if self.mirrored else turned[0]
        return [np.ascontiguousarray(a) for a in turned]


def write_shard(path: str | Path, examples: Examples, made_by: Mapping[str, object]) -> Path:
    """Write one shard; ``made_by`` is kept as JSON."""
    path = Path(path)
    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["format"], file.attrs["made_by"] = FORMAT, json.dumps(dict(made_by))
        for name in ARRAYS:
            stored = file.create_dataset(name, data=getattr(examples, name).astype(np.float16))
            stored.attrs["units"] = "rad" if name == "phase" else ""
    return path


def write_shards(
    folder: str | Path, names: Sequence[str], own: slice, make: Callable[[int], tuple[Examples, Mapping[str, object]]]
) -> Iterator[Path]:
    """Write those of the shards ``names[own]`` that are not there yet; yields each path.

    ``make(number)`` gives the examples of a shard, and how they were made.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(names))[own]:
        path = folder / names[number]
        if not path.exists():
            yield write_shard(path, *make(number))


def shard_paths(folder: str | Path) -> list[Path]:
    """Shards in ``folder``, in order of their names.

    Raises:
        DataError: There are none.
    """
    paths = sorted(p for p in Path(folder).expanduser().glob("*.h5") if not p.name.startswith("."))
    if not paths:
        raise DataError(
            str(folder), "holds no shards", expected="HDF5 files of crystals",
            remedy="make them with 'adorym simulate-crystals', or leave 'data' out to have them made",
        )  # fmt: skip
    return paths


def read_shards(paths: Sequence[Path]) -> tuple[Examples, list[dict[str, object]]]:
    """``(every example, how each shard was made)``.

    Raises:
        DataError: A file is not a shard, or the shards hold arrays of different sizes.
    """
    parts: list[Examples] = []
    origins: list[dict[str, object]] = []
    for path in paths:
        try:
            with h5py.File(path, "r") as file:
                parts.append(Examples(*(file[name][()] for name in ARRAYS)))
                origins.append(json.loads(str(file.attrs["made_by"])))
        except (OSError, KeyError, ValueError) as error:
            raise DataError(str(path), "not a shard of crystals", found=str(error)) from error
        if parts[-1].modulus.shape[1:] != parts[0].modulus.shape[1:]:
            raise DataError(
                str(path), "the shards hold arrays of different sizes",
                expected=parts[0].modulus.shape[1:], found=parts[-1].modulus.shape[1:],
            )  # fmt: skip
    return Examples.joined(parts), origins
