"""Who started this process, and the communicator that follows: one process alone, MPI's ranks, or torchrun's.

The first call of `communicator` reads the launcher's environment variables. Under mpirun or srun it needs mpi4py, under
torchrun torch's own collective operations; without a launcher neither is imported.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any

import numpy as np

from adorym.comm.base import Communicator, SerialCommunicator
from adorym.errors import ConfigError

# Launchers' variables of (number of ranks, this rank): MPICH and Intel MPI, Open MPI, a step of Slurm. A batch script
# itself has SLURM_NTASKS, too; only processes started by srun have SLURM_STEP_NUM_TASKS.
LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
# Torchrun's variables; the first tells that the others are its own. It may itself be started by one of the above.
TORCHRUN = "TORCHELASTIC_RUN_ID"
TORCHRUN_SIZE, TORCHRUN_RANK = "WORLD_SIZE", "RANK"
SWITCH = "ADORYM_MPI"  # "0": every process runs alone, whatever started it
TIMEOUT = "ADORYM_MPI_TIMEOUT"  # seconds
DEFAULT_TIMEOUT_S = 1800.0


def launched() -> tuple[int, int] | None:
    """``(number of ranks, this rank)`` from the launcher; ``None`` without a launcher."""
    if os.environ.get(SWITCH) == "0":
        return None
    for size, rank in ((TORCHRUN_SIZE, TORCHRUN_RANK),) if TORCHRUN in os.environ else LAUNCHERS:
        if size in os.environ:
            return int(os.environ[size]), int(os.environ.get(rank, 0))
    return None


_alone: list[bool] = []  # its last entry: whether this process does the work of all


@contextmanager
def working_alone(alone: bool = True) -> Iterator[None]:
    """Within, whatever has started this process, it works without the others, or with them."""
    _alone.append(alone)
    try:
        yield
    finally:
        _alone.pop()


def communicator() -> Communicator:
    """The communicator of this process, the same one at every call.

    Raises:
        ConfigError: There is a launcher, but no working mpi4py, or one of another MPI than the launcher.
    """
    return SerialCommunicator() if _alone and _alone[-1] else _of_all()


@lru_cache(maxsize=1)
def _of_all() -> Communicator:
    start = launched()
    if start is None:
        return SerialCommunicator()
    made = _of_torchrun() if TORCHRUN in os.environ else _of_mpi(start[0])
    if made.size > 1:
        sys.excepthook = _excepthook
    if not made.is_root:  # messages common to all ranks are printed once
        log = logging.getLogger("adorym")
        log.addHandler(logging.NullHandler())
        log.propagate = False
    return made


def _of_torchrun() -> Communicator:
    from adorym.comm.torch_ranks import TorchCommunicator  # torch is slow to import

    return TorchCommunicator(_timeout_s())


def _of_mpi(size: int) -> Communicator:
    try:
        mpi = _load_mpi()
    except (ImportError, RuntimeError) as error:
        if size == 1:
            return SerialCommunicator()
        raise ConfigError(
            "mpi",
            f"started as one of {size} ranks, but mpi4py does not work here",
            found=str(error).strip().splitlines()[0],
            remedy=f"'pip install adorym[mpi]', start with torchrun, or set {SWITCH}=0 to run each process on its own",
        ) from None
    from adorym.comm.mpi import MpiCommunicator

    check_size(size, mpi.COMM_WORLD.size, mpi.Get_library_version())
    return MpiCommunicator(mpi, _timeout_s())


def _timeout_s() -> float:
    return float(os.environ.get(TIMEOUT, DEFAULT_TIMEOUT_S))


def connect(comm: Communicator, device: str | None, name: str | None = None) -> None:
    """Let arrays of ``comm`` go from device to device, if every rank computes on one of its own; collective.

    Args:
        comm: The ranks.
        device: Of this rank's arrays, as torch names it; ``None`` if they are not torch's, or the host's.
        name: What tells it from all others of the machine; ``None`` if every rank has one of its own.
    """
    if comm.size == 1:
        return
    own = f"{socket.gethostname()} {name or device}" if device else ""
    every = [bytes(each).decode() for each in comm.gather(np.frombuffer(own.encode(), np.uint8), "name the devices")]
    shared = len(set(every)) < len(every) and name is not None
    if device is None or not all(every) or shared:
        comm.devices = None
    elif comm.devices is None:
        from adorym.comm.torch_devices import TorchDevices  # slow, and not everybody has several devices

        comm.devices = TorchDevices(comm, device, _timeout_s())


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

    ``None`` leaves the choice to the libraries: for a single process, or with OMP_NUM_THREADS; the 1 that torchrun sets
    does not count.
    """
    said = os.environ.get("OMP_NUM_THREADS")
    if comm.local_size == 1 or (said is not None and not (said == "1" and TORCHRUN in os.environ)):
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
    if TORCHRUN in os.environ:
        raise ConfigError("run.driver", "'mpio' needs ranks of MPI; torchrun has started these",
                          remedy="choose 'memmap', or start with mpirun")  # fmt: skip
    if not h5py.get_config().mpi:
        raise ConfigError(
            "run.driver",
            "'mpio' needs an h5py that was built for MPI",
            found=f"h5py {h5py.__version__} without MPI",
            remedy="choose 'memmap', or load a parallel h5py",
        )
    return {"driver": "mpio", "comm": _load_mpi().COMM_WORLD}
