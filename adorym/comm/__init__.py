"""The ranks of a run: one process alone, or many under ``mpirun``, ``srun`` or ``torchrun``."""

from adorym.comm.base import Communicator, DeviceExchange, SerialCommunicator
from adorym.comm.launch import (
    LAUNCHERS,
    SWITCH,
    TORCHRUN,
    check_size,
    communicator,
    connect,
    launched,
    parallel_hdf5_options,
    threads_per_rank,
    working_alone,
)

__all__ = [
    "LAUNCHERS",
    "SWITCH",
    "TORCHRUN",
    "Communicator",
    "DeviceExchange",
    "SerialCommunicator",
    "check_size",
    "communicator",
    "connect",
    "launched",
    "parallel_hdf5_options",
    "threads_per_rank",
    "working_alone",
]
