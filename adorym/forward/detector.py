r"""What a detector does to the patterns: a blur, and a beam that does not hit it in the same place every time.

In the far field a pattern is shifted by s pixels if the exit wave is tilted, :math:`\psi(r)\,e^{2\pi i\,s r/N}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError
from adorym.forward.scans import rows_of_scans
from adorym.parameters import Parameter, ParameterSettings
from adorym.preconditioners import Blocks
from adorym.registry import component
from adorym.updates import PositionTrend, TiltGauge, Update
from adorym.wrapper.base import Array, Backend

BLUR, SHIFT, PROBE = "detector_blur", "pattern_shift", "probe"
# A blur of 0 would have no gradient; one that is refined to 0 must not divide by it.
FIRST_BLUR_PX, NARROWEST_PX = 0.5, 1e-3


@component
class ShiftSettings(ParameterSettings):
    """How shifts of the patterns are refined.

    Attributes:
        drift: Number of smooth waves, in the order of the patterns, that shifts follow. If absent, each pattern is
            shifted by itself.
    """

    drift: int | None = Field(None, ge=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drift is not None and not self.refine:
            raise ConfigError("drift", "has no effect: shifts are not refined", remedy="leave it out")


def blurred(xp: Backend, patterns: Array, sigma_px: Array) -> Array:
    """``patterns`` ``(n, y, x)`` convolved with a Gaussian of (y, x) standard deviations ``(2,)``, periodic."""
    rows, columns = (_spread(xp, n, sigma_px[axis]) for axis, n in enumerate(patterns.shape[-2:]))
    return xp.matmul(xp.matmul(rows, patterns), columns)


def _spread(xp: Backend, n: int, sigma_px: Array) -> Array:
    """``(n, n)`` part of the counts of each pixel that is seen in each other one; symmetric, no part is negative."""
    away = (np.arange(n)[:, None] - np.arange(n) + n // 2) % n - n // 2
    part = xp.exp(-xp.asarray(away.astype(float) ** 2) / (2 * xp.square(sigma_px) + NARROWEST_PX**2))
    return part / xp.sum(part, axis=1, keepdims=True)


def summed(xp: Backend, patterns: Array, factor: int) -> Array:
    """``patterns`` ``(n, y, x)``, zero frequency at the corner, with the sum of its block in every pixel."""
    same = []
    for n in patterns.shape[-2:]:
        block = np.fft.ifftshift(np.arange(n) // factor)
        same.append(xp.asarray((block[:, None] == block).astype(float)))
    return xp.matmul(xp.matmul(same[0], patterns), same[1])


def tilted(xp: Backend, wave: Array, shift_px: Array) -> Array:
    """Waves ``(n, m, y, x)`` whose far fields are shifted by ``(n, 2)`` (y, x) pixels towards larger indices."""
    ramps = []
    for axis, n in enumerate(wave.shape[-2:]):
        turn = xp.asarray(2 * math.pi * (np.arange(n) - (n - 1) / 2) / n)
        phase = shift_px[:, axis : axis + 1] * turn
        ramps.append(xp.complex(xp.cos(phase), xp.sin(phase)))
    return wave * ramps[0][:, None, :, None] * ramps[1][:, None, None, :]


def shift_updates(settings: Mapping[str, ParameterSettings], dataset: Any, *, far: bool) -> tuple[Update, ...]:
    """What brings shifts of the patterns to their trend, and to a mean of zero where the probe takes it up."""
    own, scans = settings.get(SHIFT), rows_of_scans(dataset)
    if not isinstance(own, ShiftSettings):
        return ()
    made: list[Update] = []
    if own.drift is not None:
        made.append(PositionTrend(np.zeros((dataset.n_patterns, 2)), scans, (), own.drift, parameter=SHIFT))
    if far:
        groups = scans if getattr(settings[PROBE], "per", None) == "scan" else ()
        made.append(TiltGauge(SHIFT, PROBE, groups, dataset.probe_positions_px if own.drift is None else None))
    return tuple(made)


DETECTOR: dict[str, Parameter] = {
    BLUR: Parameter(
        optional=True,
        unit="px",
        help="(y, x) standard deviation of a Gaussian that blurs every pattern, as by a scintillator",
        start=lambda bound, settings, rng: np.full(2, FIRST_BLUR_PX),
        optimizer={"kind": "preconditioned", "regularization": 1e-3, "maximum_step": 0.2},
        bounds=(0.0, None),
        preconditioner=Blocks(),
    ),
    SHIFT: Parameter(
        optional=True,
        unit="px",
        help="(y, x) by which each pattern lies off its place on the detector, as of a beam that changes its direction",
        start=lambda bound, settings, rng: np.zeros((bound.dataset.n_patterns, 2)),
        per="pattern",
        optimizer={"kind": "preconditioned", "regularization": 1e-3, "maximum_step": 0.5},
        schedule={"kind": "constant"},
        settings=ShiftSettings,
        preconditioner=Blocks(),
    ),
}
