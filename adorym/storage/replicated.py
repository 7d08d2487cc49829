"""Data parallel: every rank holds the whole object, gradients are summed over the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from adorym.comm import Communicator, SerialCommunicator
from adorym.optimizers.base import Gradient, Optimizer
from adorym.storage.base import LikeObject, Term, Windows, blocks
from adorym.storage.layout import Slabs
from adorym.storage.resident import ResidentStore, added
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.ranks import summed


class ReplicatedStore(ResidentStore):
    """The object as one array on the backend's device.

    Args:
        xp: Backend.
        first: Start value ``(y, x, ...)``, complex.
        optimizer: Determines the state, and whether a curvature is stored.
        comm: The ranks; each calls with its own windows.
    """

    resident: ClassVar[bool] = True

    def __init__(self, xp: Backend, first: np.ndarray, optimizer: Optimizer, comm: Communicator | None = None) -> None:
        value, comm = xp.copy(xp.asarray(np.ascontiguousarray(first))), comm or SerialCommunicator()
        super().__init__(xp, value, first.shape, (0, len(first)), optimizer, comm)
        self._added: Array | None = None  # curvature of regularizers
        self.owned_rows = Slabs(self.shape[0], self.comm.size).of(self.comm.rank)

    def gather(self, windows: Windows, array: LikeObject = "value") -> Array:
        return self._xp.gather_windows(self._array(array), windows.corners_px, windows.shape)

    def scatter_add(self, windows: Windows, gradient: Array, curvature: Array | None = None) -> None:
        xp, corners = self._xp, windows.corners_px
        self._gradient = xp.scatter_windows(self._gradient, corners, gradient)
        if curvature is not None and self._curvature is not None:
            self._curvature = xp.scatter_windows(self._curvature, corners, curvature)

    def add_gradient(self, term: Term, halo_px: int | None = 0) -> float:
        if self._curvature is not None and self._added is None:
            self._added = self._xp.zeros(self.shape)
        total = 0.0
        for start, stop in self._parts(halo_px):
            value, gradient, curvature = term(self._object[start:stop])
            rows = slice(start, stop)
            self._gradient = added(self._xp, self._gradient, rows, gradient)
            if curvature is not None and self._added is not None:
                self._added = added(self._xp, self._added, rows, curvature)
            total += value
        return total

    def _parts(self, halo_px: int | None) -> Iterator[tuple[int, int]]:
        """Rows over which this rank computes a term, with the rows that they need after them."""
        if halo_px is not None:
            for start, stop in blocks(*self.owned_rows, self._object[:1].nbytes):
                yield start, min(stop + halo_px, self.shape[0])
        elif self.comm.is_root:  # by one rank, for all of them
            yield 0, self.shape[0]

    def _complete(self) -> Gradient:
        xp, comm = self._xp, self.comm
        self._gradient = summed(xp, self._gradient, comm, "sum of the object's gradient")
        largest = 0.0
        if self._curvature is not None:
            self._curvature = summed(xp, self._curvature, comm, "sum of the object's curvature")
            largest = xp.scalar(xp.max(self._curvature))
            if self._added is not None:
                self._curvature = self._curvature + summed(xp, self._added, comm, "sum of the regularizers' curvature")
                self._added = None
        return Gradient(self._gradient, self._curvature, largest)

    def values(self) -> np.ndarray:
        return self._xp.to_numpy(self._object).copy()

    def state(self) -> tuple[np.ndarray, ...]:
        return tuple(self._xp.to_numpy(s).copy() for s in self._state)
