"""Constraints on any real parameter."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from adorym.constraints.base import Constraint
from adorym.constraints.object import in_order
from adorym.registry import register
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend


@register("constraint", "position_limit")
class PositionLimit(Constraint):
    """Keeps positions within a distance from their start.

    Attributes:
        parameter: Positions ``(n, 2)`` in pixels.
        maximum: Largest distance.
    """

    relative: ClassVar[bool] = True
    parameter: str = "probe_positions"
    maximum: Pixels = Field(gt=0)

    def project(self, xp: Backend, tile: Array) -> Array:
        distance = xp.sqrt(xp.sum(xp.square(tile), axis=-1, keepdims=True))
        return tile * (self.maximum / xp.maximum(distance, self.maximum))


@register("constraint", "limit")
class Limit(Constraint):
    """Keeps values of a real parameter within bounds.

    Attributes:
        parameter: Its name.
        minimum: Smallest value, in the parameter's unit.
        maximum: Largest value, in the parameter's unit.
    """

    parameter: str
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        in_order(self.minimum, self.maximum)

    def project(self, xp: Backend, tile: Array) -> Array:
        return xp.clip(tile, self.minimum, self.maximum)
