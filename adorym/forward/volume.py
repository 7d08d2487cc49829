r"""Shared by models of a volume at several angles: its pose in the beam, and the rows that a batch needs.

The unknown is the exponent of each voxel, :math:`w = k\,\Delta\,(\beta + i\delta)`, dimensionless and linear in the
optical constants, so that it can be rotated and interpolated. A batch needs all columns of the rows that its windows
cover, and some more rows with tilts or shifts. The store provides this band, whichever rank or file holds it, and the
model rotates it, so that the adjoint is exact in every store.

The curvature for the ``preconditioned`` steps is that of a separable surrogate (Erdogan & Fessler, Phys. Med. Biol.
44, 2835 (1999)): :math:`h = A^T[c\, (A 1)]` with the curvature c of the loss by the line integrals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np

from adorym.data.batches import Batch
from adorym.forward.base import BoundModel, ForwardModel
from adorym.forward.object import ObjectSettings, Settings, object_parameter, slice_thickness_m
from adorym.forward.views import Present, RowBand
from adorym.object_space import VolumeExponent
from adorym.optics.geometry import Geometry, Regime
from adorym.optics.poses import Poses, make_poses, row_reach_px
from adorym.optics.projector import Joseph, Projector
from adorym.parameters import Parameter, ParameterSettings
from adorym.preconditioners import Blocks, Point
from adorym.registry import component
from adorym.schema import ComponentOf
from adorym.units import Angle
from adorym.updates import OffsetGauge, Update
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.rays import Frame


@component
class VolumeSettings(ObjectSettings):
    """How the volume starts and is refined.

    Attributes:
        representation: The unknowns, always delta and beta of the refractive index.
    """

    representation: Literal["delta_beta"] = "delta_beta"


def without_common(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Gauge of rotations about y and shifts along y (first column): a value common to all angles moves the object.

    A common value of the other columns moves the rotation axis, which the data determine.
    """
    common = 0 * first[0]
    common[0] = (values - first)[:, 0].mean()
    return values - common


# A common shift along x is the same as a shift of the rotation axis.
GAUGES: tuple[Update, ...] = (OffsetGauge("object_shift", into="rotation_center", column=1),)


