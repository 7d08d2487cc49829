r"""Steps of equal relative length for low and high spatial frequencies of the phase.

With :math:`O = O_0 e^{a + i\varphi}` and :math:`\chi_k = \pi\lambda z_k f^2` the holograms change to first order by
:math:`2(\cos\chi_k\,\hat a + \sin\chi_k\,\hat\varphi)` (Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999), eq. (1)).
The Gauss-Newton matrix of least squares is then, for each frequency and relative to that of full contrast,

.. math:: h(f) = \frac1d \sum_k \begin{pmatrix} \cos^2\chi_k & \cos\chi_k \sin\chi_k \\
          \cos\chi_k \sin\chi_k & \sin^2\chi_k \end{pmatrix},

which is tiny for low frequencies of the phase. The gradient, rotated to the local directions of a and :math:`\varphi`,
is multiplied by :math:`\tfrac12 (h + \epsilon)^{-1}`, a symmetric positive operator that does not move the minimum.

This h holds for known distances, weak objects and no edges. Three measures keep the steps short where it does not:

- Frequencies beyond the first maximum of the contrast have h = 1. Equally spaced distances have zeros in common there,
  and with distances that are a little off the true contrast at such a zero is of order 1: steps 1/epsilon too long.
- In a field of view with vacuum around it slow waves end at its edge, which has fringes of full contrast. They are made
  longer only as far as a smooth weight w allows, which vanishes at the edge:
  :math:`b + w\,[(h + \epsilon)^{-1} - b]\,w` with the smallest eigenvalue b, about 1.
- The factor 1/2 leaves room for phases that are not small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from adorym.optics.geometry import Grid
from adorym.optics.propagation import fresnel_rate_rad_per_m
from adorym.preconditioners.base import Point, Preconditioner
from adorym.wrapper.base import Array, Backend

# Smallest modulus with a meaningful phase, relative to vacuum.
DARK = 1e-3
# Part of a Gauss-Newton step: holograms are not linear in the phase.
STEP = 0.5


def _filters(grid: Grid, distances_m: tuple[float, ...], floor: float) -> tuple[np.ndarray, np.ndarray]:
    """``(alpha, beta)`` ``(Y, X)``: ``(h + floor)^-1`` as ``z -> alpha z + beta conj(z)`` of ``z = a + i phi``."""
    rate = fresnel_rate_rad_per_m(grid)
    aa, ap = np.zeros(rate.shape), np.zeros(rate.shape)
    for distance in distances_m:
        aa += np.cos(distance * rate) ** 2
        ap += 0.5 * np.sin(2 * distance * rate)
    aa, ap = aa / len(distances_m), ap / len(distances_m)
    slow = _slow(rate, distances_m)
    aa, ap, pp = np.where(slow, aa, 1.0) + floor, np.where(slow, ap, 0.0), np.where(slow, 1 - aa, 1.0) + floor
    determinant = aa * pp - ap**2
    inverse = pp / determinant, -ap / determinant, aa / determinant
    return (inverse[0] + inverse[2]) / 2, (inverse[0] - inverse[2]) / 2 + 1j * inverse[1]


def _filter_of_phase(grid: Grid, distances_m: tuple[float, ...], floor: float, kappa: float) -> np.ndarray:
    """``(h + floor)^-1`` ``(Y, X)`` for the phase of one material."""
    rate = fresnel_rate_rad_per_m(grid)
    h = np.zeros(rate.shape)
    for distance in distances_m:
        h += (np.sin(distance * rate) + np.cos(distance * rate) / kappa) ** 2
    return 1 / (np.where(_slow(rate, distances_m), h / len(distances_m), 1.0) + floor)


def _slow(rate: np.ndarray, distances_m: tuple[float, ...]) -> np.ndarray:
    """Where every contrast of the phase still rises with the frequency."""
    return float(np.abs(distances_m).max()) * rate < np.pi / 2


def _faded(field: np.ndarray, width_px: float) -> np.ndarray:
    """``field``, 1 in a rectangle and 0 outside, that rises like a squared sine over ``width_px`` from its edges."""
    ramps = []
    for axis in (0, 1):
        inside = np.flatnonzero(field.any(1 - axis))
        k = np.arange(field.shape[axis])
        depth = np.minimum(k - inside[0] + 1, inside[-1] + 1 - k) / min(width_px, len(inside) / 2)
        ramps.append(np.sin(np.pi / 2 * np.clip(depth, 0, 1)) ** 2)
    return np.multiply.outer(*ramps)


@dataclass(frozen=True)
class ContrastTransfer(Preconditioner):
    r"""Multiplies the gradient by :math:`\tfrac12 (h + \epsilon)^{-1}`, in addition to a diagonal.

    Attributes:
        diagonal: The diagonal that the step divides by afterwards.
        grid_of: The object's grid, from its (y, x) size.
        distances_m: ``(d,)`` distances as given with the data.
        floor: :math:`\epsilon`; the eigenvalues of h are between 0 and 1.
        kappa: delta / beta if the unknown is the phase of one material; ``None`` for a transmission.
        field: The refined part of an object in vacuum, 1 in a rectangle, from the object's (y, x) size.
    """

    diagonal: Preconditioner
    grid_of: Callable[[tuple[int, int]], Grid]
    distances_m: tuple[float, ...]
    floor: float
    kappa: float | None = None
    field: Callable[[tuple[int, int]], np.ndarray] | None = None

    needs_whole: ClassVar[bool] = True

    def period_px(self, grid: Grid) -> float:
        """Period, in pixels, of the phase whose contrast is the floor: slower ones are not made longer than it."""
        distance = np.sqrt(np.mean(np.square(self.distances_m)))
        period = np.sqrt(np.pi * grid.wavelength_m * distance / np.sqrt(self.floor))
        return float(period / min(grid.pixel_size_m))

    def curvature(self, name: str, point: Point) -> Array:
        return self.diagonal.curvature(name, point)

    def apply(self, xp: Backend, unknown: Array, gradient: Array) -> Array:
        same, weight, alpha, beta = _factors(self, xp, (unknown.shape[0], unknown.shape[1]))
        if beta is None:
            return same * gradient + weight * xp.ifft2(alpha * xp.fft2(weight * gradient))
        direction = unknown * (weight / xp.sqrt(xp.maximum(xp.abs2(unknown), DARK**2)))  # cheaper than complex division
        z = xp.fft2(xp.conj(direction) * gradient)
        longer = xp.ifft2(alpha * z + beta * xp.conj(_mirrored(xp, z)))
        return same * gradient + direction * longer


@lru_cache(maxsize=4)
def _factors(steps: ContrastTransfer, xp: Backend, shape: tuple[int, int]) -> tuple[float, Array, Array, Array | None]:
    """``(same, w, alpha, beta)``: the step is ``same g + w F^-1 [alpha F w g + beta F conj(w g)]``."""
    grid, floor, kappa = steps.grid_of(shape), steps.floor, steps.kappa
    least, weight, beta = 0.0, np.ones(shape), None
    if steps.field is not None:
        least, weight = 1 / (1 + (kappa or np.inf) ** -2 + floor), _faded(steps.field(shape), steps.period_px(grid))
    if kappa is None:
        alpha, beta = _filters(grid, steps.distances_m, floor)
        beta = xp.asarray(STEP * beta)
    else:
        alpha = _filter_of_phase(grid, steps.distances_m, floor, kappa)
    return STEP * least, xp.asarray(weight), xp.asarray(STEP * (alpha - least)), beta


def _mirrored(xp: Backend, spectrum: Array) -> Array:
    """``spectrum`` ``(Y, X)`` at the opposite frequencies."""
    for axis in (0, 1):
        spectrum = xp.take(spectrum, -np.arange(spectrum.shape[axis]) % spectrum.shape[axis], axis=axis)
    return spectrum
