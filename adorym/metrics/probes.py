r"""Probe modes compared with the true ones.

Modes that add incoherently are determined only up to a unitary mixture among themselves: what the data hold is the
mutual intensity :math:`\sum_m P_m(\mathbf r) P_m^*(\mathbf r')`. Its eigenvectors, the orthogonal modes in order of
power, are unique, so modes are made orthogonal before they are compared
(Thibault & Menzel, Nature 494, 68 (2013); Wolf, J. Opt. Soc. Am. 72, 343 (1982)).
"""

from __future__ import annotations

import numpy as np

from adorym.errors import DataError
from adorym.metrics.alignment import align_object
from adorym.optics.modes import orthogonalize
from adorym.optics.modes import power_fractions as modes_power_fractions


def orthogonal_modes(modes: np.ndarray) -> np.ndarray:
    """The orthogonal modes of the same mutual intensity, strongest first: ``(m, y, x)`` from ``(m, y, x)`` complex."""
    return orthogonalize(_checked(modes))


def power_fractions(modes: np.ndarray) -> np.ndarray:
    """Share ``(m,)`` of the power in each orthogonal mode, largest first; they add to 1."""
    return modes_power_fractions(orthogonal_modes(modes))


def probe_fidelity(reconstructed: np.ndarray, true: np.ndarray) -> float:
    r"""Overlap of the dominant modes, between 0 and 1.

    .. math:: F = \frac{|\langle P', P\rangle|^2}{\langle P', P'\rangle\,\langle P, P\rangle}

    after removing shift, phase ramp, phase and scale, the freedoms that a probe shares with the object.

    Args:
        reconstructed: ``(m, y, x)`` or ``(y, x)`` complex.
        true: ``(m, y, x)`` or ``(y, x)`` complex, the same window.

    Raises:
        DataError: The windows differ or a probe is empty.
    """
    found, wanted = orthogonal_modes(reconstructed)[0], orthogonal_modes(true)[0]
    if found.shape != wanted.shape:
        raise DataError("probe", "the windows differ", expected=wanted.shape, found=found.shape)
    # With the least-squares factor removed, the squared error is what the overlap lacks.
    return max(0.0, 1 - align_object(found, wanted).error ** 2)


def _checked(modes: np.ndarray) -> np.ndarray:
    modes = np.asarray(modes, np.complex128)
    modes = modes[None] if modes.ndim == 2 else modes
    if modes.ndim != 3 or not np.any(modes) or not np.isfinite(modes).all():
        expected = "(m, y, x), finite, not 0 everywhere"
        raise DataError("probe", "cannot be compared", expected=expected, found=modes.shape)
    return modes
