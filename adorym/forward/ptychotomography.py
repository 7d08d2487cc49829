r"""Ptychotomography: a volume scanned by a probe at many angles, and full-field tomography with diffraction.

At each angle the volume is projected (``thickness: thin``) or turned and gone through slice by slice (``multislice``):

.. math:: T_a = e^{-A_a w} \quad\text{or}\quad T_{a,z} = e^{-(R_a w)_z}, \qquad w = k\Delta(\beta + i\delta)

and what follows is ptychography of a thin object, or multislice ptychography, window by window. The projection of
:math:`\delta` and :math:`\beta` is the cheapest way and right while the object is thinner than the depth of focus; each
angle costs one projection of the rows in the batch, however many positions it has: ``run.batch_order: angle`` puts
patterns of one angle together.

Without positions each pattern sees the whole field, lit by a plane wave: full-field tomography, thin or multislice,
from the near field. Large fields are worked on in tiles of the detector that overlap by a safe zone
(`adorym.data.tiles`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.tiles import TiledPatterns, Tiling, divide, tiled
from adorym.errors import GeometryError
from adorym.forward.base import Request
from adorym.forward.multislice import Multislice
from adorym.forward.ptychography import Ptychography
from adorym.forward.volume import VolumeModel, volume_parameters
from adorym.losses.base import Loss
from adorym.optics.buffer import reach_px
from adorym.optics.geometry import Geometry, Regime
from adorym.optics.poses import Poses
from adorym.optics.representation import transmission_of
from adorym.optics.windows import object_shape
from adorym.parameters import Parameter
from adorym.registry import register
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend, HostOperation
from adorym.wrapper.fused.rays import Frame, rotate
from adorym.wrapper.windows import gather, scatter_add

LOG = logging.getLogger("adorym")
SCANNED = {name: spec for name, spec in Ptychography.refinable.items() if name != "object"}
OF_SCAN = frozenset(Ptychography.refinable)


@register("forward_model", "ptychotomography")
class PtychoTomography(VolumeModel):
    """Scanning diffraction of a volume at many angles, or its full-field counterpart.

    Attributes:
        propagation: From the object to the detector: ``far_field``, or ``fresnel`` or ``angular_spectrum`` over the
            near-field distance.
        thickness: ``thin``: delta and beta are projected; ``multislice``: the wave passes through the rotated volume.
        binning: Slices that are multiplied together and propagated at once (multislice).
        volume_px: (y, x, z) size of the volume, whose corner is the data's position (0, 0); if absent, as high and wide
            as the scan, and as deep as wide.
        axis: x of the rotation axis in the data's pixels; the middle of the volume if absent.
        tile_memory_gib: Full field: images are divided into tiles if their volume and waves would take more, for one
            angle.
        safe_zone: Full field: width of the rim that tiles overlap by; as far as the finest fringe spreads if absent.
        fused: Use the operation with hand-written adjoints where the run allows it (thin).
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
        return self._scan.regime

    @property
    def _scan(self) -> Ptychography:
        """The model of one angle."""
        if self.thickness == "thin":
            return Ptychography(propagation=self.propagation, fused=self.fused)
        return Multislice(propagation=self.propagation, slices=2, binning=self.binning)

    def prepare(self, dataset: Dataset) -> Dataset:
        field = dataset.window_px
        tiling = self.tiling(dataset) if dataset.probe_positions_px is None else None
        if tiling is not None:
            LOG.info(
                "%s x %s tiles of %s x %s px, %s of them safe zone", *tiling.tiles, *tiling.window_px, tiling.safe_px
            )
            # A tile is a position of a scan.
            corners = np.repeat(tiling.corners_px, dataset.n_patterns, axis=0).astype(float)
            dataset = tiled(dataset, tiling).with_(probe_positions_px=corners, tile_corners_px=None)
        elif dataset.probe_positions_px is None:  # the whole field is one window
            dataset = dataset.with_(probe_positions_px=np.zeros((dataset.n_patterns, 2)))
        (_, nx, _), origin = self.object_frame(dataset, 0)
        from_corner = origin[1] - (nx - 1) / 2
        if self.axis is not None:
            axis = self.axis + from_corner
        else:
            axis = (dataset.rotation_center_px or 0.0) + (0.0 if tiling is None else (field[1] - 1) / 2 + from_corner)
        return dataset.with_(rotation_center_px=axis)

    def tiling(self, dataset: Dataset) -> Tiling | None:
        """How full-field images are divided, ``None`` where they fit into memory whole.

        Raises:
            GeometryError: They fit in no way, or energy or pixel size is not known.
        """
        if self.regime == "far_field":
            return None
        field, geometry = dataset.window_px, self.geometry(dataset)
        grid, thick = geometry.grid("near_field"), self.thickness == "multislice"
        (_, _, nz), _ = self.object_frame(dataset.with_(probe_positions_px=None), 0)
        given, pixel = dataset.propagation_distance_m, min(grid.pixel_size_m)
        distance = geometry.effective_distance_m if given is None else float(np.max(given))
        spread = max(reach_px(grid, abs(distance) + (nz * pixel if thick else 0.0))) + 2
        safe, depth = spread if self.safe_zone is None else round(self.safe_zone), nz if thick else 1
        return divide(field, safe, self.tile_memory_gib, lambda window: _bytes(field, window, depth))

    def geometry(self, dataset: Dataset) -> Geometry:
        return self._scan.geometry(dataset)

    def to_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        return self._scan.to_model_frame(patterns)

    def from_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        return self._scan.from_model_frame(patterns)

    def check(self, dataset: Dataset, geometry: Geometry, names: Collection[str]) -> None:
        one = dataset.with_(theta_rad=dataset.theta_rad[:1], angle_index=np.zeros(dataset.n_patterns, int),
                            slice_positions_m=None)  # fmt: skip
        if one.probe_positions_px is None:
            one = one.with_(probe_positions_px=np.zeros((dataset.n_patterns, 2)))
        Ptychography(propagation=self.propagation).check(one, geometry, names)
        if self.thickness == "multislice":
            y, x = geometry.pixel_size_m(self.regime)
            geometry.grid(self.regime)
            if abs(y / x - 1) > 0.01:
                raise GeometryError(
                    "data.pixel_size",
                    "voxels of a turning volume are cubes",
                    expected="square pixels",
                    found=f"{y:.4g} x {x:.4g} m",
                    remedy="crop the patterns, or choose 'thin'",
                )

    def object_frame(self, dataset: Dataset, margin_px: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        if self.volume_px is not None:
            ny, nx, nz = self.volume_px
            return (ny + 2 * margin_px, nx + 2 * margin_px, nz), (margin_px, margin_px)
        positions = dataset.probe_positions_px
        if positions is None:
            return (*dataset.window_px, dataset.window_px[1]), (0, 0)
        (ny, nx), origin = object_shape(positions, dataset.window_px, margin_px)
        # The detector's distance counts from the last slice: margins and the rim of tiles make the volume no deeper.
        tiles = dataset.patterns.tiling if isinstance(dataset.patterns, TiledPatterns) else None
        return (ny, nx, nx - 2 * margin_px if tiles is None else tiles.field_px[1]), origin

    def beam_counts(self, dataset: Dataset, mean_counts: float) -> float:
        if self.regime == "far_field" or dataset.open_beam_counts is None:
            return mean_counts
        return dataset.open_beam_counts * math.prod(dataset.window_px)

    def depth_at_once(self, object_shape: tuple[int, ...]) -> int:
        return 1 if self.thickness == "thin" else object_shape[2]

    # -- from the volume to what a scan sees ---------------------------------------------------------------------------
    def windows(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """Transmissions ``(n, y, x)`` or ``(n, y, x, z)`` under the windows of a batch, from the band ``obj``."""
        _, first, which = np.unique(batch.angles, return_index=True, return_inverse=True)
        poses, rows = self.poses(xp, params, first), self._rows(batch)
        if self.thickness == "thin":
            turned = self.project(xp, obj[0], poses, rows, batch)
        else:
            frame = Frame(batch.object_shape[0], int(batch.view_corners_px[0, 0]), *rows, level=poses.level)
            turned = xp.stack(
                [rotate(xp, obj[0], poses.matrices[a], poses.shifts[a], frame) for a in range(len(first))]
            )
        corners = np.column_stack([which, batch.corners_px - (rows[0], 0)])
        return transmission_of(xp, cut(xp, turned, corners, batch.geometry.window_px))

    def _rows(self, batch: Batch) -> tuple[int, int]:
        """First of the object's rows that the windows of a batch lie on, and their number."""
        low = int(batch.corners_px[:, 0].min())
        return low, int(batch.corners_px[:, 0].max()) + batch.geometry.window_px[0] - low

    def _scanned(self, xp: Backend, params: Mapping[str, Array], batch: Batch) -> dict[str, Array]:
        given = {name: params[name] for name in SCANNED if name in params}
        if self.thickness == "multislice":
            spacing = batch.geometry.pixel_size_m(self.regime)[1]
            given["slice_spacing"] = xp.asarray(np.array([spacing]))
        return given

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """Intensities ``(n, y, x)`` from the band ``obj`` ``(1, y, x, z)`` complex exponent."""
        return self._scan.predict(xp, self.windows(xp, obj, params, batch), self._scanned(xp, params, batch), batch)

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        # The object of one angle's model is what the volume gives: wanted, whatever is refined.
        inner = Request(request.wanted & OF_SCAN | {"object"}, request.curvature & OF_SCAN, request.weight)
        windows, scanned = self.windows(xp, obj, params, batch), self._scanned(xp, params, batch)
        value, found = self._scan.objective(xp, windows, scanned, batch, loss, inner)
        found = self._of_volume(xp, obj, params, batch, (windows, found))
        return value, found | self.pose_curvatures(xp, obj, params, batch, loss, request)

    def curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> dict[str, Array]:
        inner = Request(frozenset(), request.curvature & OF_SCAN, request.weight)
        windows, scanned = self.windows(xp, obj, params, batch), self._scanned(xp, params, batch)
        found = self._scan.curvatures(xp, windows, scanned, batch, loss, inner)
        found = self._of_volume(xp, obj, params, batch, (windows, found))
        return found | self.pose_curvatures(xp, obj, params, batch, loss, request)

    def _of_volume(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, seen: tuple[Array, dict[str, Array]]
    ) -> dict[str, Array]:
        """Curvatures of a scan ``seen`` of these windows, that of the object carried over to the volume."""
        windows, found = seen
        if "object" not in found:
            return found
        return found | {"object": self._spread(xp, obj, params, batch, (windows, found["object"]))}

    def _spread(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, seen: tuple[Array, Any]
    ) -> Array:
        """Curvature ``(1, y, x, z)`` of the band, from windows and the curvature ``(1 or n, y, x, ...)`` by them."""
        windows, curvature = seen
        _, first, which = np.unique(batch.angles, return_index=True, return_inverse=True)
        by_exponent = xp.to_numpy(xp.asarray(curvature)) * np.abs(xp.to_numpy(xp.stop_gradient(windows))) ** 2
        poses, rows = self.poses(xp, params, first), self._rows(batch)
        shape = (len(first), rows[1], batch.object_shape[1], *by_exponent.shape[3:])
        total = np.zeros(shape, by_exponent.dtype)
        corners = np.column_stack([which, batch.corners_px - (rows[0], 0)])
        _Cut.add(total, corners, np.ascontiguousarray(by_exponent))
        if self.thickness == "thin":
            return self.surrogate(xp, obj[0], poses, xp.asarray(total), batch, rows[0])[None]
        return self._turned_back(xp, obj, poses, xp.asarray(total), batch)[None]

    def _turned_back(self, xp: Backend, obj: Array, poses: Poses, total: Array, batch: Batch) -> Array:
        """Adjoint of the turning of real volumes ``total`` ``(a, y, x, z)``."""
        matrices, shifts = xp.stop_gradient(poses.matrices), xp.stop_gradient(poses.shifts)
        frame = Frame(batch.object_shape[0], int(batch.view_corners_px[0, 0]), *self._rows(batch), level=poses.level)

        def product(tree: dict[str, Array]) -> tuple[Array, None]:
            parts = [xp.sum(rotate(xp, tree["x"], matrices[a], shifts[a], frame) * total[a]) for a in range(len(poses))]
            return sum(parts[1:], parts[0]), None

        return xp.value_and_grad(product)({"x": xp.zeros(obj.shape[1:])})[2]["x"]


def _bytes(field_px: tuple[int, int], window_px: tuple[int, int], depth: int) -> float:
    """Band, turned band, their gradients; slices, their gradients and the waves of one segment; single precision."""
    band = 4 * window_px[0] * field_px[1] * max(depth, field_px[1])
    waves = 3 * window_px[0] * window_px[1] * (depth + 2 * math.isqrt(depth))
    return 8 * (band + waves)


# -- windows out of images ---------------------------------------------------------------------------------------------
def cut(xp: Backend, images: Array, corners: np.ndarray, window_px: tuple[int, int]) -> Array:
    """``(n, wy, wx, ...)`` windows of ``images`` ``(a, y, x, ...)``; ``corners`` ``(n, 3)``: which image, y, x."""
    if xp.on_host:
        return xp.host_operation(_Cut(corners, window_px), images)
    each = [images[a, y : y + window_px[0], x : x + window_px[1]] for a, y, x in corners.tolist()]
    return xp.stack(each)


class _Cut(HostOperation):
    """Windows of images, and their adjoint: the images are one tall image to the compiled loops."""

    def __init__(self, corners: np.ndarray, window_px: tuple[int, int]) -> None:
        self.corners, self.window_px = corners, window_px

    @staticmethod
    def add(images: np.ndarray, corners: np.ndarray, windows: np.ndarray) -> None:
        """Add ``windows`` to ``images`` in place."""
        tall = images.reshape(-1, *images.shape[2:])
        scatter_add(tall, _in_tall(corners, images.shape[1]), windows)

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
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
