r"""Beam hardening: how a beam of many energies is attenuated by a sample of one material.

Of a spectrum with weights :math:`s_E` a sample transmits :math:`\sum_E s_E e^{-w \mu_E/\bar\mu}`, where its optical
depth w is the line integral of the mean attenuation coefficient :math:`\bar\mu = \sum_E s_E \mu_E`. Soft radiation is
absorbed first, so that minus the logarithm, the attenuation h, grows more slowly than w. Here it is

.. math::

    h(w) = (1 - q)\,\frac{\ln(1 + v w)}{v} + q w, \qquad q = e^{-2c}, \quad v = \frac{c}{1 - q},

which radiation with a gamma distribution of coefficients, and a share q that is hard already, would show. It rises
everywhere, :math:`h'(0) = 1` and :math:`-h''(0) = c`: the one unknown c is the relative variance of the attenuation
coefficient over the spectrum. That q follows from c is a rule of experience: up to an attenuation of 3.5 this h is
within 0.05 of that of tubes of 60 and 100 kV, and of a broad line at 35 keV, behind water, aluminum and iron
(coefficients of NIST), where a cubic polynomial with two unknowns is off by 0.01 to 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from adorym.parameters import Parameter
from adorym.preconditioners import Blocks
from adorym.wrapper.base import Array, Backend

HARDENING = "beam_hardening"
START = 0.3
LEAST = 1e-4


def beam_hardening() -> Parameter:
    """The parameter c, ``(1,)``.

    It has no momentum: while the volume forms, the misfit asks for too much of it.
    """
    return Parameter(
        optional=True,
        help="relative variance of the attenuation coefficient over the spectrum of the beam: thick samples of one "
        "material attenuate less than thin ones let expect",
        start=lambda bound, settings, rng: np.array([START]),
        optimizer={"kind": "preconditioned", "learning_rate": 1.0, "regularization": 0.0, "maximum_step": 0.05},
        preconditioner=Blocks(1e-2, central=True),
        bounds=(LEAST, None),
    )


def attenuation(xp: Backend, depth: Array, params: Mapping[str, Array]) -> Array:
    """Minus the logarithm of the transmission, from the optical ``depth``; the depth itself without the parameter."""
    if HARDENING not in params:
        return depth
    hard, v = _parts(xp, params)
    matter = xp.maximum(depth, 0.0)  # noise may be negative
    return (1 - hard) * xp.log(1 + v * matter) / v + hard * matter + (depth - matter)


def slope(xp: Backend, depth: Array, params: Mapping[str, Array]) -> Array | float:
    """The derivative of `attenuation` by the depth."""
    if HARDENING not in params:
        return 1.0
    hard, v = _parts(xp, params)
    return (1 - hard) / (1 + v * xp.maximum(depth, 0.0)) + hard


def _parts(xp: Backend, params: Mapping[str, Array]) -> tuple[Array, Array]:
    """The share q that is hard already, and v."""
    c = xp.maximum(params[HARDENING][0], LEAST)
    hard = xp.exp(-2 * c)
    return hard, c / (1 - hard)
