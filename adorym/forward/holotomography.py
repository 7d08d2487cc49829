r"""Holotomography: near-field holograms of a volume, at one or several distances at every angle.

.. math:: T_a = e^{-A_a w}, \qquad w = k\Delta(\beta + i\delta)

with the line integrals :math:`A_a w` of the volume at each angle (`adorym.forward.volume`), followed by holography of a
thin object (`adorym.forward.holography`) with all its refinements (Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999)).
The volume is as high and wide as the holograms with their buffer, so that fringes do not wrap around. Large holograms
are divided into tiles: a batch then needs the rows of the volume behind its tiles, and waves no larger than a tile and
its rim.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.data.tiles import Tiling, divide, tiled
from adorym.forward.base import BoundModel, Request, misfit
from adorym.forward.hologram_geometry import HologramGeometry, Propagation, hologram_geometry
from adorym.forward.hologram_parameters import PARAMETERS, derived
from adorym.forward.holography import BYTES, Group, HologramBatch, Holography, received
from adorym.forward.object import Settings, margin_px
from adorym.forward.views import TileBands
from adorym.forward.volume import GAUGES, VolumeModel, frame, surrogate, volume_parameters, volume_space
from adorym.losses.base import Loss
from adorym.optics.projector import Joseph, Projector
from adorym.optics.representation import transmission_of
from adorym.parameters import OBJECT, Parameter
from adorym.preconditioners import Diagonal, Point
from adorym.registry import register
from adorym.units import Pixels
from adorym.updates import FactorGauge
from adorym.wrapper.base import Array, Backend

LOG = logging.getLogger("adorym")
# Bytes per voxel of a band and its gradient, in single precision.
VOXEL_BYTES = 2 * 8
TOO_MUCH = 3  # times the rows of the volume, in all tiles together
# Parameters of the thin object at one angle that the volume replaces.
NOT_OF_VOLUME = ("object", "log10_kappa")


@register("forward_model", "holotomography")
class HoloTomography(VolumeModel):
    """In-line holography of a volume at many angles, at one or several distances, in a parallel or a cone beam.

    The rays of one angle are taken as parallel, which in a cone beam requires a sample much smaller than its distance
    from the focus.

    Attributes:
        propagation: Transfer function, as `adorym.forward.holography.Holography` has it.
        buffer_px: Pixels by which the volume exceeds the holograms on each side; if absent, the reach of the
            diffracted light.
        center: x of the rotation axis from the middle of the detector; that of the data, or 0, if absent.
        tile_memory_gib: Holograms are divided into tiles if one of them, with the rows of the volume behind it, needs
            more memory: less memory, more transforms. Not at all if absent.
        fused: Use the operation with hand-written adjoints where possible.
    """

    propagation: Propagation = "auto"
    buffer_px: int | None = Field(None, ge=0)
    center: Pixels | None = None
    tile_memory_gib: float | None = Field(None, gt=0)
    fused: bool = True

    refinable: ClassVar[Mapping[str, Parameter]] = {
        **volume_parameters(
            optimizer={"kind": "preconditioned", "learning_rate": 1.0, "regularization": 0.02, "momentum": 0.9}
        ),
        **{name: spec for name, spec in PARAMETERS.items() if name not in NOT_OF_VOLUME},
    }

    @property
    def regime(self) -> Literal["near_field"]:
        """Holograms are near-field patterns."""
        return "near_field"

    @property
    def thin(self) -> Holography:
        """The model of one angle."""
        return Holography(propagation=self.propagation, buffer_px=self.buffer_px, fused=self.fused)

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[HologramGeometry]:
        if self.center is not None:
            dataset = dataset.with_(rotation_center_px=float(self.center))
        geometry = hologram_geometry(dataset, self.buffer_px, self.propagation)
        self.thin.check(dataset, geometry, settings)
        memory = math.inf if self.tile_memory_gib is None else self.tile_memory_gib
        tiling = divide(dataset.window_px, 0, memory, lambda size: _bytes(geometry, size))
        if tiling is not None:
            _say(tiling, geometry)
            dataset = tiled(dataset, tiling)
            geometry = hologram_geometry(dataset, self.buffer_px, self.propagation)
        (ny, nx), origin = geometry.frame(margin_px(settings, 0, 0))
        height = geometry.window_px[0]
        return BoundModel(
            model=self,
            dataset=dataset,
            geometry=geometry,
            settings=settings,
            shape=(ny, nx, nx),
            origin_px=origin,
            view=TileBands(height, geometry.picture_px[0], self.row_band(height).reach),
            space=volume_space(settings, geometry, self.regime),
            updates=(*GAUGES, FactorGauge("intensity_scale", "illumination")),
            derived=lambda values: derived(values, geometry),
            preconditioners={OBJECT: Diagonal(self.object_curvature)},
        )

    # -- physics ---------------------------------------------------------------------------------------------------
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch) -> Array:
        """Intensities ``(n, y, x)`` in counts from bands of the volume ``obj`` ``(k, y, x, z)`` complex exponent."""
        return self._predict(xp, obj, params, batch, fused=False)

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch, loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        predicted = self._predict(xp, obj, params, batch, fused=self.thin.fuses(xp, batch))
        value = misfit(xp, predicted, batch, loss)
        return request.weight * value, self.curvatures(xp, obj, params, batch, loss, request)

    def _predict(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch, *, fused: bool
    ) -> Array:
        windows = _windows(batch)
        groups, size = [window.group for window in windows], _size(batch)
        parts = []
        for window, exponent in zip(windows, self.exponents(xp, obj, params, batch, self.projector), strict=True):
            light: Array = float(np.sqrt(batch.geometry.open_beam_counts))
            if "illumination" in params:
                light = window.cut(params["illumination"], size)
            wave = transmission_of(xp, exponent) * light
            parts.append(self.thin.holograms(xp, wave, params, batch, window.group, fused=fused))
        return self.thin.gathered(xp, parts, groups, params, batch)

    def exponents(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch, projector: Projector
    ) -> list[Array]:
        """``(Y, X)`` line integrals behind each of `_windows`, linear in the bands ``obj`` ``(k, y, x, z)``."""
        windows, size, found = _windows(batch), _size(batch), []
        for k, first_row in enumerate(batch.view_corners_px[:, 0].tolist()):
            here = [window for window in windows if window.band == k]
            angles, first = np.unique([window.angle for window in here], return_index=True)
            low = min(window.corner_px[0] for window in here)
            height = max(window.corner_px[0] for window in here) + size[0] - low
            poses = self.poses(xp, params, np.array([here[i].group.index[0] for i in first]))
            seen = projector.project(
                xp, obj[k], poses, replace(frame(poses, (low, height), batch), first_row=first_row)
            )
            each = dict(zip(angles.tolist(), xp.unstack(seen), strict=True))
            found += [window.cut(each[window.angle], size, low) for window in here]
        return found

    def object_curvature(self, point: Point) -> Array:
        r"""Curvature by the bands of the volume ``(k, y, x, z)``, over the weight.

        By a line integral w it is :math:`|\partial T/\partial w|^2 = |T|^2` times the incident intensity and the number
        of patterns at the angle that contain the pixel, since propagation conserves energy.
        """
        xp, params, batch, windows, size = (
            point.xp,
            point.params,
            point.batch,
            _windows(point.batch),
            _size(point.batch),
        )
        groups = [window.group for window in windows]
        fraction: Any = [1.0]
        if batch.mask is not None:
            fraction = received(xp, batch.mask, batch.geometry, size, groups)
        found = []
        for i, exponent in enumerate(self.exponents(xp, point.obj, params, batch, self.projector)):
            window, counts = windows[i], np.zeros(size)
            place = (window.corner_px[0], window.corner_px[1])
            counts[batch.geometry.counted(place, size)] = len(window.group.index)
            light: Array = batch.geometry.open_beam_counts
            if "illumination" in params:
                light = xp.abs2(window.cut(params["illumination"], size))
            seen = xp.abs2(transmission_of(xp, exponent)) * light * xp.asarray(counts)
            found.append(seen * fraction[min(i, len(fraction) - 1)])

        def projected(ones: Array) -> Array:
            return xp.stack(self.exponents(xp, ones, params, batch, Joseph()))

        return surrogate(xp, projected, tuple(point.obj.shape), xp.stack(found))


@dataclass(frozen=True, eq=False)
class _Window:
    """The window of the projection at one angle that some patterns of a batch need.

    Attributes:
        angle: Number of the angle.
        band: Number of the band of the view that it is projected from.
        corner_px: (y, x) its first pixel in the projection of the whole volume; that of its tile in the hologram, too.
        group: The patterns.
    """

    angle: int
    band: int
    corner_px: tuple[int, int]
    group: Group

    def cut(self, field: Array, size: tuple[int, int], first_row: int = 0) -> Array:
        """This window of a ``field`` ``(y, x)`` that begins in row ``first_row``."""
        y, x = self.corner_px[0] - first_row, self.corner_px[1]
        if (y, x, *size) == (0, 0, *map(int, field.shape)):
            return field
        return field[y : y + size[0], x : x + size[1]]


def _size(batch: HologramBatch) -> tuple[int, int]:
    """(y, x) size of a window: a tile and its rim."""
    geometry = batch.geometry
    rim = (n - p for n, p in zip(batch.object_shape[:2], geometry.picture_px, strict=True))
    y, x = (w + r for w, r in zip(geometry.window_px, rim, strict=True))
    return y, x


def _windows(batch: HologramBatch) -> list[_Window]:
    """The windows of the patterns of a batch, band after band."""
    size, geometry = _size(batch), batch.geometry
    edge = [(n - p) // 2 for n, p in zip(batch.object_shape[:2], geometry.picture_px, strict=True)]
    bands = batch.view_corners_px[:, 0] + batch.view_px[0] / 2
    places = np.column_stack([batch.angles, batch.corners_px - edge])
    distinct, which = np.unique(places, axis=0, return_inverse=True)
    found = []
    for i, (angle, y, x) in enumerate(distinct.tolist()):
        off = tuple(c + (w - p) / 2 for c, w, p in zip((y, x), geometry.window_px, geometry.picture_px, strict=True))
        # Where poses reach beyond the volume bands of several rows of tiles may be one; else it is their own.
        band = int(np.argmin(np.abs(bands - (y + size[0] / 2))))
        found.append(_Window(angle, band, (y, x), Group(np.flatnonzero(which.ravel() == i), (off[0], off[1]))))
    return sorted(found, key=lambda window: window.band)


def _say(tiling: Tiling, geometry: HologramGeometry) -> None:
    """Log the tiles; a warning if their rims are most of the work."""
    LOG.info("%s x %s tiles of %s x %s px", *tiling.tiles, *tiling.window_px)
    rows, whole = (geometry.with_rim(size)[0] for size in (tiling.window_px, geometry.picture_px))
    if tiling.tiles[0] * rows > TOO_MUCH * whole:
        LOG.warning(
            "forward_model.tile_memory_gib: each of %d rows of tiles needs %d of %d rows of the volume, most of them "
            "for the rim; more memory, or a smaller 'forward_model.buffer_px', is faster", tiling.tiles[0], rows, whole,
        )  # fmt: skip


def _bytes(geometry: HologramGeometry, window_px: tuple[int, int]) -> float:
    """Bytes of the band behind a pattern of that size, of its wave, and of their gradients, in single precision."""
    (y, x), across = geometry.with_rim(window_px), geometry.with_rim(geometry.picture_px)[1]
    return VOXEL_BYTES * y * across**2 + BYTES * y * x
