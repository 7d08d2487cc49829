"""Several processes that train one network: gradients are averaged over them (``torchrun`` or ``mpirun``)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from adorym.comm import communicator, connect


class Ranks:
    """The processes of a training; one alone unless a launcher started several.

    Args:
        device: Where this process computes.
    """

    def __init__(self, device: str) -> None:
        self._comm = communicator()
        if device.startswith("cuda"):
            connect(self._comm, device, str(torch.cuda.get_device_properties(device).uuid))
        else:
            connect(self._comm, None)
        self.size, self.rank = self._comm.size, self._comm.rank

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        if self._comm.devices is not None:
            flat = self._comm.devices.sum(flat, "sum of the gradients")
        else:
            flat = torch.from_numpy(self._comm.sum(flat.cpu().numpy(), "sum of the gradients")).to(flat.device)
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            g.copy_(part.view_as(g))

    def sum_values(self, values: list[float]) -> list[float]:
        """Sums over the processes."""
        return self._comm.sum(np.array(values, np.float64), "sum of the losses").tolist()
