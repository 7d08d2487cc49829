"""The refinable parameters of holography: distances, maps, scales, illumination, material."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.polynomial import Legendre

from adorym.data.tiles import whole
from adorym.errors import ConfigError
from adorym.forward.base import BoundModel
from adorym.forward.hologram_geometry import HologramGeometry
from adorym.forward.hologram_material import find_material
from adorym.forward.object import object_parameter
from adorym.forward.registration import coarse_maps
from adorym.optics.affine import IDENTITY, half_side_px, parts_of, to_pixels
from adorym.optics.probes import InitialProbe
from adorym.parameters import Derived, Parameter, ParameterSettings
from adorym.registry import component
from adorym.schema import ComponentOf
from adorym.wrapper.base import Array, Backend

# Degrees in y and x of the polynomials of `beam_shape`; the constant is the intensity scale.
SHAPES = ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
Values = Mapping[str, np.ndarray]
Bound = BoundModel[HologramGeometry]


# -- start values ------------------------------------------------------------------------------------------------------
@component
class AffineSettings(ParameterSettings):
    """How the maps start and are refined.

    Attributes:
        registration: Start from a coarse alignment of the holograms, by the phase correlation of their gradients and
            the affine map that makes them most similar; else from the identity.
    """

    registration: bool = False


@component
class KappaSettings(ParameterSettings):
    """How delta over beta starts and is refined.

    Attributes:
        fit: Start from the value that fits the holograms best, found together with the object by Gauss-Newton steps
            from the model's ``kappa``, which may be wrong by a factor of ten; else from ``kappa`` itself.
    """

    fit: bool = False


@component
class IlluminationSettings(ParameterSettings):
    """How the incident wave starts and is refined.

    Attributes:
        initial: Start wave: a start probe, such as the result of near-field ptychography with the same pixels and the
            specimen in the same place (``{kind: file, path: RUN}``), a number, or the path of a ``.npy`` file of the
            object's size; the probe of the data file, or else a plane wave, if absent.
    """

    initial: Annotated[InitialProbe, ComponentOf("probe")] | float | str | None = None  # type: ignore[assignment]


def _maps(bound: Bound, settings: AffineSettings, rng: np.random.Generator) -> np.ndarray:
    if settings.registration:
        return coarse_maps(bound.dataset, bound.geometry)
    return np.tile(IDENTITY, (bound.dataset.n_pictures, 1))


def _each(value: float) -> Callable[..., np.ndarray]:
    """``value`` for each distance."""
    return lambda bound, settings, rng: np.full(len(bound.geometry.distances_m), value)


def _log10_kappa(bound: Bound, settings: KappaSettings, rng: np.random.Generator) -> np.ndarray:
    model: Any = bound.model
    kappa = model.kappa
    if settings.fit:
        kappa = find_material(whole(bound.dataset), bound.shape, kappa, model.surroundings == "vacuum").kappa
    return np.array([np.log10(kappa)])


def _illumination(bound: Bound, settings: IlluminationSettings, rng: np.random.Generator) -> np.ndarray:
    """A plane wave, the probe of the data file, or a start probe, extended into the buffer by its edge values.

    A start probe comes from another measurement: it is scaled to the counts of the beam.
    """
    given, shape = bound.dataset.start_probe, bound.shape[:2]
    counts = bound.geometry.open_beam_counts
    if isinstance(settings.initial, InitialProbe):
        given = settings.initial.make(whole(bound.dataset))
        if len(given) > 1:
            raise ConfigError(
                "parameters.illumination.initial", "a hologram is lit by one wave", expected="a probe of one mode",
                found=f"{len(given)} modes", remedy="reconstruct the probe with 'parameters.probe.modes: 1'",
            )  # fmt: skip
        given = given * np.sqrt(counts / np.mean(np.abs(given) ** 2))
    if given is None:
        return np.full(shape, np.sqrt(counts), np.complex128)
    wave = np.asarray(given, np.complex128).reshape(-1, *given.shape[-2:])[0]
    margins = [n - k for n, k in zip(shape, wave.shape, strict=True)]
    return np.pad(wave, [(m // 2, m - m // 2) for m in margins], mode="edge")


# -- natural steps -----------------------------------------------------------------------------------------------------
def _fringe_distance(bound: Bound) -> float:
    """``dx^2 / lambda``: the distance over which a wave one pixel wide spreads to about twice its width."""
    return float(min(bound.geometry.pixel_size_m("near_field")) ** 2 / bound.geometry.wavelength_m)


def _pixel_of_map(bound: Bound) -> float:
    """The change of a map's entry that moves a corner by one pixel."""
    return 1.0 / half_side_px(bound.dataset.picture_px)


