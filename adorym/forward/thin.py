r"""A probe scanned over a thin object: its parameters, and the preconditioners for their steps.

The curvatures that the ``preconditioned`` steps divide by hold, at least approximately, for every model with the
intensity :math:`I = \sum_m |\mathcal U[O P_m]|^2` and any unitary :math:`\mathcal U`:

.. math:: h_O = q\,c \sum_m |P_m|^2, \qquad h_P = q\,c \sum_j |O_j|^2, \qquad
          h_{r_j} = q\,c\, J_j^T J_j, \quad J_j = \partial\sqrt{I_j}/\partial r_j

with the weight c of the loss and its second derivative q by the amplitude. The first two bound the diagonal of the
Gauss-Newton matrix of a whole batch (Maiden, Johnson & Li, Optica 4, 736 (2017)); :math:`J` is a finite difference of
predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import ConfigError, DataError
from adorym.forward.object import object_parameter
from adorym.forward.probe import probe_parameter
from adorym.forward.scans import rows_of_scans
from adorym.forward.time_course import at_present
from adorym.parameters import Parameter, ParameterSettings
from adorym.preconditioners import Blocks, Diagonal, Point
from adorym.registry import component
from adorym.units import LengthOrPixels, magnitude
from adorym.updates import PositionTrend, Update
from adorym.wrapper.base import Array

# Step of the finite difference: far above rounding errors, far below the finest structure of a pattern.
STEP_PX = 0.05
# So many patterns from one place are no scan.
FEWEST_PLACES, SAME_PLACE_PX = 4, 1e-12


@component
class PositionSettings(ParameterSettings):
    """How positions are refined.

    Attributes:
        trend: Parts of an affine map of the recorded positions that corrections follow: ``scale``, ``unequal_scales``,
            ``shear``, ``rotation``, to first order. If absent, each position is corrected by itself.
        drift: Number of smooth waves, in the order of the patterns, that corrections follow as well: a drift in time.
        flexibility: Part of a correction beside trend and drift that is left after every epoch; 0 for none of it.
        search: Largest distance, along each axis, from the recorded positions at which random places are tried in
            the first part of the run, for positions that are wrong by more than a gradient can tell. None if absent.
        tries: Number of such places for each position and epoch.
    """

    trend: tuple[Literal["scale", "unequal_scales", "shear", "rotation"], ...] = ()
    drift: int = Field(0, ge=0)
    flexibility: float = Field(0.0, ge=0, lt=1)
    search: LengthOrPixels | None = None
    tries: int = Field(6, ge=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flexibility and not self.trend and not self.drift:
            remedy = "give 'trend' or 'drift', or leave it out"
            raise ConfigError("flexibility", "has no effect without a trend", found=self.flexibility, remedy=remedy)
        if self.search is not None and magnitude(self.search)[0] <= 0:
            raise ConfigError("search", "the distance must be positive", found=self.search)
        if self.search is None and self.tries != 6:
            raise ConfigError("tries", "has no effect without a search", remedy="give 'search', or leave it out")
        for name in ("trend", "drift", "search"):
            if getattr(self, name) and not self.refine:
                raise ConfigError(name, "has no effect: positions are not refined", remedy="leave it out")
            if getattr(self, name) and self.initial is not None and name != "search":
                what, remedy = f"cannot be combined with '{name}', which refers to the data", "give 'data.positions'"
                raise ConfigError("initial", what, remedy=remedy)

    def notices(self, where: str, dataset: Any) -> Iterator[str]:
        fewest, unknowns = min(map(len, rows_of_scans(dataset))), 1 + self.drift + len(self.trend)
        if (self.trend or self.drift) and fewest <= unknowns:
            yield f"{where}.trend: has no effect: {fewest} positions of a scan are free in a trend of {unknowns} terms"


def position_trend(settings: Mapping[str, ParameterSettings], dataset: Dataset) -> tuple[Update, ...]:
    """What brings corrections of the positions of ``dataset`` to their trend, if they have one."""
    asked = settings.get("probe_positions")
    if not isinstance(asked, PositionSettings) or not (asked.trend or asked.drift):
        return ()
    assert dataset.probe_positions_px is not None  # checked by the caller
    first = np.asarray(dataset.probe_positions_px, np.float64)
    return (PositionTrend(first, rows_of_scans(dataset), asked.trend, asked.drift, asked.flexibility),)


def without_mean(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Gauge of positions: a common shift of all of them is a shift of the object."""
    return values - (values - first).mean(0)


