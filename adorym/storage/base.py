"""The interface of object stores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from adorym.comm import Communicator
from adorym.data.contiguous import ArraySpec
from adorym.optimizers.base import Gradient
from adorym.wrapper.base import Array

# ``step(tile, gradient, state, first row of the tile) -> (tile, state)``
Step = Callable[[Array, Gradient, tuple[Array, ...], int], tuple[Array, tuple[Array, ...]]]
# ``function(tile, first row of the tile) -> tile``
Function = Callable[[Array, int], Array]
# An array that is laid out like the object: the name of one of the store's own, or one made by the store.
LikeObject = Any
# Value, gradient and, if needed, curvature of a term of the object.
Slope = tuple[float, Array, Array | None]
# ``term(tile) -> (value, gradient, curvature)``
Term = Callable[[Array], Slope]

# Object bytes per block of a step, projection or regularizer; their temporaries are as large or larger.
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Windows:
    """The parts of the object that a batch of patterns needs.

    Attributes:
        corners_px: ``(n, 2)`` int64, (y, x) index of each window's first pixel in the object array. A backend's array
            where a device alone knows them.
        shape: (y, x) size of every window.
    """

    corners_px: Array
    shape: tuple[int, int]


class ObjectStore(ABC):
    """The object ``(y, x, ...)``, its gradient, its curvature and the state of its optimizer.

    All methods but `read` and `write` are collective: every rank calls each of them equally often, with its own
    windows, possibly none. Windows may overlap, within a rank and between ranks.

    Attributes:
        shape: Shape of the whole object.
        comm: The ranks that share it.
        owned_rows: (start, stop), the rows that this rank writes to files; each row belongs to one rank.
        local_rows: (start, stop), the rows that this rank holds.
        window_bytes: Largest total size of the windows of one call.
        resident: Whether the object stays on the backend's device, so that nothing has to leave it in a batch.
    """

    resident: ClassVar[bool] = False

    shape: tuple[int, ...]
    comm: Communicator
    owned_rows: tuple[int, int]
    local_rows: tuple[int, int]
    window_bytes: float = math.inf

    @abstractmethod
    def gather(self, windows: Windows, array: LikeObject = "value") -> Array:
        """``(n, wy, wx, ...)`` copies of the object, or of an array laid out like it, under the windows."""

    @abstractmethod
    def scatter_add(self, windows: Windows, gradient: Array, curvature: Array | None = None) -> None:
        """Add to the object's gradient: the exact adjoint of `gather`; and likewise to its curvature.

        ``curvature`` is ``(n or 1, wy, wx, ...)``: one window may stand for all of them.
        """

    @abstractmethod
    def add_gradient(self, term: Term, halo_px: int | None = 0) -> float:
        """Add gradient and curvature of a term of the whole object; returns this rank's part of its value.

        Call it after the last `scatter_add` before an `update`, so that the curvature of the data, and its largest
        value, is complete.

        The term is a sum over rows, each depending on ``halo_px`` rows after it, and is computed tile by tile. ``None``
        if it needs the whole object at once.
        """

    @abstractmethod
    def update(self, step: Step) -> None:
        """Replace each owned tile by ``step(tile, gradient, state, row)``, then clear gradient and curvature."""

    @abstractmethod
    def apply(self, function: Function) -> None:
        """Replace each owned tile by ``function(tile, row)`` (a constraint)."""

    # -- further arrays, for solvers -------------------------------------------------------------------------------
    @abstractmethod
    def empty(self) -> LikeObject:
        """A new array that is laid out like the object and has its type; its values are arbitrary."""

    @abstractmethod
    def tiles(self, *arrays: LikeObject) -> Iterator[tuple[int, tuple[Array, ...]]]:
        """``(first row, tile of each of the arrays)`` for all rows that this rank holds; not to be written to."""

    def map(self, function: Callable[..., Array], *arrays: LikeObject) -> LikeObject:
        """A new array of the tiles ``function(first row, *tiles)``, which share no memory with the object itself."""
        made = self.empty()
        for row, (_, *tiles) in self.tiles(made, *arrays):
            made = self.write(made, row, function(row, *tiles))
        return made

    # -- the whole object, for files and results -----------------------------------------------------------------
    @abstractmethod
    def arrays(self) -> dict[str, ArraySpec]:
        """The arrays that persist between batches, over all ranks: ``value`` and ``state_0``, ``state_1``, ..."""

    @abstractmethod
    def read(self, array: LikeObject, start: int, stop: int) -> np.ndarray:
        """Rows of one of the `arrays`, within ``local_rows``; read-only."""

    @abstractmethod
    def write(self, array: LikeObject, start: int, rows: Array) -> LikeObject:
        """Replace rows of an array, within ``local_rows``, from ``start`` on; what is returned takes its place."""

    def values(self) -> np.ndarray:
        """The whole object, on every rank."""
        return self._whole("value")

    def state(self) -> tuple[np.ndarray, ...]:
        """The optimizer's whole state, in the object's layout, on every rank."""
        return tuple(self._whole(name) for name in self.arrays() if name != "value")

    @abstractmethod
    def restart(self) -> None:
        """Reset the optimizer's state to that of a first step."""

    def restore(self, values: np.ndarray, state: tuple[np.ndarray, ...]) -> None:
        """Set the whole object and the whole state of its optimizer."""
        start, stop = self.local_rows
        for name, array in zip(self.arrays(), (values, *state), strict=True):
            self.write(name, start, array[start:stop])

    def close(self) -> None:  # noqa: B027 - nothing to release for memory
        """Release resources outside the memory of this process."""

    def _whole(self, name: str) -> np.ndarray:
        return np.concatenate(self.comm.gather(self.read(name, *self.owned_rows), f"gather the object's {name}"))


def blocks(start: int, stop: int, row_bytes: int, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, int]]:
    """The rows from ``start`` to ``stop`` in blocks of at most ``block_bytes``, or of one row."""
    step = max(1, block_bytes // max(row_bytes, 1))
    for first in range(start, stop, step):
        yield first, min(first + step, stop)