# -- gauges ------------------------------------------------------------------------------------------------------------
def _no_mean(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Gauge of relative distances: the common distance holds their mean."""
    return values - values.mean() + first.mean()


def _geometric(rate: float, beta2: float = 0.99) -> dict[str, Any]:
    return {"kind": "adam", "learning_rate": rate, "beta2": beta2}


PARAMETERS: dict[str, Parameter] = {
    # Propagation conserves energy, so one curvature holds for all pixels; low frequencies of the phase need momentum.
    "object": object_parameter(
        optimizer={"kind": "preconditioned", "learning_rate": 1.0, "regularization": 0.0, "momentum": 0.95},
    ),
    "common_distance": Parameter(
        optional=True,
        unit="m",
        help="correction common to all distances; refocuses the object",
        start=lambda bound, settings, rng: np.zeros(1),
        optimizer=_geometric(0.2),
        scale=_fringe_distance,
    ),
    "relative_distances": Parameter(
        optional=True,
        unit="m",
        help="correction of each distance, with zero mean",
        start=_each(0.0),
        optimizer=_geometric(0.035),
        scale=_fringe_distance,
        gauge=_no_mean,
    ),
    "affine": Parameter(
        optional=True,
        help="map of each hologram into the frame of the first: (m_yy, m_yx, t_y, m_xy, m_xx, t_x), translations in "
        "units of half its larger side",
        start=_maps,
        settings=AffineSettings,
        optimizer=_geometric(0.13),
        scale=_pixel_of_map,
    ),
    "translation": Parameter(
        optional=True,
        unit="px",
        help="(y, x) shift of each hologram in the frame of the first",
        start=lambda bound, settings, rng: np.zeros((bound.dataset.n_pictures, 2)),
        optimizer=_geometric(0.13),
    ),
    "pixel_ratio": Parameter(
        optional=True,
        help="pixel size at each distance divided by the stated one, relative to the first (magnification)",
        start=_each(1.0),
        optimizer=_geometric(0.13),
        scale=_pixel_of_map,
    ),
    "intensity_scale": Parameter(
        optional=True,
        help="factor on the intensity of each hologram (beam current, exposure)",
        start=lambda bound, settings, rng: np.ones((bound.dataset.n_pictures, 1)),
        optimizer={"kind": "adam", "learning_rate": 2e-3},
        bounds=(1e-3, None),
    ),
    "beam_shape": Parameter(
        optional=True,
        help="logarithm of the beam's slow changes across each hologram: coefficients of x, y, (3 x^2 - 1)/2, x y, "
        "(3 y^2 - 1)/2, from the middle, in units of half its larger side",
        start=lambda bound, settings, rng: np.zeros((bound.dataset.n_pictures, len(SHAPES))),
        optimizer=_geometric(0.01),
    ),
    "illumination": Parameter(
        optional=True,
        unit="sqrt(photon)",
        help="incident wave at the object, on the object's grid",
        start=_illumination,
        settings=IlluminationSettings,
        optimizer={"kind": "adam", "learning_rate": 1e-3},
        relative=True,
    ),
    "log10_kappa": Parameter(
        optional=True,
        help="decimal logarithm of kappa = delta / beta of a homogeneous object",
        start=_log10_kappa,
        settings=KappaSettings,
        optimizer=_geometric(0.05),
    ),
}


# -- distances and maps from the parameters ----------------------------------------------------------------------------
def distances_of(xp: Backend, params: Mapping[str, Array], geometry: HologramGeometry) -> Array:
    """``(d,)`` distances in meters: stated + common + relative, the last without its mean."""
    distances = xp.asarray(geometry.distances_m)
    if "common_distance" in params:
        distances = distances + params["common_distance"]
    if "relative_distances" in params:
        relative = params["relative_distances"]
        distances = distances + relative - xp.mean(relative)
    return distances


def detector_maps(
    xp: Backend,
    params: Mapping[str, Array],
    geometry: HologramGeometry,
    pictures: np.ndarray,
    off_middle_px: tuple[float, float],
) -> tuple[Array, np.ndarray]:
    """``(maps (n, 6) in pixels, whether each is refined (n,))`` of the holograms ``pictures``.

    The first hologram of an angle is the reference: its map is the identity, or its pixel ratio alone, whatever its
    entries are.

    Args:
        xp: Backend.
        params: Values by name.
        geometry: Geometry of the experiment.
        pictures: ``(n,)`` indices of the holograms.
        off_middle_px: (y, x) from the middle of a hologram to that of the tile in use. Maps refer to the middle of the
            tile.
    """
    free = geometry.distance_index[pictures] > 0
    weight = xp.asarray(free.astype(np.float64)[:, None])
    unit = xp.asarray(np.tile(IDENTITY, (len(pictures), 1)))
    maps = unit
    if "affine" in params:
        units = xp.asarray(to_pixels(np.ones(6), half_side_px(geometry.picture_px)))
        maps = unit + weight * (params["affine"][pictures] - unit) * units
    if "pixel_ratio" in params:
        ratio = xp.reshape(params["pixel_ratio"][geometry.distance_index[pictures]], (-1, 1))
        maps = maps * (1 + weight * (ratio - 1))
    if "translation" in params:
        shift = weight * params["translation"][pictures]
        zero = xp.zeros((len(pictures), 2))
        maps = maps + xp.concat([zero, shift[:, :1], zero, shift[:, 1:]], axis=1)
    ratios = geometry.pixel_ratios[geometry.distance_index[pictures]][:, None]
    maps = maps * xp.asarray(np.tile(ratios, (1, 6)))
    if any(off_middle_px):
        d_y, d_x = off_middle_px
        turned = maps - unit
        moved = [turned[:, i : i + 1] * d_y + turned[:, i + 1 : i + 2] * d_x for i in (0, 3)]
        zero = xp.zeros((len(pictures), 2))
        maps = maps + xp.concat([zero, moved[0], zero, moved[1]], axis=1)
    moves = bool({"affine", "pixel_ratio", "translation"} & set(params))
    return maps, free & moves


def beam_shape(
    xp: Backend,
    params: Mapping[str, Array],
    geometry: HologramGeometry,
    pictures: np.ndarray,
    off_middle_px: tuple[float, float],
) -> Array:
    """``(n, y, x)`` factor on the intensity of the holograms ``pictures``, at the pixels of the window.

    Args:
        xp: Backend.
        params: Values by name, ``beam_shape`` among them.
        geometry: Geometry of the experiment.
        pictures: ``(n,)`` indices of the holograms.
        off_middle_px: (y, x) from the middle of a hologram to that of the window.
    """
    half, logarithm = half_side_px(geometry.picture_px), 0.0
    y, x = ((np.arange(n) - (n - 1) / 2 + off) / half for n, off in zip(geometry.window_px, off_middle_px, strict=True))
    coefficients = params["beam_shape"][pictures]
    for k, (in_y, in_x) in enumerate(SHAPES):
        shape = Legendre.basis(in_y)(y)[:, None] * Legendre.basis(in_x)(x)
        logarithm = logarithm + xp.reshape(coefficients[:, k], (-1, 1, 1)) * xp.asarray(shape)[None]
    return xp.exp(logarithm)


# -- derived quantities for results and reports ------------------------------------------------------------------------
def _all_distances(values: Values, geometry: HologramGeometry) -> Derived | None:
    if not {"common_distance", "relative_distances"} & set(values):
        return None
    relative = values.get("relative_distances", np.zeros(1))
    found = geometry.distances_m + values.get("common_distance", np.zeros(1)) + relative - relative.mean()
    return Derived(found, "m", geometry.distances_m)


def _affine_parts(name: str, unit: str) -> Callable[[Values, HologramGeometry], Derived | None]:
    def make(values: Values, geometry: HologramGeometry) -> Derived | None:
        if "affine" not in values:
            return None
        maps = to_pixels(values["affine"], half_side_px(geometry.picture_px))
        found = np.array([getattr(parts_of(each), name) for each in maps])
        return Derived(found, unit, np.broadcast_to(getattr(parts_of(IDENTITY), name), found.shape).astype(float))

    return make


def _kappa(values: Values, geometry: HologramGeometry) -> Derived | None:
    return None if "log10_kappa" not in values else Derived(10.0 ** values["log10_kappa"], "", None)


_DERIVED: dict[str, Callable[[Values, HologramGeometry], Derived | None]] = {
    "propagation_distances": _all_distances,
    "affine_shift": _affine_parts("shift_px", "px"),
    "affine_rotation": _affine_parts("rotation_rad", "rad"),
    "affine_scale": _affine_parts("scale", ""),
    "affine_shear": _affine_parts("shear", ""),
    "kappa": _kappa,
}


def derived(values: Values, geometry: HologramGeometry) -> dict[str, Derived]:
    """Distances, the parts of the affine maps, and kappa, as far as they are refined."""
    return {name: made for name, make in _DERIVED.items() if (made := make(values, geometry)) is not None}
