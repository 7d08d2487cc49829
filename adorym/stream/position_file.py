"""Positions from a file of their own, for the frames of their numbers."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from adorym.data.positions import read_positions
from adorym.registry import register
from adorym.stream.base import Begin, End, Event, Position, Source


@register("source", "positions")
class PositionFile(Source):
    """A text table, or an array of a file, with the position of frame 0, 1, ... in its rows.

    Attributes:
        address: The file; or ``file:y,x`` and ``file:yx`` with the names of what holds them.
        count: Number of positions; needed only where a file does not tell which of its arrays they are.
        first: Number of the first frame.
    """

    address: str
    count: int = Field(0, ge=0)
    first: int = 0

    def events(self) -> Iterator[Event | None]:
        found = read_positions(self.address, self.count)
        yield Begin({"positions_unit": found.unit or found.bare})
        for number, (y, x) in enumerate(found.values, self.first):
            yield Position((float(y), float(x)), number)
        yield End()
