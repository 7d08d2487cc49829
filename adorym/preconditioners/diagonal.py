"""A diagonal that a model knows in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adorym.preconditioners.base import Point, Preconditioner
from adorym.wrapper.base import Array


@dataclass(frozen=True)
class Diagonal(Preconditioner):
    """What a function of the point returns.

    Attributes:
        of: ``f(point)``, the diagonal over the weight of the point; masked pixels must not count in it.
    """

    of: Callable[[Point], Array]

    def curvature(self, name: str, point: Point) -> Array:
        return point.weight * self.of(point)
