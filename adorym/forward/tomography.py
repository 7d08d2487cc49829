r"""Tomography from raw counts.

.. math:: I_{a} = I_0\, g\, s_a\, \exp\!\big(-h(2\,A_a b)\big)

with the counts of the open beam :math:`I_0`, the gain g of each pixel, a scale :math:`s_a` of each angle, and line
integrals :math:`A_a b` of the absorption :math:`b = k\Delta\beta`, half the linear attenuation coefficient times the
voxel size; h is the identity, or the attenuation in a beam of many energies (`adorym.forward.hardening`). The counts
are compared, not their logarithm, so that dark pixels have their proper statistical weight and dead pixels none. The
reader corrects for dark and flat fields.

Unless it is given, the rotation axis is found before the run (`adorym.optics.filtered_back_projection`). It may be
refined with the volume, as may angles, tilts and shifts. Rings come from pixels whose response differs from that of
their neighbors; instead of filtering them beforehand, ``pixel_gain`` may be refined.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.air import beam_of_projections, steady
from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.line_integrals import line_integrals
from adorym.data.readers.base import choose
from adorym.data.rings import RingFilter, WithoutRings
from adorym.errors import ConfigError, DataError, GeometryError
from adorym.forward.base import BoundModel
from adorym.forward.hardening import HARDENING, attenuation, beam_hardening, slope
from adorym.forward.object import Settings, margin_px
from adorym.forward.time_course import (
    TEMPORAL,
    TIME,
    TimeSettings,
    basis_objects,
    parts,
    superposed,
    time_course,
    weights,
)
from adorym.forward.volume import GAUGES, STEP_OF_INTEGRALS_PX, VolumeModel, VolumeSettings, volume_parameters
from adorym.object_space import Absorption, ChangingAbsorption
from adorym.optics.filtered_back_projection import find_rotation_center
from adorym.optics.geometry import Geometry
from adorym.optics.half_acquisition import is_half_acquisition, is_whole_turn, seen_width_px
from adorym.optics.poses import Poses
from adorym.parameters import OBJECT, Parameter
from adorym.preconditioners import Blocks, Diagonal, Point
from adorym.registry import component, register
from adorym.schema import ComponentOf
from adorym.units import Pixels
from adorym.updates import FactorGauge
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.rays import Frame

LOG = logging.getLogger("adorym")
SEARCHED_ROWS = 16
ROW_SEARCH = 32  # projections in which the row with most matter is looked for
PARALLEL_PX = 0.25  # by which rays of a cone may miss where parallel ones go


@component
class TomogramSettings(VolumeSettings):
    """How the volume starts and is refined.

    Attributes:
        width: Voxels of the volume along x and z. If absent, the detector's columns; nearly twice as many if a whole
            turn about an axis near the edge of the detector sees a sample that is wider than the detector.
        time: How it changes from projection to projection; not at all if absent.
    """

    width: int | None = Field(None, ge=2)
    time: TimeSettings | None = None


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
        **volume_parameters(STEP_OF_INTEGRALS_PX, settings=TomogramSettings),
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
            optimizer={"kind": "preconditioned", "learning_rate": 0.5, "momentum": 0.5, "maximum_step": 0.1},
            preconditioner=Blocks(1e-3),
            bounds=(1e-3, None),
        ),
        HARDENING: beam_hardening(),
        **TEMPORAL,
    }

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Geometry]:
        """Bind the model; all counts are read if rings are filtered or the rotation axis is searched."""
        level = self.incident or dataset.open_beam_counts
        if dataset.n_angles < 2:
            raise angles_missing(dataset)
        if level is None:
            raise DataError(
                dataset.path, "the counts without sample are not known", expected="exchange/data_white",
                remedy="give 'data.white', or 'forward_model.incident'; 1 if the data are transmissions",
            )  # fmt: skip
        dataset = dataset.with_(open_beam_counts=level, pixel_size_m=self._voxel(dataset))
        if "intensity_scale" in settings and settings["intensity_scale"].refine:
            dataset = _in_steady_beam(dataset)
        if self.rings is not None:
            integrals = self.rings.filtered(line_integrals(dataset), dataset.theta_rad[dataset.angle_index])
            dataset = dataset.with_(patterns=WithoutRings(integrals.astype(np.float32), level), measured="intensity")
        center, width, remarks = self._axis(dataset, settings)
        # Columns stay inside the volume as it rotates: room is needed above and below the detector only.
        margin, (ny, nx) = margin_px(settings, 0), dataset.window_px
        voxel, number = 1.0 if dataset.pixel_size_m is None else dataset.pixel_size_m[1], basis_objects(settings)
        bound: BoundModel[Geometry] = BoundModel(
            model=self,
            dataset=dataset.with_(rotation_center_px=center, notes=(*dataset.notes, *remarks)),
            geometry=replace(Geometry.of(dataset), distance_m=None, source_distance_m=None),
            settings=settings,
            shape=(self._height(dataset) + 2 * margin, width, number * width),
            origin_px=(margin, (width - nx) // 2),
            view=self.row_band(ny),
            space=Absorption(voxel) if number == 1 else ChangingAbsorption(voxel, parts=number),
            updates=(*GAUGES, FactorGauge("pixel_gain", "intensity_scale", power=1)),
            preconditioners={OBJECT: Diagonal(self._curvature), TIME: Diagonal(self._by_time)},
            remarks=remarks,
        )
        return bound.with_(derived=lambda values: time_course(bound))

    def _voxel(self, dataset: Dataset) -> tuple[float, float] | None:
        return voxel_m(dataset)

    def _height(self, dataset: Dataset) -> int:
        """Rows of the volume, without margins."""
        return dataset.window_px[0]

    def _width(self, dataset: Dataset, settings: Settings) -> int | None:
        """The width of the volume that the settings give."""
        given, nx = getattr(settings[OBJECT], "width", None), dataset.window_px[1]
        if given is not None and (given - nx) % 2:
            expected = f"an {'odd' if nx % 2 else 'even'} number, as the detector has"
            what = "the volume and the detector must have the same middle"
            raise ConfigError("parameters.object.width", what, expected=expected, found=given)
        return given

    def _axis(self, dataset: Dataset, settings: Settings) -> tuple[float, int, tuple[str, ...]]:
        """The rotation axis, the width of the volume, and how they were found."""
        theta, nx = dataset.theta_rad[dataset.angle_index], dataset.window_px[1]
        known = 0.0 if self.center == "middle" else dataset.rotation_center_px
        known = float(self.center) if isinstance(self.center, int | float) else known
        given = self._width(dataset, settings)
        if known is not None and (given is not None or abs(known) < 1 or not is_whole_turn(theta)):
            return known, given or nx, ()
        (sinogram, row), remarks = _thickest(dataset), []
        if known is None:
            found = find_rotation_center(sinogram, theta, self.search)
            known = found.center_px
            remarks.append(f"rotation axis: {found.words} (row {row})")
            if found.on_border:
                LOG.warning(
                    "forward_model.center: the best rotation axis, %.2f px, is at the limit of the search range; "
                    "give 'forward_model.center', or raise 'forward_model.search'", known,
                )  # fmt: skip
        width = given or nx
        if given is None and is_whole_turn(theta) and is_half_acquisition(sinogram, known):
            width = seen_width_px(nx, known)
            remarks.append(f"half acquisition: the two halves of the turn make a volume of {width} px")
        return known, width, tuple(remarks)

    def frame(self, poses: Poses, rows: tuple[int, int], batch: Batch[Geometry]) -> Frame:
        """The same, with the columns of the detector, of which the volume may have more."""
        return replace(super().frame(poses, rows, batch), width=batch.geometry.window_px[1])

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry]) -> Array:
        """Counts ``(n, y, x)`` from the band ``obj`` ``(1, y, x, z)`` complex."""
        depth = self._depth(xp, obj, params, batch)
        counts = batch.open_beam_counts * xp.exp(-attenuation(xp, depth, params))
        if "pixel_gain" in params:
            counts = counts * params["pixel_gain"]
        if "intensity_scale" in params:
            counts = counts * xp.reshape(params["intensity_scale"], (-1, 1, 1))
        return counts

    def _depth(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry]) -> Array:
        """Optical depths ``(n, y, x)``: line integrals of the attenuation coefficient."""
        rows, poses = (int(batch.corners_px[0, 0]), batch.geometry.window_px[0]), self.poses(xp, params)
        seen = [self.project(xp, part, poses, rows, batch) for part in parts(xp.real(obj[0]), params)]
        return 2 * superposed(seen, params)

    def _curvature(self, point: Point) -> Array:
        # The derivative of the amplitude by a line integral is minus the amplitude, or the slope of the attenuation.
        xp, batch, by_integral = point.xp, point.batch, self._by_integral(point)
        poses, first_row = self.poses(xp, point.params), int(batch.corners_px[0, 0])
        each = parts(point.obj[0], point.params)
        shares = xp.reshape(weights(xp, point.params), (-1, len(each), 1, 1)) if len(each) > 1 else None
        found = [
            self.surrogate(
                xp, part, poses, by_integral if shares is None else by_integral * shares[:, k], batch, first_row
            )
            for k, part in enumerate(each)
        ]
        return (found[0] if len(found) == 1 else xp.concat(found, axis=-1))[None]

    def _by_integral(self, point: Point) -> Array:
        xp, params, mask = point.xp, point.params, point.batch.mask
        counts = point.predict(point.obj, params)
        if HARDENING in params:
            counts = counts * xp.square(slope(xp, self._depth(xp, point.obj, params, point.batch), params))
        return counts if mask is None else counts * mask

    def _by_time(self, point: Point) -> Array:
        """Curvature ``(n, K, K)`` by the coefficients of the basis objects."""
        xp, batch = point.xp, point.batch
        rows, poses = (int(batch.corners_px[0, 0]), batch.geometry.window_px[0]), self.poses(xp, point.params)
        each = [self.project(xp, part, poses, rows, batch) for part in parts(xp.real(point.obj[0]), point.params)]
        weighted = [self._by_integral(point) * one for one in each]
        return xp.stack([xp.stack([xp.sum(a * b, axis=(1, 2)) for b in each], axis=-1) for a in weighted], axis=-2)


def angles_missing(dataset: Dataset) -> DataError:
    """Rotation angles are asked for, not assumed."""
    return DataError(
        dataset.path, "tomography needs several rotation angles",
        found=f"{dataset.n_patterns} patterns, {dataset.n_angles} angle",
        remedy="give them with 'data.theta', or the first and the last with 'data.theta_range'",
    )  # fmt: skip


def voxel_m(dataset: Dataset) -> tuple[float, float] | None:
    """(y, x) size of a voxel: as given, or the detector's pixel, demagnified in a cone beam; ``None`` if unknown.

    Raises:
        GeometryError: The rays of a cone beam are too far from parallel.
    """
    geometry = Geometry.of(dataset)
    if geometry.source_distance_m is None or geometry.distance_m is None:
        return dataset.pixel_size_m or dataset.detector_pixel_size_m
    found = geometry.magnification
    pixel = dataset.pixel_size_m or (
        None if dataset.detector_pixel_size_m is None else geometry.near_field_pixel_size_m
    )
    # A voxel at the rim is nearer to the source, or farther, by half the width, and moves by that part of its place.
    half = max(dataset.window_px) / 2
    off = half**2 * (pixel or (0.0, 0.0))[1] / geometry.source_distance_m
    if pixel is None or off > PARALLEL_PX:
        raise GeometryError(
            "data.source_distance", f"a cone beam of magnification {found:.4g}: the model takes rays as parallel",
            expected=f"rays that miss by less than {PARALLEL_PX} px at the rim",
            found="an unknown detector pixel" if pixel is None else f"{off:.3g} px",
            remedy="choose the forward model 'cone_tomography'; if the rays are parallel, leave out "
            "'data.source_distance'",
        )  # fmt: skip
    if found > 1.001:
        LOG.warning(
            "data.source_distance: a cone beam with a magnification of %.4g is taken as parallel, with a voxel of "
            "%.4g um; rays miss by up to %.2g px at the rim", found, pixel[1] * 1e6, off,
        )  # fmt: skip
    return pixel


def _in_steady_beam(dataset: Dataset) -> Dataset:
    """Projections divided by the strength of their beam, where there is air beside the sample."""
    factor = beam_of_projections(dataset)
    if factor is None:
        return dataset
    note = f"each projection divided by its air, {factor.min():.4g} to {factor.max():.4g} of the flat field"
    return dataset.with_(patterns=steady(dataset.patterns, factor), notes=(*dataset.notes, note))


def _thickest(dataset: Dataset) -> tuple[np.ndarray, int]:
    """The mean sinogram ``(a, x)`` of some rows about the one with most matter, and that row.

    The axis is common to all rows: the mean of their sinograms has less noise.
    """
    n = dataset.n_patterns
    some = choose(dataset, np.unique(np.linspace(0, n - 1, min(n, ROW_SEARCH)).astype(int)), "")
    row = int(np.argmax(line_integrals(some).sum((0, 2))))
    near = slice(max(0, row - SEARCHED_ROWS // 2), row + SEARCHED_ROWS // 2)
    return line_integrals(dataset, near).mean(1), row
