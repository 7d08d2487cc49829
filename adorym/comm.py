"""The ranks of a run: one process alone, or many under ``mpirun`` or ``srun``.

The first call of `communicator` reads the launcher's environment variables. Under a launcher it needs mpi4py; without
one mpi4py is never imported. This is the only module that imports it.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any

import numpy as np

from adorym.errors import ConfigError
from adorym.watchdog import Watchdog, end_process, write_error

# Launchers' variables of (number of ranks, this rank): MPICH and Intel MPI, Open MPI, a step of Slurm. A batch script
# itself has SLURM_NTASKS, too; only processes started by srun have SLURM_STEP_NUM_TASKS.
LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
SWITCH = "ADORYM_MPI"  # "0": every process runs alone, whatever started it
TIMEOUT = "ADORYM_MPI_TIMEOUT"  # seconds
DEFAULT_TIMEOUT_S = 1800.0
# Time in s that a failed rank waits for the others to fail, too, so that a common error is printed once.
COMMON_ERROR_WAIT_S = 1.5
PIECE_BYTES = 64 << 20  # of one message: MPI keeps a temporary as large


class Communicator(ABC):
    """Collective operations that the stores and the loop need; every rank calls each of them equally often.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
        local_rank: Number of this process among those on the same machine.
        local_size: Number of those processes.
        sent_bytes: Bytes that `exchange` has sent to other ranks so far.
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1
    sent_bytes: int = 0

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
        with self._watchdog.waiting(name):
            for start in range(0, flat.size, step):
                self._world.Allreduce(self._mpi.IN_PLACE, flat[start : start + step])
        return array

    def max(self, value: float, name: str = "max") -> float:
        with self._watchdog.waiting(name):
            return float(self._world.allreduce(value, op=self._mpi.MAX))

    def barrier(self, name: str = "barrier") -> None:
        with self._watchdog.waiting(name):
            self._world.Barrier()

    def broadcast(self, value: Any, name: str = "broadcast") -> Any:
        with self._watchdog.waiting(name):
            return self._world.bcast(value)

    def gather(self, array: np.ndarray, name: str = "gather") -> list[np.ndarray]:
        mine = np.ascontiguousarray(array)
        row = int(np.prod(mine.shape[1:])) * (2 if mine.dtype.kind == "c" else 1)
        with self._watchdog.waiting(name):
            lengths = self._world.allgather(len(mine))
            every = np.empty((sum(lengths), *mine.shape[1:]), mine.dtype)
            self._world.Allgatherv(_real(mine).reshape(-1), [_real(every).reshape(-1), [n * row for n in lengths]])
        return np.split(every, np.cumsum(lengths)[:-1])

    def exchange(
        self, send: np.ndarray, send_counts: Sequence[int], receive_counts: Sequence[int], name: str = "exchange"
    ) -> np.ndarray:
        received = np.empty(sum(receive_counts), send.dtype)
        with self._watchdog.waiting(name):
            self._world.Alltoallv([send, list(send_counts)], [received, list(receive_counts)])
        self.sent_bytes += (sum(send_counts) - send_counts[self.rank]) * send.itemsize
        return received

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


# -- choice of the communicator --------------------------------------------------------------------------------------
def launched() -> tuple[int, int] | None:
    """``(number of ranks, this rank)`` from the launcher; ``None`` without a launcher."""
    if os.environ.get(SWITCH) == "0":
        return None
    for size, rank in LAUNCHERS:
        if size in os.environ:
            return int(os.environ[size]), int(os.environ.get(rank, 0))
    return None


def started() -> tuple[int, int]:
    """``(number of processes, this process)`` from any launcher, including PyTorch's (``torchrun``)."""
    if "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    return launched() or (1, 0)


@lru_cache(maxsize=1)
def communicator() -> Communicator:
    """The communicator of this process, the same one at every call.

    Raises:
        ConfigError: There is a launcher, but no working mpi4py, or one of another MPI than the launcher.
    """
    start = launched()
    if start is None:
        return SerialCommunicator()
    try:
        mpi = _load_mpi()
    except (ImportError, RuntimeError) as error:
        if start[0] == 1:
            return SerialCommunicator()
        raise ConfigError(
            "mpi",
            f"started as one of {start[0]} ranks, but mpi4py does not work here",
            found=str(error).strip().splitlines()[0],
            remedy=f"'pip install adorym[mpi]', or set {SWITCH}=0 to run each process on its own",
        ) from None
    check_size(start[0], mpi.COMM_WORLD.size, mpi.Get_library_version())
    made = MpiCommunicator(mpi, float(os.environ.get(TIMEOUT, DEFAULT_TIMEOUT_S)))
    if made.size > 1:
        sys.excepthook = _excepthook
    if not made.is_root:  # messages common to all ranks are printed once
        log = logging.getLogger("adorym")
        log.addHandler(logging.NullHandler())
        log.propagate = False
    return made


def check_size(launched_size: int, world_size: int, library: str) -> None:
    """Check that the launcher and the library loaded by mpi4py belong together.

    Raises:
        ConfigError: They do not, so that every process would run the whole job alone.
    """
    if launched_size != world_size:
        raise ConfigError(
            "mpi",
            "the launcher and mpi4py use different MPI installations",
            expected=f"{launched_size} ranks, as the launcher says",
            found=f"{world_size}, as mpi4py says with {library.splitlines()[0].strip(chr(0)).strip()}",
            remedy="start with the mpirun that belongs to that library (of the same environment or module)",
        )


def _load_mpi() -> Any:
    from mpi4py import MPI

    return MPI


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    communicator().end(text, 1)


def threads_per_rank(comm: Communicator) -> int | None:
    """Threads of this rank: its available cores, divided among the ranks that may use the same cores.

    ``None`` leaves the choice to the libraries: for a single process, or with OMP_NUM_THREADS.
    """
    if comm.local_size == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    cores = os.sched_getaffinity(0)
    # A launcher may bind every rank to its own cores, or give all cores to all ranks.
    bound = len(cores) <= max(1, (os.cpu_count() or 1) // comm.local_size)
    return len(cores) if bound else max(1, len(cores) // comm.local_size)


def parallel_hdf5_options(comm: Communicator) -> dict[str, Any]:
    """Arguments of `h5py.File` with which all ranks write to one file.

    Raises:
        ConfigError: This h5py was not built for MPI.
    """
    import h5py  # only this asks for it

    if comm.size == 1:
        return {}
    if not h5py.get_config().mpi:
        raise ConfigError(
            "run.driver",
            "'mpio' needs an h5py that was built for MPI",
            found=f"h5py {h5py.__version__} without MPI",
            remedy="choose 'memmap', or load a parallel h5py",
        )
    return {"driver": "mpio", "comm": _load_mpi().COMM_WORLD}
