r"""What a probe is known by: a few numbers that say whether a network was trained for it.

Width of the beam, width of its far field, the correlation between the two (the curvature of the wave: its defocus), how
hollow the far field is, and the part of the first mode:

.. math:: \sigma_r, \quad \sigma_k, \quad
          \frac{\langle r\cdot k\rangle}{\sigma_r \sigma_k}, \quad
          \frac{\langle k^4\rangle}{\langle k^2\rangle^2}, \quad \frac{p_1}{\sum_m p_m}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adorym.optics.modes import orthogonalize, power_fractions

FEATURES = ("width_px", "divergence_px", "curvature", "hollowness", "first_mode")
# What two probes may differ by and still count as the same: a part of the first two, and of the others as they are.
TOLERANCE = (0.12, 0.12, 0.2, 0.35, 0.12)


@dataclass(frozen=True)
class Fingerprint:
    """The numbers of one probe.

    Attributes:
        width_px: Root mean square radius of the beam, pixels.
        divergence_px: Root mean square radius of its far field, Fourier pixels.
        curvature: Correlation of place and direction, -1 to 1: 0 in the focus.
        hollowness: Fourth moment of the far field over the square of its second: 2 for a Gaussian, 4/3 for a disc,
            1 for a thin ring.
        first_mode: Part of the power in the strongest mode.
    """

    width_px: float
    divergence_px: float
    curvature: float
    hollowness: float
    first_mode: float

    @classmethod
    def of(cls, probe: np.ndarray) -> Fingerprint:
        """Of the modes ``(m, y, x)`` complex of a probe.

        Raises:
            DataError: The probe has no power.
        """
        modes = orthogonalize(np.asarray(probe, np.complex128))
        first = float(power_fractions(modes)[0])
        spectrum = np.fft.fftshift(np.fft.fft2(modes, norm="ortho"), axes=(-2, -1))
        near, width = _about_middle(np.sum(np.abs(modes) ** 2, axis=0))
        far, divergence = _about_middle(np.sum(np.abs(spectrum) ** 2, axis=0))
        power = np.sum(np.abs(spectrum) ** 2, axis=0) / np.sum(np.abs(spectrum) ** 2)
        radius2 = far[0] ** 2 + far[1] ** 2
        along = 0.0
        for axis, n in zip((-2, -1), modes.shape[-2:], strict=True):
            frequency = np.fft.fftfreq(n, 1 / n)
            shape = [-1 if a == axis else 1 for a in (-2, -1)]
            slope = np.fft.ifft2(np.fft.fft2(modes) * frequency.reshape(shape))
            along += float(np.sum((modes.conj() * slope).real * near[axis]))
        total = float(np.sum(np.abs(modes) ** 2))
        return cls(
            width_px=width,
            divergence_px=divergence,
            curvature=along / total / max(width * divergence, 1e-12),
            hollowness=float((power * radius2**2).sum() / max(divergence, 1e-12) ** 4),
            first_mode=first,
        )

    @property
    def values(self) -> np.ndarray:
        """The numbers, in the order of `FEATURES`."""
        return np.array([getattr(self, name) for name in FEATURES])

    def distances(self, known: np.ndarray) -> np.ndarray:
        """Differences ``(n, 5)`` from the ``known`` numbers ``(n, 5)``, in units of what counts as the same."""
        scale = np.array(TOLERANCE) * np.stack([known[:, 0], known[:, 1], *np.ones((3, len(known)))], axis=1)
        return np.abs(self.values - known) / scale

    def is_known(self, known: np.ndarray, family: bool) -> bool:
        """Whether the probe is one of ``known`` ``(n, 5)``, or lies within their range if they are a ``family``."""
        if not family:
            return bool((self.distances(known).max(1) <= 1).any())
        low, high = known.min(0), known.max(0)
        inside = np.clip(self.values, low, high)
        return bool((self.distances(inside[None])[0] <= 1).all())

    def as_dict(self) -> Mapping[str, float]:
        """The numbers by name, rounded for a model card."""
        return {name: float(f"{getattr(self, name):.5g}") for name in FEATURES}


def _about_middle(power: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Coordinates from the center of mass along (y, x), and the root mean square radius."""
    power = power / power.sum()
    y, x = np.arange(power.shape[0])[:, None], np.arange(power.shape[1])[None, :]
    centered = [y - (power * y).sum(), x - (power * x).sum()]
    return centered, float(np.sqrt((power * (centered[0] ** 2 + centered[1] ** 2)).sum()))
