r"""Line integrals through a volume and turned volumes, with adjoints and derivatives, on the CPU: compiled loops.

A ray is :math:`r(s) = r_0 + s\,d`. Joseph's method (IEEE Trans. Med. Imaging 1, 192 (1982)) sums, over the planes of
the volume's axis that the ray runs along most (x or z), the volume interpolated linearly within each plane, times the
distance :math:`1/|d_m|` between planes. A voxel outside the volume is 0.

Volumes are ``(x, z, y, channel)``, real; the channels (one, or the real and the imaginary part) are sampled alike.
What belongs to one ray of a volume that turns about y alone lies together in memory, so that `along_rows` vectorizes;
`along_rays` and `on_grid` take any rotation. Coordinates count from the centers of the volumes. Rows may be a band of
a taller volume: ``rows`` is the number of the first row of ``volume`` in it, the index of its center, and the place,
from there, of the first row of ``image``.

Each of the three is compiled for three tasks, with the same arguments:

| task | what it does |
|---|---|
| `FORWARD` | ``image`` is overwritten by what the poses see of ``volume`` |
| `ADJOINT` | the exact adjoint of that, entry by entry, applied to ``image``, is added to ``volume`` |
| `BY_POSE` | gradients of ``<image, forward(volume)>`` by matrices and shifts are added to ``found`` |

A pose is a matrix ``(3, 3)`` float64 from the detector's frame (y', x', z') to the volume's (y, x, z), and a shift
``(3,)`` float64 that is added.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adorym.wrapper.fused.kernels import _jit

FORWARD, ADJOINT, BY_POSE = 0, 1, 2
AT_VOXEL = 1e-9  # far above rounding errors, far below what changes a sum


# -- one ray, one sample -----------------------------------------------------------------------------------------------
@_jit
def _range(start: float, slope: float, n: int, size: int) -> tuple:
    """Planes k, first and last + 1 of ``n``, for which ``-1 < start + k slope < size``."""
    if abs(slope) < 1e-12:
        return (0, n) if -1 < start < size else (0, 0)
    a, b = (-1 - start) / slope, (size - start) / slope
    low, high = min(a, b), max(a, b)
    return max(0, int(np.floor(low))), min(n, int(np.ceil(high)) + 1)


@_jit
def _place(matrix: np.ndarray, shift: np.ndarray, axis: int, across: float, up: float) -> float:
    return shift[axis] + matrix[axis, 1] * across + matrix[axis, 0] * up


@_jit
def _ray(matrix: np.ndarray, shift: np.ndarray, across: float, up: float, sizes: tuple) -> tuple:
    """The ray through the detector's point (``up``, ``across``), of a volume of ``sizes`` (anything, x, z).

    Returns the major axis, along which it crosses plane k at the distance ``k - origin``; the index
    ``first + k rise`` along the minor axis there, and the place ``bottom + k climb`` along y; and the planes to look
    at, first and last + 1.
    """
    major = 2 if abs(matrix[2, 2]) >= abs(matrix[1, 2]) else 1
    minor = 3 - major
    rise, climb = matrix[minor, 2] / matrix[major, 2], matrix[0, 2] / matrix[major, 2]
    origin = (sizes[major] - 1) / 2 + _place(matrix, shift, major, across, up)
    first = _place(matrix, shift, minor, across, up) - origin * rise + (sizes[minor] - 1) / 2
    bottom = _place(matrix, shift, 0, across, up) - origin * climb
    low, high = _range(first, rise, sizes[major], sizes[minor])
    return major, origin, (first, rise), (bottom, climb), low, high


@_jit
def _between(index: float, size: int, begin: int) -> tuple:
    """The voxels before and behind ``index``; their weights; and by how much these change with it: 0 outside.

    ``index`` counts in the whole volume, of which ``size`` voxels from ``begin`` on are given. At a voxel the change
    jumps; the central ray of an upright volume always meets one. Rounding must not decide there: what is that close
    below a voxel counts as being at it.
    """
    below = int(np.floor(index + AT_VOXEL))
    j, part = below - begin, index - below
    before = -1.0 if 0 <= j < size else 0.0
    behind = 1.0 if 0 <= j + 1 < size else 0.0
    # Unsigned, so that no index is looked at for counting from the end.
    inside = np.uint64(min(max(j, 0), size - 1)), np.uint64(min(max(j + 1, 0), size - 1))
    return inside, (-before * (1 - part), behind * part), (before, behind)


@_jit
def _corners(volume: np.ndarray, at: tuple, y: tuple, c: int) -> tuple:
    """The voxels around a sample in a plane: ``at`` two places (x, z), ``y`` two rows."""
    (a, b), (a_next, b_next) = at
    return (
        volume[a, b, y[0], c],
        volume[a_next, b_next, y[0], c],
        volume[a, b, y[1], c],
        volume[a_next, b_next, y[1], c],
    )


@_jit
def _weighted(corners: tuple, weights: tuple, row_weights: tuple) -> float:
    p, q, r, s = corners
    return row_weights[0] * (weights[0] * p + weights[1] * q) + row_weights[1] * (weights[0] * r + weights[1] * s)


@_jit
def _spread(volume: np.ndarray, at: tuple, y: tuple, c: int, weights: tuple, row_weights: tuple, value: float) -> None:
    """Adjoint of `_weighted` of `_corners`."""
    (a, b), (a_next, b_next) = at
    volume[a, b, y[0], c] += row_weights[0] * weights[0] * value
    volume[a_next, b_next, y[0], c] += row_weights[0] * weights[1] * value
    volume[a, b, y[1], c] += row_weights[1] * weights[0] * value
    volume[a_next, b_next, y[1], c] += row_weights[1] * weights[1] * value


@_jit
def _add_to_pose(found: tuple, a: int, matrix: np.ndarray, ray: tuple, point: tuple, sums: tuple) -> None:
    """Gradients of one ray: ``sums`` are its value, the slopes along the minor axis and y, and both times distance."""
    g_matrices, g_shifts = found
    (major, rise, climb), (across, up) = ray, point
    value, slope, slope_y, lever, lever_y = sums
    step, minor = 1 / abs(matrix[major, 2]), 3 - major
    lever, lever_y = lever / matrix[major, 2], lever_y / matrix[major, 2]
    for axis, g in ((0, slope_y), (minor, slope), (major, -(slope * rise + slope_y * climb))):
        g_shifts[a, axis] += step * g
        g_matrices[a, axis, 1] += step * g * across
        g_matrices[a, axis, 0] += step * g * up
    g_matrices[a, 0, 2] += step * lever_y
    g_matrices[a, minor, 2] += step * lever
    g_matrices[a, major, 2] -= step * (lever * rise + lever_y * climb + value / matrix[major, 2])


# -- kernels -----------------------------------------------------------------------------------------------------------
def _along_rows(task: int) -> Callable[..., None]:
    @_jit
    def kernel(
        volume: np.ndarray, image: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, rows: tuple, found: tuple
    ) -> None:
        sizes = (1, volume.shape[0], volume.shape[1])
        for a in range(image.shape[0]):
            for i in range(image.shape[1]):
                across, line = i - (image.shape[1] - 1) / 2, image[a, i]
                major, origin, (first, rise), _, low, high = _ray(matrices[a], shifts[a], across, 0.0, sizes)
                step = 1 / abs(matrices[a, major, 2])
                value, slope, lever = 0.0, 0.0, 0.0
                if task == FORWARD:
                    line[:] = 0
                for k in range(low, high):
                    (j, j_next), weights, change = _between(first + k * rise, sizes[3 - major], 0)
                    before = volume.dtype.type(step * weights[0])
                    behind = volume.dtype.type(step * weights[1])
                    p = volume[j, k] if major == 2 else volume[k, j]
                    q = volume[j_next, k] if major == 2 else volume[k, j_next]
                    if task == FORWARD:
                        for r in range(line.size):
                            line[r] += before * p[r] + behind * q[r]
                    elif task == ADJOINT:
                        for r in range(line.size):
                            p[r] += before * line[r]
                        for r in range(line.size):
                            q[r] += behind * line[r]
                    else:
                        here, there = 0.0, 0.0
                        for r in range(line.size):
                            here += line[r] * p[r]
                            there += line[r] * q[r]
                        value += weights[0] * here + weights[1] * there
                        slope += change[0] * here + change[1] * there
                        lever += (change[0] * here + change[1] * there) * (k - origin)
                if task == BY_POSE:
                    sums = (value, slope, 0.0, lever, 0.0)
                    _add_to_pose(found, a, matrices[a], (major, rise, 0.0), (across, 0.0), sums)

    return kernel


def _along_rays(task: int) -> Callable[..., None]:
    @_jit
    def kernel(
        volume: np.ndarray, image: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, rows: tuple, found: tuple
    ) -> None:
        sizes = (volume.shape[2], volume.shape[0], volume.shape[1])
        for a, i, h in np.ndindex(image.shape[:3]):
            across, up, seen = i - (image.shape[1] - 1) / 2, rows[2] + h, image[a, i, h]
            major, origin, (first, rise), (bottom, climb), low, high = _ray(matrices[a], shifts[a], across, up, sizes)
            step = 1 / abs(matrices[a, major, 2])
            value, slope, slope_y, lever, lever_y = 0.0, 0.0, 0.0, 0.0, 0.0
            if task == FORWARD:
                seen[:] = 0
            for k in range(low, high):
                (j, j_next), weights, change = _between(first + k * rise, sizes[3 - major], 0)
                y, row_weights, row_change = _between(bottom + k * climb + rows[1], sizes[0], rows[0])
                if row_change[0] == 0 and row_change[1] == 0:
                    continue
                plane = np.uint64(k)
                at = ((j, plane), (j_next, plane)) if major == 2 else ((plane, j), (plane, j_next))
                for c in range(seen.size):
                    if task == FORWARD:
                        seen[c] += step * _weighted(_corners(volume, at, y, c), weights, row_weights)
                    elif task == ADJOINT:
                        _spread(volume, at, y, c, weights, row_weights, step * seen[c])
                    else:
                        corners = _corners(volume, at, y, c)
                        value += seen[c] * _weighted(corners, weights, row_weights)
                        by_minor = seen[c] * _weighted(corners, change, row_weights)
                        by_y = seen[c] * _weighted(corners, weights, row_change)
                        slope += by_minor
                        slope_y += by_y
                        lever += by_minor * (k - origin)
                        lever_y += by_y * (k - origin)
            if task == BY_POSE:
                sums = (value, slope, slope_y, lever, lever_y)
                _add_to_pose(found, a, matrices[a], (major, rise, climb), (across, up), sums)

    return kernel


def _on_grid(task: int) -> Callable[..., None]:
    @_jit
    def kernel(
        volume: np.ndarray, image: np.ndarray, matrix: np.ndarray, shift: np.ndarray, rows: tuple, found: tuple
    ) -> None:
        g_matrix, g_shift = found
        n_x, n_z, n_y, channels = volume.shape
        for i, k, h in np.ndindex(image.shape[:3]):
            across, along, up = i - (image.shape[0] - 1) / 2, k - (image.shape[1] - 1) / 2, rows[2] + h
            place = shift + matrix[:, 0] * up + matrix[:, 1] * across + matrix[:, 2] * along
            y, row_weights, row_change = _between(place[0] + rows[1], n_y, rows[0])
            x, weights, change = _between(place[1] + (n_x - 1) / 2, n_x, 0)
            z, plane_weights, plane_change = _between(place[2] + (n_z - 1) / 2, n_z, 0)
            by_y, by_x, by_z = 0.0, 0.0, 0.0
            if task == FORWARD:
                image[i, k, h] = 0
            for side in range(2):
                at = ((x[0], z[side]), (x[1], z[side]))
                for c in range(channels):
                    if task == ADJOINT:
                        _spread(volume, at, y, c, weights, row_weights, plane_weights[side] * image[i, k, h, c])
                        continue
                    corners = _corners(volume, at, y, c)
                    seen = _weighted(corners, weights, row_weights)
                    if task == FORWARD:
                        image[i, k, h, c] += plane_weights[side] * seen
                    else:
                        g = image[i, k, h, c]
                        by_x += g * plane_weights[side] * _weighted(corners, change, row_weights)
                        by_y += g * plane_weights[side] * _weighted(corners, weights, row_change)
                        by_z += g * plane_change[side] * seen
            if task == BY_POSE:
                for axis, g in ((0, by_y), (1, by_x), (2, by_z)):
                    g_shift[axis] += g
                    for of, lever in ((0, up), (1, across), (2, along)):
                        g_matrix[axis, of] += g * lever

    return kernel


Kernels = tuple[Callable[..., None], Callable[..., None], Callable[..., None]]
# Line integrals (angle, x', row), rows and channels one axis, for rotations about y.
along_rows: Kernels = (_along_rows(FORWARD), _along_rows(ADJOINT), _along_rows(BY_POSE))
# Line integrals (angle, x', y', channel), for any rotation.
along_rays: Kernels = (_along_rays(FORWARD), _along_rays(ADJOINT), _along_rays(BY_POSE))
# Turned volumes (x', z', y', channel), for one pose.
on_grid: Kernels = (_on_grid(FORWARD), _on_grid(ADJOINT), _on_grid(BY_POSE))


# -- rotations about y without their derivatives -----------------------------------------------------------------------
def project_rows(volume: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, image: np.ndarray) -> None:
    """Overwrite ``image`` ``(angle, x', row)`` by the line integrals of ``volume`` ``(x, z, row)``."""
    along_rows[FORWARD](volume, image, matrices, shifts, (0, 0.0, 0.0), (matrices, shifts))


def back_project_rows(image: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, volume: np.ndarray) -> None:
    """Add the adjoint of `project_rows` of ``image`` to ``volume``."""
    along_rows[ADJOINT](volume, image, matrices, shifts, (0, 0.0, 0.0), (matrices, shifts))
