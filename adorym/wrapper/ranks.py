"""Collective operations on a backend's arrays: from device to device where ranks are so connected, else by the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adorym.comm import Communicator
from adorym.wrapper.base import Array, Backend


def summed(xp: Backend, a: Array, comm: Communicator, name: str) -> Array:
    """Sum of ``a`` over the ranks, of its type, on every rank; may overwrite ``a``."""
    if comm.size == 1:
        return a
    if comm.devices is not None:
        return comm.devices.sum(a, name)
    return xp.asarray(comm.sum(xp.to_numpy(a), name), exact=True)


def gathered(xp: Backend, a: Array, lengths: Sequence[int], comm: Communicator, name: str) -> list[Array]:
    """The arrays of all ranks, on every rank; their first axes have ``lengths``."""
    if comm.size == 1:
        return [a]
    if comm.devices is not None:
        return comm.devices.gather(a, lengths, name)
    return [xp.asarray(each, exact=True) for each in comm.gather(xp.to_numpy(a), name)]


def exchanged(
    xp: Backend, a: Array, send_counts: Sequence[int], receive_counts: Sequence[int], comm: Communicator, name: str
) -> Array:
    """Send the rows of ``a`` that each rank shall have, ordered by rank; returns those that have come, likewise."""
    if comm.size == 1:
        return a
    if comm.devices is not None:
        return comm.devices.exchange(a, send_counts, receive_counts, name)
    rows = np.ascontiguousarray(xp.to_numpy(a))
    each = int(np.prod(rows.shape[1:])) * (2 if rows.dtype.kind == "c" else 1)
    sent, received = ([n * each for n in counts] for counts in (send_counts, receive_counts))
    came = comm.exchange(rows.view(rows.real.dtype).reshape(-1), sent, received, name)
    return xp.asarray(came.view(rows.dtype).reshape(-1, *rows.shape[1:]), exact=True)
