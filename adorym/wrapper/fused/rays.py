r"""Projecting and turning volumes, with adjoints, as operations that every backend takes into its graph.

A pose maps the detector's frame to the volume's, :math:`r = M r' + t`, both counted from their middles in pixels, axes
(y, x, z). The operations take a volume ``(y, x, z)``, real or complex, matrices ``(a, 3, 3)`` and shifts ``(a, 3)``,
and are differentiated by all three. On the host compiled loops do it (`ray_kernels`, `tilt_kernels`); elsewhere
`sampled` does the same by indexing, a pose at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.wrapper.base import Array, Backend, HostOperation
from adorym.wrapper.fused import ray_kernels, tilt_kernels

_PART: dict[str, np.dtype[Any]] = {"F": np.dtype("float32"), "D": np.dtype("float64")}


@dataclass(frozen=True)
class Frame:
    """Which rows of the volume there are, and which of the detector are wanted.

    Attributes:
        height: Rows of the whole volume, whose middle the turning is about.
        first_row: Number in it of the first row that is given.
        first_wanted: Number of the first row that is wanted.
        wanted: Number of rows that are wanted.
        width: Detector columns; those of the volume if 0.
        depth: Planes of a turned volume; those of the volume if 0.
        level: Whether the volume turns about y alone and no row moves, so that rows do not mix.
    """

    height: int
    first_row: int
    first_wanted: int
    wanted: int
    width: int = 0
    depth: int = 0
    level: bool = False

    @property
    def rows(self) -> tuple[float, float]:
        """Places of the first rows from the middle."""
        middle = (self.height - 1) / 2
        return self.first_row - middle, self.first_wanted - middle

    def of_level(self, volume: Array) -> Array:
        """The rows of ``volume`` that a level pose needs."""
        start = self.first_wanted - self.first_row
        return volume[start : start + self.wanted]


def project(xp: Backend, volume: Array, matrices: Array, shifts: Array, frame: Frame) -> Array:
    """Line integrals ``(a, y', x')`` in voxel units, by Joseph's method."""
    if not xp.on_host:
        return plain_project(xp, volume, matrices, shifts, frame)
    given = frame.of_level(volume) if frame.level else volume
    return xp.host_operation(_Project(frame), given, matrices, shifts)


def rotate(xp: Backend, volume: Array, matrix: Array, shift: Array, frame: Frame) -> Array:
    """The turned volume ``(y', x', z')`` for one pose, interpolated linearly along all axes."""
    if not xp.on_host:
        return plain_rotate(xp, volume, matrix, shift, frame)
    return xp.host_operation(_Rotate(frame), volume, matrix, shift)


# -- on the host -------------------------------------------------------------------------------------------------------
def _lay(volume: np.ndarray) -> np.ndarray:
    """``(y, x, z)`` as real ``(x, z, y, channel)``, a copy."""
    laid = np.ascontiguousarray(np.moveaxis(volume, 0, -1))
    return laid.view(_PART.get(volume.dtype.char, volume.dtype)).reshape(*laid.shape, -1)


