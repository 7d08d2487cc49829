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
        into: Names of parameters that may take it over, the first one that is refined does.
        power: The intensity is proportional to this power of these: 2 for amplitudes, 1 for factors.
    """

    factor: str
    into: tuple[str, ...]
    power: float = 2.0

    def apply(self, state: State) -> State:
        taker = next((name for name in self.into if name in state.rates and name in state.values), None)
        if self.factor not in state.rates or taker is None:
            return state  # the data determine it
        values, mean = state.values[self.factor], float(state.values[self.factor].mean())
        if not (np.isfinite(mean) and mean > 0):
            return state
        taken = state.values[taker] * mean ** (1 / self.power)
        return state.with_values(**{self.factor: values / mean, taker: taken.astype(state.values[taker].dtype)})


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
        if self.offset not in state.rates or self.into not in state.rates:
            return state
        values = np.array(state.values[self.offset])
        mean = float(values[:, self.column].mean())
        values[:, self.column] -= mean
        return state.with_values(**{self.offset: values, self.into: state.values[self.into] + self.sign * mean})
