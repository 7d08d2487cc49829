"""What a loss is: a sum over pixels, never a mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from adorym.wrapper.base import Array, Backend


class Loss(ABC):
    """Compares predicted intensities with what was measured.

    The engine divides the sum by the number of counts in the whole data set, a fixed number, so that the value does
    not depend on how patterns are shared out into batches and ranks, and 0 is a perfect fit.

    Where the prediction is dark its phase is that of rounding errors, and a loss that is steep there makes them grow
    into the object. Every loss therefore adds the same small intensity, the *floor*, to prediction and measurement.

    Attributes:
        noise: Code of this loss in the fused exit-wave operation (``wrapper.fused.kernels``); ``None`` if it has none.
        amplitude_curvature: Second derivative by the amplitude, the root of the intensity, at a perfect fit of bright
            pixels; ``None`` if it is not known, and then no step divides by a curvature.
        floor: The floor, as a fraction of the mean count in a pixel of the data.
    """

    kind: ClassVar[str]
    noise: ClassVar[int | None] = None
    amplitude_curvature: ClassVar[float | None] = None
    floor: float

    @abstractmethod
    def target(self, counts: np.ndarray, floor: float) -> np.ndarray:
        """What the prediction is compared with, from counts ``(n, y, x)``; ``floor`` in counts. Computed once a run."""

    @abstractmethod
    def value(self, xp: Backend, intensity: Array, target: Array, mask: Array | None, floor: float) -> Array:
        """Sum over all pixels of the loss of predicted ``intensity`` ``(n, y, x)``; ``mask`` weights the pixels."""
