"""Data parallel: every rank holds the whole object, gradients are summed over the ranks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adorym.optimizers.base import Gradient, Optimizer
from adorym.storage.base import ObjectStore, Step, Windows
from adorym.wrapper.base import Array, Backend


class ReplicatedStore(ObjectStore):
    """The object as one array on the backend's device.

    Args:
        xp: Backend.
        first: Start value ``(y, x, ...)``, complex.
        optimizer: Decides what state and whether a curvature are kept.
    """

    def __init__(self, xp: Backend, first: np.ndarray, optimizer: Optimizer) -> None:
        self._xp, self._optimizer = xp, optimizer
        self._object = xp.copy(xp.asarray(np.ascontiguousarray(first)))  # steps may work in place
        self._gradient = xp.zeros_like(self._object)
        self._curvature = xp.zeros(first.shape) if optimizer.needs_curvature else None
        self._state = optimizer.init(xp, self._object)
        self.shape = first.shape

    def gather(self, windows: Windows) -> Array:
        return self._xp.gather_windows(self._object, windows.corners_px, windows.shape)

    def scatter_add(self, windows: Windows, gradient: Array, curvature: Array | None = None) -> None:
        self._xp.scatter_windows(self._gradient, windows.corners_px, gradient)
        if curvature is not None and self._curvature is not None:
            self._xp.scatter_windows(self._curvature, windows.corners_px, curvature)

    def add_gradient(self, term: Callable[[Array], tuple[float, Array]]) -> float:
        value, gradient = term(self._object)
        self._gradient = self._gradient + gradient
        return value

    def update(self, step: Step) -> None:
        largest = 0.0 if self._curvature is None else float(self._xp.max(self._curvature))
        gradient = Gradient(self._gradient, self._curvature, largest)
        self._object, self._state = step(self._object, gradient, self._state)
        self._xp.clear(self._gradient)
        if self._curvature is not None:
            self._xp.clear(self._curvature)

    def apply(self, function: Callable[[Array], Array]) -> None:
        self._object = function(self._object)

    def values(self) -> np.ndarray:
        return self._xp.to_numpy(self._object).copy()

    def state(self) -> tuple[np.ndarray, ...]:
        return tuple(self._xp.to_numpy(s).copy() for s in self._state)

    def restart(self) -> None:
        self._state = self._optimizer.init(self._xp, self._object)

    def restore(self, values: np.ndarray, state: tuple[np.ndarray, ...]) -> None:
        self._object = self._xp.asarray(values)
        self._state = tuple(self._xp.asarray(s) for s in state)
