r"""Holotomography: near-field holograms of a volume, at one or several distances at every angle.

.. math:: T_a = e^{-A_a w}, \qquad w = k\Delta(\beta + i\delta)

with the line integrals :math:`A_a w` of the volume at each angle (`adorym.forward.volume`), and what follows is
holography of a thin object (`adorym.forward.holography`), with all its refinements (Cloetens et al., Appl. Phys. Lett.
75, 2912 (1999)). The volume is as high and wide as the holograms with their buffer, so that fringes do not wrap around.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.forward.base import Present, Request
from adorym.forward.hologram_parameters import PARAMETERS
from adorym.forward.holography import Holography, Propagation
from adorym.forward.volume import VolumeModel, volume_parameters
from adorym.losses.base import Loss
from adorym.optics.geometry import Geometry
from adorym.optics.representation import transmission_of
from adorym.parameters import Derived, Parameter
from adorym.registry import register
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend

# Of one angle's object, that the volume has otherwise.
NOT_OF_VOLUME = ("object", "log10_kappa")


@register("forward_model", "holotomography")
class HoloTomography(VolumeModel):
    """In-line holography of a volume at many angles, at one or several distances, in a parallel or a cone beam.

    The rays of an angle are parallel: of a cone beam this is right for a sample much smaller than its distance from the
    focus.

    Attributes:
        propagation: Transfer function, as `adorym.forward.holography.Holography` has it.
        buffer_px: Pixels that the volume is wider than the holograms, on each side; as many as light can reach if
            absent.
        center: x of the rotation axis from the middle of the detector; that of the data, or 0, if absent.
        fused: Use the operation with hand-written adjoints where the run allows it.
    """

    propagation: Propagation = "auto"
    buffer_px: int | None = Field(None, ge=0)
    center: Pixels | None = None
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

    def prepare(self, dataset: Dataset) -> Dataset:
        return dataset if self.center is None else dataset.with_(rotation_center_px=float(self.center))

    def geometry(self, dataset: Dataset) -> Geometry:
        return self.thin.geometry(dataset)

    def object_frame(self, dataset: Dataset, margin_px: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        (ny, nx), origin = self.thin.object_frame(dataset, margin_px)
        return (ny, nx, nx), origin

    def default_margin_px(self, moving: bool) -> int:
        return 0  # the buffer is in `object_frame` already

    def view(
        self, corners_px: np.ndarray, geometry: Geometry, object_shape: tuple[int, ...], present: Present
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """All rows and columns: every hologram sees them, buffer included."""
        return np.zeros((1, 2), np.int64), (object_shape[0], object_shape[1])

    def check(self, dataset: Dataset, geometry: Geometry, names: Collection[str]) -> None:
        self.thin.check(dataset.with_(theta_rad=dataset.theta_rad[:1]), geometry, names)

    def derived(self, dataset: Dataset, values: Mapping[str, np.ndarray]) -> dict[str, Derived]:
        return self.thin.derived(dataset, values)

    # -- physics ---------------------------------------------------------------------------------------------------
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """Intensities ``(n, y, x)`` in counts from the volume ``obj`` ``(1, y, x, z)`` complex exponent."""
        return self._predict(xp, self.transmissions(xp, obj, params, batch), params, batch, fused=False)

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        seen = self.transmissions(xp, obj, params, batch)
        predicted = self._predict(xp, seen, params, batch, fused=self.thin.fuses(xp, batch))
        value = self.thin.misfit(xp, predicted, batch, loss)
        constants = {name: xp.stop_gradient(p) for name, p in params.items()}
        found = self._curvatures(xp, xp.stop_gradient(obj), constants, batch, (xp.stop_gradient(seen), loss, request))
        return request.weight * value, found

    def curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> dict[str, Array]:
        seen = self.transmissions(xp, obj, params, batch)
        return self._curvatures(xp, obj, params, batch, (seen, loss, request))

    def transmissions(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """``(a, Y, X)`` transmission at each angle of the batch, from the volume."""
        _, first = np.unique(batch.angles, return_index=True)
        integrals = self.project(xp, obj[0], self.poses(xp, params, first), (0, batch.object_shape[0]), batch)
        return transmission_of(xp, integrals)

    def _predict(self, xp: Backend, seen: Array, params: Mapping[str, Array], batch: Batch, *, fused: bool) -> Array:
        light = self._light(params, batch)
        _, which = np.unique(batch.angles, return_inverse=True)
        groups = [np.flatnonzero(which == a) for a in range(seen.shape[0])]
        parts = [
            self.thin.holograms(xp, seen[a] * light, params, batch, (here, (0.0, 0.0), fused))
            for a, here in enumerate(groups)
        ]
        return self.thin.gathered(xp, parts, groups, params, batch)

    @staticmethod
    def _light(params: Mapping[str, Array], batch: Batch) -> Any:
        """The wave that falls on the object."""
        return params.get("illumination", float(np.sqrt(batch.geometry.open_beam_counts)))

    def _curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, of: tuple[Array, Loss, Request]
    ) -> dict[str, Array]:
        seen, loss, request = of
        found = self.pose_curvatures(xp, obj, params, batch, loss, request)
        if loss.amplitude_curvature is None or "object" not in request.curvature:
            return found
        _, first, counts = np.unique(batch.angles, return_index=True, return_counts=True)
        light = params["illumination"] if "illumination" in params else self._light(params, batch) * xp.ones((1, 1))
        # |dT/dw|^2 = |T|^2, and propagation keeps energy.
        q = xp.abs2(seen * light) * xp.asarray(counts.astype(np.float64).reshape(-1, 1, 1))
        q = q * (loss.amplitude_curvature * request.weight)
        return found | {"object": self.surrogate(xp, obj[0], self.poses(xp, params, first), q, batch, 0)[None]}
