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
    """

    kind: ClassVar[str]
    parameter: ClassVar[str]
    when: ClassVar[Literal["batch", "epoch"]] = "batch"

    @abstractmethod
    def project(self, xp: Backend, tile: Array) -> Array:
        """The nearest array that satisfies the constraint; may reuse the memory of ``tile``."""
