"""First-order solvers with memory: nonlinear conjugate gradients and L-BFGS."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adorym.registry import register
from adorym.schema import ComponentOf
from adorym.solvers.base import Objective, Solver, State, Step, Vector, norm, remember, value_and_gradient
from adorym.solvers.line_search import Wolfe, search
from adorym.solvers.preconditioners import Intensity, Preconditioner

AT_REST = "no step along the direction of descent lowers the loss"


@register("solver", "conjugate_gradient")
class ConjugateGradient(Solver):
    r"""Nonlinear conjugate gradients, Polak-Ribiere+, :math:`d \leftarrow -g + \max(0, \beta)\, d`.

    :math:`\beta = g \cdot (g - g') / g' \cdot g'` with the previous gradient g'; the step satisfies the strong Wolfe
    conditions (Nocedal & Wright, *Numerical Optimization*, 2006, section 5.2). Two vectors are stored.

    Attributes:
        preconditioner: How the unknowns are scaled.
        evaluations: Largest number of losses in one line search.
    """

    preconditioner: Annotated[Preconditioner, ComponentOf("preconditioner")] = Field(default_factory=Intensity)
    evaluations: int = Field(6, ge=2)

    def iterate(self, objective: Objective, u: Vector, state: State) -> Step:
        value, g = value_and_gradient(objective, u, state)
        direction = -g
        if "direction" in state:
            before = state["before"]
            beta = max(0.0, float(g @ (g - before) / (before @ before)))
            direction = direction + beta * state["direction"]
        if direction @ g >= 0:
            direction = -g
        slope = float(direction @ g)
        if slope == 0:
            return Step(u, value, AT_REST, True)
        # The first step of a line changes the loss as much as the last step of the line before was expected to.
        first = float(state["step"] * state["slope"]) / slope if "step" in state else 0.5
        rule = Wolfe(slope=0.3, evaluations=self.evaluations)
        found = search(objective, u, direction, (value, g), first, rule)
        if found is None:
            fresh = "direction" not in state
            state.clear()
            remember(state, value, g)
            return Step(u, value, AT_REST if fresh else "", fresh)
        state |= {"direction": direction, "before": g, "step": found.step, "slope": slope}
        remember(state, found.value, found.gradient)
        return Step(u + found.step * direction, found.value)


@register("solver", "lbfgs")
class LBFGS(Solver):
    r"""Limited-memory BFGS: the inverse curvature from the last steps and the changes of the gradient along them.

    Two-loop recursion (Nocedal, Math. Comput. 35, 773 (1980); Nocedal & Wright, *Numerical Optimization*, 2006,
    algorithm 7.4), started from the preconditioner; pairs along which the curvature is not positive are left out.

    Attributes:
        preconditioner: How the unknowns are scaled.
        pairs: Number of stored steps.
        evaluations: Largest number of losses in one line search.
    """

    preconditioner: Annotated[Preconditioner, ComponentOf("preconditioner")] = Field(default_factory=Intensity)
    pairs: int = Field(12, ge=1)
    evaluations: int = Field(6, ge=2)

    @property
    def vectors(self) -> int:
        return super().vectors + 2 * self.pairs

    def iterate(self, objective: Objective, u: Vector, state: State) -> Step:
        value, g = value_and_gradient(objective, u, state)
        count = int(state.get("count", 0))
        slots = [k % self.pairs for k in range(max(0, count - self.pairs), count)]
        pairs = [(state[f"step_{k}"], state[f"change_{k}"]) for k in slots]
        direction = -_inverse_times(g, pairs)
        if direction @ g >= 0:
            pairs, count, direction = [], 0, -g
        if g @ g == 0:
            return Step(u, value, AT_REST, True)
        rule = Wolfe(slope=0.9, evaluations=self.evaluations)
        found = search(objective, u, direction, (value, g), 1.0 if pairs else 0.5, rule)
        if found is None:
            fresh = not pairs
            state.clear()
            remember(state, value, g)
            return Step(u, value, AT_REST if fresh else "", fresh)
        step, change = found.step * direction, found.gradient - g
        if step @ change > 1e-10 * norm(step) * norm(change):
            slot, count = count % self.pairs, count + 1
            state |= {f"step_{slot}": step, f"change_{slot}": change}
        state["count"] = count
        remember(state, found.value, found.gradient)
        return Step(u + step, found.value)


def _inverse_times(g: Vector, pairs: list[tuple[Vector, Vector]]) -> Vector:
    q, parts = g, []
    for s, y in reversed(pairs):
        part = (s @ q) / (y @ s)
        q = q - part * y
        parts.append(part)
    if pairs:
        s, y = pairs[-1]
        q = (s @ y) / (y @ y) * q
    for (s, y), part in zip(pairs, reversed(parts), strict=True):
        q = q + (part - (y @ q) / (y @ s)) * s
    return q
