"""What a constraint is: a projection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from adorym.wrapper.base import Array, Backend


class Constraint(ABC):
    """A pure, idempotent projection of one parameter, applied after its steps.

    Attributes:
        parameter: Name of the parameter that it acts on.
        when: After every ``batch`` or every ``epoch``.
        by_rows: Whether the projection of some rows does not depend on the others, so that the rows of an object may
            lie on several ranks.
    """

    kind: ClassVar[str]
    parameter: ClassVar[str]
    when: ClassVar[Literal["batch", "epoch"]] = "batch"

    by_rows: ClassVar[bool] = True

    @abstractmethod
    def project(self, xp: Backend, tile: Array) -> Array:
        """The nearest array that satisfies the constraint; may reuse the memory of ``tile``."""

    def project_rows(self, xp: Backend, tile: Array, start: int, n_rows: int) -> Array:
        """The projection of a tile of the object: rows ``start``, ``start + 1``, ... of ``n_rows``.

        To be overridden where the place matters.
        """
        return self.project(xp, tile)
