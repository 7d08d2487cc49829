"""Simple start objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.data.result import read_result
from adorym.errors import ConfigError
from adorym.forward.object import FirstObject, Initializer
from adorym.paths import InputPath
from adorym.registry import register
from adorym.units import Angle


@register("initializer", "constant")
class Constant(Initializer):
    """The same transmission everywhere.

    Attributes:
        magnitude: Modulus of the transmission; 1 is vacuum.
        phase: Its phase.
    """

    magnitude: float = Field(1.0, gt=0)
    phase: Angle = 0.0

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return self.start(dataset, shape, rng).rows(0, shape[0])

    def start(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
        value = self.magnitude * np.exp(1j * self.phase)
        return FirstObject(lambda start, stop: np.full((stop - start, *shape[1:]), value))


@register("initializer", "random")
class Random(Initializer):
    """Independent normal deviations from vacuum, the same for the same seed.

    Attributes:
        magnitude_sigma: Standard deviation of the modulus.
        phase_sigma: Standard deviation of the phase.
    """

    magnitude_sigma: float = Field(0.05, ge=0)
    phase_sigma: Angle = 0.05

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return self.start(dataset, shape, rng).rows(0, shape[0])

    def start(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
        seed = int(rng.integers(2**63))

        def row(y: int) -> np.ndarray:
            own = np.random.default_rng([seed, y])  # every rank makes the same row
            magnitude = 1 + self.magnitude_sigma * own.standard_normal(shape[1:])
            return magnitude * np.exp(1j * self.phase_sigma * own.standard_normal(shape[1:]))

        return FirstObject(lambda start, stop: np.stack([row(y) for y in range(start, stop)]))


@register("initializer", "file")
class File(Initializer):
    """An object from a ``.npy`` file or from the result of an earlier run; `start_from` takes over the rest, too.

    Attributes:
        path: A ``.npy`` array of the object's shape, a ``result.h5``, or the folder of a run.
    """

    path: InputPath

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        where = "parameters.object.initial.path"
        path = Path(self.path).expanduser()
        if not path.is_file() and not path.is_dir():
            raise ConfigError(where, f"no such file '{self.path}'")
        if path.suffix == ".npy":
            try:
                obj = np.load(path)
            except (OSError, ValueError, EOFError) as error:
                raise ConfigError(where, f"cannot read '{self.path}'", found=str(error)) from None
        else:
            stored = read_result(path).object
            obj = stored[..., 0] if stored.ndim == 3 and stored.shape[-1] == 1 else stored
        if obj.shape != shape:
            remedy = None if path.suffix == ".npy" else f"'start_from: {self.path}' places it by its origin"
            raise ConfigError(where, "the object has the wrong shape", expected=shape, found=obj.shape, remedy=remedy)
        return obj.astype(np.complex128)
