"""The ranks that ``torchrun`` has started, through torch's collective operations on the host (Gloo)."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from adorym.comm.base import COMMON_ERROR_WAIT_S, Communicator
from adorym.errors import RunError
from adorym.watchdog import Watchdog, end_process, write_error

# Time in s that a rank waits to be ended by torchrun when another one has left.
LAST_WAIT_S = 10.0
# What Gloo and NCCL say of a rank that is no more.
LOST = ("Connection closed", "Connection reset", "Broken pipe", "remote process exited", "Socket closed")
_HERE, _GONE, _WORDS = "adorym/ended", "adorym/left", "adorym/words"


class TorchCommunicator(Communicator):
    """The processes started by ``torchrun``.

    Args:
        timeout_s: Longest wait in a collective operation before the process ends, and torchrun the others.
    """

    def __init__(self, timeout_s: float) -> None:
        self._store, self.rank, self.size = next(iter(rendezvous("env://")))
        # The watchdog is to notice first: it says where.
        limit = timedelta(seconds=2 * timeout_s + LAST_WAIT_S)
        dist.init_process_group("gloo", store=self._store, rank=self.rank, world_size=self.size, timeout=limit)
        atexit.register(dist.destroy_process_group)  # its threads must not outlive the interpreter
        self.local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        self._watchdog = Watchdog(self.rank, timeout_s, os._exit)

    def sum(self, array: np.ndarray, name: str = "sum") -> np.ndarray:
        array = np.require(array, requirements=["C", "W"])
        with self._talking(name):
            dist.all_reduce(_real(array))
        return array

    def max(self, value: float, name: str = "max") -> float:
        largest = np.array([value], np.float64)
        with self._talking(name):
            dist.all_reduce(torch.from_numpy(largest), dist.ReduceOp.MAX)
        return float(largest[0])

    def barrier(self, name: str = "barrier") -> None:
        with self._talking(name):
            dist.all_reduce(torch.zeros(1))

    def broadcast(self, value: Any, name: str = "broadcast") -> Any:
        box = [value]
        with self._talking(name):
            dist.broadcast_object_list(box, 0)
        return box[0]

    def gather(self, array: np.ndarray, name: str = "gather") -> list[np.ndarray]:
        mine = np.ascontiguousarray(array)
        with self._talking(name):
            lengths = self._lengths(len(mine))
            own = np.zeros((max(lengths), *mine.shape[1:]), mine.dtype)  # messages of one size
            own[: len(mine)] = mine
            every = [np.empty_like(own) for _ in range(self.size)]
            if own.size:
                dist.all_gather([_bytes(each) for each in every], _bytes(own))
        return [each[:n] for each, n in zip(every, lengths, strict=True)]

    def _lengths(self, own: int) -> list[int]:
        found = np.zeros((self.size, 1), np.int64)
        dist.all_gather([torch.from_numpy(each) for each in found], torch.tensor([own]))
        return found[:, 0].tolist()

    def exchange(
        self, send: np.ndarray, send_counts: Sequence[int], receive_counts: Sequence[int], name: str = "exchange"
    ) -> np.ndarray:
        received = np.empty(sum(receive_counts), send.dtype)
        with self._talking(name):
            dist.all_to_all_single(
                torch.from_numpy(received), _real(np.require(send, requirements=["C", "W"])),
                list(receive_counts), list(send_counts),
            )  # fmt: skip
        self.sent_bytes += (sum(send_counts) - send_counts[self.rank]) * send.itemsize
        return received

    def waiting(self, name: str) -> AbstractContextManager[None]:
        return self._talking(name)

    @contextmanager
    def _talking(self, name: str) -> Iterator[None]:
        """Context of a collective operation: where another rank has left, torchrun ends this one."""
        try:
            with self._watchdog.waiting(name):
                yield
        except RuntimeError as error:
            if not any(word in str(error) for word in LOST):
                raise
            time.sleep(LAST_WAIT_S)
            found = str(error).strip().splitlines()[0]
            what = f"another rank has left; this one waited for it in '{name}'"
            raise RunError("ranks", what, found=found) from None

    def at(self, where: str) -> None:
        self._watchdog.where = where

    def end(self, text: str, status: int) -> int:
        self._store.set(f"{_WORDS}/{self.rank}", text)
        if not self._all(_HERE, COMMON_ERROR_WAIT_S + 0.25 * min(self.rank, 6)):
            write_error(f"rank {self.rank}: {text}")
            end_process(status, os._exit)
        if self.is_root:
            words = [self._store.get(f"{_WORDS}/{rank}").decode() for rank in range(self.size)]
            write_error("\n".join(dict.fromkeys(words)))
        self._all(_GONE, COMMON_ERROR_WAIT_S)  # where rank 0 has the store, it leaves last
        return status

    def _all(self, what: str, limit_s: float) -> bool:
        """Whether every rank says so within a short time."""
        self._store.add(what, 1)
        until = time.monotonic() + limit_s
        while self._store.add(what, 0) < self.size:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True


def _real(array: np.ndarray) -> torch.Tensor:
    """``array`` as real numbers, the same memory."""
    return torch.from_numpy(array.view(array.real.dtype) if array.dtype.kind == "c" else array)


def _bytes(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.reshape(-1).view(np.uint8))
