r"""Near-field holography of a thin object at one or several distances.

.. math::

    I_k(u) = s_k \left|\mathcal D_{z_k}[\psi_0\, O]\right|^2 (A_k u), \qquad z_k = z_k^0 + c + \rho_k

with the illumination :math:`\psi_0` (a plane wave of the beam's intensity, or a given or refined one), the
near-field propagator :math:`\mathcal D` and an affine map :math:`A_k` from the frame of the k-th picture to that of
the first. The *prediction* is read where the map takes the detector's pixels: measured counts are never interpolated
and keep their statistics (Du et al., Opt. Express 29, 10000 (2021), section 3.2).

**Distances** are the stated ones plus a common and a relative correction, with rates of their own: since
:math:`\mathcal D_{z+c} = \mathcal D_z \mathcal D_c`, a common shift refocuses the object and is determined by its
surroundings and its smoothness only, while differences are determined by the data themselves.

**Cone beam.** By the Fresnel scaling theorem a point source is a parallel beam with the effective distance and pixel
(`adorym.optics.geometry`). Pictures of several magnifications are predicted on the finest of their pixels.

**One material.** With ``homogeneous`` the object is :math:`O = e^{-(1/\kappa + i)\varphi}` with one real unknown, the
phase shift :math:`\varphi = k t \delta`, by which matter advances the wave, and :math:`\kappa = \delta/\beta`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.tiles import Tiling, divide, tiled
from adorym.errors import ConfigError
from adorym.forward.autofocus import Autofocus, refocused
from adorym.forward.base import ForwardModel, Present, Request
from adorym.forward.hologram_geometry import HologramGeometry, field_of_view, hologram_geometry, phase_rates
from adorym.forward.hologram_material import unwrapped_lag
from adorym.forward.hologram_metric import rounded, rounded_lag
from adorym.forward.hologram_parameters import DERIVED, PARAMETERS, detector_maps, distances_of
from adorym.losses.base import Loss
from adorym.optics import propagation
from adorym.optics.affine import interpolate
from adorym.optics.geometry import Geometry
from adorym.parameters import Derived, Parameter
from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.hologram import Camera, Holograms, Misfit

LOG = logging.getLogger("adorym")
Propagation = Literal["auto", "fresnel", "angular_spectrum"]
# Of a pixel of the window: object, wave, spectra, their gradients and the image, in single precision.
BYTES = 8 * 8
MAP_PARAMETERS = ("affine", "translation", "pixel_ratio")


@register("forward_model", "holography")
class Holography(ForwardModel):
    """In-line holography of a thin object, at one or several distances, in a parallel or a cone beam.

    Attributes:
        propagation: Transfer function: ``fresnel``, ``angular_spectrum``, or ``auto``: the first, unless its phase is
            wrong by more than 0.1 rad.
        buffer_px: Pixels that the object is wider than the holograms, on each side, so that fringes do not wrap
            around; as many as light can reach if absent.
        surroundings: Whether the object beyond the field of view is ``refined`` or ``vacuum``.
        homogeneous: One material: the only unknown of the object is the phase shift ``k t delta``, by which matter
            advances the wave; absorption follows from it.
        kappa: delta / beta of that material; ``parameters.log10_kappa`` refines it.
        autofocus: Search the common distance by the sharpness of the object; needs ``parameters.common_distance``.
        balance: Makes steps of the object equally long for all spatial frequencies of its phase, down to those whose
            contrast in the holograms is below this fraction; none for plain steps. Smaller is faster and less stable.
        tile_memory_gib: If one hologram would take more, holograms are divided into tiles: less memory, more
            transforms.
        fused: Use the operation with hand-written adjoints where the run allows it; otherwise plain automatic
            differentiation, its reference.
    """

    propagation: Propagation = "auto"
    buffer_px: int | None = Field(None, ge=0)
    surroundings: Literal["refined", "vacuum"] = "refined"
    homogeneous: bool = False
    kappa: Annotated[float, Field(gt=0)] | None = None
    autofocus: Autofocus | None = None
    balance: Annotated[float, Field(gt=0, le=1)] | None = None
    tile_memory_gib: Annotated[float, Field(gt=0)] = 2.0
    fused: bool = True

    refinable: ClassVar[Mapping[str, Parameter]] = PARAMETERS

    def __post_init__(self) -> None:
        if self.homogeneous and self.kappa is None:
            remedy = "give 'kappa', delta / beta of the material, and refine 'parameters.log10_kappa' if it is not sure"
            raise ConfigError("kappa", "absent: a homogeneous object needs it", remedy=remedy)
        if self.kappa is not None and not self.homogeneous:
            raise ConfigError("kappa", "has no effect without 'homogeneous: true'", remedy="leave it out")
        if self.autofocus is not None and self.homogeneous:
            what = "has no effect: one material fixes the focus itself"
            raise ConfigError("autofocus", what, remedy="leave it out, and refine 'parameters.common_distance'")

    # -- geometry --------------------------------------------------------------------------------------------------
    @property
    def regime(self) -> Literal["near_field"]:
        """Holograms are near-field patterns."""
        return "near_field"

    def prepare(self, dataset: Dataset) -> Dataset:
        tiling = self.tiling(dataset)
        if tiling is None:
            return dataset
        LOG.info("%s x %s tiles of %s x %s px", *tiling.tiles, *tiling.window_px)
        return tiled(dataset, tiling)

    def tiling(self, dataset: Dataset) -> Tiling | None:
        """How holograms are divided, ``None`` where they fit into memory whole.

        Raises:
            GeometryError: They fit in no way.
        """
        extra = hologram_geometry(dataset, self.buffer_px).extra_px

        def needed(window_px: tuple[int, int]) -> float:
            return BYTES * math.prod(n + 2 * e for n, e in zip(window_px, extra, strict=True))

        return divide(dataset.window_px, 0, self.tile_memory_gib, needed)

    def geometry(self, dataset: Dataset) -> Geometry:
        geometry = hologram_geometry(dataset, self.buffer_px)
        return replace(geometry, propagator=self._propagator(geometry))

    def object_frame(self, dataset: Dataset, margin_px: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        geometry = hologram_geometry(dataset, self.buffer_px)
        edge = [extra + margin_px for extra in geometry.extra_px]
        ny, nx = (n + 2 * e for n, e in zip(dataset.picture_px, edge, strict=True))
        return (ny, nx), (edge[0], edge[1])

    def default_margin_px(self, moving: bool) -> int:
        return 0  # the buffer is in `object_frame` already

    def view(
        self, corners_px: np.ndarray, geometry: Geometry, object_shape: tuple[int, ...], present: Present
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """All holograms see the whole object, buffer included; of tiles, those at the same place the same window."""
        assert isinstance(geometry, HologramGeometry)  # this model made it
        edge = [(n - p) // 2 for n, p in zip(object_shape[:2], geometry.picture_px, strict=True)]
        places, _ = _places(corners_px)
        ny, nx = (w + 2 * e for w, e in zip(geometry.window_px, edge, strict=True))
        return (places - edge).astype(np.int64), (ny, nx)

    def check(self, dataset: Dataset, geometry: Geometry, names: Collection[str]) -> None:
        assert isinstance(geometry, HologramGeometry)  # this model made it
        if dataset.n_angles > 1:
            remedy = "choose one with 'data.angles', or the forward model 'holotomography'"
            raise ConfigError("data.angles", "holography of a thin object is of one angle",
                              found=f"{dataset.n_angles} angles", remedy=remedy)  # fmt: skip
        if dataset.magnification is None:  # of a series in a cone beam, the pixel is that of the largest magnification
            geometry.check_pixel_size("near_field")
        propagation.check(geometry.propagator, geometry.object_grid, geometry.effective_distance_m)
        errors = list(self._parameter_errors(geometry, names))
        if errors:
            raise errors[0]

    def _parameter_errors(self, geometry: HologramGeometry, names: Collection[str]) -> Iterator[ConfigError]:
        if self.autofocus is not None and "common_distance" not in names:
            remedy = "name 'parameters.common_distance', or leave it out"
            yield ConfigError("forward_model.autofocus", "needs the common distance as a parameter", remedy=remedy)
        if "log10_kappa" in names and not self.homogeneous:
            remedy = "set 'forward_model.homogeneous: true', or leave it out"
            yield ConfigError("parameters.log10_kappa", "has no effect: the object is not homogeneous", remedy=remedy)
        if not geometry.distance_index.any():
            alone = ("intensity_scale",) if len(geometry.distance_index) == 1 else ()
            for name in ("relative_distances", *MAP_PARAMETERS, *alone):
                if name in names:
                    what = "has no effect: there is one hologram an angle, which is the reference"
                    yield ConfigError(f"parameters.{name}", what, remedy="leave it out")
        for name in ("translation", "pixel_ratio"):
            if "affine" in names and name in names:
                what = "is part of the affine map, which is refined, too"
                yield ConfigError(f"parameters.{name}", what, remedy=f"leave out '{name}' or 'affine'")

    def _propagator(self, geometry: HologramGeometry) -> str:
        if self.propagation != "auto":
            return self.propagation
        error = propagation.paraxial_error_rad(geometry.object_grid, geometry.effective_distance_m)
        return "fresnel" if error <= propagation.PARAXIAL_ERROR_RAD else "angular_spectrum"

    # -- physics ---------------------------------------------------------------------------------------------------
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """Intensities ``(n, y, x)`` in counts from the windows ``obj`` ``(k, Y, X)`` complex that `view` names."""
        return self._predict(xp, obj, params, batch, fused=False)

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        predicted = self._predict(xp, obj, params, batch, fused=self.fuses(xp, batch))
        value = self.misfit(xp, predicted, batch, loss)
        constants = {name: xp.stop_gradient(p) for name, p in params.items()}
        return request.weight * value, self.curvatures(xp, xp.stop_gradient(obj), constants, batch, loss, request)

    def misfit(self, xp: Backend, predicted: Array, batch: Batch, loss: Loss) -> Array:
        """The loss of a batch, in one pass where the fused operation serves and no pixel is masked."""
        noise = loss.fused_noise(batch.floor) if self.fuses(xp, batch) and batch.mask is None else None
        if noise is None:
            return loss.value(xp, predicted, batch.target, batch.mask, batch.floor)
        return xp.host_operation(Misfit(xp.to_numpy(batch.target), noise, batch.floor), predicted)

    def fuses(self, xp: Backend, batch: Batch) -> bool:
        """Whether the fused operation serves."""
        return self.fused and xp.on_host and batch.geometry.propagator == "fresnel"

    def _predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, *, fused: bool) -> Array:
        waves, (_, place) = self._waves(xp, obj, params, batch), _places(batch.corners_px)
        groups = [np.flatnonzero(place == k) for k in range(len(batch.view_corners_px))]
        sizes = list(zip(batch.geometry.window_px, batch.geometry.picture_px, strict=True))
        off = batch.view_corners_px + np.array([(n - p) / 2 for n, p in sizes])
        parts = [
            self.holograms(xp, waves[k], params, batch, (here, (off[k, 0], off[k, 1]), fused))
            for k, here in enumerate(groups)
        ]
        return self.gathered(xp, parts, groups, params, batch)

    def gathered(
        self, xp: Backend, parts: list[Array], groups: list[np.ndarray], params: Mapping[str, Array], batch: Batch
    ) -> Array:
        """Intensities of a batch, in its order, from those of ``groups`` of its patterns, each times its scale."""
        intensity = parts[0]
        if len(parts) > 1:
            intensity = xp.take(xp.concat(parts, axis=0), np.argsort(np.concatenate(groups)))
        if "intensity_scale" in params:
            pictures = batch.geometry.picture_index[batch.patterns]
            intensity = intensity * xp.reshape(params["intensity_scale"][pictures], (-1, 1, 1))
        return intensity

    def holograms(
        self,
        xp: Backend,
        wave: Array,
        params: Mapping[str, Array],
        batch: Batch,
        where: tuple[np.ndarray, tuple[float, float], bool],
    ) -> Array:
        """Intensities ``(n, y, x)`` that the wave ``(Y, X)`` behind the object brings.

        ``where``: which patterns of the batch, (y, x) from the middle of a picture to that of the window, and whether
        to use the fused operation.
        """
        (here, off, fused), geometry, window = where, batch.geometry, tuple(wave.shape)
        pictures = geometry.picture_index[batch.patterns[here]]
        distances = distances_of(xp, params, geometry)[geometry.distance_index[pictures]]
        maps, moving = detector_maps(xp, params, geometry, pictures, off)
        grid, kind = geometry.grid_of(window), geometry.propagator
        if fused:
            camera = Camera(geometry.window_px, phase_rates(grid), moving)
            return xp.host_operation(Holograms(xp, camera), wave, distances, maps)
        transfer = propagation.TRANSFER_FUNCTIONS[kind](xp, grid, distances)
        images = xp.abs2(xp.ifft2(transfer * xp.fft2(wave)[None]))
        return xp.maximum(interpolate(xp, images, maps, geometry.window_px), 0.0)  # a spline overshoots

    def _waves(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """Waves behind the windows of the object ``(k, Y, X)``, in the square root of counts."""
        geometry, size = batch.geometry, tuple(obj.shape[-2:])
        whole = [n + p - w for n, p, w in zip(size, geometry.picture_px, geometry.window_px, strict=True)]

        def windows(array: Array) -> list[Array]:
            return [array[y : y + size[0], x : x + size[1]] for y, x in batch.view_corners_px.tolist()]

        if self.surroundings == "vacuum":
            inside = xp.asarray(np.stack(windows(field_of_view(geometry, (whole[0], whole[1])))))
            obj = obj * inside if self.homogeneous else 1 + inside * (obj - 1)
        if self.homogeneous:
            obj = self._transmission(xp, obj, params)
        if "illumination" in params:
            return obj * _stacked(xp, windows(params["illumination"]))
        return obj * float(np.sqrt(geometry.open_beam_counts))

    def _transmission(self, xp: Backend, obj: Array, params: Mapping[str, Array]) -> Array:
        """``exp(-(1/kappa + i) phi)`` of the phase shift phi, the real part of what is stored."""
        lag = xp.real(obj)
        modulus = xp.exp(-self._inverse_kappa(xp, params) * lag)
        return xp.complex(modulus * xp.cos(lag), -modulus * xp.sin(lag))

    def _inverse_kappa(self, xp: Backend, params: Mapping[str, Array]) -> Array:
        assert self.kappa is not None  # `__post_init__` looked
        refined = params.get("log10_kappa")
        return 1 / self.kappa if refined is None else xp.exp(-float(np.log(10.0)) * refined[0])

    def curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> dict[str, Array]:
        if loss.amplitude_curvature is None or "object" not in request.curvature:
            return {}
        # Propagation keeps energy: every pixel of the object matters as much as it is lit.
        light: Array = batch.geometry.open_beam_counts
        if "illumination" in params:
            size = obj.shape[-2:]
            cuts = [params["illumination"][y : y + size[0], x : x + size[1]] for y, x in batch.view_corners_px.tolist()]
            light = xp.abs2(_stacked(xp, cuts))
        whole = len(batch.view_corners_px) == 1 and batch.geometry.window_px == batch.geometry.picture_px
        seen: Array = len(batch.patterns)
        if not whole:
            seen = xp.asarray(_seen_by(batch, tuple(obj.shape[-2:])))
        elif "illumination" not in params:
            seen = seen * xp.ones(tuple(obj.shape))
        q = light * seen * (loss.amplitude_curvature * request.weight)
        if not self.homogeneous:
            return {"object": q}
        # |dO/dphi|^2 = |O|^2 (1 + 1/kappa^2)
        per_lag = xp.abs2(self._transmission(xp, obj, params)) * (1 + self._inverse_kappa(xp, params) ** 2)
        return {"object": q * per_lag}

    @property
    def whole_steps(self) -> str | None:
        return None if self.balance is None else "balance"

    @property
    def of_transmission(self) -> tuple[str, ...]:
        used = {"autofocus": self.autofocus, "balance": self.balance}
        return tuple(name for name, setting in used.items() if setting is not None)

    def rounder(self, xp: Backend, stored: Array, gradient: Array, geometry: Geometry) -> Array:
        """Steps equally long for slow and fast changes of the phase: `adorym.forward.hologram_metric`."""
        assert isinstance(geometry, HologramGeometry)  # this model made it
        if self.balance is None:
            return gradient
        grid, distances = geometry.grid_of((stored.shape[0], stored.shape[1])), geometry.distances_m
        if self.homogeneous:
            assert self.kappa is not None  # `__post_init__` looked
            return rounded_lag(xp, gradient, grid, distances, self.balance, self.kappa)
        return rounded(xp, gradient, stored, grid, distances, self.balance)

    def settle(
        self,
        geometry: Geometry,
        obj: Callable[[], np.ndarray],
        values: Mapping[str, np.ndarray],
        epoch: tuple[int, int],
    ) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
        """The object in focus, and the common distance that goes with it."""
        if self.autofocus is None or not self.autofocus.due(*epoch):
            return None
        assert isinstance(geometry, HologramGeometry)  # this model made it
        now = obj()
        grid, edges = geometry.grid_of(now.shape), zip(geometry.buffer_px, now.shape, strict=True)
        rows, columns = (slice(edge, n - edge) for edge, n in edges)
        distance = self.autofocus.find(now, grid, (rows, columns))
        LOG.info("autofocus after epoch %d: distances shifted by %.4g m", epoch[0], -distance)
        return refocused(now, grid, distance), {"common_distance": values["common_distance"] - distance}

    # -- what is stored, what comes out ------------------------------------------------------------------------------
    def material(self, values: Mapping[str, np.ndarray]) -> float | None:
        """kappa, the present one."""
        refined = values.get("log10_kappa") if self.homogeneous else None
        return self.kappa if refined is None else 10.0 ** float(refined[0])

    def encode(self, transmission: np.ndarray) -> np.ndarray:
        """The array to solve for: the transmission, or the phase shift of a homogeneous object."""
        return unwrapped_lag(transmission) + 0j if self.homogeneous else transmission

    def decode(self, stored: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Transmission of a stored object."""
        kappa = self.material(values)
        if kappa is None:
            return stored
        return np.exp(-(1 / kappa + 1j) * stored.real)

    def derived(self, dataset: Dataset, values: Mapping[str, np.ndarray]) -> dict[str, Derived]:
        """Distances and the parts of the affine maps, which experimenters think in."""
        geometry = hologram_geometry(dataset, self.buffer_px)
        return {name: made for name, make in DERIVED.items() if (made := make(values, geometry)) is not None}


def _stacked(xp: Backend, windows: list[Array]) -> Array:
    """``(k, y, x)``, without a copy of a single one."""
    return windows[0][None] if len(windows) == 1 else xp.stack(windows)


def _places(corners_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(k, 2)`` distinct corners, and which of them each pattern has ``(n,)``."""
    places, which = np.unique(corners_px, axis=0, return_inverse=True)
    return places, which.ravel()


def _seen_by(batch: Batch, size: tuple[int, int]) -> np.ndarray:
    """``(k, Y, X)``: how many patterns of the batch look at each pixel of its windows; a tile at those before it.

    What lies beyond the picture counts to the tiles at its edge.
    """
    geometry, (_, place) = batch.geometry, _places(batch.corners_px)
    counts = np.zeros((len(batch.view_corners_px), *size))
    for k, corner in enumerate(batch.view_corners_px):
        part: list[slice] = []
        for first, n, w, p in zip(corner, size, geometry.window_px, geometry.picture_px, strict=True):
            edge = (n - w) // 2
            part.append(slice(0 if first == 0 else edge, n if first + w == p else edge + w))
        counts[k][tuple(part)] = np.count_nonzero(place == k)
    return counts
