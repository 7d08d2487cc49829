r"""Near-field holography of a thin object at one or several distances.

.. math::

    I_k(u) = s_k(u) \left|\mathcal D_{z_k}[\psi_0\, O]\right|^2 (A_k u), \qquad z_k = z_k^0 + c + \rho_k

with the illumination :math:`\psi_0` (a plane wave of the beam's intensity, or a given or refined one), the
near-field propagator :math:`\mathcal D` and an affine map :math:`A_k` from the frame of the k-th hologram to that of
the first. The factor :math:`s_k` may change slowly across a hologram. The *prediction* is interpolated at the mapped
detector pixels, never the measured counts, which keep their statistics (Du et al., Opt. Express 29, 10000 (2021),
section 3.2).

**Distances** are the given ones :math:`z_k^0` plus a common correction c and relative corrections :math:`\rho_k`, with
learning rates of their own. Since :math:`\mathcal D_{z+c} = \mathcal D_z \mathcal D_c`, a common shift only refocuses
the object: it is determined by constraints on the object alone, differences by the data.

**Cone beam.** By the Fresnel scaling theorem a point source is equivalent to a parallel beam with an effective distance
and pixel size (`adorym.optics.geometry`). Several magnifications are computed on the grid of the finest pixel.

**One material.** With ``homogeneous`` the object is :math:`O = e^{-(1/\kappa + i)\varphi}` with one real unknown, the
phase :math:`\varphi = k t \delta`, and :math:`\kappa = \delta/\beta`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.tiles import divide, tiled
from adorym.errors import ConfigError
from adorym.forward.base import BoundModel, ForwardModel, Request, misfit
from adorym.forward.hologram_geometry import (
    HologramGeometry,
    Propagation,
    field_of_view,
    hologram_geometry,
    phase_rates,
)
from adorym.forward.hologram_parameters import PARAMETERS, beam_shape, derived, detector_maps, distances_of
from adorym.forward.hologram_prior import limit_of_phase
from adorym.forward.object import Settings, margin_px, object_settings, thin_space
from adorym.forward.views import Tiles, distinct_corners
from adorym.losses.base import Loss
from adorym.object_space import SingleMaterial
from adorym.optics import propagation
from adorym.optics.affine import interpolate
from adorym.parameters import Parameter
from adorym.preconditioners import ContrastTransfer, Diagonal, Point, Preconditioner
from adorym.registry import register
from adorym.updates import Autofocus, FactorGauge, FocusUpdate, Update
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.hologram import Camera, Holograms

LOG = logging.getLogger("adorym")
HologramBatch = Batch[HologramGeometry]
# Bytes per pixel of the window: object, wave, spectra, their gradients and the image, in single precision.
BYTES = 8 * 8
MAP_PARAMETERS = ("affine", "translation", "pixel_ratio")


@dataclass(frozen=True, eq=False)
class Group:
    """Patterns of a batch that share one wave behind the object.

    Attributes:
        index: ``(n,)`` their indices in the batch.
        off_middle_px: (y, x) from the middle of a hologram to that of the window.
    """

    index: np.ndarray
    off_middle_px: tuple[float, float] = (0.0, 0.0)


@register("forward_model", "holography")
class Holography(ForwardModel):
    """In-line holography of a thin object, at one or several distances, in a parallel or a cone beam.

    Attributes:
        propagation: Transfer function: ``fresnel``, ``angular_spectrum``, or ``auto``: the first, unless its phase is
            wrong by more than 0.1 rad.
        buffer_px: Pixels by which the object exceeds the holograms on each side, so that fringes do not wrap around;
            if absent, the reach of the diffracted light.
        surroundings: Whether the object beyond the field of view is ``refined`` or ``vacuum``.
        homogeneous: One material: the phase is the only unknown of the object, and absorption is proportional to it.
        kappa: delta / beta of that material; ``parameters.log10_kappa`` refines it.
        limit_noise: A single hologram of one material can be fitted exactly, noise and all. The spectra of phase and
            noise that it shows limit the phase where the noise is stronger; without effect on other data.
        autofocus: Search the common distance by the sharpness of the object; needs ``parameters.common_distance``.
        balance: Makes slow waves of the phase, which have little contrast in the holograms, converge as fast as others,
            except those with a contrast below this fraction; none for plain steps. 0.03 is a good choice; smaller is
            faster and less stable.
        tile_memory_gib: Holograms are divided into tiles if one needs more memory: less memory, more transforms.
        fused: Use the operation with hand-written adjoints where possible; otherwise plain automatic differentiation,
            the reference.
    """

    propagation: Propagation = "auto"
    buffer_px: int | None = Field(None, ge=0)
    surroundings: Literal["refined", "vacuum"] = "refined"
    homogeneous: bool = False
    kappa: Annotated[float, Field(gt=0)] | None = None
    limit_noise: bool = True
    autofocus: Autofocus | None = None
    balance: Annotated[float, Field(gt=0, le=1)] | None = None
    tile_memory_gib: Annotated[float, Field(gt=0)] = 2.0
    fused: bool = True

    refinable: ClassVar[Mapping[str, Parameter]] = PARAMETERS

    def __post_init__(self) -> None:
        if self.homogeneous and self.kappa is None:
            remedy = "give 'kappa', delta / beta of the material; refine 'parameters.log10_kappa' if it is uncertain"
            raise ConfigError("kappa", "absent: a homogeneous object needs it", remedy=remedy)
        if self.kappa is not None and not self.homogeneous:
            raise ConfigError("kappa", "has no effect without 'homogeneous: true'", remedy="leave it out")
        if self.autofocus is not None and self.homogeneous:
            what = "has no effect: one material fixes the focus itself"
            raise ConfigError("autofocus", what, remedy="leave it out, and refine 'parameters.common_distance'")

    # -- binding -----------------------------------------------------------------------------------------------------
    @property
    def regime(self) -> Literal["near_field"]:
        """Holograms are near-field patterns."""
        return "near_field"

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[HologramGeometry]:
        """Bind the model: every hologram needs the whole object with its buffer; large holograms are tiled."""
        if dataset.n_angles > 1:
            remedy = "choose one with 'data.angles', or the forward model 'holotomography'"
            raise ConfigError("data.angles", "holography of a thin object needs a single angle",
                              found=f"{dataset.n_angles} angles", remedy=remedy)  # fmt: skip
        geometry = hologram_geometry(dataset, self.buffer_px, self.propagation)
        self.check(dataset, geometry, settings)
        tiling = divide(
            dataset.window_px, 0, self.tile_memory_gib, lambda size: BYTES * math.prod(geometry.with_rim(size))
        )
        if tiling is not None:
            LOG.info("%s x %s tiles of %s x %s px", *tiling.tiles, *tiling.window_px)
            dataset = tiled(dataset, tiling)
            geometry = hologram_geometry(dataset, self.buffer_px, self.propagation)
        shape, origin = geometry.frame(margin_px(settings, 0, 0))
        if self.kappa is not None and self.limit_noise and dataset.n_patterns == 1:
            geometry = replace(geometry, prior=limit_of_phase(dataset, shape, self.kappa))
        steps: Preconditioner = Diagonal(self.object_curvature)
        if self.balance is not None:
            distances = tuple(geometry.distances_m.tolist())
            field = partial(field_of_view, geometry) if self.surroundings == "vacuum" else None
            steps = ContrastTransfer(steps, geometry.grid_of, distances, self.balance, self.kappa, field)
        # The illumination takes up a common factor of the intensities.
        updates: list[Update] = [FactorGauge("intensity_scale", "illumination")]
        if self.autofocus is not None:
            updates.append(FocusUpdate(self.autofocus, geometry.grid_of, geometry.buffer_px, geometry.propagator))
        material = None if self.kappa is None else SingleMaterial(self.kappa)
        return BoundModel(
            model=self,
            dataset=dataset,
            geometry=geometry,
            settings=settings,
            shape=shape,
            origin_px=origin,
            view=Tiles(geometry.window_px, geometry.picture_px),
            space=material or thin_space(settings, geometry, "near_field"),
            updates=tuple(updates),
            derived=lambda values: derived(values, geometry),
            preconditioners={"object": steps},
        )

    def check(self, dataset: Dataset, geometry: HologramGeometry, settings: Settings) -> None:
        """Refuse data that this model cannot describe, and parameters that have no effect.

        Raises:
            InputError: The first such contradiction.
        """
        if dataset.magnification is None:  # a cone-beam series uses the pixel of the largest magnification
            geometry.check_pixel_size("near_field")
        grid, distance = geometry.object_grid, geometry.effective_distance_m
        wide = zip(propagation.needed_px(grid, distance), grid.window_px, geometry.buffer_px, strict=True)
        most = max(buffer + math.ceil((needed - n) / 2) for needed, n, buffer in wide)
        widen = f"'forward_model.buffer_px: {most}'"
        typed = "distance" if dataset.distance_m is not None or dataset.magnification is not None else None
        propagation.check(geometry.propagator, grid, distance, f"data.{typed or 'propagation_distance'}", widen)
        for error in self._errors(geometry, settings):
            raise error

    def _errors(self, geometry: HologramGeometry, settings: Settings) -> Iterator[ConfigError]:
        where = "parameters.object.representation"
        if object_settings(settings).representation != "real_imag":
            if self.homogeneous:
                what = "has no effect: a homogeneous object is represented by its phase"
                yield ConfigError(where, what, remedy="leave it out, or 'forward_model.homogeneous'")
            for key in ("autofocus", "balance"):
                if getattr(self, key) is not None:
                    what = f"'{key}' acts on the transmission, but this run solves for another quantity"
                    yield ConfigError(f"forward_model.{key}", what, remedy=f"leave it out, or '{where}'")
        optimizer = object_settings(settings).optimizer
        if self.balance is not None and optimizer is not None and not optimizer.needs_curvature:
            what = f"has no effect on steps of the kind '{optimizer.kind}'"
            remedy = "leave it out, or 'parameters.object.optimizer: {kind: preconditioned}'"
            yield ConfigError("forward_model.balance", what, remedy=remedy)
        if self.autofocus is not None and "common_distance" not in settings:
            remedy = "name 'parameters.common_distance', or leave it out"
            yield ConfigError("forward_model.autofocus", "needs the common distance as a parameter", remedy=remedy)
        if "log10_kappa" in settings and not self.homogeneous:
            remedy = "set 'forward_model.homogeneous: true', or leave it out"
            yield ConfigError("parameters.log10_kappa", "has no effect: the object is not homogeneous", remedy=remedy)
        if not geometry.distance_index.any():
            alone = ("intensity_scale", "beam_shape") if len(geometry.distance_index) == 1 else ()
            for name in ("relative_distances", *MAP_PARAMETERS, *alone):
                if name in settings:
                    what = "has no effect: the only hologram per angle is the reference"
                    yield ConfigError(f"parameters.{name}", what, remedy="leave it out")
        for name in ("translation", "pixel_ratio"):
            if "affine" in settings and name in settings:
                what = "is part of the affine map, which is also refined"
                yield ConfigError(f"parameters.{name}", what, remedy=f"leave out '{name}' or 'affine'")

    def object_curvature(self, point: Point) -> Array:
        """Curvature ``(k, Y, X)`` by the complex transmission, divided by the weight.

        Propagation conserves energy: the curvature of an object pixel is the intensity there, times the number of
        patterns that contain it, times the fraction of its light that reaches valid detector pixels.
        """
        xp, batch, size = point.xp, point.batch, (point.obj.shape[-2], point.obj.shape[-1])
        seen = xp.asarray(_seen_by(batch, size))
        if batch.mask is not None:
            seen = seen * received(xp, batch.mask, batch.geometry, size, _groups(batch))
        if batch.geometry.prior is not None:
            seen = seen + float(batch.geometry.prior.max())
        if "illumination" not in point.params:
            return batch.geometry.open_beam_counts * seen
        return xp.abs2(_windows(xp, point.params["illumination"], batch, size)) * seen

    # -- physics ---------------------------------------------------------------------------------------------------
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch) -> Array:
        """Intensities ``(n, y, x)`` in counts from transmissions ``obj`` ``(k, Y, X)`` of the windows of the view."""
        return self._predict(xp, obj, params, batch, fused=False)

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch, loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        predicted = self._predict(xp, obj, params, batch, fused=self.fuses(xp, batch))
        value = misfit(xp, predicted, batch, loss)
        if batch.geometry.prior is not None:
            per_square = batch.geometry.open_beam_counts * (loss.amplitude_curvature or 2.0) / 2
            value = value + per_square * self.roughness(xp, obj, params, batch.geometry.prior)
        return request.weight * value, self.curvatures(xp, obj, params, batch, loss, request)

    def roughness(self, xp: Backend, obj: Array, params: Mapping[str, Array], prior: np.ndarray) -> Array:
        """Sum of ``prior`` times the squared spectrum of the phase of one material, from its absorption."""
        assert self.kappa is not None  # there is no prior without it
        kappa: Array = xp.exp(math.log(10.0) * params["log10_kappa"][0]) if "log10_kappa" in params else self.kappa
        phase = (kappa / 2) * xp.log(xp.abs2(obj))
        return xp.sum(xp.asarray(prior) * xp.abs2(xp.fft2(xp.complex(phase, 0 * phase))))

    def fuses(self, xp: Backend, batch: HologramBatch) -> bool:
        """Whether the fused operation is used."""
        return self.fused and xp.on_host and batch.geometry.propagator == "fresnel"

    def _predict(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch, *, fused: bool
    ) -> Array:
        waves, groups = self._waves(xp, obj, params, batch), _groups(batch)
        parts = [self.holograms(xp, waves[k], params, batch, each, fused=fused) for k, each in enumerate(groups)]
        return self.gathered(xp, parts, groups, params, batch)

    def gathered(
        self, xp: Backend, parts: list[Array], groups: list[Group], params: Mapping[str, Array], batch: HologramBatch
    ) -> Array:
        """Intensities of a batch in its order, from those of its ``groups``, times the scale of each pattern."""
        intensity = parts[0]
        if len(parts) > 1:
            order = np.argsort(np.concatenate([group.index for group in groups]))
            intensity = xp.take(xp.concat(parts, axis=0), order)
        if "intensity_scale" in params:
            pictures = batch.geometry.picture_index[batch.patterns]
            intensity = intensity * xp.reshape(params["intensity_scale"][pictures], (-1, 1, 1))
        return intensity

    def holograms(
        self,
        xp: Backend,
        wave: Array,
        params: Mapping[str, Array],
        batch: HologramBatch,
        group: Group,
        *,
        fused: bool,
    ) -> Array:
        """Intensities ``(n, y, x)`` of the patterns of ``group``, from the wave ``(Y, X)`` behind the object."""
        geometry, window = batch.geometry, (int(wave.shape[0]), int(wave.shape[1]))
        pictures = geometry.picture_index[batch.patterns[group.index]]
        distances = distances_of(xp, params, geometry)[geometry.distance_index[pictures]]
        maps, moving = detector_maps(xp, params, geometry, pictures, group.off_middle_px)
        grid, kind = geometry.grid_of(window), geometry.propagator
        if fused:
            camera = Camera(geometry.window_px, phase_rates(grid), moving)
            seen: Array = xp.host_operation(Holograms(xp, camera), wave, distances, maps)
        else:
            transfer = propagation.TRANSFER_FUNCTIONS[kind](xp, grid, distances)
            images = xp.abs2(xp.ifft2(transfer * xp.fft2(wave)[None]))
            seen = xp.maximum(interpolate(xp, images, maps, geometry.window_px), 0.0)  # splines overshoot
        if "beam_shape" not in params:
            return seen
        return seen * beam_shape(xp, params, geometry, pictures, group.off_middle_px)

    def _waves(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch) -> Array:
        """Waves ``(k, Y, X)`` behind the windows of the object, in square root of counts."""
        size = (obj.shape[-2], obj.shape[-1])
        if self.surroundings == "vacuum":
            inside = xp.asarray(field_of_view(batch.geometry, batch.geometry.in_frame(size)))
            obj = 1 + _windows(xp, inside, batch, size) * (obj - 1)
        if "illumination" in params:
            return obj * _windows(xp, params["illumination"], batch, size)
        return obj * float(np.sqrt(batch.geometry.open_beam_counts))


def _groups(batch: HologramBatch) -> list[Group]:
    """The patterns of each window of the view."""
    _, place = distinct_corners(batch.corners_px)
    sizes = zip(batch.geometry.window_px, batch.geometry.picture_px, strict=True)
    off = (batch.view_corners_px + np.array([(n - p) / 2 for n, p in sizes])).tolist()
    return [Group(np.flatnonzero(place == k), (y, x)) for k, (y, x) in enumerate(off)]


def _windows(xp: Backend, array: Array, batch: HologramBatch, size: tuple[int, int]) -> Array:
    """``(k, y, x)`` windows of an array of the object's size; a single one is not copied."""
    cut = [array[y : y + size[0], x : x + size[1]] for y, x in batch.view_corners_px.tolist()]
    return cut[0][None] if len(cut) == 1 else xp.stack(cut)


