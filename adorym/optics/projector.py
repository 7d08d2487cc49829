r"""Projections of a volume: line integrals along the beam, and the rotated volume.

Three projectors with one interface. All use the geometry of `adorym.optics.poses`, have exact adjoints, and are
differentiable in the volume and in angles, tilts, shifts and center of rotation:

* ``joseph``, the default: linear interpolation where a ray crosses the planes of the volume, with exact weights made
  on the fly, so that no matrix is stored and refined angles cost a third more;
* ``rotate``: the volume is rotated with linear interpolation along all axes, and summed, as in multislice models, which
  need the voxels themselves;
* ``fourier``: central slices of the volume's Fourier transform at uneven frequencies (needs ``finufft``), exact for
  band-limited volumes that are zero at their edges.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import Field

from adorym.optics.poses import Poses
from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused import rays
from adorym.wrapper.fused.central_slices import central_slices, check_installed
from adorym.wrapper.fused.rays import Frame


class Projector(ABC):
    """Maps a volume to its projections.

    Attributes:
        mixes_rows: Whether a projected row depends on every row of the volume, unless the volume turns about y alone.
    """

    kind: ClassVar[str]
    mixes_rows: ClassVar[bool] = False

    @abstractmethod
    def project(self, xp: Backend, volume: Array, poses: Poses, frame: Frame) -> Array:
        """Line integrals ``(a, y', x')``, in units of the voxel.

        Args:
            xp: Backend.
            volume: ``(y, x, z)`` real or complex, all rows or a band of them.
            poses: Poses at ``a`` angles.
            frame: The rows of the band, and the rows that are needed.
        """


@register("projector", "joseph")
class Joseph(Projector):
    """Linear interpolation within the planes of the volume that a ray crosses, along its main axis.

    Joseph, IEEE Trans. Med. Imaging 1, 192 (1982). For rotations about y alone all rows share their weights and are
    computed at once; with tilts or shifts along y each row has its own.
    """

    def project(self, xp: Backend, volume: Array, poses: Poses, frame: Frame) -> Array:
        return rays.project(xp, volume, poses.matrices, poses.shifts, frame)


@register("projector", "rotate")
class Rotate(Projector):
    """The volume is rotated, then summed along the beam."""

    def project(self, xp: Backend, volume: Array, poses: Poses, frame: Frame) -> Array:
        turned = [rays.rotate(xp, volume, poses.matrices[a], poses.shifts[a], frame) for a in range(len(poses))]
        return xp.stack([xp.sum(each, axis=2) for each in turned])


@register("projector", "fourier")
class Fourier(Projector):
    r"""Central slices of the volume's Fourier transform, by non-uniform fast Fourier transforms (needs ``finufft``).

    The transform of a projection is the slice :math:`\hat f(k_y M_{\cdot y'} + k_x M_{\cdot x'})` of the volume's. The
    projection's period is ``oversampling`` times the volume's diagonal, so that nothing wraps around. Sharp edges ring,
    as in any band-limited image.

    Attributes:
        tolerance: Relative error of the transforms.
        oversampling: Width of the projection's period, in detector widths.
    """

    mixes_rows: ClassVar[bool] = True
    tolerance: float = Field(1e-6, gt=0, lt=0.1)
    oversampling: float = Field(2.0, ge=math.sqrt(2))

    def __post_init__(self) -> None:
        check_installed()

    def project(self, xp: Backend, volume: Array, poses: Poses, frame: Frame) -> Array:
        given = frame.of_level(volume) if frame.level else volume
        settings = (self.tolerance, self.oversampling)
        return central_slices(xp, given, (poses.matrices, poses.shifts), frame, settings)