def _theta(bound: BoundModel[Any], settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(bound.dataset.theta_rad, np.float64)[:, None]


def _per_angle(width: int) -> Callable[..., np.ndarray]:
    return lambda bound, settings, rng: np.zeros((bound.dataset.n_angles, width))


def _center(bound: BoundModel[Any], settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.array([bound.dataset.rotation_center_px or 0.0])


def _axis_tilt(bound: BoundModel[Any], settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.array(bound.model.axis_tilt, np.float64)  # type: ignore[attr-defined]


# Step of the differences that the curvature of poses is made of. It is below the finest structure of a volume, and so
# long that single precision suffices: after a shorter one poses differ by what rounding has made of it. Line integrals
# have the kinks of the interpolation, which waves blur; differences over many of them would not be derivatives.
STEP_PX, STEP_OF_INTEGRALS_PX = 0.1, 0.02


def _turn(step_px: float, point: Point) -> float:
    """The angle that moves the rim of the volume by ``step_px``."""
    return 2 * step_px / max(point.batch.object_shape[:3])


def volume_parameters(step_px: float = STEP_PX, **changes: Any) -> dict[str, Parameter]:
    """The parameters of the volume and of its pose; ``changes`` apply to the declaration of the volume.

    ``step_px`` is the length by which `Blocks` moves the volume, or its rim.
    """
    angle: dict[str, Any] = {"unit": "rad", "optimizer": {"kind": "adam", "learning_rate": 1e-3, "beta2": 0.99}}
    length: dict[str, Any] = {"unit": "px", "optimizer": {"kind": "adam", "learning_rate": "0.05 px", "beta2": 0.99}}
    # The volume adapts to wrong poses, a narrow valley of the loss: momentum leads out of it.
    block = {"kind": "preconditioned", "learning_rate": 0.5, "momentum": 0.9, "regularization": 0.02}
    pose: dict[str, Any] = {"per": "angle", "schedule": {"kind": "constant"}, "gauge": without_common}
    by_turn, by_shift = Blocks(partial(_turn, step_px), central=True), Blocks(step_px, central=True)
    turned = pose | {"unit": "rad", "optimizer": block | {"maximum_step": 5e-3}, "preconditioner": by_turn}
    moved = pose | {"unit": "px", "optimizer": block | {"maximum_step": 0.5}, "preconditioner": by_shift}
    return {
        "object": object_parameter(
            help="exponent k Delta (beta + i delta) of every voxel",
            # A voxel of an object that attenuates the beam to about 1/e.
            scale=lambda bound: 1.0 / bound.dataset.window_px[1],
            **({"settings": VolumeSettings} | changes),
        ),
        "rotation_angles": Parameter(help="rotation about y", start=_theta, **turned),
        "rotation_center": Parameter(
            help="x of the rotation axis from the middle of the frame", start=_center, from_middle=True, **length
        ),
        "axis_tilt": Parameter(
            help="tilt of the rotation axis about x (towards the beam: laminography) and about z (in the frame)",
            start=_axis_tilt,
            optional=True,
            **angle,
        ),
        "tilt": Parameter(
            help="(y, x, z) tilt of the object at each angle, about these axes",
            start=_per_angle(3),
            optional=True,
            **turned,
        ),
        "object_shift": Parameter(
            help="(y, x) shift of the object at each angle", start=_per_angle(2), optional=True, **moved
        ),
    }


def volume_space(settings: Settings, geometry: Geometry, regime: Regime) -> VolumeExponent:
    """The space of a volume of delta and beta.

    Raises:
        GeometryError: Energy or pixel size is not known.
    """
    return VolumeExponent(slice_thickness_m(settings, geometry, regime), geometry.wavelength_m)


def surrogate(xp: Backend, seen: Callable[[Array], Array], shape: tuple[int, ...], curvature: Array) -> Array:
    """``A^T[c A 1]`` of ``shape`` for the linear map ``seen`` (A) and the ``curvature`` c by its result."""

    def weighted(tree: dict[str, Array]) -> tuple[Array, None]:
        found = seen(tree["ones"])
        return xp.sum(found * xp.stop_gradient(found) * curvature), None

    return xp.value_and_grad(weighted)({"ones": xp.zeros(shape) + 1})[2]["ones"]


@component
class VolumeModel(ForwardModel):
    """A volume seen from several angles.

    Attributes:
        projector: How line integrals are computed.
        axis_tilt: Tilt of the rotation axis about x (laminography) and z; 0 if it is upright.
    """

    projector: Annotated[Projector, ComponentOf("projector")] = Joseph()
    axis_tilt: tuple[Angle, Angle] = (0.0, 0.0)

    def row_band(self, height_px: int) -> RowBand:
        """The band of rows that windows of this height need, including those that tilts and shifts bring in."""

        def reach(present: Present, object_shape: tuple[int, ...]) -> int:
            tilt, shift, common = present("tilt"), present("object_shift"), present("axis_tilt")
            if tilt is None and shift is None and not self._tilted(common is not None):
                return 0
            if self.projector.mixes_rows:
                return object_shape[0]
            turned = np.zeros((1, 3)) if tilt is None else np.array(tilt)
            turned[:, 1:] += np.array(self.axis_tilt) if common is None else common
            moved = np.zeros((1, 2)) if shift is None else np.asarray(shift)
            return row_reach_px(turned, moved, object_shape)

        return RowBand(height_px, reach)

    def _tilted(self, refined: bool) -> bool:
        return refined or any(self.axis_tilt)

    def poses(self, xp: Backend, params: Mapping[str, Array], first: np.ndarray | None = None) -> Poses:
        """Poses of the patterns, or of the patterns ``first`` of a batch."""

        def rows(name: str) -> Array | None:
            given = params.get(name)
            return given if given is None or first is None else xp.take(given, first)

        given = params["rotation_angles"]
        theta = given if first is None else xp.take(given, first)
        tilt, common = rows("tilt"), params.get("axis_tilt")
        if self._tilted(common is not None):
            axis = xp.asarray(np.array(self.axis_tilt)) if common is None else common
            upright = 0 * theta
            tipped = xp.concat([upright, upright + axis[0], upright + axis[1]], axis=1)
            tilt = tipped if tilt is None else tilt + tipped
        return make_poses(xp, theta[:, 0], tilt, rows("object_shift"), params["rotation_center"])

    def project(self, xp: Backend, band: Array, poses: Poses, rows: tuple[int, int], batch: Batch[Any]) -> Array:
        """Line integrals ``(a, y', x')`` of the band ``(y, x, z)`` at the object's rows ``rows`` (first, number)."""
        return self.projector.project(xp, band, poses, self.frame(poses, rows, batch))

    def frame(self, poses: Poses, rows: tuple[int, int], batch: Batch[Any]) -> Frame:
        """The rows of the band of ``batch``, and those that are needed; a detector as wide as the volume."""
        return frame(poses, rows, batch)

    def surrogate(
        self, xp: Backend, band: Array, poses: Poses, curvature: Array, batch: Batch[Any], first_row: int
    ) -> Array:
        """``A^T[c A 1]`` ``(y, x, z)`` from curvatures ``(a, y', x')`` by the line integrals, outside the AD graph.

        A is Joseph's projector, whichever is in use: the bound holds only for non-negative weights.
        """
        rows = self.frame(poses, (first_row, int(curvature.shape[1])), batch)
        return surrogate(xp, lambda ones: Joseph().project(xp, ones, poses, rows), tuple(band.shape), curvature)


def frame(poses: Poses, rows: tuple[int, int], batch: Batch[Any]) -> Frame:
    """The rows of the band of ``batch``, and the object's rows that are needed (first, number)."""
    return Frame(batch.object_shape[0], int(batch.view_corners_px[0, 0]), *rows, level=poses.level)
