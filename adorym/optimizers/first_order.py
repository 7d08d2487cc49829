"""Gradient descent, momentum and Adam."""

from __future__ import annotations

from pydantic import Field

from adorym.optimizers.base import Gradient, Optimizer, row_count
from adorym.registry import register
from adorym.wrapper.base import Array, Backend


@register("optimizer", "gradient_descent")
class GradientDescent(Optimizer):
    r"""Steepest descent, :math:`x \leftarrow x - \eta\, g`.

    The loss is divided by the total number of counts, so a useful rate depends on the problem: prefer
    ``preconditioned`` or ``adam`` unless that is wanted.

    Attributes:
        learning_rate: Step :math:`\eta`.
    """

    learning_rate: float | str = 1.0

    def init(self, xp: Backend, like: Array) -> tuple[Array, ...]:
        return ()

    def step(
        self, xp: Backend, value: Array, gradient: Gradient, state: tuple[Array, ...], rate: float
    ) -> tuple[Array, tuple[Array, ...]]:
        return value - rate * gradient.values, ()


@register("optimizer", "momentum")
class Momentum(Optimizer):
    r"""Heavy-ball momentum, :math:`v \leftarrow \mu v + g`, :math:`x \leftarrow x - \eta v`, or Nesterov's.

    Nesterov's step is :math:`x \leftarrow x - \eta (\mu v + g)`, a look ahead along the velocity (Sutskever et al.,
    ICML 2013, eqs. (1)-(4)).

    Attributes:
        learning_rate: Step :math:`\eta`.
        decay: :math:`\mu`, the part of the velocity that is kept.
        nesterov: Look ahead along the velocity.
    """

    learning_rate: float | str = 1.0
    decay: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False

    def init(self, xp: Backend, like: Array) -> tuple[Array, ...]:
        return (xp.zeros_like(like),)

    def step(
        self, xp: Backend, value: Array, gradient: Gradient, state: tuple[Array, ...], rate: float
    ) -> tuple[Array, tuple[Array, ...]]:
        velocity = self.decay * state[0] + gradient.values
        move = self.decay * velocity + gradient.values if self.nesterov else velocity
        return value - rate * move, (velocity,)


@register("optimizer", "adam")
class Adam(Optimizer):
    r"""Adam, with the real and the imaginary part of a complex array treated as two real unknowns.

    :math:`x \leftarrow x - \eta\, \hat m / (\sqrt{\hat v} + \epsilon)` (Kingma & Ba, ICLR 2015, algorithm 1). The
    bias correction counts the steps of each row on its own, so the rows of a parameter that is per pattern, visited
    once an epoch, are corrected as they should be.

    Attributes:
        learning_rate: Largest change a step, in the unit of the parameter or as a fraction of its scale.
        beta1: Memory of the mean gradient.
        beta2: Memory of its square.
        epsilon: Keeps the step finite where there is no gradient.
    """

    learning_rate: float | str = 1e-2
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-12, gt=0)

    def init(self, xp: Backend, like: Array) -> tuple[Array, ...]:
        return xp.zeros_like(like), xp.zeros_like(like), row_count(xp, like)

    def step(
        self, xp: Backend, value: Array, gradient: Gradient, state: tuple[Array, ...], rate: float
    ) -> tuple[Array, tuple[Array, ...]]:
        mean, square, count = state
        g, count = gradient.values, count + 1
        mean = self.beta1 * mean + (1 - self.beta1) * g
        in_parts = xp.is_complex(g)
        squared = xp.complex(xp.square(xp.real(g)), xp.square(xp.imag(g))) if in_parts else xp.square(g)
        square = self.beta2 * square + (1 - self.beta2) * squared
        first, second = 1 - self.beta1**count, 1 - self.beta2**count

        def part(m: Array, v: Array) -> Array:
            return (m / first) / (xp.sqrt(v / second) + self.epsilon)

        if in_parts:
            move = xp.complex(part(xp.real(mean), xp.real(square)), part(xp.imag(mean), xp.imag(square)))
        else:
            move = part(mean, square)
        return value - rate * move, (mean, square, count)
