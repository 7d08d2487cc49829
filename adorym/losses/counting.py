"""Losses for photon counts."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from adorym.losses.base import Loss
from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused import kernels


def _masked_sum(xp: Backend, value: Array, mask: Array | None) -> Array:
    return xp.sum(value if mask is None else value * mask)


@register("loss", "least_squares")
class LeastSquares(Loss):
    r"""Least squares on amplitudes, :math:`\sum (\sqrt{I + \epsilon} - \sqrt{N + \epsilon})^2`.

    The square root of a Poisson count has the same variance, 1/4, at every count but the smallest: this is the
    Gaussian likelihood with the noise stabilised (Anscombe 1948; Thibault & Guizar-Sicairos, New J. Phys. 14, 063004
    (2012), section 2.2).

    Attributes:
        floor: :math:`\epsilon` as a fraction of the mean count in a pixel.
    """

    noise: ClassVar[int | None] = kernels.LEAST_SQUARES
    amplitude_curvature: ClassVar[float | None] = 2.0
    floor: float = Field(1e-3, gt=0)

    def target(self, counts: np.ndarray, floor: float) -> np.ndarray:
        return np.sqrt(counts + floor)

    def value(self, xp: Backend, intensity: Array, target: Array, mask: Array | None, floor: float) -> Array:
        return _masked_sum(xp, xp.square(xp.sqrt(intensity + floor) - target), mask)


@register("loss", "poisson")
class Poisson(Loss):
    r"""Poisson deviance, :math:`\sum I - N + (N + \epsilon) \log\frac{N + \epsilon}{I + \epsilon}`.

    Zero where the prediction equals the counts. For :math:`\epsilon \to 0` it differs from the negative log-likelihood
    :math:`\sum I - N \log I` by a constant of the data (Thibault & Guizar-Sicairos, New J. Phys. 14, 063004 (2012),
    eq. (7)); the floor keeps the slope finite where a dark prediction meets a count.

    Attributes:
        floor: :math:`\epsilon` as a fraction of the mean count in a pixel.
    """

    noise: ClassVar[int | None] = kernels.POISSON
    amplitude_curvature: ClassVar[float | None] = 4.0
    floor: float = Field(1e-3, gt=0)

    def target(self, counts: np.ndarray, floor: float) -> np.ndarray:
        return counts + floor

    def value(self, xp: Backend, intensity: Array, target: Array, mask: Array | None, floor: float) -> Array:
        lifted = intensity + floor
        return _masked_sum(xp, lifted - target + target * xp.log(target / lifted), mask)
