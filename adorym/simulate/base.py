"""The contract of a simulation: a seed in, a data set with its truth out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.optics.geometry import Grid


class Simulation(ABC):
    """An experiment made in the computer.

    A simulation does not use the models that reconstruct: it samples the specimen on a grid of its own, finer than the
    reconstruction's, and propagates there. Reconstructing with the very model that made the data (the "inverse crime",
    Colton & Kress, *Inverse Acoustic and Electromagnetic Scattering Theory*, 1992) hides every error the two share.
    """

    @abstractmethod
    def run(self, seed: int) -> Dataset:
        """The data set that ``seed`` gives, the same each time, with what was put in under ``truth``."""


class NamedExperiment(Simulation):
    """Settings of another simulation under a name of their own."""

    @abstractmethod
    def experiment(self) -> Simulation:
        """The settings that this name stands for."""

    def run(self, seed: int) -> Dataset:
        return self.experiment().run(seed)


def generators(seed: int, n: int) -> list[np.random.Generator]:
    """``n`` independent random generators: what one of them draws does not change what the others do."""
    return [np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(n)]


def simulated(seed: int, patterns: np.ndarray, **known: Any) -> Dataset:
    """The data set of ``patterns`` ``(n, y, x)`` and the other fields of a `Dataset`."""
    made = Dataset(patterns=ArrayPatterns(patterns), format="simulation", notes=(f"simulated, seed {seed}",))
    return made.with_(**known)


def centered(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates ``(y, 1)`` and ``(1, x)`` in meters from the sample ``n // 2`` of ``grid``."""
    y, x = ((np.arange(n) - n // 2) * d for n, d in zip(grid.window_px, grid.pixel_size_m, strict=True))
    return y[:, None], x[None, :]
