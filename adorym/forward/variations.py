r"""A probe that changes during a scan: variations of one of its modes, with a weight per pattern.

.. math:: P_{j}(r) = P(r) + \sum_{k=1}^{K} a_{jk} V_k(r), \qquad a_{jk}\ \text{real},

after Odstrcil et al., Opt. Express 24, 8360 (2016), and Sawhney et al., there called orthogonal probe relaxation. The
scan is described by K waves and K numbers per pattern, not by a probe per pattern, which the data would not determine.
The sum is unchanged by any invertible mixture of the variations, and by a part of them that moves into the probe:
`VariationGauge` fixes both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.errors import ConfigError
from adorym.forward.scans import pattern_counts, rows_of_scans
from adorym.forward.thin import times_scale, transmitted
from adorym.optics.modes import beam_center_px, beam_sigma_px, powers
from adorym.parameters import Parameter, ParameterSettings
from adorym.preconditioners import Blocks, Diagonal, Point
from adorym.updates.base import State, Update
from adorym.wrapper.base import Array, Backend

PROBE, VARIATIONS, WEIGHTS = "probe", "probe_variations", "variation_weights"
LEAST_WEIGHT = 0.2
# A steady beam first: else the variations take up what object and probe have not found yet.
LATER = {"kind": "late_decay", "wait": 0.06}
BRIGHTNESS = 1  # which of the first variations it is


def varied(xp: Backend, modes: Array, params: Mapping[str, Array], mode: int) -> Array:
    """Modes ``(n, m, y, x)`` at each pattern, from the common ones ``(m, y, x)`` or those of its scan."""
    weights, variations = params[WEIGHTS], params[VARIATIONS]
    n, k = weights.shape
    flat = xp.reshape(variations, (k, -1))
    change = xp.matmul(xp.complex(weights, 0 * weights), flat)
    change = xp.reshape(change, (n, 1, *modes.shape[-2:]))
    chosen = (np.arange(modes.shape[-3]) == mode).astype(xp.float_dtype).reshape(-1, 1, 1)
    return (modes if len(modes.shape) == 4 else modes[None]) + xp.asarray(chosen) * change


def _number(bound: Any) -> int:
    found = getattr(bound.settings.get(PROBE), "variations", 0)
    if not found:
        raise ConfigError(
            f"parameters.{VARIATIONS}",
            "the number of variations is not given",
            remedy="give 'parameters.probe.variations', for example 3",
        )
    return int(found)


def _start_variations(bound: Any, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    """``(K, y, x)``: the mode times what drifting optics do to it, each with the mode's power."""
    modes = bound.model.refinable[PROBE].start_value(PROBE, bound, bound.settings[PROBE], rng)
    modes = modes.reshape(-1, *modes.shape[-3:])[0]  # of the first scan
    mode = getattr(bound.model, "varied_mode", 0)
    if mode >= len(modes):
        where = "forward_model.varied_mode"
        raise ConfigError(where, "there is no such mode", expected=f"0 to {len(modes) - 1}", found=mode)
    first = modes[mode]
    (cy, cx), (sy, sx) = beam_center_px(first[None]), beam_sigma_px(first[None])
    y, x = np.indices(first.shape)
    made = list(itertools.islice(_changes(first, (y - cy) / sy, (x - cx) / sx), _number(bound)))
    return np.array([each * np.sqrt(powers(first[None])[0] / powers(each[None])[0]) for each in made])


def _changes(first: np.ndarray, y: np.ndarray, x: np.ndarray) -> Iterator[np.ndarray]:
    """Defocus, brightness, astigmatism, tilts, size, and then all higher orders."""
    yield from (1j * first * (y**2 + x**2), first, 1j * first * (y**2 - x**2), 1j * first * y * x)
    yield from (1j * first * y, 1j * first * x, first * (y**2 + x**2))
    for degree in itertools.count(3):
        for power in range(degree + 1):
            yield 1j * first * y ** (degree - power) * x**power


