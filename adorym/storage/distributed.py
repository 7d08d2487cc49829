"""Distributed object: each rank holds one slab with its gradient and optimizer state in memory."""

from __future__ import annotations

import numpy as np

from adorym.comm import Communicator
from adorym.data.contiguous import ArraySpec
from adorym.optimizers.base import Optimizer
from adorym.storage.base import BLOCK_BYTES, LikeObject
from adorym.storage.slabs import MemoryRows, RowBackend, SlabStore, Start
from adorym.wrapper.base import Backend


class DistributedStore(SlabStore):
    """The object in slabs along y, in the memory of the ranks; n ranks need 1/n of the object each."""

    def __init__(
        self, xp: Backend, start: Start, optimizer: Optimizer, comm: Communicator, block_bytes: int = BLOCK_BYTES
    ) -> None:
        super().__init__(xp, start, optimizer, comm, block_bytes)

    def empty(self) -> LikeObject:
        return self._make_rows({"new": self._kept["value"]})["new"]

    def _make_rows(self, kept: dict[str, ArraySpec]) -> dict[str, RowBackend]:
        low, high = self.local_rows
        return {name: MemoryRows(np.zeros((high - low, *k.shape[1:]), k.dtype), low) for name, k in kept.items()}
