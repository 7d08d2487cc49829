"""A loss of one's own: robust against hot pixels and stray light."""

from typing import ClassVar

from pydantic import Field

from adorym import Loss


class Cauchy(Loss):
    r"""c^2 sum log[1 + (a - m)^2 / c^2], a and m being predicted and measured amplitudes.

    Far off the prediction a pixel hardly counts: amplitudes of Poisson counts scatter by 1/2 whatever the count is.

    Attributes:
        width: c, in amplitudes (root of counts).
        floor: Added intensity, as a fraction of the mean count in a pixel.
    """

    on_amplitudes: ClassVar[bool] = True
    amplitude_curvature: ClassVar[float | None] = 2.0  # of c^2 log(1 + r^2 / c^2) at r = 0
    width: float = Field(2.0, gt=0)
    floor: float = Field(0.01, ge=0)

    def terms(self, xp, predicted, target):
        """One term a pixel ``(n, y, x)``, from amplitudes."""
        return self.width**2 * xp.log(1 + xp.square((predicted - target) / self.width))
