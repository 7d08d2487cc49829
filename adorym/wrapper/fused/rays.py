r"""Projecting and turning volumes, with adjoints, as operations that every backend takes into its graph.

A pose maps the detector's frame to the volume's, :math:`r = M r' + t`, both counted from their middles in pixels, axes
(y, x, z). The operations take a volume ``(y, x, z)``, real or complex, matrices ``(a, 3, 3)`` and shifts ``(a, 3)``,
and are differentiated by all three. On the host compiled loops do it (`ray_kernels`); elsewhere `plain_project`
and `plain_rotate` do the same by indexing, a pose at a time.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adorym.wrapper.base import Array, Backend, HostOperation
from adorym.wrapper.fused import ray_kernels


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
    def middle(self) -> float:
        """Index of the middle of the whole volume."""
        return (self.height - 1) / 2

    @property
    def rows(self) -> tuple[float, float]:
        """Places of the first rows from the middle."""
        return self.first_row - self.middle, self.first_wanted - self.middle

    def of_level(self, volume: Array) -> Array:
        """The rows of ``volume`` that a level pose needs."""
        start = self.first_wanted - self.first_row
        return volume[start : start + self.wanted]


def project(xp: Backend, volume: Array, matrices: Array, shifts: Array, frame: Frame) -> Array:
    """Line integrals ``(a, y', x')`` in voxel units, by Joseph's method."""
    if not xp.on_host:
        return plain_project(xp, volume, matrices, shifts, frame)
    given = frame.of_level(volume) if frame.level else volume
    return xp.host_operation(_Projection(frame), given, matrices, shifts)


def rotate(xp: Backend, volume: Array, matrix: Array, shift: Array, frame: Frame) -> Array:
    """The turned volume ``(y', x', z')`` for one pose, interpolated linearly along all axes."""
    if not xp.on_host:
        return plain_rotate(xp, volume, matrix, shift, frame)
    return xp.host_operation(_Rotation(frame), volume, matrix, shift)


# -- on the host -------------------------------------------------------------------------------------------------------
def _lay(array: np.ndarray, rows: int = 0) -> np.ndarray:
    """Real, with axis ``rows`` last but one and channels last: ``(x, z, y, channel)`` of a volume ``(y, x, z)``."""
    laid = np.ascontiguousarray(np.moveaxis(array, rows, -1))
    return laid.view(array.real.dtype).reshape(*laid.shape, -1)


def _unlay(laid: np.ndarray, dtype: np.dtype, rows: int = 0) -> np.ndarray:
    """Inverse of `_lay`."""
    return np.ascontiguousarray(np.moveaxis(laid.reshape(*laid.shape[:-2], -1).view(dtype), -1, rows))


class _Sampling(HostOperation):
    """What poses see of a volume. Subclasses say by which kernels and in which shape.

    Attributes:
        rows: Axis of the rows in what is seen.
    """

    rows: ClassVar[int]
    linear: ClassVar[bool] = True

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    @abstractmethod
    def _kernels(self) -> ray_kernels.Kernels: ...

    @abstractmethod
    def _seen(self, volume: np.ndarray, matrices: np.ndarray) -> tuple[int, ...]:
        """Shape of what is seen, rows last."""

    def _run(self, task: int, laid: np.ndarray, seen: np.ndarray, *pose: np.ndarray) -> tuple[np.ndarray, ...]:
        """Do ``task`` in place; returns the gradients by the pose, zero for other tasks."""
        matrices, shifts = (each.astype(np.float64) for each in pose)
        found = (np.zeros_like(matrices), np.zeros_like(shifts))
        kernels = self._kernels()
        if kernels is ray_kernels.along_rows:
            laid, seen = (each.reshape(*each.shape[:2], -1) for each in (laid, seen))
        rows = self.frame.first_row, self.frame.middle, self.frame.rows[1]
        kernels[task](laid, seen, matrices, shifts, rows, found)
        return found

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        volume, matrices, shifts = arrays
        laid = _lay(volume)
        seen = np.empty((*self._seen(volume, matrices), laid.shape[-1]), laid.dtype)
        self._run(ray_kernels.FORWARD, laid, seen, matrices, shifts)
        return _unlay(seen, volume.dtype, self.rows)

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        volume, *pose = arrays
        given, g_volume = _lay(upstream, self.rows), None
        if wanted[0]:
            laid = np.zeros((*volume.shape[1:], volume.shape[0], given.shape[-1]), given.dtype)
            self._run(ray_kernels.ADJOINT, laid, given, *pose)
            g_volume = _unlay(laid, volume.dtype)
        if not (wanted[1] or wanted[2]):
            return g_volume, None, None
        found = self._run(ray_kernels.BY_POSE, _lay(volume), given, *pose)
        return g_volume, *(g.astype(of.dtype) for g, of in zip(found, pose, strict=True))


class _Projection(_Sampling):
    rows: ClassVar[int] = 1

    def _kernels(self) -> ray_kernels.Kernels:
        return ray_kernels.along_rows if self.frame.level else ray_kernels.along_rays

    def _seen(self, volume: np.ndarray, matrices: np.ndarray) -> tuple[int, ...]:
        return len(matrices), self.frame.width or volume.shape[1], self.frame.wanted


class _Rotation(_Sampling):
    rows: ClassVar[int] = 0

    def _kernels(self) -> ray_kernels.Kernels:
        return ray_kernels.on_grid

    def _seen(self, volume: np.ndarray, matrices: np.ndarray) -> tuple[int, ...]:
        return self.frame.width or volume.shape[1], self.frame.depth or volume.shape[2], self.frame.wanted


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
