"""One iteration of a solver as an epoch of the loop."""

from __future__ import annotations

import numpy as np

from adorym.engine.problem import Problem
from adorym.engine.terms import projected
from adorym.engine.whole import FullBatchObjective
from adorym.parameters import OBJECT
from adorym.solvers.base import Solver, State
from adorym.storage.vector import StoreVector

# Epochs after which the curvature that the unknowns are scaled by is looked at anew.
REFRESH_EVERY = 20


class SolverStep:
    """A solver at work on a problem, and what it remembers between epochs.

    Attributes:
        memory: Its state (``state.`` and its name for it), the scaling of the unknowns and the point it left: numbers
            and vectors. All of it is in the checkpoint.
        message: How its last iteration ended, in its own words.
        finished: Whether it has nothing more to gain.
    """

    def __init__(self, problem: Problem, solver: Solver, seed: int) -> None:
        self.problem, self.solver, self.seed = problem, solver, seed
        self.memory: State = {}
        self.message, self.finished, self.evaluations = "", False, 0

    def epoch(self, epoch: int, names: list[str], patterns: np.ndarray) -> float:
        """Move the parameters ``names``; returns the loss of ``patterns`` at the new point."""
        objective = FullBatchObjective(self.problem, names, patterns, self.solver)
        state = {key.removeprefix("state."): a for key, a in self.memory.items() if key.startswith("state.")}
        known = self.memory.get("scaling")
        if known is None or set(known.parts) != set(names) or epoch % REFRESH_EVERY == 0:
            objective.rescale(np.random.default_rng((self.seed, epoch)))
            state = {}
        else:
            objective.scaling = known
        step = self.solver.iterate(objective, self._resumed(objective, state), state)
        objective.unpack(step.u)
        self._project(names)
        self.message, self.finished = step.message, step.finished
        self.evaluations += objective.evaluations
        self.memory = {f"state.{key}": a for key, a in state.items()}
        self.memory |= {"scaling": objective.scaling, "point": step.u}
        return step.value

    def _resumed(self, objective: FullBatchObjective, state: State) -> StoreVector:
        """Where to go on from: the point that was left, in all its digits, unless something has moved it since."""
        if state and objective.is_at(self.memory["point"]):
            return self.memory["point"]
        for key in ("value", "gradient"):
            state.pop(key, None)
        return objective.pack()

    def _project(self, names: list[str]) -> None:
        problem = self.problem
        for constraint in problem.constraints:
            if constraint.when != "batch" or constraint.parameter not in names:
                continue
            if constraint.parameter == OBJECT:
                problem.store.apply(lambda tile, row, c=constraint: projected(problem, c, tile, row))  # type: ignore[misc]
            else:
                value = problem.values[constraint.parameter]
                value.array = projected(problem, constraint, value.array)
