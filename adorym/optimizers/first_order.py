"""Gradient descent, momentum, RMSProp and Adam."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from adorym.optimizers.base import Gradient, Optimizer, row_count
from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.steps import adam_step


@register("optimizer", "gradient_descent")
class GradientDescent(Optimizer):
    r"""Steepest descent, :math:`x \leftarrow x - \eta\, g`.

    The loss is divided by the total number of counts, so a useful rate depends on the problem: usually
    ``preconditioned`` or ``adam`` is the better choice.

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

    Nesterov's step is :math:`x \leftarrow x - \eta (\mu v + g)` (Sutskever et al., ICML 2013, eqs. (1)-(4)).

    Attributes:
        learning_rate: Step :math:`\eta`.
        decay: :math:`\mu`, the fraction of the velocity that is kept.
        nesterov: Whether to take Nesterov's step.
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
    bias correction counts the steps of each row separately, so the rows of a parameter per pattern, updated once per
    epoch, are corrected properly. With ``amsgrad`` the largest :math:`\hat v` so far replaces the current one, so that
    steps never grow again (Reddi, Kale & Kumar, ICLR 2018, algorithm 2).

    Attributes:
        learning_rate: Largest change in one step, in the unit of the parameter or as a fraction of its scale.
        beta1: Decay of the running mean of the gradient.
        beta2: Decay of the running mean of its square.
        epsilon: Keeps the step finite without a gradient.
        amsgrad: Divide by the largest mean square so far.
    """

    learning_rate: float | str = 1e-2
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-12, gt=0)
    amsgrad: bool = False

    def init(self, xp: Backend, like: Array) -> tuple[Array, ...]:
        largest = (xp.zeros_like(like),) if self.amsgrad else ()
        return xp.zeros_like(like), xp.zeros_like(like), row_count(xp, like), *largest

    def step(
        self, xp: Backend, value: Array, gradient: Gradient, state: tuple[Array, ...], rate: float
    ) -> tuple[Array, tuple[Array, ...]]:
        mean, square, count, *largest = state
        g, count = gradient.values, count + 1
        if xp.on_host and not largest:
            rows = xp.stack([rate / (1 - self.beta1**count), 1 / (1 - self.beta2**count)], axis=-1)
            sizes = (self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, self.epsilon)
            stepped = adam_step(xp, (value, g, mean, square), rows, sizes)
            if stepped is not None:
                return stepped[0], (*stepped[1:], count)
        mean = self.beta1 * mean + (1 - self.beta1) * g
        square = self.beta2 * square + (1 - self.beta2) * _by_parts(xp, xp.square, g)
        first, second = 1 - self.beta1**count, 1 - self.beta2**count
        divisor = square / second
        if largest:
            divisor = _by_parts(xp, xp.maximum, largest[0], divisor)
            largest = [divisor]
        move = _by_parts(xp, lambda m, v: m / (xp.sqrt(v) + self.epsilon), mean / first, divisor)
        return value - rate * move, (mean, square, count, *largest)


@register("optimizer", "rmsprop")
class RMSProp(Optimizer):
    r"""Steps divided by the root mean square of the gradient, separately for real and imaginary part.

    :math:`v \leftarrow \beta v + (1 - \beta) g^2`, :math:`x \leftarrow x - \eta\, g / (\sqrt v + \epsilon)` (Tieleman &
    Hinton, lecture 6.5 of *Neural Networks for Machine Learning*, 2012).

    Attributes:
        learning_rate: Typical change in one step, in the unit of the parameter or as a fraction of its scale.
        decay: Decay :math:`\beta` of the running mean square.
        epsilon: Keeps the step finite without a gradient.
    """

    learning_rate: float | str = 3e-3
    decay: float = Field(0.99, ge=0, lt=1)
    epsilon: float = Field(1e-12, gt=0)

    def init(self, xp: Backend, like: Array) -> tuple[Array, ...]:
        return (xp.zeros_like(like),)

    def step(
        self, xp: Backend, value: Array, gradient: Gradient, state: tuple[Array, ...], rate: float
    ) -> tuple[Array, tuple[Array, ...]]:
        g = gradient.values
        square = self.decay * state[0] + (1 - self.decay) * _by_parts(xp, xp.square, g)
        return value - rate * _by_parts(xp, lambda a, v: a / (xp.sqrt(v) + self.epsilon), g, square), (square,)


def _by_parts(xp: Backend, f: Callable[..., Array], *arrays: Array) -> Array:
    """A real function of real and imaginary parts separately, or of real arrays."""
    if not xp.is_complex(arrays[0]):
        return f(*arrays)
    return xp.complex(f(*(xp.real(a) for a in arrays)), f(*(xp.imag(a) for a in arrays)))
