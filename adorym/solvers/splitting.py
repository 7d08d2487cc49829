"""Splitting methods: proximal steps on terms with a proximal operator, gradient steps on the loss."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from adorym.registry import register
from adorym.schema import ComponentOf
from adorym.solvers.base import Objective, Solver, State, Step, Vector, norm, value_and_gradient
from adorym.solvers.memory import ConjugateGradient
from adorym.solvers.preconditioners import Intensity, Preconditioner


@register("solver", "proximal_gradient")
class ProximalGradient(Solver):
    r"""Gradient steps on the loss, proximal steps on the rest: FISTA.

    :math:`u \leftarrow \mathrm{prox}_{R/L}(v - \nabla f(v)/L)` from the extrapolated point v (Beck & Teboulle, SIAM J.
    Imaging Sci. 2, 183 (2009), backtracking on L). L decreases again slowly, and the extrapolation restarts when the
    sum rises (O'Donoghue & Candes, Found. Comput. Math. 15, 715 (2015)). Without proximal terms and acceleration this
    is gradient descent with backtracking.

    Attributes:
        preconditioner: How the unknowns are scaled; one number per parameter.
        accelerated: Whether to extrapolate.
    """

    splits: ClassVar[bool] = True
    preconditioner: Annotated[Preconditioner, ComponentOf("preconditioner")] = Field(default_factory=Intensity)
    accelerated: bool = True

    def iterate(self, objective: Objective, u: Vector, state: State) -> Step:
        point = state["ahead"] if "ahead" in state and "value" in state else u
        value, g = objective.evaluate(point)
        curvature = 0.8 * float(state.get("curvature", 2.5))
        new, smooth, fits = self._try(objective, point, (value, g), curvature)
        for _ in range(12):
            if fits:
                break
            curvature *= 2
            new, smooth, fits = self._try(objective, point, (value, g), curvature)
        total = smooth + objective.left_out(new)
        inertia = float(state.get("inertia", 1.0))
        if not self.accelerated or ("value" in state and total > float(state["value"])):
            inertia, ahead = 1.0, new
        else:
            inertia, last = (1 + (1 + 4 * inertia**2) ** 0.5) / 2, inertia
            ahead = new + (last - 1) / inertia * (new - u)
        state |= {"ahead": ahead, "curvature": curvature, "inertia": inertia, "value": total}
        settled = norm(new - u) <= 1e-9 * norm(u)
        return Step(new, total, "the proximal step no longer moves" if settled else "", settled)

    def _try(
        self, objective: Objective, point: Vector, start: tuple[float, Vector], curvature: float
    ) -> tuple[Vector, float, bool]:
        """The step, the loss there, and whether it is below the quadratic bound of that curvature."""
        value, g = start
        new = objective.prox(point - (1 / curvature) * g, 1 / curvature)
        move, smooth = new - point, objective.evaluate(new)[0]
        return new, smooth, bool(smooth <= value + g @ move + 0.5 * curvature * (move @ move) + 1e-9 * abs(value))


@register("solver", "admm")
class ADMM(Solver):
    r"""Alternating directions: the loss is minimized over u, the regularizers over a copy z of it.

    .. math::

        u \leftarrow \arg\min f(u) + \tfrac{\rho}{2} |u - z + w|^2, \quad
        z \leftarrow \mathrm{prox}_{R/\rho}(u + w), \quad w \leftarrow w + u - z

    (Boyd et al., Found. Trends Mach. Learn. 3, 1 (2011), section 3.1.1). The minimization over u is approximate: a few
    iterations of nonlinear conjugate gradients from the current u.

    Attributes:
        preconditioner: How the unknowns are scaled; one number per parameter.
        penalty: :math:`\rho`, in units of the preconditioner's curvature.
        inner: Conjugate-gradient iterations per iteration of the method.
    """

    splits: ClassVar[bool] = True
    preconditioner: Annotated[Preconditioner, ComponentOf("preconditioner")] = Field(default_factory=Intensity)
    penalty: float = Field(0.1, gt=0)
    inner: int = Field(2, ge=1)

    def iterate(self, objective: Objective, u: Vector, state: State) -> Step:
        copy, dual = state.get("copy", u), state.get("dual", 0.0 * u)
        augmented = _Augmented(objective, copy - dual, self.penalty)
        inner: State = {}
        for _ in range(self.inner):
            u = ConjugateGradient(evaluations=5).iterate(augmented, u, inner).u
        copy = objective.prox(u + dual, 1 / self.penalty)
        state |= {"copy": copy, "dual": dual + u - copy}
        distance = u - augmented.center
        value = value_and_gradient(augmented, u, inner)[0] - 0.5 * self.penalty * float(distance @ distance)
        return Step(u, value + objective.left_out(u))


class _Augmented(Objective):
    """A loss plus the quadratic penalty ``penalty / 2 |u - center|^2``."""

    def __init__(self, objective: Objective, center: Vector, penalty: float) -> None:
        self.objective, self.center, self.penalty = objective, center, penalty

    def evaluate(self, u: Vector) -> tuple[float, Vector]:
        value, gradient = self.objective.evaluate(u)
        distance = u - self.center
        return value + 0.5 * self.penalty * float(distance @ distance), gradient + self.penalty * distance

    def product(self, u: Vector, v: Vector) -> Vector:
        return self.objective.product(u, v) + self.penalty * v

    def prox(self, u: Vector, step: float) -> Vector:
        return self.objective.prox(u, step)

    def left_out(self, u: Vector) -> float:
        return self.objective.left_out(u)
