r"""Poses of an object in the beam: maps between its frame and the detector's from angles, tilts and shifts.

A point r of the object, measured from the middle of its volume, which is on the rotation axis, is projected to

.. math:: r' = R_z(\gamma)\, R_x(\alpha)\, R_y(\theta + \beta)\, r + s

with the rotation angle :math:`\theta` about y, the tilts :math:`(\beta, \alpha, \gamma)` about y, x and z, and the
shift s on the detector: that of the axis from the detector's middle (center of rotation), and that of the angle. All
rotations are right-handed in (x, y, z) with x to the right, y down and z along the beam, so that :math:`R_y` turns z
towards x: :math:`x' = x\cos\theta + z\sin\theta`. In laminography the axis is tilted about x: :math:`\alpha` is the
same for all angles. Axes of arrays are (y, x, z), lengths pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.wrapper.base import Array, Backend


@dataclass(frozen=True)
class Poses:
    """Maps from the detector's frame to the object's, :math:`r = M r' + t`, one per angle.

    Attributes:
        matrices: ``(a, 3, 3)``.
        shifts: ``(a, 3)``.
        level: Whether all of them are rotations about y that move no row, also when they are refined.
    """

    matrices: Array
    shifts: Array
    level: bool

    def __len__(self) -> int:
        return int(self.matrices.shape[0])


def make_poses(
    xp: Backend, theta: Array, tilt: Array | None = None, shift: Array | None = None, center: Array | None = None
) -> Poses:
    """Poses at ``a`` angles, differentiable in all arguments.

    Args:
        xp: Backend.
        theta: ``(a,)`` rotation angles in rad.
        tilt: ``(a, 3)`` about (y, x, z) in rad.
        shift: ``(a, 2)`` (y, x) of the object on the detector in pixels.
        center: ``(1,)`` x of the rotation axis from the detector's middle in pixels.
    """
    matrices = _transposed_rotation(xp, theta if tilt is None else theta + tilt[:, 0], tilt)
    zero = 0 * theta
    down, across = (zero, zero) if shift is None else (shift[:, 0], shift[:, 1])
    if center is not None:
        across = across + center
    moved = xp.stack([down, across, zero], axis=-1)
    return Poses(matrices, -xp.sum(matrices * moved[:, None, :], axis=-1), tilt is None and shift is None)


def _transposed_rotation(xp: Backend, theta: Array, tilt: Array | None) -> Array:
    """``(a, 3, 3)`` inverse of ``R_z R_x R_y``."""
    one, zero = 1 + 0 * theta, 0 * theta
    c, s = xp.cos(theta), xp.sin(theta)
    about_y = _matrix(xp, ((one, zero, zero), (zero, c, -s), (zero, s, c)))
    if tilt is None:
        return about_y
    c, s = xp.cos(tilt[:, 1]), xp.sin(tilt[:, 1])
    about_x = _matrix(xp, ((c, zero, s), (zero, one, zero), (-s, zero, c)))
    c, s = xp.cos(tilt[:, 2]), xp.sin(tilt[:, 2])
    about_z = _matrix(xp, ((c, -s, zero), (s, c, zero), (zero, zero, one)))
    return xp.matmul(about_y, xp.matmul(about_x, about_z))


def _matrix(xp: Backend, rows: tuple[tuple[Array, ...], ...]) -> Array:
    return xp.stack([xp.stack(list(row), axis=-1) for row in rows], axis=-2)


def row_reach_px(tilt_rad: np.ndarray, shift_px: np.ndarray, shape: tuple[int, ...]) -> int:
    """Number of rows above and below its own that a detector row may need, for a volume of ``shape`` (y, x, z).

    ``tilt_rad`` ``(a, 3)`` about (y, x, z), ``shift_px`` ``(a, 2)``.
    """
    half_y, half_x, half_z = (n / 2 for n in shape[:3])
    slope = np.abs(np.sin(tilt_rad[:, 2])) * half_x + np.abs(np.sin(tilt_rad[:, 1])) * np.hypot(half_x, half_z)
    # A row far from the middle comes nearer to it.
    nearer = (1 - np.abs(np.cos(tilt_rad[:, 1]) * np.cos(tilt_rad[:, 2]))) * half_y
    return int(np.ceil(np.max(slope + nearer + np.abs(shift_px[:, 0]), initial=0.0))) + 1
