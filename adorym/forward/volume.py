r"""What models share that see a volume from several angles: how it stands in the beam, and which rows they need.

The unknown is the exponent of each voxel, :math:`w = k\,\Delta\,(\beta + i\delta)`, dimensionless and linear in the
optical constants, so that turning and interpolating it means what it says. A batch needs all columns of the rows that
its windows lie on, and with tilts or shifts some rows more: the store hands out that band, whatever rank or file holds
it, and the turning is part of the model. Its adjoint is then exact, in every store.

The curvature for the ``preconditioned`` steps is that of a separable surrogate (Erdogan & Fessler, Phys. Med. Biol.
44, 2835 (1999)): :math:`h = A^T[c\, (A 1)]` with the curvature c of the loss by the line integrals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.forward.base import ForwardModel, ObjectSettings, Present, Request, object_parameter
from adorym.losses.base import Loss
from adorym.optics.geometry import Geometry
from adorym.optics.poses import Poses, make_poses, row_reach_px
from adorym.optics.projector import Joseph, Projector
from adorym.parameters import Parameter, ParameterSettings
from adorym.registry import component
from adorym.schema import ComponentOf
from adorym.units import Angle
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.rays import Frame


@component
class VolumeSettings(ObjectSettings):
    """How the volume starts and is refined.

    Attributes:
        representation: Delta and beta of the refractive index: what is solved for.
    """

    representation: Literal["delta_beta"] = "delta_beta"


# Steps of the differences that stand for derivatives, in rad and pixels: far above rounding, far below a resolved one.
POSE_STEPS = {"rotation_angles": 1e-3, "tilt": 1e-3, "object_shift": 0.05}


def pose_blocks(
    xp: Backend, predicted: Callable[[Mapping[str, Array]], Array], present: tuple[str, Array], batch: Batch
) -> Array:
    r"""``(a, k, k)`` blocks :math:`J_a^T J_a` of the amplitudes' slopes by the k numbers of each angle of a batch.

    ``present`` are name and values ``(n, k)`` of a parameter, ``predicted`` intensities ``(n, y, x)`` for other values.
    """
    name, values = present
    step, weights = POSE_STEPS[name], 1.0 if batch.mask is None else batch.mask

    def amplitude(move: np.ndarray) -> Array:
        return xp.sqrt(predicted({name: values + xp.asarray(move, exact=True)}) + batch.floor)

    here, ways = amplitude(np.zeros((1, values.shape[1]))), np.eye(values.shape[1])
    slopes = [(amplitude(step * way[None]) - here) / step for way in ways]
    rows = [xp.stack([xp.sum(weights * a * b, axis=(-2, -1)) for b in slopes], axis=-1) for a in slopes]
    by_pattern = xp.to_numpy(xp.stack(rows, axis=-2)).astype(np.float64)
    distinct, which = np.unique(batch.angles, return_inverse=True)
    blocks = np.zeros((len(distinct), *by_pattern.shape[1:]))
    np.add.at(blocks, which, by_pattern)
    return xp.asarray(blocks, exact=True)


def without_common_turn(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Gauge of rotation angles: what is common to all of them is a turn of the object."""
    return values - (values - first).mean(0)


