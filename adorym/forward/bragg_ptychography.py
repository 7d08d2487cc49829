r"""Bragg ptychography: a beam scans an extended crystal at several rocking angles.

.. math:: I_{jk} = s_{jk} \sum_m \Big|\mathcal F_{yx} \sum_z \mathcal S_{r_j + z\,t} P_m\; O\;
          e^{-2\pi i f_k z / K}\Big|^2 Z^{-1} + b

at position j and rocking angle k, which is :math:`f_k` steps from the middle of the peak (Hruszkewycz et al., Nat.
Mater. 16, 244 (2017)). The object is the complex amplitude of the crystal, ``(y, x, z)``; its phase is
:math:`-\mathbf Q \cdot \mathbf u`. Voxels are those of the other Bragg models, conjugate to the pixels of the detector
and the K rocking steps (`adorym.optics.bragg_geometry`); z is along the exit beam, so that the sum over z is the wave
that leaves the crystal. The incoming beam has another direction, and lies t pixels further in each next slice.

Approximations: the crystal scatters once and absorbs nothing; the beam does not spread within the crystal; frames are
planes in reciprocal space; a voxel turns by much less than its size between the first and the last angle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.volume import places_of
from adorym.errors import ConfigError, DataError
from adorym.forward.base import BoundModel, ForwardModel, bound_scan
from adorym.forward.crystal import CrystalObject
from adorym.forward.object import Settings, object_parameter
from adorym.forward.probe import ProbeSettings, start_probe
from adorym.forward.ptychography import Ptychography
from adorym.forward.rocking_curve import without_shift_and_stretch
from adorym.forward.thin import by_object, by_probe, check_scan
from adorym.object_space import CrystalAmplitude
from adorym.optics.bragg_geometry import BraggGeometry, across_beam
from adorym.optics.geometry import Geometry
from adorym.optics.modes import scale_power
from adorym.optics.probe_search import AutoProbe
from adorym.optics.shift import shift_kernel
from adorym.parameters import Parameter
from adorym.preconditioners import Diagonal, Point
from adorym.registry import register
from adorym.updates import FactorGauge
from adorym.wrapper.base import Array, Backend

SCAN = Ptychography()
OF_SCAN = ("probe_positions", "probe_offset", "intensity_scale", "background")


@dataclass(frozen=True)
class Skew(Geometry):
    """The geometry of a scan, and how the beam lies in the voxels of the crystal.

    Attributes:
        walk_px: (y, x) pixels by which the beam lies further from one slice to the next.
        angles: Number of rocking angles.
    """

    walk_px: tuple[float, float] = (0.0, 0.0)
    angles: int = 1


def _probe(bound: BoundModel[Skew], settings: ProbeSettings, rng: np.random.Generator) -> np.ndarray:
    """The start probe, known across the beam, on the voxels of the crystal.

    Raises:
        ConfigError: It is not known.
    """
    if isinstance(settings.first(bound.dataset), AutoProbe):
        what, remedy = "the beam is not known", "give it across the beam, '{kind: file, path: direct_beam.h5}'"
        raise ConfigError("parameters.probe.initial", what, remedy=remedy)
    modes, across = start_probe(bound, settings, rng), across_beam(bound.model.geometry, bound.dataset)[0]  # type: ignore[attr-defined]
    middle = (np.array(modes.shape[1:]) - 1) / 2
    places = np.tensordot(across, np.indices(modes.shape[1:]) - middle[:, None, None], 1) + middle[:, None, None]
    made = np.stack([scipy.ndimage.map_coordinates(mode, places) for mode in modes])
    return scale_power(made, 1.0) * np.linalg.norm(modes)


@register("forward_model", "bragg_ptychography")
class BraggPtychography(ForwardModel):
    """An extended crystal that a beam scans at several rocking angles.

    Attributes:
        geometry: Angles of the detector and of the crystal.
        slices: Depth of the crystal in voxels along the exit beam. Patterns do not tell a film from one that is blurred
            along the beam in a deeper array: give what is known of its thickness.
    """

    geometry: BraggGeometry
    slices: int = Field(ge=1)

    refinable: ClassVar[Mapping[str, Parameter]] = {
        "object": object_parameter(help="complex amplitude of the crystal", settings=CrystalObject),
        "probe": replace(SCAN.refinable["probe"], start=_probe, search=None),
        **{name: SCAN.refinable[name] for name in OF_SCAN},
        "rocking_positions": Parameter(
            unit="px",
            help="position of each angle on the rocking curve in steps, 0 at the middle one",
            start=lambda bound, settings, rng: places_of(bound.dataset.theta_rad, bound.dataset.path)[:, None],
            per="angle",
            optimizer={"kind": "adam", "learning_rate": "0.01 px"},
            gauge=without_shift_and_stretch,
        ),
    }  # fmt: skip

    def placed(self, dataset: Dataset) -> Dataset:
        """With positions, known across the beam, in voxels of the crystal."""
        if dataset.probe_positions_px is None or dataset.n_angles < 2:
            return dataset  # refused later
        places_of(dataset.theta_rad, dataset.path)  # refuses angles that are all the same
        back = np.linalg.inv(across_beam(self.geometry, dataset)[0])
        return dataset.with_(probe_positions_px=np.asarray(dataset.probe_positions_px) @ back.T)

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Skew]:
        """Bind the model; positions are in voxels already."""
        angles = dataset.n_angles
        if angles < 2:
            what, remedy = "holds one rocking angle", "give that of each pattern, 'data.theta'"
            raise DataError(dataset.path, what, expected="two or more", remedy=remedy)
        check_scan(dataset.with_(theta_rad=dataset.theta_rad[:1], angle_index=np.zeros(dataset.n_patterns, int)))
        Geometry.of(dataset).check_pixel_size("far_field")
        (matrix, along), depth = across_beam(self.geometry, dataset), self.slices
        walk = -np.linalg.solve(matrix, along)
        if (depth - 1) * np.abs(walk).max() >= min(dataset.window_px):
            raise ConfigError(
                "forward_model.slices", "the beam leaves the window on its way through the slices",
                expected=f"at most {1 + int(min(dataset.window_px) / np.abs(walk).max())}", found=depth,
            )  # fmt: skip
        geometry = Skew(**vars(Geometry.of(dataset)), walk_px=(float(walk[0]), float(walk[1])), angles=angles)
        bound = bound_scan(self, dataset, geometry, settings, "far_field")
        return bound.with_(
            shape=(*bound.shape, depth),
            waves=bound.waves * depth,
            space=CrystalAmplitude(),
            updates=(*bound.updates, FactorGauge("intensity_scale", "probe")),
            preconditioners={"object": Diagonal(self._by_object), "probe": Diagonal(self._by_probe)},
        )

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Skew]) -> Array:
        """Intensities ``(n, y, x)`` in photons from object windows ``obj`` ``(n, y, x, z)`` complex."""
        offsets, depth = SCAN.offsets(params), obj.shape[3]
        angle = params["rocking_positions"] * xp.asarray(-2 * np.pi / batch.geometry.angles * _slices(depth)[None])
        ramps = xp.complex(xp.cos(angle), xp.sin(angle)) / float(np.sqrt(depth))
        seen = xp.permute_dims(obj * ramps[:, None, None, :], (0, 3, 1, 2))
        modes = self._in_slices(xp, params["probe"], offsets[:, None], depth, batch)
        return SCAN.detected(xp, xp.sum(seen[:, None] * modes, axis=2), offsets, params, batch)

    @staticmethod
    def _in_slices(xp: Backend, probe: Array, offsets: Any, depth: int, batch: Batch[Skew]) -> Array:
        """Modes ``(n, m, z, y, x)`` in every slice at ``offsets`` ``(n, 1, 2)``."""
        walk = xp.asarray(_slices(depth)[:, None] * np.array(batch.geometry.walk_px))
        kernel = shift_kernel(xp, tuple(probe.shape[-2:]), offsets + walk)
        return xp.ifft2(xp.fft2(probe)[None, :, None] * kernel[:, None])

    def _by_object(self, point: Point) -> Array:
        """Curvature by the object: the slices of a window add up to one wave."""
        xp, depth = point.xp, point.obj.shape[3]
        modes = self._in_slices(xp, point.params["probe"], xp.zeros((1, 1, 2)), depth, point.batch)
        return by_object(point, xp.permute_dims(xp.sum(xp.abs2(modes[0]), axis=0), (1, 2, 0)))

    def _by_probe(self, point: Point) -> Array:
        """Curvature by the probe, from the slices as the beam meets them."""
        back = np.rint(-_slices(point.obj.shape[3])[:, None] * np.array(point.batch.geometry.walk_px)).astype(int)
        met = [point.xp.roll(point.xp.abs2(point.obj[..., z]), tuple(s.tolist()), (1, 2)) for z, s in enumerate(back)]
        return by_probe(point, sum(met[1:], met[0]))


def _slices(depth: int) -> np.ndarray:
    """Places of the slices, from the middle one."""
    return np.arange(depth) - (depth - 1) / 2
