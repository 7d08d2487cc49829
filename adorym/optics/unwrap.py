"""The unwrapped phase of an object of one material."""

from __future__ import annotations

import numpy as np

# Smallest modulus before the logarithm.
DARK = 1e-3


def unwrapped_phase(transmission: np.ndarray) -> np.ndarray:
    r"""Phase :math:`\varphi = k t \delta` of a transmission :math:`e^{-(1/\kappa + i)\varphi}`, real, of its shape.

    If absorption is proportional to the phase where the phase is small, it determines the multiples of 2 pi; otherwise
    the phase is within half a turn.
    """
    phase = -np.angle(transmission)
    absorption = -np.log(np.maximum(np.abs(transmission), DARK))
    sure = (np.abs(phase) < 0.5) & (absorption < absorption.max() / 8)
    weight = float((phase[sure] ** 2).sum())
    ratio = float((absorption[sure] * phase[sure]).sum()) / weight if weight > 0 else 0.0
    if ratio <= 0 or float(np.abs(absorption - ratio * phase)[sure].max()) > 0.1 * ratio:
        return phase
    return phase + 2 * np.pi * np.round((absorption / ratio - phase) / (2 * np.pi))
