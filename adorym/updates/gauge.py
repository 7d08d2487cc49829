"""Gauges of several unknowns together: what one of them loses another takes over, so that the loss stays.

A gauge of a single parameter (`adorym.parameters.Parameter.gauge`) restricts its steps. Where a change of one parameter
can be made up for exactly by another, the gauge moves both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.updates.base import State, Update


@dataclass(frozen=True)
class FactorGauge(Update):
    """The mean of a factor on intensities is 1: the rest goes into what it multiplies, if that is refined.

    Attributes:
        factor: Name of the parameter that is a factor on the predicted intensity.
        into: Name of the parameter that takes the mean over. Nothing happens unless it is refined, and free of
            constraints: otherwise the data determine the mean.
        power: The intensity is proportional to this power of it: 2 for amplitudes, 1 for factors.
    """

    factor: str
    into: str
    power: float = 2.0

    def apply(self, state: State) -> State:
        if not _free(state, self.factor, self.into):
            return state
        values, mean = state.values[self.factor], float(state.values[self.factor].mean())
        if not (np.isfinite(mean) and mean > 0):
            return state
        taken = state.values[self.into] * mean ** (1 / self.power)
        return state.with_values(**{self.factor: values / mean, self.into: taken.astype(state.values[self.into].dtype)})


@dataclass(frozen=True)
class OffsetGauge(Update):
    """The mean of one column of a parameter is what it was at the start: the rest is added to another parameter.

    Attributes:
        offset: Name of the parameter, one row an angle or pattern.
        into: Name of the parameter that takes it over; nothing happens unless it is refined.
        column: Number of the column.
        sign: The taker grows by this times the mean.
    """

    offset: str
    into: str
    column: int
    sign: float = 1.0

    def apply(self, state: State) -> State:
        if not _free(state, self.offset, self.into):
            return state
        values = np.array(state.values[self.offset])
        mean = float(values[:, self.column].mean())
        values[:, self.column] -= mean
        return state.with_values(**{self.offset: values, self.into: state.values[self.into] + self.sign * mean})


def _free(state: State, *names: str) -> bool:
    """Whether all of these are refined, and no constraint would move back what a gauge moves."""
    return all(name in state.rates and name not in state.constrained for name in names)
