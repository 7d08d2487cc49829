"""What an update is: a step from one state of a run to the next, ``apply(state) -> state``.

A run is a list of updates: at the beginning of an epoch a support follows the object, in every batch the gradient moves
all unknowns, at the end of an epoch gauges are fixed and a focus is searched. A state tells an update where the run
stands; what the update returns says what it wants changed. The engine carries that out in the store, whatever it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from adorym.object_space.base import ObjectSpace
from adorym.wrapper.base import Array

# ``f(tile, first row of it) -> tile``
Mapped = Callable[[Array, int], Array]


@dataclass(frozen=True, eq=False)
class State:
    """Where a run stands between two batches, and what has been changed since.

    Attributes:
        epoch: Epochs completed.
        epochs: All planned epochs.
        values: The parameters by name, the object excepted.
        refined: Names of what is refined in this epoch, the object's among them.
        space: What the unknown of the object is.
        read_object: Returns the whole unknown; expensive, so to be called only if needed, and then on every rank.
        changed: New values by name.
        new_object: The whole unknown that takes the place of the present one.
        mapped: What every tile of the unknown is replaced by; after ``new_object``.
        new_problem: Whether losses from here on are not to be compared with those before.
    """

    epoch: int
    epochs: int
    values: Mapping[str, np.ndarray]
    refined: frozenset[str]
    space: ObjectSpace
    read_object: Callable[[], np.ndarray]
    changed: Mapping[str, np.ndarray] = field(default_factory=dict)
    new_object: np.ndarray | None = None
    mapped: Mapped | None = None
    new_problem: bool = False

    def with_values(self, **changed: np.ndarray) -> State:
        """The state with other parameters."""
        return replace(self, values={**self.values, **changed}, changed={**self.changed, **changed})

    def with_(self, **changes: Any) -> State:
        """The state with other fields."""
        return replace(self, **changes)


class Update(ABC):
    """One change of the unknowns.

    Attributes:
        when: At the ``start`` or at the ``end`` of an epoch.
    """

    when: ClassVar[Literal["start", "end"]] = "end"

    @abstractmethod
    def due(self, epoch: int, epochs: int) -> bool:
        """Whether it is applied after ``epoch`` completed epochs of ``epochs``."""

    @abstractmethod
    def apply(self, state: State) -> State:
        """The state after it; ``state`` itself where nothing has to be changed."""
