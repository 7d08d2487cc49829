"""The losses that compiled loops know, by number: they take no objects."""

from __future__ import annotations

from typing import NamedTuple

LEAST_SQUARES, POISSON, INTENSITY, HUBER, STUDENT = range(5)


class FusedNoise(NamedTuple):
    """One loss for the compiled loop.

    Attributes:
        code: One of the numbers above.
        shape: Where a robust loss bends, in the units of its residual.
        saturated: Target at and above which a pixel is only a lower bound.
        amplitude_curvature: Second derivative by the amplitude at a perfect fit.
    """

    code: int
    shape: float = 0.0
    saturated: float = float("inf")
    amplitude_curvature: float = 2.0