def _start_weights(bound: Any, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    """``(n, K)``: the brightness of the beam as the counts tell it, the others small waves over the scan.

    Where all weights are zero no variation has a gradient. A beam that fades along the scan and an object that darkens
    along it give the same patterns: which of them it is, is decided here, for the beam.
    """
    n, number = bound.dataset.n_patterns, _number(bound)
    time = (np.arange(n) + 0.5) / n
    weights = 0.01 * np.cos(np.pi * time[:, None] * np.arange(1, number + 1))
    if number > BRIGHTNESS:
        amplitude = np.sqrt(pattern_counts(bound.dataset))
        scans = rows_of_scans(bound.dataset) if bound.settings[PROBE].per == "scan" else (np.arange(n),)
        for rows in scans:
            slow = np.polynomial.Polynomial.fit(time[rows], amplitude[rows], min(3, len(rows) - 1))(time[rows])
            weights[rows, BRIGHTNESS] = slow / slow.mean() - 1
    return weights


def by_variations(point: Point, passed: Array | None = None) -> Array:
    """Curvature ``(K, y, x)``: sum over the patterns of ``a^2 |O|^2``, with that of a thin object if it is absent.

    Weights count as `LEAST_WEIGHT` at least: a variation that hardly occurs would take steps of any size.
    """
    xp = point.xp
    power = times_scale(point, transmitted(point) if passed is None else passed)
    squares = xp.square(point.params[WEIGHTS]) + LEAST_WEIGHT**2
    n, k = squares.shape
    found = xp.matmul(xp.permute_dims(squares, (1, 0)), xp.reshape(power, (n, -1)))
    return xp.reshape(found, (k, *power.shape[1:]))


def _asked_for(settings: Mapping[str, ParameterSettings]) -> bool:
    return bool(getattr(settings.get(PROBE), "variations", 0))


VARYING: dict[str, Parameter] = {
    VARIATIONS: Parameter(
        unit="sqrt(photon)",
        help="changes of the probe during the scan, times 'variation_weights'",
        start=_start_variations,
        optimizer={"kind": "preconditioned", "learning_rate": 0.3, "regularization": 0.1, "momentum": 0.9},
        refined=True,
        relative=True,
        optional=True,
        implied=_asked_for,
        object_frame=True,
        in_probe=True,
        preconditioner=Diagonal(by_variations),
        schedule=LATER,
    ),
    WEIGHTS: Parameter(
        help="weight of each variation of the probe in each pattern",
        start=_start_weights,
        per="pattern",
        optimizer={"kind": "preconditioned", "regularization": 1e-3, "maximum_step": 0.2},
        refined=True,
        optional=True,
        implied=_asked_for,
        preconditioner=Blocks(),
        schedule=LATER,
    ),
}


@dataclass(frozen=True)
class VariationGauge(Update):
    """Mean weights of zero, and orthogonal variations of the mode's power, the strongest first; the loss stays.

    Weights are then changes of the wave relative to the mode, and uncorrelated over the scan.

    Attributes:
        mode: The mode that varies.
        scans: The patterns of each scan, where each has its own probe.
    """

    mode: int = 0
    scans: tuple[np.ndarray, ...] = ()

    def apply(self, state: State) -> State:
        names = (PROBE, VARIATIONS, WEIGHTS)
        if not all(name in state.rates and name not in state.constrained for name in names):
            return state
        modes, variations, weights = (np.array(state.values[name]) for name in names)
        for probe, rows in zip(modes, self.scans, strict=True) if self.scans else ((modes, slice(None)),):
            mean = weights[rows].mean(0)
            probe[self.mode] += np.tensordot(mean, variations, 1)
            weights[rows] -= mean
        scale = float(np.sqrt(powers(modes.reshape(-1, *modes.shape[-3:])[0, self.mode : self.mode + 1])[0]))
        found = strongest(weights, variations, len(variations), scale)
        if found is None:
            return state
        weights, made = found
        return state.with_values(probe=modes, probe_variations=made.astype(variations.dtype), variation_weights=weights)


def strongest(
    weights: np.ndarray, waves: np.ndarray, number: int, scale: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The best description of ``weights @ waves`` by ``number`` orthogonal waves, the strongest first.

    Args:
        weights: Real, ``(n, m)``.
        waves: ``(m, y, x)``, of which each wave that is made takes the sign of the one in its place.
        number: At most m.
        scale: Root of the power that each wave is given.

    Returns:
        Weights ``(n, number)`` and waves ``(number, y, x)``; ``None`` if they are not determined.
    """
    if not (np.isfinite(weights).all() and np.isfinite(waves).all()):
        return None
    flat = waves.reshape(len(waves), -1).astype(np.complex128)
    parts = np.concatenate([flat.real, flat.imag], axis=1)  # real weights: real and imaginary part are apart
    q, r = np.linalg.qr(parts.T)
    left, strength, right = np.linalg.svd(weights @ r.T, full_matrices=False)
    if not (scale > 0 and len(left) >= number):
        return None
    turned = (q @ right[:number].T).T * scale
    sign = np.where(np.sum(turned * parts[:number], axis=1) < 0, -1.0, 1.0)[:, None]
    half = turned.shape[1] // 2
    made = sign * (turned[:, :half] + 1j * turned[:, half:])
    return left[:, :number] * strength[:number] * sign.T / scale, made.reshape(number, *waves.shape[1:])
