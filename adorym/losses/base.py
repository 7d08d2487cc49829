"""The loss: a sum over pixels, never a mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.noise import FusedNoise


class Loss(ABC):
    """Compares predicted with measured intensities.

    The engine divides the sum by the number of counts in the whole data set, a fixed number, so that the value does
    not depend on how patterns are divided among batches and ranks. 0 is a perfect fit.

    Where the prediction is dark its phase consists of rounding errors, and a loss that is steep there would carry them
    into the object. Every loss therefore adds the same small intensity, the *floor*, to prediction and measurement.

    A saturated pixel (``saturation``) gives a lower bound only: it adds to the loss while the prediction is below it.

    Attributes:
        code: Code of this loss in compiled loops (`adorym.wrapper.fused.noise`); ``None`` if it has none.
        amplitude_curvature: Second derivative by the amplitude, the root of the intensity, at a perfect fit of bright
            pixels; ``None`` if it is not known, and then no step divides by a curvature.
        on_amplitudes: Whether roots of intensities are compared, instead of intensities.
        floor: The floor, as a fraction of the mean count per pixel of the data.
        saturation: Counts at and above which a pixel is only a lower bound; no saturation if ``None``.
    """

    kind: ClassVar[str]
    code: ClassVar[int | None] = None
    amplitude_curvature: ClassVar[float | None] = None
    on_amplitudes: ClassVar[bool] = False
    floor: float
    saturation: float | None = None

    @abstractmethod
    def terms(self, xp: Backend, predicted: Array, target: Array) -> Array:
        """The loss of every pixel; both arrays have the floor added, and their root taken if ``on_amplitudes``."""

    @property
    def shape(self) -> float:
        """The number that compiled loops need with the code, such as the threshold of a robust loss."""
        return 0.0

    @property
    def detector(self) -> tuple[float, float]:
        """Units of the data per photon, and standard deviation of the read-out error in these units."""
        return 1.0, 0.0

    def floor_counts(self, mean_counts: float) -> float:
        """The floor in counts, from the mean count in a pixel."""
        return self.floor * mean_counts

    def target(self, counts: np.ndarray, floor: float) -> np.ndarray:
        """Values to compare the prediction with, from counts ``(n, y, x)``; ``floor`` in counts. Once per run."""
        lifted = counts + floor
        return np.sqrt(lifted) if self.on_amplitudes else lifted

    def value(self, xp: Backend, intensity: Array, target: Array, mask: Array | None, floor: float) -> Array:
        """Sum over all pixels of the loss of predicted ``intensity`` ``(n, y, x)``; ``mask`` weights the pixels."""
        lifted = intensity + floor
        predicted = xp.sqrt(lifted) if self.on_amplitudes else lifted
        terms = self.terms(xp, predicted, target)
        if self.saturation is not None:
            enough = (target >= self.saturated(floor)) & (predicted > target)
            terms = xp.where(enough, 0 * terms, terms)
        return xp.sum(terms if mask is None else terms * mask)

    def saturated(self, floor: float) -> float:
        """The target of a pixel at saturation, infinite if there is none; a little less, for the rounding of floats."""
        if self.saturation is None:
            return float("inf")
        return (1 - 1e-6) * float(self.target(np.array(self.saturation, np.float64), floor))

    def fused_noise(self, floor: float) -> FusedNoise | None:
        """The loss as compiled loops know it, or ``None`` if they do not: also where a subclass changes a formula."""
        own = type(self)
        known: Any = next(each for each in own.__mro__ if "code" in vars(each))
        formulas = (own.terms, own.target, own.value, own.saturated, own.shape, own.on_amplitudes)
        same = formulas == (
            known.terms, known.target, known.value, known.saturated, known.shape, known.on_amplitudes
        )  # fmt: skip
        if self.code is None or self.amplitude_curvature is None or not same:
            return None
        return FusedNoise(self.code, self.shape, self.saturated(floor), self.amplitude_curvature)