def _unlay(laid: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Inverse of `_lay`."""
    return np.ascontiguousarray(np.moveaxis(laid.reshape(*laid.shape[:-2], -1).view(dtype), -1, 0))


class _Project(HostOperation):
    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        volume, matrices, shifts = arrays
        laid, exact = _lay(volume), (matrices.astype(np.float64), shifts.astype(np.float64))
        width = self.frame.width or volume.shape[1]
        out = np.empty((len(matrices), width, self.frame.wanted, laid.shape[-1]), laid.dtype)
        if self.frame.level:
            ray_kernels.project_rows(_flat(laid), *exact, _flat(out))
        else:
            tilt_kernels.project_tilted(laid, *exact, self.frame.rows, out)
        columns = out.reshape(len(out), width, -1).view(volume.dtype)
        return np.ascontiguousarray(np.moveaxis(columns, -1, 1))

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        volume, matrices, shifts = arrays
        exact = (matrices.astype(np.float64), shifts.astype(np.float64))
        given = np.ascontiguousarray(np.moveaxis(upstream, 1, -1))
        given = given.view(_PART.get(given.dtype.char, given.dtype)).reshape(*given.shape, -1)
        g_volume = g_matrices = g_shifts = None
        if wanted[0]:
            shape = (*volume.shape[1:], volume.shape[0], given.shape[-1])
            laid = np.zeros(shape, given.dtype)
            if self.frame.level:
                ray_kernels.back_project_rows(_flat(given), *exact, _flat(laid))
            else:
                tilt_kernels.back_project_tilted(given, *exact, self.frame.rows, laid)
            g_volume = _unlay(laid, volume.dtype)
        if wanted[1] or wanted[2]:
            g_matrices, g_shifts = np.zeros_like(exact[0]), np.zeros_like(exact[1])
            laid, found = _lay(volume), (g_matrices, g_shifts)
            if self.frame.level:
                ray_kernels.geometry_of_rows(_flat(laid), _flat(given), *exact, found)
            else:
                tilt_kernels.geometry_of_tilted(laid, given, *exact, self.frame.rows, found)
            g_matrices, g_shifts = g_matrices.astype(matrices.dtype), g_shifts.astype(shifts.dtype)
        return g_volume, g_matrices, g_shifts


def _flat(laid: np.ndarray) -> np.ndarray:
    """Rows and channels as one axis."""
    return laid.reshape(*laid.shape[:2], -1)


class _Rotate(HostOperation):
    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        volume, matrix, shift = arrays
        laid = _lay(volume)
        shape = (self.frame.width or volume.shape[1], self.frame.depth or volume.shape[2], self.frame.wanted)
        out = np.empty((*shape, laid.shape[-1]), laid.dtype)
        exact = (matrix.astype(np.float64), shift.astype(np.float64))
        tilt_kernels.rotate(laid, *exact, self.frame.rows, out)
        return _unlay(out, volume.dtype)

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        volume, matrix, shift = arrays
        exact, given = (matrix.astype(np.float64), shift.astype(np.float64)), _lay(upstream)
        g_volume = g_matrix = g_shift = None
        if wanted[0]:
            laid = np.zeros((*volume.shape[1:], volume.shape[0], given.shape[-1]), given.dtype)
            tilt_kernels.rotate_back(given, *exact, self.frame.rows, laid)
            g_volume = _unlay(laid, volume.dtype)
        if wanted[1] or wanted[2]:
            g_matrix, g_shift = np.zeros((3, 3)), np.zeros(3)
            tilt_kernels.geometry_of_rotate(_lay(volume), given, *exact, self.frame.rows, (g_matrix, g_shift))
            g_matrix, g_shift = g_matrix.astype(matrix.dtype), g_shift.astype(shift.dtype)
        return g_volume, g_matrix, g_shift


# -- anywhere ----------------------------------------------------------------------------------------------------------
def plain_rotate(xp: Backend, volume: Array, matrix: Array, shift: Array, frame: Frame) -> Array:
    """What `rotate` does, in array functions alone."""
    height, width, depth = frame.wanted, frame.width or volume.shape[1], frame.depth or volume.shape[2]
    y = xp.asarray((np.arange(height) + frame.rows[1]).astype(xp.float_dtype))[:, None, None, None]
    x, z = (xp.asarray((np.arange(n) - (n - 1) / 2).astype(xp.float_dtype)) for n in (width, depth))
    x, z = x[None, :, None, None], z[None, None, :, None]
    place = matrix[:, 0] * y + matrix[:, 1] * x + matrix[:, 2] * z + shift
    middle = np.array([frame.rows[0], *(-(n - 1) / 2 for n in volume.shape[1:])])
    return _sample(xp, volume, place - xp.asarray(middle))


def plain_project(xp: Backend, volume: Array, matrices: Array, shifts: Array, frame: Frame) -> Array:
    """What `project` does, in array functions alone, a pose at a time; each is computed again on the way back."""

    def one(volume: Array, matrix: Array, shift: Array) -> Array:
        direction = xp.to_numpy(matrix)[:, 2]
        major = 2 if abs(direction[2]) >= abs(direction[1]) else 1
        n, width = volume.shape[major], frame.width or volume.shape[1]
        y = xp.asarray((np.arange(frame.wanted) + frame.rows[1]).astype(xp.float_dtype))[:, None, None, None]
        x = xp.asarray((np.arange(width) - (width - 1) / 2).astype(xp.float_dtype))[None, :, None, None]
        plane = xp.asarray((np.arange(n) - (n - 1) / 2).astype(xp.float_dtype))[None, None, :, None]
        start = matrix[:, 0] * y + matrix[:, 1] * x + shift
        along = (plane - start[..., major : major + 1]) / matrix[major, 2]
        middle = np.array([frame.rows[0], *(-(n - 1) / 2 for n in volume.shape[1:])])
        samples = _sample(xp, volume, start + along * matrix[:, 2] - xp.asarray(middle))
        return xp.sum(samples, axis=2) / xp.abs(matrix[major, 2])

    each = [xp.checkpoint(one, volume, matrices[a], shifts[a]) for a in range(matrices.shape[0])]
    return xp.stack(each)


def _sample(xp: Backend, volume: Array, place: Array) -> Array:
    """``volume`` at indices ``place`` ``(..., 3)``, linear between voxels, 0 outside."""
    corner = np.floor(np.round(xp.to_numpy(xp.stop_gradient(place)), 5 if xp.precision == "single" else 12))
    part = place - xp.asarray(corner)
    flat, shape, total = xp.reshape(volume, (-1,)), volume.shape, 0.0
    for step in np.ndindex(2, 2, 2):
        index = corner.astype(np.int64) + np.array(step)
        inside = np.all((index >= 0) & (index < np.array(shape)), axis=-1)
        number = np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), shape, mode="clip")
        values = xp.reshape(xp.take(flat, number.reshape(-1)), number.shape)
        weight = xp.asarray(inside.astype(xp.float_dtype))
        for axis in range(3):
            weight = weight * (part[..., axis] if step[axis] else 1 - part[..., axis])
        total = total + weight * values
    return total