def without_common_turn_about_y(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Gauge of tilts: a common one about y is a turn of the object; about x or z it is that of the axis, and seen."""
    turn = np.zeros(3)
    turn[0] = (values - first)[:, 0].mean()
    return values - turn


def _theta(model: Any, dataset: Dataset, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(dataset.theta_rad, np.float64)[:, None]


def _per_angle(width: int) -> Any:
    def start(model: Any, dataset: Dataset, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
        return np.zeros((dataset.n_angles, width))

    return start


def _center(model: Any, dataset: Dataset, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.array([model.axis_px(dataset)])


def _axis_tilt(model: Any, dataset: Dataset, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.array(model.axis_tilt, np.float64)


def volume_parameters(**changes: Any) -> dict[str, Parameter]:
    """The volume, and everything that says how it stands in the beam; ``changes`` to the declaration of the volume."""
    angle: dict[str, Any] = {"unit": "rad", "optimizer": {"kind": "adam", "learning_rate": 1e-3, "beta2": 0.99}}
    length: dict[str, Any] = {"unit": "px", "optimizer": {"kind": "adam", "learning_rate": "0.05 px", "beta2": 0.99}}
    # The volume follows wrong poses for a while, along a narrow valley of the loss: momentum leads out of it.
    block = {"kind": "preconditioned", "learning_rate": 0.5, "momentum": 0.9}
    turned: dict[str, Any] = {
        "per": "angle", "unit": "rad", "optimizer": block | {"maximum_step": 5e-3}, "schedule": {"kind": "constant"}
    }  # fmt: skip
    moved = turned | {"unit": "px", "optimizer": block | {"maximum_step": 0.5}}
    return {
        "object": object_parameter(
            help="exponent k Delta (beta + i delta) of every voxel",
            settings=VolumeSettings,
            # A voxel of an object that dims the beam to about 1/e.
            scale=lambda model, dataset, mean_counts: 1.0 / dataset.window_px[1],
            **changes,
        ),
        "rotation_angles": Parameter(help="rotation about y", start=_theta, gauge=without_common_turn, **turned),
        "rotation_center": Parameter(
            help="x of the rotation axis from the middle of the frame", start=_center, **length
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
            gauge=without_common_turn_about_y,
            **turned,
        ),
        "object_shift": Parameter(
            help="(y, x) shift of the object at each angle",
            start=_per_angle(2),
            optional=True,
            gauge=without_common_shift,
            **moved,
        ),
    }


def without_common_shift(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Gauge of shifts: what is common to all angles is a shift of the object, or of the axis."""
    return values - (values - first).mean(0)


@component
class VolumeModel(ForwardModel):
    """A volume seen from several angles.

    Attributes:
        projector: How line integrals are computed.
        axis_tilt: Tilt of the rotation axis about x (laminography) and z; 0 if it is upright.
    """

    takes_exponent: ClassVar[bool] = True
    by_bands: ClassVar[bool] = True
    projector: Annotated[Projector, ComponentOf("projector")] = Joseph()
    axis_tilt: tuple[Angle, Angle] = (0.0, 0.0)

    def axis_px(self, dataset: Dataset) -> float:
        """The rotation axis, x from the middle of the frame that the volume is projected into."""
        return dataset.rotation_center_px or 0.0

    def view(
        self, corners_px: np.ndarray, geometry: Geometry, object_shape: tuple[int, ...], present: Present
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """The band of rows that a batch needs, all columns of them."""
        tilt, shift, common = present("tilt"), present("object_shift"), present("axis_tilt")
        n, reach = len(corners_px), 0
        if tilt is not None or shift is not None or self._tilted(common is not None):
            turned = np.zeros((n, 3)) if tilt is None else np.array(tilt)
            turned[:, 1:] += np.array(self.axis_tilt) if common is None else common
            moved = np.zeros((n, 2)) if shift is None else np.asarray(shift)
            reach = row_reach_px(turned, moved, (object_shape[1], object_shape[2]))
        low = max(0, int(corners_px[:, 0].min()) - reach)
        high = min(object_shape[0], int(corners_px[:, 0].max()) + geometry.window_px[0] + reach)
        return np.array([[low, 0]], np.int64), (high - low, object_shape[1])

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

    def project(self, xp: Backend, band: Array, poses: Poses, rows: tuple[int, int], batch: Batch) -> Array:
        """Line integrals ``(a, y', x')`` of the band ``(y, x, z)``, of the object's rows ``rows`` (first, number)."""
        return self.projector.project(xp, band, poses, self._frame(poses, rows, batch))

    @staticmethod
    def _frame(poses: Poses, rows: tuple[int, int], batch: Batch) -> Frame:
        return Frame(batch.object_shape[0], int(batch.view_corners_px[0, 0]), *rows, level=poses.level)

    def pose_curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> dict[str, Array]:
        """Gauss-Newton blocks ``(a, k, k)`` of how the volume stands at each angle; nothing is traced."""
        names = sorted(request.curvature & set(POSE_STEPS))
        if loss.amplitude_curvature is None or not names:
            return {}
        held = {name: xp.stop_gradient(value) for name, value in params.items()}

        def predicted(changed: Mapping[str, Array]) -> Array:
            return self.predict(xp, xp.stop_gradient(obj), held | dict(changed), batch)

        q = loss.amplitude_curvature * request.weight
        return {name: q * pose_blocks(xp, predicted, (name, held[name]), batch) for name in names}

    def surrogate(
        self, xp: Backend, band: Array, poses: Poses, curvature: Array, batch: Batch, first_row: int
    ) -> Array:
        """``A^T[c A 1]`` ``(y, x, z)`` from curvatures ``(a, y', x')`` by the line integrals; nothing is traced.

        A is Joseph's, whatever the projector: the bound holds for weights that are not negative.
        """
        fixed = Poses(xp.stop_gradient(poses.matrices), xp.stop_gradient(poses.shifts), poses.level)
        rows = (first_row, int(curvature.shape[1]))

        def weighted(tree: dict[str, Array]) -> tuple[Array, Array]:
            seen = Joseph().project(xp, tree["ones"], fixed, self._frame(fixed, rows, batch))
            return xp.sum(seen * xp.stop_gradient(seen) * curvature), seen

        ones = xp.zeros(band.shape) + 1
        return xp.value_and_grad(weighted)({"ones": ones})[2]["ones"]
