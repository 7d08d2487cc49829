"""A store without memory: its object is always the start object, and gradients are discarded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adorym.comm import Communicator
from adorym.data.contiguous import ArraySpec
from adorym.storage.base import Function, LikeObject, ObjectStore, Step, Term, Windows
from adorym.storage.slabs import Start
from adorym.wrapper.base import Array, Backend


class DryStore(ObjectStore):
    """Windows of the start object, made on request, so that a model can be tried on an object of any size.

    Args:
        xp: Backend.
        start: Start object.
        comm: The ranks.
    """

    def __init__(self, xp: Backend, start: Start, comm: Communicator) -> None:
        self._xp, self._start, self.comm, self.shape = xp, start, comm, start.shape
        self.owned_rows = self.local_rows = (0, self.shape[0])

    def gather(self, windows: Windows, array: LikeObject = "value") -> Array:
        (ny, nx), made = windows.shape, []
        for y, x in windows.corners_px.tolist():
            # A copy: a view would keep the whole rows.
            made.append(self._start.rows(y, y + ny)[:, x : x + nx].astype(self._xp.complex_dtype))
        return self._xp.asarray(np.stack(made))

    def scatter_add(self, windows: Windows, gradient: Array, curvature: Array | None = None) -> None:
        """Forgotten."""

    def add_gradient(self, term: Term, halo_px: int | None = 0) -> float:
        return 0.0

    def update(self, step: Step) -> None:
        """Has no effect."""

    def apply(self, function: Function) -> None:
        """Has no effect."""

    def empty(self) -> LikeObject:
        return np.zeros(self.shape, self._xp.complex_dtype)

    def tiles(self, *arrays: LikeObject) -> Iterator[tuple[int, tuple[Array, ...]]]:
        yield from ()

    def arrays(self) -> dict[str, ArraySpec]:
        return {"value": ArraySpec(self.shape, self._xp.complex_dtype)}

    def read(self, array: LikeObject, start: int, stop: int) -> np.ndarray:
        return self._start.rows(start, stop).astype(self._xp.complex_dtype)

    def write(self, array: LikeObject, start: int, rows: Array) -> LikeObject:
        return array

    def restart(self) -> None:
        """Has no effect."""
