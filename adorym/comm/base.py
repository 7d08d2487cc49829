"""What the ranks of a run can do together: the interface, and one process alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from adorym.watchdog import write_error

# Time in s that a failed rank waits for the others to fail, too, so that a common error is printed once.
COMMON_ERROR_WAIT_S = 1.5


class DeviceExchange(ABC):
    """Collective operations on arrays that stay on the ranks' devices."""

    @abstractmethod
    def sum(self, array: Any, name: str = "sum") -> Any:
        """Element-wise sum over the ranks, on every rank; may overwrite ``array``."""

    @abstractmethod
    def gather(self, array: Any, lengths: Sequence[int], name: str = "gather") -> list[Any]:
        """The arrays of all ranks, on every rank; their first axes have ``lengths``."""

    @abstractmethod
    def exchange(
        self, send: Any, send_counts: Sequence[int], receive_counts: Sequence[int], name: str = "exchange"
    ) -> Any:
        """Send the parts of ``send``, ordered by rank, counted along its first axis; returns the received parts."""


class Communicator(ABC):
    """Collective operations that the stores and the loop need; every rank calls each of them equally often.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
        local_rank: Number of this process among those on the same machine.
        local_size: Number of those processes.
        sent_bytes: Bytes that `exchange` has sent to other ranks so far.
        devices: How arrays go from device to device; ``None`` where they go through the host (`connect`).
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1
    sent_bytes: int = 0
    devices: DeviceExchange | None = None

    @property
    def is_root(self) -> bool:
        """Whether this rank prints, logs and writes reports."""
        return self.rank == 0

    @abstractmethod
    def sum(self, array: np.ndarray, name: str = "sum") -> np.ndarray:
        """Element-wise sum over the ranks, on every rank; may overwrite ``array``."""

    @abstractmethod
    def max(self, value: float, name: str = "max") -> float:
        """Largest value over the ranks, on every rank."""

    @abstractmethod
    def barrier(self, name: str = "barrier") -> None:
        """Return when every rank has called."""

    @abstractmethod
    def broadcast(self, value: Any, name: str = "broadcast") -> Any:
        """Rank 0's ``value`` (a small Python object) on every rank."""

    @abstractmethod
    def gather(self, array: np.ndarray, name: str = "gather") -> list[np.ndarray]:
        """The ``(k, ...)`` arrays of all ranks, on every rank; only ``k`` may differ."""

    @abstractmethod
    def exchange(
        self, send: np.ndarray, send_counts: Sequence[int], receive_counts: Sequence[int], name: str = "exchange"
    ) -> np.ndarray:
        """Send the parts of the flat real array ``send``, ordered by rank; returns the received parts, likewise."""

    def waiting(self, name: str) -> AbstractContextManager[None]:
        """Context of the collective operation ``name``, which says where a wait without end is."""
        return nullcontext()

    def at(self, where: str) -> None:  # noqa: B027 - one process never waits
        """Set the current place in the run, for messages."""

    def end(self, text: str, status: int) -> int:
        """Before a process ends with an error: print ``text`` once, and leave no rank waiting.

        Returns ``status`` if every rank ends in the same way; otherwise it does not return.
        """
        write_error(text)
        return status


class SerialCommunicator(Communicator):
    """One process."""

    rank, size = 0, 1

    def sum(self, array: np.ndarray, name: str = "sum") -> np.ndarray:
        return array

    def max(self, value: float, name: str = "max") -> float:
        return value

    def barrier(self, name: str = "barrier") -> None:
        return None

    def broadcast(self, value: Any, name: str = "broadcast") -> Any:
        return value

    def gather(self, array: np.ndarray, name: str = "gather") -> list[np.ndarray]:
        return [array]

    def exchange(
        self, send: np.ndarray, send_counts: Sequence[int], receive_counts: Sequence[int], name: str = "exchange"
    ) -> np.ndarray:
        return send
