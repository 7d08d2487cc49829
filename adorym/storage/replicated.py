"""Data parallel: every rank holds the whole object, gradients are summed over the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from adorym.comm import Communicator, SerialCommunicator
from adorym.data.contiguous import ArraySpec
from adorym.optimizers.base import Gradient, Optimizer
from adorym.storage.base import Function, LikeObject, ObjectStore, Step, Term, Windows, blocks
from adorym.storage.layout import Slabs
from adorym.wrapper.base import Array, Backend


class ReplicatedStore(ObjectStore):
    """The object as one array on the backend's device.

    Args:
        xp: Backend.
        first: Start value ``(y, x, ...)``, complex.
        optimizer: Determines the state, and whether a curvature is stored.
        comm: The ranks; each calls with its own windows.
    """

    resident: ClassVar[bool] = True

    def __init__(self, xp: Backend, first: np.ndarray, optimizer: Optimizer, comm: Communicator | None = None) -> None:
        self._xp, self._optimizer, self.comm = xp, optimizer, comm or SerialCommunicator()
        self._object = xp.copy(xp.asarray(np.ascontiguousarray(first)))
        self._gradient = xp.zeros_like(self._object)
        self._curvature = xp.zeros(first.shape) if optimizer.needs_curvature else None
        self._added: Array | None = None  # curvature of regularizers
        self._state = optimizer.init(xp, self._object)
        self.shape = first.shape
        self.local_rows = (0, self.shape[0])
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
            self._gradient = self._xp.put_rows(self._gradient, rows, self._gradient[rows] + gradient)
            if curvature is not None and self._added is not None:
                self._added = self._xp.put_rows(self._added, rows, self._added[rows] + curvature)
            total += value
        return total

    def _parts(self, halo_px: int | None) -> Iterator[tuple[int, int]]:
        """Rows over which this rank computes a term, with the rows that they need after them."""
        if halo_px is not None:
            for start, stop in blocks(*self.owned_rows, self._object[:1].nbytes):
                yield start, min(stop + halo_px, self.shape[0])
        elif self.comm.is_root:  # by one rank, for all of them
            yield 0, self.shape[0]

    def update(self, step: Step) -> None:
        self._gradient = self._summed(self._gradient, "sum of the object's gradient")
        if self._curvature is not None:
            self._curvature = self._summed(self._curvature, "sum of the object's curvature")
        largest = 0.0 if self._curvature is None else self._xp.scalar(self._xp.max(self._curvature))
        if self._curvature is not None and self._added is not None:
            self._curvature = self._curvature + self._summed(self._added, "sum of the regularizers' curvature")
            self._added = None
        gradient = Gradient(self._gradient, self._curvature, largest)
        self._object, self._state = step(self._object, gradient, self._state, 0)
        self._gradient = self._xp.clear(self._gradient)
        if self._curvature is not None:
            self._curvature = self._xp.clear(self._curvature)

    def _summed(self, array: Array, name: str) -> Array:
        if self.comm.size == 1:
            return array
        return self._xp.asarray(self.comm.sum(self._xp.to_numpy(array), name))

    def apply(self, function: Function) -> None:
        self._object = function(self._object, 0)

    def empty(self) -> LikeObject:
        return self._xp.zeros_like(self._object)

    def map(self, function: Callable[..., Array], *arrays: LikeObject) -> LikeObject:
        return self._xp.asarray(function(0, *map(self._array, arrays)))

    def tiles(self, *arrays: LikeObject) -> Iterator[tuple[int, tuple[Array, ...]]]:
        yield 0, tuple(self._array(array) for array in arrays)

    def arrays(self) -> dict[str, ArraySpec]:
        kept = {"value": self._object} | {f"state_{i}": s for i, s in enumerate(self._state)}
        return {name: ArraySpec(tuple(a.shape), self._xp.to_numpy(a[:0]).dtype) for name, a in kept.items()}

    def read(self, array: LikeObject, start: int, stop: int) -> np.ndarray:
        return self._xp.to_numpy(self._array(array)[start:stop])

    def write(self, array: LikeObject, start: int, rows: Array) -> LikeObject:
        made = self._xp.put_rows(
            self._array(array), slice(start, start + len(rows)), self._xp.asarray(rows, exact=True)
        )
        if not isinstance(array, str):
            return made
        if array == "value":
            self._object = made
        else:
            i = self._number(array)
            self._state = (*self._state[:i], made, *self._state[i + 1 :])
        return array

    def values(self) -> np.ndarray:
        return self._xp.to_numpy(self._object).copy()

    def state(self) -> tuple[np.ndarray, ...]:
        return tuple(self._xp.to_numpy(s).copy() for s in self._state)

    def restart(self) -> None:
        self._state = self._optimizer.init(self._xp, self._object)

    def _array(self, name: LikeObject) -> Array:
        if not isinstance(name, str):
            return name
        return self._object if name == "value" else self._state[self._number(name)]

    @staticmethod
    def _number(name: str) -> int:
        return int(name.removeprefix("state_"))
