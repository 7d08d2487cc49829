"""The optimizer: a pure step, independent of store and loop."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from adorym.errors import ConfigError
from adorym.units import parse
from adorym.wrapper.base import Array, Backend


@dataclass(frozen=True)
class Gradient:
    """The gradient of the loss on a tile, and its curvature if known.

    Attributes:
        values: ``dL/dRe + i dL/dIm`` (or the real gradient), of the tile's shape.
        curvature: Real, broadcastable to the tile: a diagonal estimate of the Gauss-Newton matrix; or with one axis
            more than the tile, ``(..., k, k)``: its blocks. ``None`` if the optimizer does not need it.
        curvature_max: Largest diagonal curvature of the *whole* array, not only of this tile, as a
            `adorym.wrapper.base.Backend.scalar`.
    """

    values: Array
    curvature: Array | None = None
    curvature_max: Any = 0.0


class Optimizer(ABC):
    """Turns a gradient into a new value.

    Attributes:
        needs_curvature: Whether `step` uses ``Gradient.curvature``.
        by_rows: Whether the step of a row depends on other rows only through ``Gradient.curvature_max``, so that the
            rows of an object may be on several ranks.
        learning_rate: Step size. For optimizers whose step is not already in the parameter's unit, a string with a
            unit (``"0.05 px"``) or a number in the parameter's unit.
    """

    needs_curvature: ClassVar[bool] = False
    by_rows: ClassVar[bool] = True
    kind: ClassVar[str]
    learning_rate: float | str

    @abstractmethod
    def init(self, xp: Backend, like: Array) -> tuple[Array, ...]:
        """State for an array like ``like``; every state array has the same number of rows as ``like``."""

    @abstractmethod
    def step(
        self, xp: Backend, value: Array, gradient: Gradient, state: tuple[Array, ...], rate: float
    ) -> tuple[Array, tuple[Array, ...]]:
        """``(new value, new state)`` after one step of size ``rate``; may reuse the memory of its arguments."""

    def relaxation(self, share: float) -> float:
        """Factor on the learning rate in a batch that holds a fraction ``share`` of all patterns."""
        return 1.0

    def rate(self, unit: str, scale: float = 1.0) -> float:
        """The learning rate as a number: converted to ``unit`` if it has a unit, otherwise times ``scale``.

        Raises:
            ConfigError: Not positive, infinite, or in another unit than the parameter's.
        """
        given = self.learning_rate
        try:
            with_unit = isinstance(given, str) and any(c.isalpha() and c not in "eE" for c in given)
            value = parse(given, unit) if with_unit else float(given) * scale
        except ValueError as error:
            raise ConfigError("learning_rate", str(error)) from None
        if not 0 < value < math.inf:
            raise ConfigError(
                "learning_rate",
                f"a learning rate must be {'finite' if value > 0 else 'positive'}",
                found=given,
                remedy="to hold a parameter fixed, write 'refine: false'",
            )
        return value

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, str) and not 0 < self.learning_rate < math.inf:
            self.rate("")


def row_count(xp: Backend, like: Array) -> Array:
    """Zeros ``(rows, 1, ...)``: the number of steps of each row."""
    return xp.zeros((like.shape[0], *(1,) * (len(like.shape) - 1))) if len(like.shape) else xp.zeros(())
