"""The ranks of a run. One process alone is a communicator of size one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Communicator(ABC):
    """Collective operations that the stores and the loop need; every rank calls each of them equally often."""

    rank: int
    size: int

    @property
    def is_root(self) -> bool:
        """Whether this rank prints, logs and writes reports."""
        return self.rank == 0

    @abstractmethod
    def sum(self, array: np.ndarray) -> np.ndarray:
        """Element-wise sum over the ranks, on every rank; may overwrite ``array``."""

    @abstractmethod
    def max(self, value: float) -> float:
        """Largest value over the ranks, on every rank."""

    @abstractmethod
    def barrier(self) -> None:
        """Return when every rank has called."""


class SerialCommunicator(Communicator):
    """One process."""

    rank, size = 0, 1

    def sum(self, array: np.ndarray) -> np.ndarray:
        return array

    def max(self, value: float) -> float:
        return value

    def barrier(self) -> None:
        return None


def communicator() -> Communicator:
    """The communicator of this process."""
    return SerialCommunicator()
