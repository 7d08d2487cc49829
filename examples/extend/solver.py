"""A solver of one's own: gradient descent that learns the step from the last one."""

from typing import Annotated

from pydantic import Field

from adorym import Solver
from adorym.schema import ComponentOf
from adorym.solvers.base import Step, norm, remember, value_and_gradient
from adorym.solvers.preconditioners import Intensity, Preconditioner


class BarzilaiBorwein(Solver):
    """u <- u - a g with a = s.s / s.y, from the last changes s of u and y of g.

    Barzilai & Borwein, IMA J. Numer. Anal. 8, 141 (1988), eq. (6); the step is halved while the loss would rise.

    Attributes:
        preconditioner: How the unknowns are scaled.
    """

    preconditioner: Annotated[Preconditioner, ComponentOf("preconditioner")] = Field(default_factory=Intensity)

    def iterate(self, objective, u, state):
        """One step for all unknowns; vectors are only added, multiplied by numbers, and multiplied with ``@``."""
        value, gradient = value_and_gradient(objective, u, state)
        step = 1.0
        if "last" in state:
            s, y = u - state["last"], gradient - state["last_gradient"]
            step = float(s @ s) / float(s @ y) if float(s @ y) > 0 else 1.0
        state |= {"last": u, "last_gradient": gradient}
        for _ in range(10):
            new = u - step * gradient
            found, slope = objective.evaluate(new)
            if found <= value:
                break
            step /= 2
        remember(state, found, slope)
        return Step(new, found, "there is no slope left", finished=norm(gradient) == 0)
