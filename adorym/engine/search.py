"""Positions that are wrong by more than a gradient can tell: trial positions, of which the best is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from adorym.engine.gradients import own_chunks
from adorym.engine.problem import Problem
from adorym.errors import ConfigError
from adorym.optics.probes import in_pixels
from adorym.parameters import POSITIONS
from adorym.updates.base import State, Update

# The search lasts from this part of the epochs, when there is an object to compare with, to that. It ends at this
# distance: the gradient does the rest.
BEGUN, SEARCHED, NEAREST_PX = 0.2, 0.6, 1.0


@dataclass(frozen=True, eq=False)
class PositionSearch(Update):
    """Tries random places around every position in each of the first epochs, at distances that become smaller.

    A pattern is predicted at each of the places, and the one with the smallest loss is its new position (Maiden,
    Humphry, Sarahan, Kraus & Rodenburg, Ultramicroscopy 120, 64 (2012)).

    Attributes:
        problem: The problem; it is not changed.
        farthest_px: (y, x) largest distance from the start positions, and that of the places in the first epoch.
        tries: Places per epoch.
        begin: Epoch before which it does not begin.
        seed: Of the random places; they depend on it and on the epoch alone.
    """

    problem: Problem
    farthest_px: np.ndarray
    tries: int
    begin: int
    seed: int
    when: ClassVar[Literal["start", "batch", "end"]] = "start"

    def left(self, epoch: int, epochs: int) -> float:
        """Part of the search that is left in ``epoch``; 0 before it begins and when it is over."""
        begin = max(self.begin, round(BEGUN * epochs))
        length = SEARCHED * epochs - begin
        left = 1 - (epoch - begin) / length if length > 0 else 0.0
        return left if 0 < left <= 1 else 0.0

    def due(self, epoch: int, epochs: int) -> bool:
        return self.left(epoch, epochs) > 0

    def apply(self, state: State) -> State:
        rng = np.random.default_rng([self.seed, state.epoch])
        reach = np.maximum(NEAREST_PX, self.left(state.epoch, state.epochs) * self.farthest_px)
        first = np.array(state.values[POSITIONS])
        best, least = first.copy(), self._losses(first)
        value = self.problem.values[POSITIONS]
        for number in range(self.tries):
            # Every second place is anywhere about the recorded one: a position that is in a wrong place does not stay.
            about, way = (first, reach) if number % 2 else (value.first, self.farthest_px)
            trial = about + way * rng.uniform(-1, 1, first.shape)
            # A pattern far from all others fits any place: there the object is free.
            trial = np.clip(trial, value.first - self.farthest_px, value.first + self.farthest_px)
            trial = trial if value.bounds is None else np.clip(trial, *value.bounds)
            found = self._losses(trial)
            better = found < least
            best[better], least[better] = trial[better], found[better]
        return state.with_values(**{POSITIONS: best})

    def _losses(self, positions: np.ndarray) -> np.ndarray:
        """``(n,)`` loss of each pattern at trial ``positions``; the ranks share them out."""
        problem, xp = self.problem, self.problem.xp
        value, patterns = problem.values[POSITIONS], np.arange(problem.dataset.n_patterns)
        kept, value.array = value.array, xp.asarray(np.asarray(positions, value.first.dtype), exact=True)
        rows, found = [], []
        for chunk in own_chunks(problem, patterns):
            obj, params, batch = problem.inputs(chunk if len(chunk) else patterns[:1])  # gathering is collective
            predicted, mask = problem.model.predict(xp, obj, params, batch), batch.mask
            for i in range(len(chunk)):
                own = None if mask is None else mask[i : i + 1] if mask.shape[0] > 1 else mask
                one = predicted[i : i + 1], batch.target[i : i + 1]
                found.append(float(problem.loss.value(xp, *one, own, batch.floor)))
            rows.append(chunk)
        value.array = kept
        index = problem.comm.gather(np.concatenate(rows), "trial positions")
        costs = problem.comm.gather(np.array(found), "losses of trial positions")
        made = np.zeros(len(patterns))
        made[np.concatenate(index)] = np.concatenate(costs)
        return made


def with_search(problem: Problem, epochs: int, seed: int) -> None:
    """Add the search to the updates of ``problem``, if the settings of the positions ask for it.

    Raises:
        ConfigError: It cannot be combined with a solver, or the run is too short.
    """
    settings = problem.bound.settings.get(POSITIONS)
    farthest, where = getattr(settings, "search", None), f"parameters.{POSITIONS}.search"
    if farthest is None or settings is None:
        return
    if problem.solver is not None:
        what = f"a solver, '{problem.solver.kind}', updates all parameters together"
        raise ConfigError(where, what, remedy="leave out 'solver', or the search")
    farthest_px, tries = np.array(in_pixels(farthest, problem.dataset)), getattr(settings, "tries", 0)
    made = PositionSearch(problem, farthest_px, tries, max(1, settings.start), seed)
    if epochs and not made.due(max(made.begin, round(BEGUN * epochs)), epochs):
        raise ConfigError(
            where,
            f"ends with {SEARCHED:g} of the epochs, before positions are refined",
            expected=f"more than {made.begin / SEARCHED:.0f} epochs",
            found=epochs,
            remedy="raise 'run.epochs', or begin earlier by 'start'",
        )
    problem.bound = problem.bound.with_(updates=(*problem.bound.updates, made))
