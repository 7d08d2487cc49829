"""The update: a step from one state of a run to the next, ``apply(state) -> state``.

A run is a list of updates: shrink-wrap at the start of an epoch, a gradient step in every batch, gauges and autofocus
at the end of an epoch. An update receives the state of the run and returns it with the changes that it requests; the
engine applies them in the object's store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np


@dataclass(frozen=True, eq=False)
class State:
    """The state of a run between two batches, and the changes that an update requests.

    Attributes:
        epoch: Epochs completed.
        epochs: All planned epochs.
        values: The parameters by name, except the object.
        rates: Learning rate in this epoch by name, for all refined parameters including the object.
        constrained: Names of constrained parameters, which a gauge must not change.
        read_object: Returns the whole unknown of the object; expensive, so call it only if needed.
        patterns: ``(n,)`` sorted indices of the current batch; empty at the start and at the end of an epoch.
        loss: Loss of that batch, once it is known.
        changed: New values by name.
        new_object: The whole unknown that replaces the current one.
        factor: Factor of the unknown's shape, applied after ``new_object``.
        new_problem: Whether losses of this epoch cannot be compared with those of the epoch before.
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
        keeps_fit: Whether another object is put in place that fits the data as well as the one before.
    """

    when: ClassVar[Literal["start", "batch", "end"]] = "end"
    keeps_fit: ClassVar[bool] = False

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether it is applied after ``epoch`` completed epochs of ``epochs``."""
        return True

    @abstractmethod
    def apply(self, state: State) -> State:
        """The new state; ``state`` itself if nothing changes."""
