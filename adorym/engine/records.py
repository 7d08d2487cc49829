"""What the loop tells those who watch it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class BatchProgress:
    """One batch is done: ``epoch`` and ``batch`` count from 1, ``time_s`` is the time the batch took.

    ``loss`` is the batch's part of the sum that is an epoch's loss.
    """

    epoch: int
    batch: int
    n_batches: int
    loss: float
    time_s: float


@dataclass(frozen=True)
class EpochRecord:
    """One epoch is done: ``epoch`` counts from 1, ``loss`` is the sum over its batches, ``time_s`` the time it took.

    ``learning_rates`` holds the present learning rate of every refined parameter, in the parameter's unit.
    """

    epoch: int
    epochs: int
    loss: float
    time_s: float
    learning_rates: dict[str, float] = field(default_factory=dict)
