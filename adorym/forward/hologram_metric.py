r"""Steps that are as long for slow changes of the phase as for fast ones.

With :math:`O = O_0 e^{a + i\varphi}` and :math:`\chi_k = \pi\lambda z_k f^2` the holograms change to first order by
:math:`2(\cos\chi_k\,\hat a + \sin\chi_k\,\hat\varphi)` (Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999), eq. (1)).
The Gauss-Newton matrix of least squares is then, frequency by frequency and relative to what one fully seen pixel has,

.. math:: h(f) = \frac1d \sum_k \begin{pmatrix} \cos^2\chi_k & \cos\chi_k \sin\chi_k \\
          \cos\chi_k \sin\chi_k & \sin^2\chi_k \end{pmatrix},

which is tiny for slow phases. The gradient, turned into the local directions of a and :math:`\varphi`, is multiplied by
:math:`(h + \epsilon)^{-1}`. That is a symmetric positive operator: where the gradient vanishes stays where it was.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from adorym.optics.geometry import Grid
from adorym.optics.propagation import fresnel_rate_rad_per_m
from adorym.wrapper.base import Array, Backend

# Smallest modulus whose phase means something, as a part of vacuum.
DARK = 1e-3


@lru_cache(maxsize=4)
def _filters(grid: Grid, distances_m: tuple[float, ...], floor: float) -> tuple[np.ndarray, np.ndarray]:
    """``(alpha, beta)`` ``(Y, X)``: ``(h + floor)^-1`` as ``z -> alpha z + beta conj(z)`` of ``z = a + i phi``."""
    rate = fresnel_rate_rad_per_m(grid)
    aa, ap = np.zeros(rate.shape), np.zeros(rate.shape)
    for distance in distances_m:
        aa += np.cos(distance * rate) ** 2
        ap += 0.5 * np.sin(2 * distance * rate)
    aa, ap = aa / len(distances_m), ap / len(distances_m)
    pp = 1 - aa + floor
    aa = aa + floor
    determinant = aa * pp - ap**2
    inverse = pp / determinant, -ap / determinant, aa / determinant
    return (inverse[0] + inverse[2]) / 2, (inverse[0] - inverse[2]) / 2 + 1j * inverse[1]


@lru_cache(maxsize=4)
def _filter_of_lag(grid: Grid, distances_m: tuple[float, ...], floor: float, kappa: float) -> np.ndarray:
    """``(h + floor)^-1`` ``(Y, X)`` of the phase shift of one material."""
    rate = fresnel_rate_rad_per_m(grid)
    h = np.zeros(rate.shape)
    for distance in distances_m:
        h += (np.sin(distance * rate) + np.cos(distance * rate) / kappa) ** 2
    return 1 / (h / len(distances_m) + floor)


def rounded(
    xp: Backend, gradient: Array, obj: Array | None, grid: Grid, distances_m: np.ndarray, floor: float
) -> Array:
    """``(h + floor)^-1`` times the gradient ``(Y, X)`` complex.

    Args:
        xp: Backend.
        gradient: By the transmission; or by the exponent ``-log O``.
        obj: The transmission ``(Y, X)``; ``None`` for a gradient by the exponent.
        grid: Of the object.
        distances_m: ``(d,)``.
        floor: Added to h, whose eigenvalues lie between 0 and 1.
    """
    alpha, beta = (xp.asarray(f) for f in _filters(grid, tuple(map(float, distances_m)), floor))
    if obj is None:
        return _applied(xp, gradient, alpha, beta)
    modulus = xp.abs(obj)
    direction = obj / xp.maximum(modulus, DARK)
    return direction * _applied(xp, gradient * xp.conj(direction), alpha, beta)


def rounded_lag(xp: Backend, gradient: Array, grid: Grid, distances_m: np.ndarray, floor: float, kappa: float) -> Array:
    """``(h + floor)^-1`` times the gradient ``(Y, X)`` by the phase shift of one material, the real part."""
    kernel = xp.asarray(_filter_of_lag(grid, tuple(map(float, distances_m)), floor, kappa))
    return xp.ifft2(kernel * xp.fft2(gradient))


def _applied(xp: Backend, z: Array, alpha: Array, beta: Array) -> Array:
    return xp.ifft2(alpha * xp.fft2(z) + beta * xp.fft2(xp.conj(z)))