def _seen_by(batch: HologramBatch, size: tuple[int, int]) -> np.ndarray:
    """``(k, Y, X)``: number of patterns of the batch that contain each pixel of its windows.

    Pixels outside the hologram count for the tiles at its edge.
    """
    geometry, counts = batch.geometry, np.zeros((len(batch.view_corners_px), *size))
    for k, ((y, x), group) in enumerate(zip(batch.view_corners_px.tolist(), _groups(batch), strict=True)):
        counts[k][geometry.counted((y, x), size)] = len(group.index)
    return counts


def received(xp: Backend, mask: Array, geometry: HologramGeometry, size: tuple[int, int], groups: list[Group]) -> Array:
    """Fraction of a pixel's light that valid pixels receive, averaged over each group: ``(k or 1, Y, X)``.

    The light of a pixel is taken to spread evenly over a square ``lambda z / dx^2`` pixels wide, over which ``mask``
    ``(1 or n, y, x)`` is averaged; maps are neglected. Light outside the detector counts as received.
    """
    if mask.shape[0] > 1:
        mask = xp.stack([xp.mean(mask[group.index], axis=0) for group in groups])
    margins = [n - w for n, w in zip(size, geometry.window_px, strict=True)]
    blind = xp.pad(1 - mask, [(0, 0), *((m // 2, m - m // 2) for m in margins)])
    grid, reach = geometry.grid_of(size), geometry.wavelength_m * geometry.distances_m[:, None]
    along = [np.sinc(f.ravel() * reach / d) for f, d in zip(grid.frequencies_per_m(), grid.pixel_size_m, strict=True)]
    kernel = xp.asarray(np.einsum("dy,dx->yx", *along) / len(reach))
    return xp.maximum(1 - xp.real(xp.ifft2(kernel * xp.fft2(xp.complex(blind, 0 * blind)))), 0.0)
