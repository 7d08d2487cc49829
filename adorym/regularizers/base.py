"""What a regularizer is: a sum over the object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from adorym.wrapper.base import Array, Backend


class Regularizer(ABC):
    """A term of the object that is added to the loss.

    The engine divides the sum by the number of object pixels, a fixed number, and adds it once an epoch, spread over
    the batches.

    Attributes:
        weight: Factor on the term.
        halo_px: How many pixels after its last ones a tile needs, so that the values of all tiles add up to that of
            the whole object; ``None`` if the term is no sum over pixels and their neighbours.
    """

    kind: ClassVar[str]
    halo_px: ClassVar[int | None] = 0
    weight: float

    @abstractmethod
    def value(self, xp: Backend, obj: Array) -> Array:
        """``weight`` times the sum over pixels of ``obj`` ``(y, x)`` complex."""
