r"""From the refractive index to the transmission of a slice, and back.

With :math:`n = 1 - \delta + i\beta` and waves :math:`e^{+ikz}`, a slice of thickness t multiplies the wave by

.. math:: T = e^{-k t (\beta + i\delta)}, \qquad |T|^2 = e^{-2 k t \beta}, \qquad \arg T = -k t \delta,

(Paganin, *Coherent X-Ray Optics*, 2006, section 2.2): matter retards the phase of X-rays less than vacuum would, and
:math:`2 k \beta` is the linear attenuation coefficient. Optical constants are dimensionless, lengths meters.
"""

from __future__ import annotations

import math

from adorym.wrapper.base import Array, Backend


def transmission(xp: Backend, delta: Array, beta: Array, thickness_m: Array | float, wavelength_m: float) -> Array:
    """``exp(-k t (beta + i delta))`` complex, of the shape of ``delta`` and ``beta``; differentiable in all three."""
    k_t = 2 * math.pi / wavelength_m * thickness_m
    modulus, phase = xp.exp(-k_t * beta), k_t * delta
    return xp.complex(modulus * xp.cos(phase), -modulus * xp.sin(phase))


def optical_constants(xp: Backend, wave: Array, thickness_m: float, wavelength_m: float) -> tuple[Array, Array]:
    """``(delta, beta)`` of a slice that transmits ``wave``; delta is wrapped to a phase in (-pi, pi].

    ``wave`` complex, nowhere zero.
    """
    k_t = 2 * math.pi / wavelength_m * thickness_m
    return -xp.angle(wave) / k_t, -xp.log(xp.abs(wave)) / k_t


def phase_rad(delta: Array, thickness_m: Array | float, wavelength_m: float) -> Array:
    """``-k t delta``: phase of the transmitted wave, not wrapped."""
    return -2 * math.pi / wavelength_m * thickness_m * delta


def thickness_from_phase_m(phase: Array, delta: float, wavelength_m: float) -> Array:
    """``-phase / (k delta)``: thickness of a homogeneous material that shifts the phase by ``phase`` rad."""
    return -phase * (wavelength_m / (2 * math.pi * delta))


def attenuation_length_m(beta: float, wavelength_m: float) -> float:
    """``1 / (2 k beta)``: depth at which the intensity has fallen to 1/e."""
    return wavelength_m / (4 * math.pi * beta)
