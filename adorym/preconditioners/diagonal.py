"""Diagonals in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adorym.preconditioners.base import Point, Preconditioner
from adorym.wrapper.base import Array, Backend


@dataclass(frozen=True)
class Diagonal(Preconditioner):
    """A diagonal computed by a function.

    Attributes:
        of: ``f(point)``, the diagonal divided by ``point.weight``, without masked pixels.
    """

    of: Callable[[Point], Array]

    def curvature(self, name: str, point: Point) -> Array:
        return point.weight * self.of(point)


@dataclass(frozen=True)
class Largest(Diagonal):
    """The largest entry of a diagonal in other coordinates, such as those of the spectrum, for all of an unknown.

    Sums over the patterns of a batch are taken there, however the batch is cut: only their largest entry counts.
    """

    def of_sum(self, xp: Backend, curvature: Array, largest: Array | float) -> Array:
        return xp.maximum(curvature, largest)