def times_scale(point: Point, windows: Array) -> Array:
    """``windows`` ``(1 or n, y, x, ...)`` times the factor on the intensity of each pattern, if there is one."""
    scale = point.params.get("intensity_scale")
    return windows if scale is None else windows * point.xp.reshape(scale, (-1, *(1,) * (len(windows.shape) - 1)))


def transmitted(point: Point) -> Array:
    """``(n, y, x)`` intensity that a thin object transmits, in all its states."""
    power = point.xp.abs2(at_present(point.xp, point.obj, point.params))
    return power if len(power.shape) == 3 else point.xp.sum(power, axis=-1)


def by_object(point: Point, illumination: Array) -> Array:
    """Curvature ``(1 or n, y, x, ...)`` by an object in the intensity ``illumination`` ``(y, x, ...)``.

    An illumination that varies has one axis more, ``(n, y, x, ...)``.
    """
    return times_scale(point, illumination if len(illumination.shape) == len(point.obj.shape) else illumination[None])


def by_probe(point: Point, passed: Array | None = None) -> Array:
    """Curvature ``(1, y, x)`` by the probe: the summed ``|O|^2`` of the windows ``(n, y, x)`` of a thin object.

    By the probes of several scans ``(scans, 1, y, x)``.
    """
    xp, probe = point.xp, point.params["probe"]
    power = times_scale(point, transmitted(point) if passed is None else passed)
    if len(probe.shape) < 4:
        return xp.sum(power, axis=0, keepdims=True)
    of_scan = xp.asarray((np.arange(probe.shape[0])[:, None] == point.batch.angles).astype(xp.float_dtype))
    return xp.reshape(xp.matmul(of_scan, xp.reshape(power, (len(power), -1))), (-1, 1, *power.shape[1:]))


def by_scale(point: Point) -> Array:
    """Curvature ``(n, 1)`` by a factor on the intensity of each pattern, with or without a background."""
    xp, scale = point.xp, point.params["intensity_scale"]
    intensity = point.predict(point.obj, point.params)
    signal = xp.square(intensity - point.params.get("background", 0.0)) / (intensity + point.batch.floor)
    signal = signal if point.batch.mask is None else signal * point.batch.mask
    return xp.sum(signal, axis=(1, 2))[:, None] / (4 * xp.square(scale))


def probe_intensity(point: Point) -> Array:
    """Curvature by a thin object: the intensity of all probe modes."""
    return by_object(point, point.xp.sum(point.xp.abs2(point.params["probe"]), axis=0))


def _positions(bound: Any, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    positions = bound.dataset.probe_positions_px
    return np.zeros((bound.dataset.n_patterns, 2)) if positions is None else np.asarray(positions, np.float64)


def check_scan(dataset: Dataset) -> None:
    """Refuse data that are not a scan of one thin object.

    Raises:
        DataError: There are no positions, or several rotation angles.
    """
    if dataset.probe_positions_px is None:
        raise DataError(
            dataset.path,
            "the data hold no probe positions",
            expected="an array in the file, a file of their own, or a raster",
            remedy="name what holds them, 'data.positions: FILE' or positions=KEY in 'data.map', or give the step of a "
            "raster, 'data: {scan: {step: 0.4 um}}'",
        )
    positions = dataset.probe_positions_px
    if len(positions) >= FEWEST_PLACES and np.ptp(positions, axis=0).max() < SAME_PLACE_PX:
        raise DataError(
            dataset.path,
            f"all {len(positions)} probe positions are the same; the beam never moves",
            found=f"(y, x) = ({positions[0, 0]:.6g}, {positions[0, 1]:.6g}) px",
            remedy="name the array or the file that holds them with 'data.positions', or their unit with "
            "'data.positions_unit'",
        )
    if (angles := len(np.unique(dataset.theta_rad))) > 1:
        raise DataError(
            dataset.path,
            "a thin object has one projection, but the data hold several rotation angles",
            found=f"{angles} angles",
            remedy="choose one with 'data.angles'",
        )


SCANNED: dict[str, Parameter] = {
    "object": object_parameter(preconditioner=Diagonal(probe_intensity)),
    "probe": probe_parameter(Diagonal(by_probe)),
    "probe_positions": Parameter(
        unit="px",
        help="(y, x) of each probe window's corner in object pixels",
        start=_positions,
        per="pattern",
        optimizer={"kind": "preconditioned", "regularization": 0.0, "maximum_step": 1.0},
        schedule={"kind": "constant"},
        gauge=without_mean,
        window_relative=True,
        settings=PositionSettings,
        preconditioner=Blocks(STEP_PX),
    ),
}
