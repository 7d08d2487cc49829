r"""Ptychotomography: a volume scanned by a probe at many angles, and full-field tomography with diffraction.

At each angle the volume is projected (``thickness: thin``) or rotated and divided into slices (``multislice``):

.. math:: T_a = e^{-A_a w} \quad\text{or}\quad T_{a,z} = e^{-(R_a w)_z}, \qquad w = k\Delta(\beta + i\delta)

followed by ptychography of a thin object, or multislice ptychography, in each window. Projecting :math:`\delta` and
:math:`\beta` is cheapest, and valid while the object is thinner than the depth of focus. Each angle in a batch costs
one projection of the batch's rows, however many positions it has: ``run.batch_order: angle`` groups the patterns of
one angle.

Without positions each pattern is an image of the whole field in a plane wave: full-field tomography, thin or
multislice, in the near field. Large fields are divided into detector tiles that overlap by a safe zone
(`adorym.data.tiles`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.positions import first_px
from adorym.data.tiles import TiledPatterns, Tiling, divide, tiled
from adorym.errors import GeometryError
from adorym.forward.base import BoundModel, Request
from adorym.forward.multislice import Multislice
from adorym.forward.object import Settings, margin_px
from adorym.forward.probe import probe_modes
from adorym.forward.ptychography import Ptychography
from adorym.forward.time_course import TIME
from adorym.forward.volume import GAUGES, VolumeModel, frame, surrogate, volume_parameters, volume_space
from adorym.losses.base import Loss
from adorym.optics.buffer import reach_px
from adorym.optics.geometry import Geometry, Regime
from adorym.optics.projector import Joseph, Projector
from adorym.optics.representation import transmission_of
from adorym.optics.windows import object_shape
from adorym.parameters import OBJECT, Parameter
from adorym.preconditioners import Point, Preconditioner
from adorym.registry import register
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.rays import rotate
from adorym.wrapper.host_operation import HostOperation

LOG = logging.getLogger("adorym")
SCANNED = {name: spec for name, spec in Ptychography.refinable.items() if name not in (OBJECT, TIME)}
OF_SCAN = frozenset(SCANNED) | {OBJECT}


@register("forward_model", "ptychotomography")
class PtychoTomography(VolumeModel):
    """Scanning diffraction of a volume at many angles, or its full-field counterpart.

    Attributes:
        propagation: From the object to the detector: ``far_field``, or ``fresnel`` or ``angular_spectrum`` over the
            near-field distance.
        thickness: ``thin``: delta and beta are projected; ``multislice``: the wave passes through the rotated volume.
        binning: Number of slices that are multiplied before each propagation (multislice).
        volume_px: (y, x, z) size of the volume, whose corner is the data's position (0, 0), or the first row and column
            of positions in a length; if absent, as high and wide as the scan, and as deep as wide.
        axis: x of the rotation axis in pixels, from the same place; the middle of the volume if absent.
        tile_memory_gib: Full field: images are divided into tiles if the volume and the waves of one angle would take
            more than this.
        safe_zone: Full field: width by which tiles overlap; if absent, the distance by which the finest fringe spreads.
        fused: Use the operation with hand-written adjoints where possible.
    """

    propagation: Literal["far_field", "fresnel", "angular_spectrum"] = "far_field"
    thickness: Literal["thin", "multislice"] = "thin"
    binning: int = Field(1, ge=1)
    volume_px: tuple[int, int, int] | None = None
    axis: Pixels | None = None
    tile_memory_gib: float = Field(2.0, gt=0)
    safe_zone: Pixels | None = Field(None, ge=0)
    fused: bool = True

    refinable: ClassVar[Mapping[str, Parameter]] = {
        **volume_parameters(
            optimizer={"kind": "preconditioned", "learning_rate": 1.0, "regularization": 0.02, "momentum": 0.9}
        ),
        **SCANNED,
    }

    @property
    def regime(self) -> Regime:
        """``far_field`` or ``near_field``."""
        return self.scan.regime

    @property
    def scan(self) -> Ptychography:
        """The model of one angle."""
        if self.thickness == "thin":
            return Ptychography(propagation=self.propagation, fused=self.fused)
        return Multislice(propagation=self.propagation, slices=2, binning=self.binning, fused=self.fused)

    # -- binding -------------------------------------------------------------------------------------------------------
    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Geometry]:
        """Bind the model: each angle is a scan, of tiles if the data hold no positions."""
        n = dataset.n_patterns
        # Of full fields only the geometry is taken from the scan: any places will do.
        anywhere = np.arange(2.0 * n).reshape(n, 2)
        first = dataset if dataset.probe_positions_px is not None else dataset.with_(probe_positions_px=anywhere)
        first = first.with_(theta_rad=dataset.theta_rad[:1], angle_index=np.zeros(n, int), slice_positions_m=None)
        scan = self.scan.bind(first, settings)
        self._check_voxels(scan.geometry)
        tiling = self.tiling(dataset, scan.geometry) if dataset.probe_positions_px is None else None
        ready = self._as_scan(dataset, tiling)
        shape, origin = self._frame(ready, margin_px(settings))
        from_corner = origin[1] - (shape[1] - 1) / 2
        axis = dataset.rotation_center_px or 0.0
        if self.axis is not None:
            axis = self.axis + first_px(ready) + from_corner
        elif tiling is not None:
            axis += (dataset.window_px[1] - 1) / 2 + from_corner
        geometry = replace(scan.geometry, window_px=ready.window_px)
        in_beam = self.regime == "near_field" and ready.open_beam_counts is not None
        return BoundModel(
            model=self,
            dataset=ready.with_(rotation_center_px=axis),
            geometry=geometry,
            settings=settings,
            shape=shape,
            origin_px=origin,
            view=self.row_band(ready.window_px[0]),
            space=volume_space(settings, geometry, self.regime),
            zero_at_corner=scan.zero_at_corner,
            waves=probe_modes(settings) * (1 if self.thickness == "thin" else shape[2]),
            beam_counts=(ready.open_beam_counts or 0.0) * math.prod(ready.window_px) if in_beam else None,
            updates=(*GAUGES, *scan.updates),
            preconditioners={name: _OfScan(self, scan.preconditioner(name)) for name in OF_SCAN},
        )

    def _check_voxels(self, geometry: Geometry) -> None:
        if self.thickness == "thin":
            return
        y, x = geometry.pixel_size_m(self.regime)
        if abs(y / x - 1) > 0.01:
            raise GeometryError(
                "data.pixel_size", "voxels of a rotating volume are cubes", expected="square pixels",
                found=f"{y:.4g} x {x:.4g} m", remedy="crop the patterns, or choose 'thin'",
            )  # fmt: skip

    def tiling(self, dataset: Dataset, geometry: Geometry) -> Tiling | None:
        """How full-field images are divided into tiles; ``None`` if whole images fit into memory.

        Raises:
            GeometryError: No tiling fits into memory, or energy or pixel size is not known.
        """
        if self.regime == "far_field":
            return None
        field, thick = dataset.window_px, self.thickness == "multislice"
        grid, nz = geometry.grid("near_field"), field[1] if self.volume_px is None else self.volume_px[2]
        given, pixel = dataset.propagation_distance_m, min(grid.pixel_size_m)
        distance = geometry.effective_distance_m if given is None else float(np.max(given))
        spread = max(reach_px(grid, abs(distance) + (nz * pixel if thick else 0.0))) + 2
        safe, depth = spread if self.safe_zone is None else round(self.safe_zone), nz if thick else 1
        return divide(field, safe, self.tile_memory_gib, lambda window: _bytes(field, window, depth))

    @staticmethod
    def _as_scan(dataset: Dataset, tiling: Tiling | None) -> Dataset:
        """Images as a scan: each tile is a position; without tiling the whole field is one window."""
        if dataset.probe_positions_px is not None:
            return dataset
        if tiling is None:
            return dataset.with_(probe_positions_px=np.zeros((dataset.n_patterns, 2)))
        LOG.info("%s x %s tiles of %s x %s px, %s of them safe zone", *tiling.tiles, *tiling.window_px, tiling.safe_px)
        corners = np.repeat(tiling.corners_px, dataset.n_patterns, axis=0).astype(float)
        return tiled(dataset, tiling).with_(probe_positions_px=corners, tile_corners_px=None)

    def _frame(self, dataset: Dataset, margin_px: int) -> tuple[tuple[int, int, int], tuple[int, int]]:
        """Shape of the volume, and the index in it of the data's position (0, 0)."""
        if self.volume_px is not None:
            ny, nx, nz = self.volume_px
            corner = margin_px - first_px(dataset)
            return (ny + 2 * margin_px, nx + 2 * margin_px, nz), (corner, corner)
        (ny, nx), origin = object_shape(dataset.probe_positions_px, dataset.window_px, margin_px)  # type: ignore[arg-type]
        # Margins and overlaps of tiles add no depth: the detector distance starts at the last slice.
        tiles = dataset.patterns.tiling if isinstance(dataset.patterns, TiledPatterns) else None
        return (ny, nx, nx - 2 * margin_px if tiles is None else tiles.field_px[1]), origin

    # -- from the volume to the transmissions of a scan ----------------------------------------------------------------
    def _seen(
        self, xp: Backend, band: Array, params: Mapping[str, Array], batch: Batch[Geometry], projector: Projector
    ) -> Array:
        """Exponents ``(n, y, x)`` or ``(n, y, x, z)`` under each window, linear in the ``band`` ``(y, x, z)``."""
        _, first, which = np.unique(batch.angles, return_index=True, return_inverse=True)
        poses, window = self.poses(xp, params, first), batch.geometry.window_px
        low, height = int(batch.view_corners_px[0, 0]), batch.view_px[0]
        if isinstance(batch.corners_px, np.ndarray):  # else all rows are there
            low = int(batch.corners_px[:, 0].min())
            height = int(batch.corners_px[:, 0].max()) + window[0] - low
        rows = frame(poses, (low, height), batch)
        if self.thickness == "thin":
            turned = projector.project(xp, band, poses, rows)
        else:
            each = [rotate(xp, band, poses.matrices[a], poses.shifts[a], rows) for a in range(len(first))]
            turned = xp.stack(each)
        return cut(xp, turned, which, batch.corners_px, low, window)

    def of_scan(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry]
    ) -> tuple[Array, dict[str, Array]]:
        """Transmissions ``(n, y, x)`` or ``(n, y, x, z)`` under the windows of a batch, and the scan's parameters."""
        given = {name: params[name] for name in SCANNED if name in params}
        if self.thickness == "multislice":
            spacing = batch.geometry.pixel_size_m(self.regime)[1]
            given["slice_spacing"] = xp.asarray(np.array([spacing]))
        return transmission_of(xp, self._seen(xp, obj[0], params, batch, self.projector)), given

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry]) -> Array:
        """Intensities ``(n, y, x)`` from the band ``obj`` ``(1, y, x, z)`` complex exponent."""
        return self.scan.predict(xp, *self.of_scan(xp, obj, params, batch), batch)

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry], loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        # The gradient by the transmissions is always needed: those by the volume and its pose follow from it.
        asked = {name: each.scan for name, each in request.preconditioners.items() if isinstance(each, _OfScan)}
        inner = Request(request.wanted & OF_SCAN | {OBJECT}, asked, request.weight)
        windows, scanned = self.of_scan(xp, obj, params, batch)
        value, found = self.scan.objective(xp, windows, scanned, batch, loss, inner)
        if OBJECT in found:
            held = {name: xp.stop_gradient(each) for name, each in params.items()}
            found[OBJECT] = self.spread(xp, xp.stop_gradient(windows), found[OBJECT], held, batch)
        rest = request.only(request.curvature - set(asked))
        return value, found | self.curvatures(xp, obj, params, batch, loss, rest)

    def spread(
        self, xp: Backend, windows: Array, curvature: Any, params: Mapping[str, Array], batch: Batch[Geometry]
    ) -> Array:
        """Curvature ``(1, y, x, z)`` by the band, from that by its ``windows``, outside the AD graph."""
        by_exponent, shape = xp.asarray(curvature) * xp.abs2(windows), (*batch.view_px, batch.object_shape[2])

        def seen(band: Array) -> Array:
            return self._seen(xp, band, params, batch, Joseph())

        if self.thickness == "thin":
            return surrogate(xp, seen, shape, by_exponent)[None]
        # Nothing is summed along a ray: each voxel of the rotated volume has its own curvature.
        return xp.vjp(lambda tree: seen(tree["band"]), {"band": xp.zeros(shape)}, by_exponent)["band"][None]


