"""A diagonal in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adorym.preconditioners.base import Point, Preconditioner
from adorym.wrapper.base import Array


@dataclass(frozen=True)
class Diagonal(Preconditioner):
    """A diagonal computed by a function.

    Attributes:
        of: ``f(point)``, the diagonal divided by ``point.weight``, without masked pixels.
    """

    of: Callable[[Point], Array]

    def curvature(self, name: str, point: Point) -> Array:
        return point.weight * self.of(point)
