"""Several processes that train one network: gradients are averaged over them (``torchrun`` or ``mpirun``)."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist

from adorym.comm import started

_ADDRESS, _PORT = "127.0.0.1", "29517"


class Ranks:
    """The processes of a training; one alone unless a launcher started several.

    Args:
        device: Where this process computes; CUDA processes talk through NCCL, others through Gloo.
    """

    def __init__(self, device: str) -> None:
        self.size, self.rank = started()
        if self.size > 1:
            os.environ.setdefault("MASTER_ADDR", _ADDRESS)
            os.environ.setdefault("MASTER_PORT", _PORT)
            backend = "nccl" if device.startswith("cuda") else "gloo"
            dist.init_process_group(backend, rank=self.rank, world_size=self.size)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            g.copy_(part.view_as(g))

    def sum_values(self, values: list[float]) -> list[float]:
        """Sums over the processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            tensor = tensor.cuda()
        dist.all_reduce(tensor)
        return [float(v) for v in tensor]

    def close(self) -> None:
        """Take leave of the others."""
        if self.size > 1:
            dist.destroy_process_group()
