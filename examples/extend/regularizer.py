"""A regularizer of one's own: a few strong scatterers in vacuum."""

from pydantic import Field

from adorym import Regularizer


class Scatterers(Regularizer):
    """weight sum log(1 + |u|^2 / s^2), u being the deviation from vacuum: weak haze goes, strong scatterers stay.

    Attributes:
        parameter: What it acts on.
        weight: Factor on the sum.
        strength: s, a deviation that counts as strong.
    """

    parameter: str = "object"
    weight: float = Field(gt=0)
    strength: float = Field(0.3, gt=0)

    def value(self, xp, deviation):
        """A sum over all elements, never a mean."""
        return self.weight * xp.sum(xp.log(1 + xp.abs2(deviation) / self.strength**2))

    def curvature(self, xp, deviation):
        """Of the parabola in |u| that touches the term here and lies above it, since the logarithm is concave."""
        return 2 * self.weight / (self.strength**2 + xp.abs2(deviation))
