"""One iteration of a solver as an epoch of the loop."""

from __future__ import annotations

import numpy as np

from adorym.engine.problem import Problem
from adorym.engine.terms import projected
from adorym.engine.whole import WholeLoss
from adorym.solvers.base import Solver, State

# Epochs after which the curvature that the unknowns are scaled by is looked at anew.
REFRESH_EVERY = 20


class Solving:
    """A solver at work on a problem, and what it remembers between epochs.

    Attributes:
        memory: Its state, the scaling of the unknowns and the point it left; in the checkpoint.
        message: How its last iteration ended, in its own words.
        finished: Whether it has nothing more to gain.
    """

    def __init__(self, problem: Problem, solver: Solver, seed: int) -> None:
        self.problem, self.solver, self.seed = problem, solver, seed
        self.memory: State = {}
        self.message, self.finished, self.evaluations = "", False, 0

    def epoch(self, epoch: int, names: list[str], patterns: np.ndarray) -> float:
        """Move the parameters ``names``; returns the loss of ``patterns`` at the new point."""
        whole = WholeLoss(self.problem, names, patterns, self.solver)
        state = {key.partition("/")[2]: a for key, a in self.memory.items() if key.startswith("state/")}
        known = self.memory.get("scaling")
        if known is None or len(known) != len(whole.scaling) or epoch % REFRESH_EVERY == 0:
            whole.rescale(np.random.default_rng((self.seed, epoch)))
            state = {}
        else:
            whole.scaling = known
        u = self._resumed(whole, state)
        step = self.solver.iterate(whole, u, state)
        whole.unpack(step.u)
        self._project(names)
        self.message, self.finished = step.message, step.finished
        self.evaluations += whole.evaluations
        self.memory = {f"state/{key}": np.asarray(a) for key, a in state.items()}
        self.memory |= {"scaling": whole.scaling, "point": step.u}
        return step.value

    def _resumed(self, whole: WholeLoss, state: State) -> np.ndarray:
        """Where to go on from: the point that was left, in all its digits, unless something has moved it since."""
        u, left = whole.pack(), self.memory.get("point")
        if left is not None and state and len(left) == len(u):
            same = all(np.array_equal(p.array(left * whole.scaling), p.array(u * whole.scaling)) for p in whole.parts)
            if same:
                return left
        for key in ("value", "gradient"):
            state.pop(key, None)
        return u

    def _project(self, names: list[str]) -> None:
        problem = self.problem
        for constraint in problem.constraints:
            if constraint.when != "batch" or constraint.parameter not in names:
                continue
            if constraint.parameter == "object":
                problem.store.apply(lambda tile, c=constraint: projected(problem, c, tile))  # type: ignore[misc]
            else:
                value = problem.values[constraint.parameter]
                value.array = projected(problem, constraint, value.array)
