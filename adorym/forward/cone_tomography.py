r"""Tomography in a cone beam, from a point source to a flat detector.

As `adorym.forward.tomography`, with line integrals along the rays of :mod:`adorym.optics.cone`. The voxel is a cube, as
wide as the detector's pixel along x, demagnified to the rotation axis by :math:`M = (D + L)/D`; pixels may be of
another size along y. Distances of source and detector, tilts and shift of the detector may be refined, with the
rotation axis, the angles and the poses of the volume.

Only what moves the rays is determined: a rotation of the detector about the beam is a tilt of the rotation axis about
it, and a common factor on all lengths is one of the voxel. Do not refine both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.errors import ConfigError, GeometryError
from adorym.forward.base import BoundModel
from adorym.forward.object import Settings
from adorym.forward.tomography import Tomography
from adorym.forward.views import RowBand
from adorym.forward.volume import surrogate
from adorym.optics.cone import Cone
from adorym.optics.geometry import Geometry
from adorym.optics.poses import Poses
from adorym.optics.projector import Joseph
from adorym.parameters import Parameter
from adorym.preconditioners import Blocks
from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.rays import Frame

SOURCE, DETECTOR, SHIFT = "source_distance", "detector_distance", "detector_shift"
TILT, ROLL = "detector_tilt", "detector_roll"
TILTED = 2e-3  # rad, of the differences that the curvature of tilts is made of
# Tilts about y and x are seen much less than the roll, and one of them less than the other.
STEPS = {
    "kind": "preconditioned",
    "learning_rate": 0.5,
    "momentum": 0.9,
    "regularization": 1e-4,
    "maximum_step": 5e-3,
}
DIFFERENT = 1e-3  # rows, by which rounding may exceed a whole number


@dataclass(frozen=True)
class ConePoses(Poses):
    """Poses of the volume, and the parameters of the beam that are in use."""

    beam: Mapping[str, Array] = field(default_factory=dict)


def _length(name: str, of: str) -> Parameter:
    return Parameter(
        optional=True,
        unit="m",
        help=name,
        start=lambda bound, settings, rng: np.array([getattr(bound.geometry, of)]),
        optimizer={"kind": "adam", "learning_rate": 1e-3, "beta2": 0.99},
        relative=True,
    )


def _angle(name: str, number: int) -> Parameter:
    return Parameter(
        optional=True,
        unit="rad",
        help=name,
        start=lambda bound, settings, rng: np.zeros(number),
        optimizer=STEPS,
        schedule={"kind": "constant"},
        preconditioner=Blocks(TILTED, central=True),
    )


@register("forward_model", "cone_tomography")
class ConeTomography(Tomography):
    """Absorption tomography in a cone beam, by Joseph's projector.

    Attributes:
        center: x of the rotation axis from the middle of the detector, in voxels; ``auto`` is the axis that the data
            state, or the middle. Refine ``rotation_center`` to find it.
    """

    refinable: ClassVar[Mapping[str, Parameter]] = {
        **Tomography.refinable,
        SOURCE: _length("distance from the source to the rotation axis", "source_distance_m"),
        DETECTOR: _length("distance from the rotation axis to the middle of the detector", "distance_m"),
        ROLL: _angle("roll of the detector about the beam", 1),
        TILT: _angle("(y, x) tilt of the detector about these axes, before its roll", 2),
        SHIFT: Parameter(
            optional=True,
            unit="px",
            help="(y, x) of the detector's middle from the foot of the central ray, in its plane",
            start=lambda bound, settings, rng: np.zeros(2),
            optimizer={"kind": "adam", "learning_rate": "0.05 px", "beta2": 0.99},
        ),
    }

    def __post_init__(self) -> None:
        if not isinstance(self.projector, Joseph):
            what = f"'{self.projector.kind}' takes rays as parallel"
            raise ConfigError("projector", what, expected="'joseph'", remedy="leave it out")

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Geometry]:
        geometry = Geometry.of(dataset)
        bound = super().bind(dataset, settings).with_(geometry=geometry)
        # At its nearest corner the volume must stay between the source and the detector.
        voxel, reach = self._voxel(dataset)[1], np.hypot(bound.shape[1], bound.shape[1]) / 2
        distances = (geometry.source_distance_m or 0.0, geometry.distance_m or 0.0)
        for name, distance in zip(("source_distance", "distance"), distances, strict=True):
            if distance <= reach * voxel:
                raise GeometryError(
                    f"data.{name}", "the volume reaches over the source or the detector",
                    expected=f"more than {reach * voxel:.4g} m from the rotation axis", found=f"{distance:.4g} m",
                    remedy="check both distances, which count from the rotation axis, and the detector's pixel size",
                )  # fmt: skip
        return bound

    def _voxel(self, dataset: Dataset) -> tuple[float, float]:
        """(y, x) size of a voxel, a cube: the detector's pixel along x, demagnified to the rotation axis."""
        geometry, pixel = Geometry.of(dataset), dataset.detector_pixel_size_m
        lacking = [
            name
            for name, value in (
                ("source_distance", geometry.source_distance_m),
                ("distance", geometry.distance_m),
                ("detector_pixel_size", pixel),
            )
            if value is None
        ]
        if lacking or pixel is None:
            raise GeometryError(
                f"data.{lacking[0]}", "a cone beam needs its distances and the detector's pixel",
                found=f"no {' and no '.join(lacking)}", remedy="give them, or choose the forward model 'tomography'",
            )  # fmt: skip
        return (pixel[1] / geometry.magnification, pixel[1] / geometry.magnification)

    def _height(self, dataset: Dataset) -> int:
        """As high as the detector is, in voxels; not below its number of rows, which windows of the data have."""
        y, x = dataset.detector_pixel_size_m or (1.0, 1.0)
        return max(dataset.window_px[0], math.ceil(dataset.window_px[0] * y / x - DIFFERENT))

    def _axis(self, dataset: Dataset, settings: Settings) -> tuple[float, int, tuple[str, ...]]:
        given = self.center if isinstance(self.center, int | float) else None
        known = 0.0 if self.center == "middle" else dataset.rotation_center_px or 0.0
        return float(known if given is None else given), self._width(dataset, settings) or dataset.window_px[1], ()

    def row_band(self, height_px: int) -> RowBand:
        """All rows: rays of a cone mix them."""
        return RowBand(height_px, lambda present, object_shape: object_shape[0])

    def poses(self, xp: Backend, params: Mapping[str, Array], first: np.ndarray | None = None) -> ConePoses:
        found = super().poses(xp, params, first)
        beam = {name: params[name] for name in (SOURCE, DETECTOR, ROLL, TILT, SHIFT) if name in params}
        return ConePoses(found.matrices, found.shifts, found.level, beam)

    def project(self, xp: Backend, band: Array, poses: Poses, rows: tuple[int, int], batch: Batch[Any]) -> Array:
        """Line integrals ``(a, y', x')`` along the rays of the cone."""
        assert isinstance(poses, ConePoses)
        geometry, beam = batch.geometry, poses.beam
        pixel = geometry.detector_pixel_size_m
        voxel = pixel[1] / geometry.magnification

        def given(name: str, otherwise: np.ndarray) -> Array:
            return beam[name] if name in beam else xp.asarray(otherwise.astype(xp.float_dtype))

        cone = Cone(
            source=given(SOURCE, np.array([geometry.source_distance_m])) / voxel,
            detector=given(DETECTOR, np.array([geometry.distance_m])) / voxel,
            tilt=xp.concat([given(TILT, np.zeros(2)), given(ROLL, np.zeros(1))], axis=0),
            shift=given(SHIFT, np.zeros(2)),
            pitch=(geometry.magnification * pixel[0] / pixel[1], geometry.magnification),
            window=geometry.window_px,
        )
        frame = Frame(batch.object_shape[0], int(batch.view_corners_px[0, 0]), 0, 1, width=1)
        seen = self.projector.project(xp, band, cone.rays(xp, poses), frame)
        return xp.reshape(seen, (-1, *geometry.window_px))

    def surrogate(
        self, xp: Backend, band: Array, poses: Poses, curvature: Array, batch: Batch[Any], first_row: int
    ) -> Array:
        rows = (first_row, int(curvature.shape[1]))
        return surrogate(xp, lambda ones: self.project(xp, ones, poses, rows, batch), tuple(band.shape), curvature)