@dataclass(frozen=True)
class _OfScan(Preconditioner):
    """The preconditioner of one angle's scan, for the transmissions computed from the volume."""

    model: PtychoTomography
    scan: Preconditioner

    def curvature(self, name: str, point: Point) -> Array:
        xp, batch = point.xp, point.batch
        windows, scanned = self.model.of_scan(xp, point.obj, point.params, batch)
        scan = self.model.scan

        def predict(obj: Array, params: Mapping[str, Array]) -> Array:
            return scan.predict(xp, obj, params, batch)

        found = self.scan.curvature(name, replace(point, obj=windows, params=scanned, predict=predict))
        return self.model.spread(xp, windows, found, point.params, batch) if name == OBJECT else found


def _bytes(field_px: tuple[int, int], window_px: tuple[int, int], depth: int) -> float:
    """Bytes of band, rotated band, slices, their gradients, and the waves of one segment, in single precision."""
    band = 4 * window_px[0] * field_px[1] * max(depth, field_px[1])
    waves = 3 * window_px[0] * window_px[1] * (depth + 2 * math.isqrt(depth))
    return 8 * (band + waves)


# -- windows out of images ---------------------------------------------------------------------------------------------
def cut(
    xp: Backend, images: Array, which: np.ndarray, corners: Array, first_row: int, window_px: tuple[int, int]
) -> Array:
    """``(n, wy, wx, ...)`` windows of ``images`` ``(a, y, x, ...)``, the first row of which is ``first_row``.

    Args:
        xp: Backend.
        images: The images.
        which: ``(n,)`` image of each window.
        corners: ``(n, 2)`` their corners.
        first_row: Number of the first row of the images.
        window_px: (y, x) size of a window.
    """
    if xp.on_host:
        places = np.column_stack([which, corners - (first_row, 0)])
        return xp.host_operation(_Cut(places, window_px), images)
    (_, height, width, *others), (wy, wx) = images.shape, window_px
    given = xp.asarray(corners, exact=True)
    first = ((xp.asarray(which, exact=True) * height + given[:, 0] - first_row) * width + given[:, 1])[:, None, None]
    inside = np.arange(wy)[:, None] * width + np.arange(wx)
    index = xp.reshape(first + xp.asarray(inside, exact=True), (-1,))
    return xp.reshape(xp.take(xp.reshape(images, (-1, *others)), index), (len(which), wy, wx, *others))


class _Cut(HostOperation):
    """Windows of images, and the adjoint; the compiled loops treat the images as one tall image."""

    linear: ClassVar[bool] = True

    def __init__(self, corners: np.ndarray, window_px: tuple[int, int]) -> None:
        self.corners, self.window_px = corners, window_px

    @staticmethod
    def add(images: np.ndarray, corners: np.ndarray, windows: np.ndarray) -> None:
        """Add ``windows`` to ``images`` in place."""
        from adorym.wrapper.windows import scatter_add  # slow to import

        tall = images.reshape(-1, *images.shape[2:])
        scatter_add(tall, _in_tall(corners, images.shape[1]), windows)

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        from adorym.wrapper.windows import gather  # slow to import

        (images,) = arrays
        tall = images.reshape(-1, *images.shape[2:])
        return gather(tall, _in_tall(self.corners, images.shape[1]), self.window_px)

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        found = np.zeros_like(arrays[0])
        self.add(found, self.corners, np.ascontiguousarray(upstream))
        return (found,)


def _in_tall(corners: np.ndarray, height: int) -> np.ndarray:
    return np.ascontiguousarray(np.column_stack([corners[:, 0] * height + corners[:, 1], corners[:, 2]]), np.int64)
