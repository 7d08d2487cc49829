"""The ranks that ``mpirun`` or ``srun`` has started, through mpi4py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from adorym.comm.base import COMMON_ERROR_WAIT_S, Communicator
from adorym.watchdog import Watchdog, end_process, write_error

PIECE_BYTES = 64 << 20  # of one message: MPI keeps a temporary as large


class MpiCommunicator(Communicator):
    """The processes started by ``mpirun`` or ``srun``, through mpi4py.

    Args:
        mpi: The module ``mpi4py.MPI``.
        timeout_s: Longest wait in a collective operation before the job is ended.
    """

    def __init__(self, mpi: Any, timeout_s: float) -> None:
        self._mpi, self._world = mpi, mpi.COMM_WORLD.Dup()
        self._last_words = mpi.COMM_WORLD.Dup()  # separate from the messages of a run
        self.rank, self.size = self._world.rank, self._world.size
        node = self._world.Split_type(mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = node.rank, node.size
        self._abort = mpi.COMM_WORLD.Abort
        self._watchdog = Watchdog(self.rank, timeout_s, self._abort)

    def sum(self, array: np.ndarray, name: str = "sum") -> np.ndarray:
        array = np.require(array, requirements=["C", "W"])
        flat = _real(array).reshape(-1)
        step = max(1, PIECE_BYTES // flat.itemsize)
        with self.waiting(name):
            for start in range(0, flat.size, step):
                self._world.Allreduce(self._mpi.IN_PLACE, flat[start : start + step])
        return array

    def max(self, value: float, name: str = "max") -> float:
        with self.waiting(name):
            return float(self._world.allreduce(value, op=self._mpi.MAX))

    def barrier(self, name: str = "barrier") -> None:
        with self.waiting(name):
            self._world.Barrier()

    def broadcast(self, value: Any, name: str = "broadcast") -> Any:
        with self.waiting(name):
            return self._world.bcast(value)

    def gather(self, array: np.ndarray, name: str = "gather") -> list[np.ndarray]:
        mine = np.ascontiguousarray(array)
        row = int(np.prod(mine.shape[1:])) * (2 if mine.dtype.kind == "c" else 1)
        with self.waiting(name):
            lengths = self._world.allgather(len(mine))
            every = np.empty((sum(lengths), *mine.shape[1:]), mine.dtype)
            self._world.Allgatherv(_real(mine).reshape(-1), [_real(every).reshape(-1), [n * row for n in lengths]])
        return np.split(every, np.cumsum(lengths)[:-1])

    def exchange(
        self, send: np.ndarray, send_counts: Sequence[int], receive_counts: Sequence[int], name: str = "exchange"
    ) -> np.ndarray:
        received = np.empty(sum(receive_counts), send.dtype)
        with self.waiting(name):
            self._world.Alltoallv([send, list(send_counts)], [received, list(receive_counts)])
        self.sent_bytes += (sum(send_counts) - send_counts[self.rank]) * send.itemsize
        return received

    def waiting(self, name: str) -> AbstractContextManager[None]:
        return self._watchdog.waiting(name)

    def at(self, where: str) -> None:
        self._watchdog.where = where

    def end(self, text: str, status: int) -> int:
        if not self._all_are_here():
            write_error(f"rank {self.rank}: {text}" if self.size > 1 else text)
            end_process(status, self._abort)
        said = self._last_words.gather(text)
        if said is not None:
            write_error("\n".join(dict.fromkeys(said)))
        return status

    def _all_are_here(self) -> bool:
        """Whether every rank gets here within a short time; the lowest rank stops waiting first."""
        request = self._last_words.Ibarrier()
        until = time.monotonic() + COMMON_ERROR_WAIT_S + 0.25 * min(self.rank, 6)
        while not request.Test():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True


def _real(array: np.ndarray) -> np.ndarray:
    """``array`` as real numbers, without a copy."""
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array
