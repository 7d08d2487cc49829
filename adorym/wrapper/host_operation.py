"""Operations that are written for NumPy, as the backends take them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np


class HostOperation(ABC):
    """An operation on NumPy arrays that brings its own adjoint, written once for all backends.

    Attributes:
        linear: Whether the result is linear in the first array.
    """

    linear: ClassVar[bool] = False

    @abstractmethod
    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        """The result, a new array."""

    @abstractmethod
    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        """Gradients by the ``wanted`` arrays, ``None`` for the others, from that by the result.

        All in the convention ``dL/dRe + i dL/dIm``, each of the shape and type of its array.
        """

    def tangent(self, arrays: tuple[np.ndarray, ...], along: tuple[np.ndarray, ...]) -> np.ndarray:
        """Change of the result along directions: exact where it is linear, else a central difference."""
        change: Any = None
        for i, (array, direction) in enumerate(zip(arrays, along, strict=True)):
            size, others = float(np.abs(direction).max(initial=0)), list(arrays)
            part: Any = None
            if self.linear and i == 0:
                part = self.forward(direction, *arrays[1:])
            elif size > 0:
                step = float(np.finfo(array.dtype).eps) ** (1 / 3) * max(1.0, float(np.abs(array).max())) / size
                ends = []
                for sign in (1.0, -1.0):
                    others[i] = (array + sign * step * direction).astype(array.dtype)
                    ends.append(self.forward(*others))
                part = (ends[0] - ends[1]) / (2 * step)
            if part is not None:
                change = part if change is None else change + part
        return np.zeros_like(self.forward(*arrays)) if change is None else np.asarray(change)
