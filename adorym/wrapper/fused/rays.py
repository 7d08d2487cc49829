r"""Projecting and turning volumes, with adjoints, as operations that every backend takes into its graph.

A pose maps the detector's frame to the volume's, :math:`r = M r' + t`, both counted from their middles in pixels, axes
(y, x, z). The operations take a volume ``(y, x, z)``, real or complex, matrices ``(a, 3, 3)`` and shifts ``(a, 3)``,
and are differentiated by all three. On the host compiled loops do it (`ray_kernels`); elsewhere `plain_project`
and `plain_rotate` do the same by indexing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.host_operation import HostOperation


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
    def _kernels(self) -> Any: ...

    @abstractmethod
    def _seen(self, volume: np.ndarray, matrices: np.ndarray) -> tuple[int, ...]:
        """Shape of what is seen, rows last."""

    def _run(self, task: int, laid: np.ndarray, seen: np.ndarray, *pose: np.ndarray) -> tuple[np.ndarray, ...]:
        """Do ``task`` in place; returns the gradients by the pose, zero for other tasks."""
        matrices, shifts = (each.astype(np.float64) for each in pose)
        found = (np.zeros_like(matrices), np.zeros_like(shifts))
        kernels = self._kernels()
        if kernels is fused.ray_kernels.along_rows:
            laid, seen = (each.reshape(*each.shape[:2], -1) for each in (laid, seen))
        rows = self.frame.first_row, self.frame.middle, self.frame.rows[1]
        kernels[task](laid, seen, matrices, shifts, rows, found)
        return found

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        volume, matrices, shifts = arrays
        laid = _lay(volume)
        seen = np.empty((*self._seen(volume, matrices), laid.shape[-1]), laid.dtype)
        self._run(fused.ray_kernels.FORWARD, laid, seen, matrices, shifts)
        return _unlay(seen, volume.dtype, self.rows)

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        volume, *pose = arrays
        given, g_volume = _lay(upstream, self.rows), None
        if wanted[0]:
            laid = np.zeros((*volume.shape[1:], volume.shape[0], given.shape[-1]), given.dtype)
            self._run(fused.ray_kernels.ADJOINT, laid, given, *pose)
            g_volume = _unlay(laid, volume.dtype)
        if not (wanted[1] or wanted[2]):
            return g_volume, None, None
        found = self._run(fused.ray_kernels.BY_POSE, _lay(volume), given, *pose)
        return g_volume, *(g.astype(of.dtype) for g, of in zip(found, pose, strict=True))


class _Projection(_Sampling):
    rows: ClassVar[int] = 1

    def _kernels(self) -> Any:
        return fused.ray_kernels.along_rows if self.frame.level else fused.ray_kernels.along_rays

    def _seen(self, volume: np.ndarray, matrices: np.ndarray) -> tuple[int, ...]:
        return len(matrices), self.frame.width or volume.shape[1], self.frame.wanted


class _Rotation(_Sampling):
    rows: ClassVar[int] = 0

    def _kernels(self) -> Any:
        return fused.ray_kernels.on_grid

    def _seen(self, volume: np.ndarray, matrices: np.ndarray) -> tuple[int, ...]:
        return self.frame.width or volume.shape[1], self.frame.depth or volume.shape[2], self.frame.wanted


# -- anywhere ----------------------------------------------------------------------------------------------------------
SAMPLES = 1 << 24  # taken at a time: so many poses are worked on together
AT_VOXEL = {"single": 5e-6, "double": 1e-9}  # rounding must not decide what is at a voxel


class _Axis(NamedTuple):
    """Places along one axis of ``size`` voxels ``step`` apart in memory: the voxel before each, and how far behind."""

    before: Array
    part: Array
    size: Array
    step: Array


def _axis(xp: Backend, place: Array, size: Array, step: Array) -> _Axis:
    before = xp.floor(place + AT_VOXEL[xp.precision])
    return _Axis(xp.as_index(before), place - before, size, step)


def _count(xp: Backend, n: int, first: float = 0.0) -> Array:
    return xp.asarray((np.arange(n) + first).astype(xp.float_dtype))


def plain_rotate(xp: Backend, volume: Array, matrix: Array, shift: Array, frame: Frame) -> Array:
    """What `rotate` does, in array functions alone."""
    sizes = (frame.wanted, frame.width or volume.shape[1], frame.depth or volume.shape[2])
    y, x, z = (_count(xp, n, first) for n, first in zip(sizes, _firsts(frame.rows[1], sizes), strict=True))
    place = matrix[:, 0] * y[:, None, None, None] + matrix[:, 1] * x[:, None, None] + matrix[:, 2] * z[:, None] + shift
    _, nx, nz = volume.shape
    given = zip(volume.shape, _firsts(frame.rows[0], volume.shape), (nx * nz, nz, 1), strict=True)
    axes = [_axis(xp, place[..., i] - first, n, step) for i, (n, first, step) in enumerate(given)]
    return _sample(xp, xp.reshape(volume, (-1,)), axes, 0, True)


def _firsts(row: float, sizes: Sequence[int]) -> tuple[float, ...]:
    """Places of the first voxels from the middle, the first row at ``row``."""
    return (row, *(-(n - 1) / 2 for n in sizes[1:]))


def plain_project(xp: Backend, volume: Array, matrices: Array, shifts: Array, frame: Frame) -> Array:
    """What `project` does, in array functions alone, some poses at a time; each is computed again on the way back."""
    given = frame.of_level(volume) if frame.level else volume
    ones = max(given.shape[1:]) * (frame.width or given.shape[1]) * frame.wanted
    step = max(1, SAMPLES // ones)

    def some(volume: Array, matrices: Array, shifts: Array) -> Array:
        return _line_integrals(xp, volume, matrices, shifts, frame)

    parts = [slice(i, i + step) for i in range(0, matrices.shape[0], step)]
    found = [xp.checkpoint(some, given, matrices[part], shifts[part]) for part in parts]
    return found[0] if len(found) == 1 else xp.concat(found, axis=0)


def _line_integrals(xp: Backend, volume: Array, matrices: Array, shifts: Array, frame: Frame) -> Array:
    """``(a, y', x')``: sums over the planes across each ray's main axis, of which every pose has its own.

    Arrays have the axes (pose, row, column, plane); the rows of a level pose share their places.
    """
    ny, nx, nz = volume.shape
    width, m, t = frame.width or nx, matrices[:, :, :, None, None, None], shifts[:, :, None, None, None]
    y = xp.zeros((1, 1, 1)) if frame.level else _count(xp, frame.wanted, frame.rows[1])[:, None, None]
    x = _count(xp, width, -(width - 1) / 2)[:, None]
    start = [m[:, i, 0] * y + m[:, i, 1] * x + t[:, i] for i in range(3)]
    one, along_z = xp.ones(()), xp.stop_gradient(xp.abs(m[:, 2, 2]) >= xp.abs(m[:, 1, 2]))
    z = xp.where(along_z, one, 0 * one)
    whole = xp.as_index(z)
    n_main, n_across = whole * nz + (1 - whole) * nx, whole * nx + (1 - whole) * nz
    by_main = z * m[:, 2, 2] + (1 - z) * m[:, 1, 2]
    plane = _count(xp, max(nx, nz))
    along = (plane - (n_main - one) / 2 - z * start[2] - (1 - z) * start[1]) / by_main
    across = z * start[1] + (1 - z) * start[2] + along * (z * m[:, 1, 2] + (1 - z) * m[:, 2, 2]) + (n_across - one) / 2
    axes = [_axis(xp, across, n_across, whole * nz + 1 - whole)]
    number = xp.as_index(plane)
    main = xp.minimum(number, n_main - 1) * (whole + (1 - whole) * nz)
    if frame.level:
        rows = xp.reshape(xp.permute_dims(volume, (1, 2, 0)), (nx * nz, ny))
        seen = xp.sum(_sample(xp, rows, axes, main, number < n_main), axis=3)[:, 0]
        return xp.permute_dims(seen, (0, 2, 1)) / xp.abs(by_main[:, 0])
    axes.append(_axis(xp, start[0] + along * m[:, 0, 2] - frame.rows[0], ny, nx * nz))
    seen = _sample(xp, xp.reshape(volume, (-1,)), axes, main, number < n_main)
    return xp.sum(seen, axis=3) / xp.abs(by_main[..., 0])


def _sample(xp: Backend, voxels: Array, axes: Sequence[_Axis], index: Array, there: Array) -> Array:
    """``voxels`` ``(n, ...)`` at places along ``axes``, linear between them, 0 outside and where nothing is ``there``.

    ``index`` is the part of a voxel's number that the axes leave out.
    """
    total: Array = 0.0
    for corner in product((0, 1), repeat=len(axes)):
        number, inside, weight = index, there, 1.0
        for axis, behind in zip(axes, corner, strict=True):
            at = axis.before + behind
            inside = inside & (at >= 0) & (at < axis.size)
            number = number + xp.minimum(xp.maximum(at, 0), axis.size - 1) * axis.step
            weight = weight * (axis.part if behind else 1 - axis.part)
        values = xp.reshape(xp.take(voxels, xp.reshape(number, (-1,))), (*number.shape, *voxels.shape[1:]))
        weight = xp.where(inside, weight, 0 * weight)
        total = total + xp.reshape(weight, (*weight.shape, *(1,) * (len(voxels.shape) - 1))) * values
    return total
