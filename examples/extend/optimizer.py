"""An optimizer of one's own: steps that shrink where gradients were large."""

from adorym import Optimizer


class AdaGrad(Optimizer):
    """x <- x - rate g / sqrt(sum of |g|^2 so far); Duchi, Hazan & Singer, J. Mach. Learn. Res. 12, 2121 (2011).

    A pixel that the beam rarely meets keeps its large steps.

    Attributes:
        learning_rate: Length of the first step.
    """

    learning_rate: float | str = 0.1

    def init(self, xp, like):
        """State for an array like ``like``: the sum of squares, real, one row for each row of it."""
        return (xp.zeros(like.shape),)

    def step(self, xp, value, gradient, state, rate):
        """``(new value, new state)``; pure: what it remembers is in the state."""
        total = state[0] + xp.abs2(gradient.values)
        return value - rate * gradient.values / (xp.sqrt(total) + 1e-20), (total,)
