"""What a detector does to the expected intensity."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from adorym.registry import component

NonNegative = Annotated[float, Field(ge=0)]


@component
class Noise:
    """Photon noise and the detector's own faults, in the order in which they happen.

    Attributes:
        poisson: Whether photons are counted; otherwise the pattern is the expected intensity.
        background: Photons per pixel and pattern that do not come from the specimen.
        read_noise: Gaussian noise added to every reading, root mean square in photons. Readings may then be negative.
        bad_pixels: Fraction of the pixels that are dead (always 0) or hot (always far too bright), half of each. They
            are the same in all patterns and are marked in the mask.
    """

    poisson: bool = True
    background: NonNegative = 0.0
    read_noise: NonNegative = 0.0
    bad_pixels: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def measure(self, expected: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        """Measured patterns and mask.

        Args:
            expected: ``(n, y, x)`` expected photons.
            rng: Source of the noise.

        Returns:
            Patterns ``(n, y, x)`` float32, and ``(y, x)`` bool, True where a pixel is good (None when all are).
        """
        mean = expected + self.background
        patterns = rng.poisson(mean).astype(np.float32) if self.poisson else np.array(mean, np.float32)
        if self.read_noise:
            patterns += self.read_noise * rng.standard_normal(patterns.shape, np.float32)
        if not self.bad_pixels:
            return patterns, None
        size = patterns[0].size
        bad = rng.choice(size, max(1, round(self.bad_pixels * size)), replace=False)
        dead, hot = bad[::2], bad[1::2]
        flat = patterns.reshape(len(patterns), size)
        flat[:, hot] = 10 * flat.max() + 1
        flat[:, dead] = 0
        good = np.ones(size, bool)
        good[bad] = False
        return patterns, good.reshape(patterns.shape[1:])
