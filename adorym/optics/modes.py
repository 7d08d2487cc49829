r"""Incoherent probe modes: adding modes, and orthogonalizing them.

A partially coherent beam is a sum of mutually incoherent modes :math:`P_m`. A measurement depends only on the mutual
intensity (Thibault & Menzel, Nature 494, 68 (2013))

.. math:: J(r, r') = \sum_m P_m(r)\, \overline{P_m(r')},

which any unitary mixture of the modes leaves unchanged. `orthogonalize` picks the mixture whose modes are orthogonal.
Everything here is NumPy on arrays ``(m, y, x)`` complex.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.errors import ConfigError, DataError, suggestion

Seeding = Literal["hermite", "random", "shifted"]

FIRST_FRACTION = 0.6


def powers(modes: np.ndarray) -> np.ndarray:
    """``sum |P_m|^2`` of each mode, ``(m,)`` float64."""
    return np.sum(np.abs(np.asarray(modes, np.complex128)) ** 2, axis=(-2, -1))


def power_fractions(modes: np.ndarray) -> np.ndarray:
    """Fraction of the power in each mode, ``(m,)`` float64, sum 1.

    Raises:
        DataError: The probe has no power.
    """
    power = powers(modes)
    if not 0 < power.sum() < np.inf:
        raise DataError("probe", "has no power, or is not finite", found=f"{power.sum():.3g}")
    return power / power.sum()


def scale_power(modes: np.ndarray, photons: float) -> np.ndarray:
    """``modes`` times a common factor, so that their total power is ``photons``."""
    return modes * math.sqrt(photons / powers(modes).sum())


def beam_center_px(modes: np.ndarray) -> tuple[float, float]:
    """(y, x) center of mass of the summed intensity, in pixel indices."""
    y, x = scipy.ndimage.center_of_mass(_intensity(modes))
    return float(y), float(x)


def beam_sigma_px(modes: np.ndarray) -> tuple[float, float]:
    """(y, x) standard deviation of the summed intensity, in pixels."""
    weight, (cy, cx) = _intensity(modes), beam_center_px(modes)
    y, x = np.indices(weight.shape)
    return math.sqrt((weight * (y - cy) ** 2).sum()), math.sqrt((weight * (x - cx) ** 2).sum())


def beam_diameter_px(modes: np.ndarray) -> float:
    r"""Diameter of the disc whose area is :math:`(\sum I)^2 / \sum I^2`, in pixels.

    A uniform disc gives its own diameter; faint tails, which would dominate a standard deviation, have little effect.
    """
    return 2 * math.sqrt(1 / (math.pi * np.sum(_intensity(modes) ** 2)))


def orthogonalize(modes: np.ndarray) -> np.ndarray:
    r"""The same mutual intensity in orthogonal modes, the strongest first.

    With the Gram matrix :math:`G_{lm} = \langle P_l, P_m\rangle = U \Lambda U^\dagger` the new modes are
    :math:`Q = U^\dagger P`; U is unitary, hence :math:`\sum_m Q_m \overline{Q_m} = \sum_m P_m \overline{P_m}`. The free
    phase of each new mode is that of the old mode with the largest part in it, so that orthogonal modes are unchanged.

    Args:
        modes: ``(m, y, x)`` complex, or ``(scans, m, y, x)``.

    Returns:
        The same shape and type; each scan has its own modes.
    """
    if modes.ndim == 4:
        return np.array([orthogonalize(each) for each in modes])
    flat = np.asarray(modes, np.complex128).reshape(len(modes), -1)
    _, mix = np.linalg.eigh(flat @ flat.conj().T)
    mix = mix[:, ::-1]  # eigh sorts in ascending order
    largest = mix[np.argmax(np.abs(mix), axis=0), np.arange(len(mix))]
    mix = mix * np.exp(-1j * np.angle(largest))
    return (mix.conj().T @ flat).reshape(modes.shape).astype(modes.dtype, copy=False)


def seed_modes(
    probe: np.ndarray,
    n: int,
    kind: Seeding = "hermite",
    rng: np.random.Generator | None = None,
    first_fraction: float = FIRST_FRACTION,
) -> np.ndarray:
    """``n`` incoherent modes with the total power of ``probe``.

    The modes of ``probe`` keep their shape and together hold ``first_fraction`` of the power; the new ones are
    variations of the first, orthogonal to it and to each other, with equal parts of the rest.

    Args:
        probe: ``(m, y, x)`` complex with m <= n.
        n: Number of modes wanted.
        kind: ``"hermite"``: the probe times polynomials x, y, xy, x^2 - y^2, ...; ``"random"``: the probe times
            smooth random phases; ``"shifted"``: the probe moved by half its radius in different directions.
        rng: Source of the random phases.
        first_fraction: Fraction of the power in the existing modes.

    Returns:
        ``(n, y, x)`` complex128.

    Raises:
        ConfigError: Fewer modes are wanted than the probe has, an unknown ``kind``, or a fraction outside (0, 1].
    """
    probe = np.asarray(probe, np.complex128)
    have, total = len(probe), powers(probe).sum()
    if n < have:
        raise ConfigError(
            "parameters.probe.modes",
            "the initial probe has more modes",
            expected=f"at least {have}",
            found=n,
        )
    if kind not in get_args(Seeding):
        remedy = suggestion(kind, get_args(Seeding))
        raise ConfigError("parameters.probe.seeding", f"no way of seeding modes named '{kind}'", remedy=remedy)
    if not 0 < first_fraction <= 1:
        where = "parameters.probe.first_fraction"
        raise ConfigError(where, "not a fraction", expected="0 < f <= 1", found=first_fraction)
    power_fractions(probe)  # refuses a probe without power
    if n == have:
        return probe
    candidates = _candidates(probe[0], n - have, kind, np.random.default_rng(0) if rng is None else rng)
    new = _orthonormal(np.concatenate([probe, candidates]))[have:]
    share = math.sqrt((1 - first_fraction) * total / len(new))
    return np.concatenate([probe * math.sqrt(first_fraction), new * share])


def _candidates(first: np.ndarray, n: int, kind: Seeding, rng: np.random.Generator) -> np.ndarray:
    if kind == "hermite":
        (cy, cx), (sy, sx) = beam_center_px(first[None]), beam_sigma_px(first[None])
        y, x = np.indices(first.shape)
        return first * np.array(list(itertools.islice(_polynomials((y - cy) / sy, (x - cx) / sx), n)))
    if kind == "random":
        length = max(beam_diameter_px(first[None]) / 4, 1.0)  # over which the phase varies, by about a radian rms
        noise = scipy.ndimage.gaussian_filter(rng.standard_normal((n, *first.shape)), (0, length, length), mode="wrap")
        return first * np.exp(1j * noise / noise.std(axis=(1, 2), keepdims=True))
    angles = 2 * math.pi * np.arange(n) / n
    steps = beam_diameter_px(first[None]) / 4 * np.stack([np.sin(angles), np.cos(angles)], 1)
    return np.array([np.fft.ifft2(scipy.ndimage.fourier_shift(np.fft.fft2(first), step)) for step in steps])


def _polynomials(y: Any, x: Any) -> Iterator[np.ndarray]:
    """Products x, y, xy, x^2 - y^2, x^2 + y^2, then all monomials of degree 3, 4, ..., without the constant."""
    low = (x, y, x * y, x**2 - y**2, x**2 + y**2)
    high = (x ** (degree - k) * y**k for degree in itertools.count(3) for k in range(degree + 1))
    return itertools.chain(low, high)


def _orthonormal(modes: np.ndarray) -> np.ndarray:
    """Gram-Schmidt in the order given, by QR; every mode keeps its own phase."""
    flat = modes.reshape(len(modes), -1).T
    q, r = np.linalg.qr(flat / np.linalg.norm(flat, axis=0))
    return (q * np.exp(1j * np.angle(np.diag(r)))).T.reshape(modes.shape)


def _intensity(modes: np.ndarray) -> np.ndarray:
    """Summed intensity ``(y, x)`` with the sum 1."""
    power_fractions(modes)
    intensity = np.sum(np.abs(np.asarray(modes, np.complex128)) ** 2, axis=0)
    return intensity / intensity.sum()
