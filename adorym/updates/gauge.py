"""Gauges of several unknowns: a change of one is compensated by another, so that the loss is unchanged.

A gauge of a single parameter (`adorym.parameters.Parameter.gauge`) restricts its steps. If another parameter can
compensate a change exactly, the gauge changes both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.updates.base import State, Update


@dataclass(frozen=True)
class FactorGauge(Update):
    """Keeps the mean of an intensity factor at 1, and moves the rest into what it multiplies, if that is refined.

    Attributes:
        factor: Name of the parameter that multiplies the predicted intensity.
        into: Name of the parameter that takes up the mean. Without effect unless it is refined and unconstrained:
            otherwise the data determine the mean.
        power: The intensity is proportional to this power of it: 2 for amplitudes, 1 for factors.
        groups: The rows of the factor that each entry of ``into`` takes the mean of; all of them if there is one.
    """

    factor: str
    into: str
    power: float = 2.0
    groups: tuple[np.ndarray, ...] = ()

    def apply(self, state: State) -> State:
        if not _free(state, self.factor, self.into):
            return state
        values, into = (np.array(state.values[name]) for name in (self.factor, self.into))
        for group, rows in enumerate(self.groups or (np.arange(len(values)),)):
            mean = float(values[rows].mean())
            if not (np.isfinite(mean) and mean > 0):
                return state
            values[rows] /= mean
            part = into[group] if self.groups else into
            part *= mean ** (1 / self.power)
        return state.with_values(**{self.factor: values, self.into: into})


@dataclass(frozen=True)
class OffsetGauge(Update):
    """Keeps the mean of one column of a parameter at its start value, and adds the rest to another parameter.

    Attributes:
        offset: Name of the parameter, one row per angle or pattern.
        into: Name of the other parameter; without effect unless it is refined.
        column: Index of the column.
        sign: The other parameter changes by this times the mean.
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


@dataclass(frozen=True)
class TiltGauge(Update):
    """Keeps the mean shift of far-field patterns at zero, and tilts the probe instead, if that is refined.

    Shifts that change smoothly with the position are a curved phase of the object: what they have of it, up to squares
    of the coordinates, is taken out of them for object and probe to take up.

    Attributes:
        shift: Name of the shifts ``(n, 2)`` in pixels.
        into: Name of the probe ``(..., y, x)``; without effect unless it is refined and unconstrained.
        groups: The patterns of each scan, where each has its own probe.
        positions_px: ``(n, 2)``; if absent, the mean alone is taken out.
    """

    shift: str
    into: str
    groups: tuple[np.ndarray, ...] = ()
    positions_px: np.ndarray | None = None

    def apply(self, state: State) -> State:
        if not _free(state, self.shift, self.into):
            return state
        values, into = (np.array(state.values[name]) for name in (self.shift, self.into))
        for group, rows in enumerate(self.groups or (np.arange(len(values)),)):
            part = into[group] if self.groups else into
            mean = values[rows].mean(0)
            values[rows] -= mean
            if self.positions_px is not None:
                values[rows] = _rough(values[rows], self.positions_px[rows])
            for axis, by in zip((-2, -1), mean, strict=True):
                n = part.shape[axis]
                ramp = np.exp(2j * np.pi * by * (np.arange(n) - (n - 1) / 2) / n)
                part *= ramp[:, None] if axis == -2 else ramp
        return state.with_values(**{self.shift: values, self.into: into})


def _rough(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``values`` ``(n, 2)`` without a square polynomial of their ``places``; as they are if these are few."""
    y, x = (places - places.mean(0)).T
    terms = np.column_stack([np.ones(len(y)), y, x, y * y, y * x, x * x])
    few = len(y) <= 2 * terms.shape[1]
    return values if few else values - terms @ np.linalg.lstsq(terms, values, rcond=None)[0]


def _free(state: State, *names: str) -> bool:
    """Whether all of these are refined, and no constraint would move back what a gauge moves."""
    return all(name in state.rates and name not in state.constrained for name in names)
