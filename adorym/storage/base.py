"""Where the object lives while it is reconstructed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adorym.optimizers.base import Gradient
from adorym.wrapper.base import Array

Step = Callable[[Array, Gradient, tuple[Array, ...]], tuple[Array, tuple[Array, ...]]]


@dataclass(frozen=True)
class Windows:
    """The parts of the object that a batch of patterns sees.

    Attributes:
        corners_px: ``(n, 2)`` int64, (y, x) index of each window's first pixel in the object array.
        shape: (y, x) size of every window.
    """

    corners_px: np.ndarray
    shape: tuple[int, int]


class ObjectStore(ABC):
    """The object ``(y, x, ...)``, its gradient, its curvature and the state of its optimizer.

    All methods are collective: every rank calls each of them equally often, with its own windows, possibly none.
    Windows may overlap, within a rank and between ranks.
    """

    shape: tuple[int, ...]

    @abstractmethod
    def gather(self, windows: Windows) -> Array:
        """``(n, wy, wx, ...)`` copies of the object under the windows."""

    @abstractmethod
    def scatter_add(self, windows: Windows, gradient: Array, curvature: Array | None = None) -> None:
        """Add to the object's gradient: the exact adjoint of `gather`; and likewise to its curvature.

        ``curvature`` is ``(n or 1, wy, wx)``: one window may stand for all of them.
        """

    @abstractmethod
    def add_gradient(self, term: Callable[[Array], tuple[float, Array]]) -> float:
        """Add the gradient of a term of the whole object (a regularizer); returns the term's value."""

    @abstractmethod
    def update(self, step: Step) -> None:
        """Replace each owned tile by ``step(tile, gradient, state)``, then clear gradient and curvature."""

    @abstractmethod
    def apply(self, function: Callable[[Array], Array]) -> None:
        """Replace each owned tile by ``function(tile)`` (a constraint)."""

    @abstractmethod
    def values(self) -> np.ndarray:
        """The whole object."""

    @abstractmethod
    def state(self) -> tuple[np.ndarray, ...]:
        """The optimizer's state, laid out as the object is."""

    @abstractmethod
    def restart(self) -> None:
        """Let the optimizer forget: its state becomes that of a first step."""

    @abstractmethod
    def restore(self, values: np.ndarray, state: tuple[np.ndarray, ...]) -> None:
        """Take over the object and the optimizer's state of a checkpoint."""
