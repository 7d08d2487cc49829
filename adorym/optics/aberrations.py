r"""Aberrations of a lens: what they do to the phase of the wave in its pupil.

.. math:: \chi(\alpha, \varphi) = \frac{2\pi}{\lambda} \sum_{n, m} \frac{\alpha^{n+1}}{n+1}
          \left[C_{nm}^a \cos m\varphi + C_{nm}^b \sin m\varphi\right], \qquad P = \mathcal F^{-1}[A\, e^{-i\chi}]

with the angle :math:`\alpha = \lambda f` to the axis, and :math:`\varphi` from x towards y (Krivanek, Dellby & Lupini,
Ultramicroscopy 78, 1 (1999)). Names are ``C10`` (the defocus, positive where the sample lies downstream of the focus),
``C12a``, ``C12b`` (astigmatism), ``C21a``, ... (coma), ``C30`` (spherical aberration), and so on; the first digit is
their order. In numbers of similar size, each is told by its phase at the edge of the pupil.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from adorym.errors import ConfigError, suggestion
from adorym.optics.geometry import Grid

HIGHEST_ORDER = 5
# Beyond the edge there is hardly a wave, but high orders grow without bound: angles stop at this multiple of it.
OUTERMOST = 1.5


def aberration_names(order: int) -> tuple[str, ...]:
    """Names of all aberrations up to ``order``, the lowest first."""
    found = []
    for n in range(1, order + 1):
        for m in range((n + 1) % 2, n + 2, 2):
            found += [f"C{n}{m}"] if m == 0 else [f"C{n}{m}a", f"C{n}{m}b"]
    return tuple(found)


def phases_at_edge(order: int, half_angle_rad: float, wavelength_m: float) -> np.ndarray:
    """``(k,)`` phase in rad per meter of each aberration up to ``order``, at the edge of a pupil of that half angle."""
    orders = np.array([int(name[1]) for name in aberration_names(order)])
    return 2 * math.pi / wavelength_m * half_angle_rad ** (orders + 1) / (orders + 1)


@lru_cache(maxsize=8)
def phase_patterns(grid: Grid, order: int, half_angle_rad: float) -> np.ndarray:
    """``(k, y, x)`` phase of each aberration for one radian at the edge, zero frequency at the corner."""
    fy, fx = grid.frequencies_per_m()
    angle, around = grid.wavelength_m * np.hypot(fy, fx), np.arctan2(fy, fx)
    relative = np.minimum(angle / half_angle_rad, OUTERMOST)
    found = []
    for name in aberration_names(order):
        n, m = int(name[1]), int(name[2])
        found.append(relative ** (n + 1) * (np.sin(m * around) if name.endswith("b") else np.cos(m * around)))
    return np.array(found)


def aberration_phase(grid: Grid, coefficients_m: Mapping[str, float], half_angle_rad: float) -> np.ndarray:
    r"""``(y, x)`` float64 :math:`\chi` of some coefficients, zero frequency at the corner."""
    at_edge = phases_at_edge(HIGHEST_ORDER, half_angle_rad, grid.wavelength_m)
    values = [coefficients_m.get(name, 0.0) for name in aberration_names(HIGHEST_ORDER)]
    return np.tensordot(at_edge * values, phase_patterns(grid, HIGHEST_ORDER, half_angle_rad), 1)


def check_coefficients(coefficients_m: Mapping[str, float], where: str) -> None:
    """Refuse names that are none.

    Raises:
        ConfigError: A name is that of no aberration, or of the defocus.
    """
    known = [name for name in aberration_names(HIGHEST_ORDER) if name != "C10"]
    for name in coefficients_m:
        if name == "C10":
            raise ConfigError(f"{where}.C10", "is the defocus", remedy="give it as 'defocus'")
        if name not in known:
            raise ConfigError(f"{where}.{name}", "no such aberration", remedy=suggestion(name, known))
