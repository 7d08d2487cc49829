"""Learning-rate schedules."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import Field

from adorym.registry import register


class RateSchedule(ABC):
    """A factor on the learning rate as a function of the epoch and of the planned number of epochs."""

    kind: ClassVar[str]

    @abstractmethod
    def factor(self, epoch: int, epochs: int) -> float:
        """Factor in epoch ``epoch`` (from 0) of a run planned for ``epochs``."""


@register("schedule", "constant")
class Constant(RateSchedule):
    """The same learning rate throughout."""

    def factor(self, epoch: int, epochs: int) -> float:
        return 1.0


@register("schedule", "late_decay")
class LateDecay(RateSchedule):
    """Full rate first, then a geometric decay to ``final``: fast progress, then averaging over the batches' noise.

    Attributes:
        hold: Fraction of the run at full rate.
        final: Factor in the last epoch.
        wait: Fraction of the run before the first step, while others find their values.
    """

    hold: float = Field(0.5, ge=0, le=1)
    final: float = Field(0.05, gt=0, le=1)
    wait: float = Field(0.0, ge=0, lt=1)

    def factor(self, epoch: int, epochs: int) -> float:
        if epoch < int(self.wait * epochs):
            return 0.0
        start = self.hold * epochs
        if epoch < start or epochs <= 1:
            return 1.0
        return self.final ** min(1.0, (epoch - start + 1) / max(epochs - start, 1.0))


@register("schedule", "exponential")
class Exponential(RateSchedule):
    """``decay ** epoch``, not below ``minimum``.

    Attributes:
        decay: Factor from one epoch to the next.
        minimum: Smallest factor.
    """

    decay: float = Field(0.98, gt=0, le=1)
    minimum: float = Field(0.0, ge=0, le=1)

    def factor(self, epoch: int, epochs: int) -> float:
        return max(self.decay**epoch, self.minimum)


@register("schedule", "cosine")
class Cosine(RateSchedule):
    """From 1 to ``final`` along half a cosine (Loshchilov & Hutter, ICLR 2017, eq. (5), one period).

    Attributes:
        final: Factor at the end of the run.
    """

    final: float = Field(0.01, ge=0, le=1)

    def factor(self, epoch: int, epochs: int) -> float:
        phase = math.pi * min(1.0, epoch / max(epochs - 1, 1))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(phase))


@register("schedule", "steps")
class Steps(RateSchedule):
    """Multiply by ``decay`` at each of the epochs ``at``.

    Attributes:
        at: Epochs at which the rate falls.
        decay: Factor at each of them.
    """

    at: tuple[int, ...] = (50,)
    decay: float = Field(0.1, gt=0, le=1)

    def factor(self, epoch: int, epochs: int) -> float:
        return self.decay ** sum(epoch >= at for at in self.at)
