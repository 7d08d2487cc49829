r"""Tomography from raw counts.

.. math:: I_{a} = I_0\, g\, s_a\, \exp\!\big(-2\,(A_a b)\big)

with the counts of the open beam :math:`I_0`, the gain g of each pixel, a scale :math:`s_a` of each angle, and line
integrals :math:`A_a b` of the absorption :math:`b = k\Delta\beta`, half the linear attenuation coefficient times the
voxel size. The counts are compared, not their logarithm, so that dark pixels have their proper statistical weight and
dead pixels none. The reader corrects for dark and flat fields.

Unless it is given, the rotation axis is found before the run (`adorym.optics.filtered_back_projection`). It may be
refined with the volume, as may angles, tilts and shifts. Rings come from pixels whose response differs from that of
their neighbors; instead of filtering them beforehand, ``pixel_gain`` may be refined.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.rings import RingFilter, WithoutRings
from adorym.errors import DataError
from adorym.forward.base import BoundModel
from adorym.forward.object import Settings, margin_px
from adorym.forward.volume import GAUGES, VolumeModel, volume_parameters
from adorym.object_space import Absorption
from adorym.optics.filtered_back_projection import find_rotation_center
from adorym.optics.geometry import Geometry
from adorym.parameters import OBJECT, Parameter
from adorym.preconditioners import Diagonal, Point
from adorym.registry import register
from adorym.schema import ComponentOf
from adorym.units import Pixels
from adorym.updates import FactorGauge
from adorym.wrapper.base import Array, Backend

LOG = logging.getLogger("adorym")
SEARCHED_ROWS = 16
DARKEST = 1e-4  # lower limit of the transmission before its logarithm is taken


def line_integrals(dataset: Dataset, rows: slice = slice(None)) -> np.ndarray:
    """``-log(I / I_0) / 2`` ``(n, rows, x)`` float64: line integrals of the amplitude's absorption."""
    counts = dataset.patterns.read(np.arange(dataset.n_patterns))[:, rows].astype(np.float64)
    counts = counts**2 if dataset.measured == "amplitude" else counts
    if dataset.mask is not None:
        good = (dataset.mask if dataset.mask.ndim == 3 else dataset.mask[None])[:, rows]
        counts = np.where(good, counts, dataset.open_beam_counts or 1.0)
    return -0.5 * np.log(np.maximum(counts / (dataset.open_beam_counts or 1.0), DARKEST))


@register("forward_model", "tomography")
class Tomography(VolumeModel):
    """Absorption tomography in a parallel beam, of 180 or 360 degrees, at any angles, upright or tilted.

    Attributes:
        incident: Counts per pixel without sample; from the flat field if absent. 1 for transmissions.
        center: x of the rotation axis from the middle of the detector: in pixels, ``auto`` to search it, or ``middle``.
        rings: Ring filter, applied to the line integrals before the run; none if absent.
        search: Range of the axis search, to each side of the estimate from the centers of mass; a tenth of the width if
            absent.
    """

    incident: float | None = Field(None, gt=0)
    center: Pixels | Literal["auto", "middle"] = "auto"
    search: Pixels | None = Field(None, gt=0)
    rings: Annotated[RingFilter | None, ComponentOf("ring_filter")] = None

    refinable: ClassVar[Mapping[str, Parameter]] = {
        **volume_parameters(),
        "pixel_gain": Parameter(
            optional=True,
            help="response of each detector pixel relative to the others; its errors cause rings",
            start=lambda bound, settings, rng: np.ones((1, *bound.dataset.window_px)),
            optimizer={"kind": "adam", "learning_rate": 5e-3},
            bounds=(0.0, None),
        ),
        "intensity_scale": Parameter(
            optional=True,
            help="factor on the open beam of each pattern",
            start=lambda bound, settings, rng: np.ones((bound.dataset.n_patterns, 1)),
            per="pattern",
            optimizer={"kind": "adam", "learning_rate": 1e-3},
            bounds=(1e-3, None),
        ),
    }

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Geometry]:
        """Bind the model; all counts are read if rings are filtered or the rotation axis is searched."""
        if dataset.n_angles < 2:
            raise DataError(dataset.path, "tomography needs several rotation angles", found=dataset.n_angles,
                            remedy="give them with 'data.theta' or 'data.theta_range'")  # fmt: skip
        level = self.incident or dataset.open_beam_counts
        if level is None:
            raise DataError(
                dataset.path, "the counts without sample are not known", expected="exchange/data_white",
                remedy="give 'forward_model.incident'; 1 if the data are transmissions",
            )  # fmt: skip
        dataset = dataset.with_(open_beam_counts=level)
        if self.rings is not None:
            integrals = self.rings.filtered(line_integrals(dataset), dataset.theta_rad[dataset.angle_index])
            dataset = dataset.with_(patterns=WithoutRings(integrals.astype(np.float32), level), measured="intensity")
        # Columns stay inside the volume as it rotates: room is needed above and below the detector only.
        margin, (ny, nx) = margin_px(settings, 0), dataset.window_px
        return BoundModel(
            model=self,
            dataset=dataset.with_(rotation_center_px=self._find_center(dataset)),
            geometry=Geometry.of(dataset),
            settings=settings,
            shape=(ny + 2 * margin, nx, nx),
            origin_px=(margin, 0),
            view=self.row_band(ny),
            space=Absorption(1.0 if dataset.pixel_size_m is None else dataset.pixel_size_m[1]),
            updates=(*GAUGES, FactorGauge("pixel_gain", "intensity_scale", power=1)),
            preconditioners={OBJECT: Diagonal(self._curvature)},
        )

    def _find_center(self, dataset: Dataset) -> float:
        if isinstance(self.center, float | int):
            return float(self.center)
        if self.center == "middle":
            return 0.0
        if dataset.rotation_center_px is not None:
            return dataset.rotation_center_px
        mass = line_integrals(dataset).sum((0, 2))
        row = int(np.argmax(mass))
        # The axis is common to all rows: the mean of their sinograms has less noise.
        near = slice(max(0, row - SEARCHED_ROWS // 2), row + SEARCHED_ROWS // 2)
        sinogram = line_integrals(dataset, near).mean(1)
        found = find_rotation_center(sinogram, dataset.theta_rad[dataset.angle_index], self.search)
        LOG.info("rotation axis at %.2f px from the middle, from row %d", found.center_px, row)
        if found.on_border:
            LOG.warning(
                "forward_model.center: the best rotation axis, %.2f px, is at the limit of the search range; "
                "give 'forward_model.center', or raise 'forward_model.search'", found.center_px,
            )  # fmt: skip
        return found.center_px

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry]) -> Array:
        """Counts ``(n, y, x)`` from the band ``obj`` ``(1, y, x, z)`` complex."""
        rows = (int(batch.corners_px[0, 0]), batch.geometry.window_px[0])
        integrals = self.project(xp, xp.real(obj[0]), self.poses(xp, params), rows, batch)
        counts = batch.open_beam_counts * xp.exp(-2 * integrals)
        if "pixel_gain" in params:
            counts = counts * params["pixel_gain"]
        if "intensity_scale" in params:
            counts = counts * xp.reshape(params["intensity_scale"], (-1, 1, 1))
        return counts

    def _curvature(self, point: Point) -> Array:
        # The derivative of the amplitude by a line integral is minus the amplitude.
        counts, batch = point.predict(point.obj, point.params), point.batch
        weights = counts if batch.mask is None else counts * batch.mask
        poses, first_row = self.poses(point.xp, point.params), int(batch.corners_px[0, 0])
        return self.surrogate(point.xp, point.obj[0], poses, weights, batch, first_row)[None]
