"""Progress records that the loop yields."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class BatchProgress:
    """A completed batch: ``epoch`` and ``batch`` count from 1, ``time_s`` is the duration of the batch.

    ``loss`` is the batch's term in the loss of the epoch: a float, or on a device a number that reading waits for.
    """

    epoch: int
    batch: int
    n_batches: int
    loss: float
    time_s: float


@dataclass(frozen=True)
class EpochRecord:
    """A completed epoch: ``epoch`` counts from 1, ``loss`` is the sum over its batches, ``time_s`` its duration.

    ``learning_rates`` holds the current learning rate of every refined parameter, in the parameter's unit.
    """

    epoch: int
    epochs: int
    loss: float
    time_s: float
    learning_rates: dict[str, float] = field(default_factory=dict)
