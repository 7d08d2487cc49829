r"""The two representations of an object: its transmission, or its absorption and phase shift.

A slice of thickness t with refractive index :math:`n = 1 - \delta + i\beta` transmits :math:`O = e^{-w}` with
:math:`w = b + i d = k t (\beta + i \delta)`, dimensionless. ``real_imag`` solves for the real and imaginary part of O;
``delta_beta`` for w, which is linear in the optical constants and has no wrapped phase; regularizers and constraints
then act on delta and beta.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from adorym.wrapper.base import Array, Backend

Representation = Literal["real_imag", "delta_beta"]
# Smallest amplitude before the logarithm, which zero does not have.
DARKEST = 1e-6


def transmission_of(xp: Backend, exponent: Array) -> Array:
    """``exp(-(b + i d))`` from ``b + i d`` complex, of the same shape."""
    modulus, phase = xp.exp(-xp.real(exponent)), xp.imag(exponent)
    return xp.complex(modulus * xp.cos(phase), -modulus * xp.sin(phase))


def exponent_of(xp: Backend, transmission: Array) -> Array:
    """``b + i d = -log O``, with d within (-pi, pi]."""
    modulus = xp.maximum(xp.abs(transmission), DARKEST)
    return xp.complex(-xp.log(modulus), -xp.angle(transmission))


def optical_constants_of(exponent: np.ndarray, thickness_m: float, wavelength_m: float) -> np.ndarray:
    """``(..., 2)`` delta and beta from ``b + i d``."""
    k_t = 2 * math.pi / wavelength_m * thickness_m
    return np.stack([exponent.imag, exponent.real], axis=-1) / k_t


def exponent_from(constants: np.ndarray, thickness_m: float, wavelength_m: float) -> np.ndarray:
    """``b + i d`` complex128 from delta and beta ``(..., 2)``; inverse of `optical_constants_of`."""
    k_t = 2 * math.pi / wavelength_m * thickness_m
    return k_t * (constants[..., 1].astype(np.float64) + 1j * constants[..., 0])
