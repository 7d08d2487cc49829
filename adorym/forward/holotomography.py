r"""Holotomography: near-field holograms of a volume, at one or several distances at every angle.

.. math:: T_a = e^{-A_a w}, \qquad w = k\Delta(\beta + i\delta)

with the line integrals :math:`A_a w` of the volume at each angle (`adorym.forward.volume`), followed by holography of a
thin object (`adorym.forward.holography`) with all its refinements (Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999)).
The volume is as high and wide as the holograms with their buffer, so that fringes do not wrap around.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.forward.base import BoundModel, Request
from adorym.forward.hologram_geometry import HologramGeometry, Propagation, hologram_geometry
from adorym.forward.hologram_parameters import PARAMETERS, derived
from adorym.forward.holography import Group, HologramBatch, Holography, received
from adorym.forward.object import Settings, margin_px
from adorym.forward.views import WholeObject
from adorym.forward.volume import GAUGES, VolumeModel, volume_parameters, volume_space
from adorym.losses.base import Loss
from adorym.optics.representation import transmission_of
from adorym.parameters import OBJECT, Parameter
from adorym.preconditioners import Diagonal, Point
from adorym.registry import register
from adorym.units import Pixels
from adorym.updates import FactorGauge
from adorym.wrapper.base import Array, Backend

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
        fused: Use the operation with hand-written adjoints where possible.
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

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[HologramGeometry]:
        if self.center is not None:
            dataset = dataset.with_(rotation_center_px=float(self.center))
        geometry = hologram_geometry(dataset, self.buffer_px, self.propagation)
        self.thin.check(dataset, geometry, settings)
        (ny, nx), origin = geometry.frame(margin_px(settings, 0, 0))
        return BoundModel(
            model=self,
            dataset=dataset,
            geometry=geometry,
            settings=settings,
            shape=(ny, nx, nx),
            origin_px=origin,
            view=WholeObject(),
            space=volume_space(settings, geometry, self.regime),
            updates=(*GAUGES, FactorGauge("intensity_scale", "illumination")),
            derived=lambda values: derived(values, geometry),
            preconditioners={OBJECT: Diagonal(self.object_curvature)},
        )

    # -- physics ---------------------------------------------------------------------------------------------------
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch) -> Array:
        """Intensities ``(n, y, x)`` in counts from the volume ``obj`` ``(1, y, x, z)`` complex exponent."""
        return self._predict(xp, obj, params, batch, fused=False)

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch, loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        predicted = self._predict(xp, obj, params, batch, fused=self.thin.fuses(xp, batch))
        value = self.thin.misfit(xp, predicted, batch, loss)
        return request.weight * value, self.curvatures(xp, obj, params, batch, loss, request)

    def _predict(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch, *, fused: bool
    ) -> Array:
        seen, groups = self.transmissions(xp, obj, params, batch), _groups(batch)
        light: Array = params.get("illumination", float(np.sqrt(batch.geometry.open_beam_counts)))
        parts = [
            self.thin.holograms(xp, one * light, params, batch, here, fused=fused)
            for one, here in zip(xp.unstack(seen), groups, strict=True)
        ]
        return self.thin.gathered(xp, parts, groups, params, batch)

    def transmissions(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: HologramBatch) -> Array:
        """``(a, Y, X)`` transmission at each angle of the batch, from the volume."""
        first = np.array([group.index[0] for group in _groups(batch)])
        integrals = self.project(xp, obj[0], self.poses(xp, params, first), (0, batch.object_shape[0]), batch)
        return transmission_of(xp, integrals)

    def object_curvature(self, point: Point) -> Array:
        r"""Curvature by the volume ``(1, y, x, z)``, over the weight.

        By a line integral w it is :math:`|\partial T/\partial w|^2 = |T|^2` times the incident intensity and the number
        of patterns at the angle, since propagation conserves energy.
        """
        xp, params, batch, groups = point.xp, point.params, point.batch, _groups(point.batch)
        seen = self.transmissions(xp, point.obj, params, batch)
        light = xp.abs2(params["illumination"]) if "illumination" in params else batch.geometry.open_beam_counts
        pictures = np.array([len(group.index) for group in groups], float).reshape(-1, 1, 1)
        q = xp.abs2(seen) * light * xp.asarray(pictures)
        if batch.mask is not None:
            q = q * received(xp, batch.mask, batch.geometry, (seen.shape[-2], seen.shape[-1]), groups)
        poses = self.poses(xp, params, np.array([group.index[0] for group in groups]))
        return self.surrogate(xp, point.obj[0], poses, q, batch, 0)[None]


def _groups(batch: HologramBatch) -> list[Group]:
    """The patterns of each angle."""
    return [Group(np.flatnonzero(batch.angles == angle)) for angle in np.unique(batch.angles)]
