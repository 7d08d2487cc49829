r"""The lens that forms the probe: its aberrations and its semi-angle, as refinable parameters.

The probe itself is held: its pupil is known, its phase is described by a few numbers. What is refined are changes of
the start probe's aberrations, each told by its phase at the edge of the pupil; results hold the coefficients in meters.

**Semi-angle.** The aperture of the start probe has a logistic edge, :math:`A = 1 / (1 + e^{b/s})` at b pixels beyond
it. One that is wider by :math:`\Delta` pixels is :math:`A\,(1 + e^{b/s}) / (1 + e^{(b - \Delta)/s})`, exactly, also
where the first one is dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError
from adorym.optics.aberrations import HIGHEST_ORDER, aberration_names, phase_patterns, phases_at_edge
from adorym.optics.geometry import Geometry, Grid, Regime
from adorym.optics.probes import ApertureProbe
from adorym.parameters import Derived, Parameter, ParameterSettings
from adorym.preconditioners import Blocks
from adorym.registry import component
from adorym.wrapper.base import Array, Backend

ABERRATIONS, PROBE, DEFOCUS, SEMI_ANGLE = "aberrations", "probe", "probe_defocus", "semi_angle"
# Widths of the edge beyond which the aperture is dark whatever its size.
DARK = 30.0
SHARPEST_PX = 0.2
# Number of aberrations up to each order.
ORDERS = {len(aberration_names(order)): order for order in range(1, HIGHEST_ORDER + 1)}


@component
class AberrationSettings(ParameterSettings):
    """Which aberrations are refined.

    Attributes:
        order: Highest order: 1 for defocus and astigmatism, 2 with coma, 3 with the spherical aberration.
    """

    order: int = Field(3, ge=1, le=HIGHEST_ORDER)


def aberrated(xp: Backend, modes: Array, phases: Array, grid: Grid, half_angle_rad: float) -> Array:
    """Modes ``(..., y, x)`` with the aberrations ``phases`` ``(k,)``, in rad at the edge of the pupil."""
    shapes = phase_patterns(grid, ORDERS[int(phases.shape[0])], half_angle_rad)
    phase = xp.reshape(xp.matmul(phases[None], xp.asarray(shapes.reshape(len(shapes), -1))), shapes.shape[1:])
    return xp.ifft2(xp.fft2(modes) * xp.complex(xp.cos(phase), -xp.sin(phase)))


def opened(xp: Backend, modes: Array, half_angle_rad: Array, geometry: Geometry, regime: Regime) -> Array:
    """Modes ``(..., y, x)`` behind an aperture of another half angle, with the same power."""
    grid, first, soft = geometry.grid(regime), geometry.half_angle_rad or 1.0, geometry.edge_px
    (fy, fx), radius_px = grid.frequencies_per_m(), first / grid.wavelength_m * np.sqrt(np.prod(grid.extent_m))
    beyond = (np.hypot(fy, fx) * grid.wavelength_m / first - 1) * radius_px / soft
    edge = xp.asarray(np.exp(np.minimum(beyond, DARK)))
    wider = (half_angle_rad[0] / first - 1) * (radius_px / soft)
    spectrum = xp.fft2(modes)
    other = spectrum * ((1 + edge) / (1 + edge * xp.exp(-wider)))
    return xp.ifft2(other * xp.sqrt(xp.sum(xp.abs2(spectrum)) / xp.sum(xp.abs2(other))))


def with_aberrations(geometry: Geometry, dataset: Any, settings: Mapping[str, Any]) -> Geometry:
    """``geometry`` that knows the half angle of the pupil, if aberrations or that angle are refined.

    Raises:
        ConfigError: The pupil is not known, or something else takes up the same phases.
    """
    used = [name for name in (ABERRATIONS, SEMI_ANGLE) if name in settings]
    probe = settings[PROBE]
    for name in used:
        where, own = f"parameters.{name}", settings[name]
        if not isinstance(probe.initial, ApertureProbe):
            remedy = "give the aperture, 'probe: {initial: {kind: aperture, outer_radius: 25 mrad}, refine: false}'"
            raise ConfigError(where, "the pupil is not known", remedy=remedy)
        if probe.refine and own.refine and not (own.stop is not None and own.stop <= probe.start):
            remedy = (
                "hold the probe, 'probe: {refine: false}', or refine it when they have stopped, 'probe: {start: ...}'"
            )
            raise ConfigError(where, "a probe that is refined, too, takes up the same changes", remedy=remedy)
        if name == SEMI_ANGLE and probe.initial.softness < SHARPEST_PX:
            raise ConfigError(
                where, "the aperture's edge is too sharp to be moved", expected=f"softness of {SHARPEST_PX} px or more",
                found=f"{probe.initial.softness} px", remedy="give 'probe.initial.softness: 0.5 px'",
            )  # fmt: skip
    if not used:
        return geometry
    if DEFOCUS in settings and ABERRATIONS in settings:
        raise ConfigError(f"parameters.{DEFOCUS}", f"is one of the '{ABERRATIONS}', C10", remedy="leave it out")
    return replace(geometry, half_angle_rad=probe.initial.half_angle_rad(dataset), edge_px=probe.initial.softness)


def coefficients(bound: Any, values: Mapping[str, np.ndarray]) -> dict[str, Derived]:
    """Each coefficient in meters, from the phases that its change has at the edge."""
    if ABERRATIONS not in values:
        return {}
    changes, geometry = values[ABERRATIONS], bound.geometry
    order, initial = ORDERS[len(changes)], bound.settings[PROBE].initial
    change_m = changes / phases_at_edge(order, geometry.half_angle_rad, geometry.wavelength_m)
    known = {"C10": initial.defocus, **initial.aberrations}
    return {
        name: Derived(np.array([known.get(name, 0.0) + change]), "m", np.array([known.get(name, 0.0)]))
        for name, change in zip(aberration_names(order), change_m, strict=True)
    }


ABERRATING: dict[str, Parameter] = {
    ABERRATIONS: Parameter(
        optional=True,
        unit="rad",
        help="changes of the probe's aberrations C10, C12a, C12b, ..., as phases at the edge of the aperture",
        start=lambda bound, settings, rng: np.zeros(len(aberration_names(settings.order))),
        optimizer={"kind": "adam", "learning_rate": "0.05 rad"},
        settings=AberrationSettings,
        preconditioner=Blocks(),
    ),
    SEMI_ANGLE: Parameter(
        optional=True,
        unit="rad",
        help="half angle of the cone that the lens lets pass",
        start=lambda bound, settings, rng: np.array([bound.geometry.half_angle_rad]),
        optimizer={"kind": "adam", "learning_rate": 2e-3},
        relative=True,
        preconditioner=Blocks(),
        bounds=(1e-9, None),
    ),
}
