r"""Rays of a cone beam: from a point source to the pixels of a flat detector, which may be tilted and shifted.

Lengths are voxels. In the frame of `adorym.optics.poses`, in which the rotation axis is at :math:`z' = 0`, the source
is at :math:`(0, 0, -D)` (y, x, z), and the pixel (i, j) of the detector, whose middle is :math:`L` behind the axis, at

.. math:: P_{ij} = (0, 0, L) + R_z(\gamma) R_x(\alpha) R_y(\beta)\, (p_y (i + s_y),\, p_x (j + s_x),\, 0)

with pixels counted from the middle of the detector, their pitches p, the tilts :math:`(\beta, \alpha, \gamma)` of the
detector about y, x and z, and the shift s of the detector in its plane. Each ray is a pose of its own, so that line
integrals, their adjoint and their derivatives are those of any other pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.optics.poses import Poses, make_poses
from adorym.wrapper.base import Array, Backend


@dataclass(frozen=True)
class Cone:
    """Source and detector of a cone beam, in voxels.

    Attributes:
        source: ``(1,)`` D, from the source to the rotation axis.
        detector: ``(1,)`` L, from the rotation axis to the middle of the detector.
        tilt: ``(3,)`` of the detector about (y, x, z) in rad.
        shift: ``(2,)`` (y, x) of the detector in its plane, in its pixels.
        pitch: (y, x) distance of its pixels.
        window: (y, x) number of its pixels.
    """

    source: Array
    detector: Array
    tilt: Array
    shift: Array
    pitch: tuple[float, float]
    window: tuple[int, int]

    def rays(self, xp: Backend, poses: Poses) -> Poses:
        """``(a y x)`` poses, of which each sees the ray of one pixel, for the poses ``a`` of the volume."""
        starts, directions = self._in_frame(xp)
        turned = poses.matrices[:, None]
        along = xp.reshape(xp.sum(turned * directions[None, :, None], axis=-1), (-1, 3))
        through = xp.reshape(xp.sum(turned * starts[None, :, None], axis=-1) + poses.shifts[:, None], (-1, 3))
        blank = 0 * along
        return Poses(xp.stack([blank, blank, along], axis=-1), through, level=False)

    def _in_frame(self, xp: Backend) -> tuple[Array, Array]:
        """``(y x, 3)`` where each ray passes the plane of the axis, and its direction of unit length."""
        about_y, others = self.tilt[:1], xp.concat([0 * self.tilt[:1], self.tilt[1:]], axis=0)
        tilted = make_poses(xp, about_y, others[None]).matrices[0]
        i, j = (xp.asarray((np.arange(n) - (n - 1) / 2).astype(xp.float_dtype)) for n in self.window)
        down, across = self.pitch[0] * (i + self.shift[0])[:, None], self.pitch[1] * (j + self.shift[1])[None, :]
        # Rows of the inverse rotation are the axes of the detector.
        y, x, z = (down * tilted[0, axis] + across * tilted[1, axis] for axis in range(3))
        far = z + self.source[0] + self.detector[0]
        slopes = xp.stack([xp.reshape(each / far, (-1,)) for each in (y, x)], axis=-1)
        one = 0 * slopes[:, :1] + 1
        straight = xp.concat([slopes, one], axis=1)
        starts = xp.concat([slopes * self.source[0], 0 * one], axis=1)
        return starts, straight / xp.sqrt(xp.sum(xp.square(straight), axis=1, keepdims=True))
