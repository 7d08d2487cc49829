"""One iteration of a solver as an epoch of the loop."""

from __future__ import annotations

import numpy as np

from adorym.engine.problem import Problem
from adorym.engine.terms import projected
from adorym.engine.whole import FullBatchObjective
from adorym.parameters import OBJECT
from adorym.solvers.base import Solver, State
from adorym.storage.vector import StoreVector

# Epochs between updates of the curvature that scales the unknowns.
REFRESH_EVERY = 20


class SolverStep:
    """The problem's solver, with its state between epochs.

    Attributes:
        memory: The solver's state (keys ``state.*``), the scaling of the unknowns and its last point: numbers and
            vectors, all of which are in the checkpoint.
        message: The solver's message about its last iteration.
        finished: Whether the solver has converged.
    """

    def __init__(self, problem: Problem, solver: Solver, seed: int) -> None:
        self.problem, self.solver, self.seed = problem, solver, seed
        self.memory: State = {}
        self.message, self.finished, self.evaluations = "", False, 0

    def epoch(self, epoch: int, names: list[str], patterns: np.ndarray) -> float:
        """Update the parameters ``names``; returns the loss of ``patterns`` at the new point."""
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
        """The start point: the last point in full precision, unless something has changed the values since."""
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
