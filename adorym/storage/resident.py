"""What stores whose arrays stay on the backend's device have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator

import numpy as np

from adorym.comm import Communicator
from adorym.data.contiguous import ArraySpec
from adorym.optimizers.base import Gradient, Optimizer
from adorym.storage.base import Function, LikeObject, ObjectStore, Step
from adorym.wrapper.base import Array, Backend


class ResidentStore(ObjectStore):
    """Some rows of the object, or all, with their gradient and state, as arrays on the backend's device.

    Args:
        xp: Backend.
        first: Start values of the rows ``local_rows``, on the device; nothing else uses them.
        shape: Of the whole object.
        local_rows: (start, stop), the rows that this rank holds.
        optimizer: Determines the state, and whether a curvature is stored.
        comm: The ranks.
    """

    def __init__(
        self,
        xp: Backend,
        first: Array,
        shape: tuple[int, ...],
        local_rows: tuple[int, int],
        optimizer: Optimizer,
        comm: Communicator,
    ) -> None:
        self._xp, self._optimizer, self.comm = xp, optimizer, comm
        self.shape, self.local_rows = shape, local_rows
        self._object = first
        self._gradient = xp.zeros_like(first)
        self._curvature = xp.zeros(tuple(first.shape)) if optimizer.needs_curvature else None
        self._state = optimizer.init(xp, first)

    @abstractmethod
    def _complete(self) -> Gradient:
        """The gradient of all ranks, with its curvature and the largest one of the data; collective."""

    def update(self, step: Step) -> None:
        gradient = self._complete()
        if len(self._object):
            self._object, self._state = step(self._object, gradient, self._state, self.local_rows[0])
        self._gradient = self._xp.clear(self._gradient)
        if self._curvature is not None:
            self._curvature = self._xp.clear(self._curvature)

    def apply(self, function: Function) -> None:
        if len(self._object):
            self._object = function(self._object, self.local_rows[0])

    def empty(self) -> LikeObject:
        return self._xp.zeros_like(self._object)

    def map(self, function: Callable[..., Array], *arrays: LikeObject) -> LikeObject:
        if not len(self._object):
            return self.empty()
        return self._xp.asarray(function(self.local_rows[0], *map(self._array, arrays)))

    def tiles(self, *arrays: LikeObject) -> Iterator[tuple[int, tuple[Array, ...]]]:
        if len(self._object):
            yield self.local_rows[0], tuple(self._array(array) for array in arrays)

    def arrays(self) -> dict[str, ArraySpec]:
        kept = {"value": self._object} | {f"state_{i}": s for i, s in enumerate(self._state)}
        return {
            name: ArraySpec((self.shape[0], *a.shape[1:]), self._xp.to_numpy(a[:0]).dtype) for name, a in kept.items()
        }

    def read(self, array: LikeObject, start: int, stop: int) -> np.ndarray:
        return self._xp.to_numpy(self._array(array)[self._here(start, stop)])

    def write(self, array: LikeObject, start: int, rows: Array) -> LikeObject:
        into, where = self._array(array), self._here(start, start + len(rows))
        made = self._xp.put_rows(into, where, self._xp.asarray(rows, exact=True))
        if not isinstance(array, str):
            return made
        if array == "value":
            self._object = made
        else:
            i = self._number(array)
            self._state = (*self._state[:i], made, *self._state[i + 1 :])
        return array

    def restart(self) -> None:
        self._state = self._optimizer.init(self._xp, self._object)

    def _here(self, start: int, stop: int) -> slice:
        return slice(start - self.local_rows[0], stop - self.local_rows[0])

    def _array(self, name: LikeObject) -> Array:
        if not isinstance(name, str):
            return name
        return self._object if name == "value" else self._state[self._number(name)]

    @staticmethod
    def _number(name: str) -> int:
        return int(name.removeprefix("state_"))


def added(xp: Backend, array: Array, rows: slice, more: Array) -> Array:
    """``array`` with ``more`` added to ``rows``; what is returned takes its place."""
    return xp.put_rows(array, rows, array[rows] + more)
