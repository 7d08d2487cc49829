"""Arrays that go from device to device through torch: NCCL between CUDA devices, Gloo elsewhere."""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

from adorym.comm.base import Communicator, DeviceExchange


class TorchDevices(DeviceExchange):
    """The devices of all ranks; its construction is collective.

    Args:
        comm: The ranks, whatever started them.
        device: Of this rank, which it shares with no other; a CUDA device with its index.
        timeout_s: Longest wait in a collective operation.
    """

    def __init__(self, comm: Communicator, device: str, timeout_s: float) -> None:
        self._comm, limit = comm, timedelta(seconds=timeout_s)
        backend = "nccl" if device.startswith("cuda") else "gloo"
        if not dist.is_initialized():  # MPI has started the ranks
            address = comm.broadcast(_free_address(comm) if comm.is_root else None, "find an address for the devices")
            own = torch.device(device) if backend == "nccl" else None
            where = f"tcp://{address}"
            dist.init_process_group(backend, where, timeout=limit, rank=comm.rank, world_size=comm.size, device_id=own)
            atexit.register(dist.destroy_process_group)
        self._group = dist.new_group(backend=backend, timeout=limit)

    def sum(self, array: torch.Tensor, name: str = "sum") -> torch.Tensor:
        array = array.detach().resolve_conj().contiguous()
        with self._comm.waiting(name):
            dist.all_reduce(_real(array), group=self._group)
        return array

    def gather(self, array: torch.Tensor, lengths: Sequence[int], name: str = "gather") -> list[torch.Tensor]:
        own = array.new_zeros((max(lengths), *array.shape[1:]))  # messages of one size
        own[: len(array)] = array
        every = [torch.empty_like(own) for _ in lengths]
        if own.numel():
            with self._comm.waiting(name):
                dist.all_gather([_real(each) for each in every], _real(own), group=self._group)
        return [each[:n] for each, n in zip(every, lengths, strict=True)]

    def exchange(
        self, send: torch.Tensor, send_counts: Sequence[int], receive_counts: Sequence[int], name: str = "exchange"
    ) -> torch.Tensor:
        send = send.resolve_conj().contiguous()
        received = send.new_empty((sum(receive_counts), *send.shape[1:]))
        with self._comm.waiting(name):
            dist.all_to_all_single(
                _real(received), _real(send), list(receive_counts), list(send_counts), group=self._group
            )
        row_bytes = send[:1].nbytes
        self._comm.sent_bytes += (sum(send_counts) - send_counts[self._comm.rank]) * row_bytes
        return received


def _real(array: torch.Tensor) -> torch.Tensor:
    """``array`` as real numbers, the same memory."""
    return torch.view_as_real(array) if array.is_complex() else array


def _free_address(comm: Communicator) -> str:
    """Host and port of rank 0 that the others reach."""
    host = "127.0.0.1" if comm.local_size == comm.size else os.environ.get("MASTER_ADDR", socket.gethostname())
    with socket.socket() as found:
        found.bind(("", 0))
        return f"{host}:{found.getsockname()[1]}"
