"""What an update is: a step from one state of a run to the next, ``apply(state) -> state``.

A run is a list of updates: at the beginning of an epoch a support follows the object, in every batch the gradient moves
all unknowns, at the end of an epoch gauges are fixed and a focus is searched. A state tells an update where the run
stands; what the update returns says what it wants changed, and the engine carries that out wherever the object lives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np


@dataclass(frozen=True, eq=False)
class State:
    """Where a run stands between two batches, and what an update wants changed.

    Attributes:
        epoch: Epochs completed.
        epochs: All planned epochs.
        values: The parameters by name, the object excepted.
        rates: Learning rate in this epoch of everything that is refined, by name, the object among them.
        constrained: Names of what a constraint holds: what a gauge moved would be moved back.
        read_object: Returns the whole unknown of the object; expensive, so to be called only if needed.
        patterns: ``(n,)`` sorted indices of the present batch; none at the beginning and at the end of an epoch.
        loss: Of that batch, once it is known.
        changed: New values by name.
        new_object: The whole unknown that takes the place of the present one.
        factor: What the unknown is multiplied by, of its shape; after ``new_object``.
        new_problem: Whether the loss of this epoch is not to be compared with that of the epoch before.
    """

    epoch: int
    epochs: int
    values: Mapping[str, np.ndarray]
    rates: Mapping[str, float]
    read_object: Callable[[], np.ndarray]
    constrained: frozenset[str] = frozenset()
    patterns: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    loss: float = 0.0
    changed: Mapping[str, np.ndarray] = field(default_factory=dict)
    new_object: np.ndarray | None = None
    factor: np.ndarray | None = None
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
        when: At the ``start`` of an epoch, in every ``batch``, or at the ``end``.
    """

    when: ClassVar[Literal["start", "batch", "end"]] = "end"

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether it is applied after ``epoch`` completed epochs of ``epochs``."""
        return True

    @abstractmethod
    def apply(self, state: State) -> State:
        """The state after it; ``state`` itself where nothing has to be changed."""
