r"""Line integrals through a volume, their adjoint and their derivatives, on the CPU: compiled loops.

A ray is :math:`r(s) = r_0 + s\,d`. Joseph's method (IEEE Trans. Med. Imaging 1, 192 (1982)) sums, over the planes of
the volume's axis that the ray runs along most (x or z), the volume interpolated linearly within each plane, times the
distance :math:`1/|d_m|` between planes. A pixel outside the volume is 0.

Volumes are ``(x, z, row)`` or ``(x, z, y, channel)``, so that what belongs to one ray lies together in memory: the
loops over rows vectorize. Coordinates count from the centers of the volumes. All arrays are real, of one type, and the
kernels are exact adjoints of each other, entry by entry.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


@_jit
def _along_z(matrix: np.ndarray) -> bool:
    """Whether a ray along z' runs more along z than along x; rows and columns of ``matrix`` are y, x, z."""
    return abs(matrix[2, 2]) >= abs(matrix[1, 2])


@_jit
def _range(start: float, slope: float, n: int, size: int) -> tuple:
    """Planes k, first and last + 1 of ``n``, for which ``-1 < start + k slope < size``."""
    if abs(slope) < 1e-12:
        return (0, n) if -1 < start < size else (0, 0)
    a, b = (-1 - start) / slope, (size - start) / slope
    low, high = min(a, b), max(a, b)
    return max(0, int(np.floor(low))), min(n, int(np.ceil(high)) + 1)


@_jit
def _minor(place: np.ndarray, direction: np.ndarray, sizes: np.ndarray, major: int) -> tuple:
    """``(first, rise)``: a ray crosses plane k of the major axis at the index ``first + k rise`` of the minor one."""
    minor = 3 - major
    rise = direction[minor] / direction[major]
    middle_major, middle_minor = (sizes[major] - 1) / 2, (sizes[minor] - 1) / 2
    return place[minor] - (middle_major + place[major]) * rise + middle_minor, rise


@_jit
def project_rows(volume: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, out: np.ndarray) -> None:
    """Line integrals of all rows at once, for rotations about y.

    Args:
        volume: ``(x, z, row)``.
        matrices: ``(angle, 3, 3)`` float64, from the detector's frame (y', x', z') to the volume's (y, x, z).
        shifts: ``(angle, 3)`` float64, added to that.
        out: ``(angle, x', row)``, overwritten.
    """
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    n_rows = volume.shape[2]
    for a in range(out.shape[0]):
        matrix, direction = matrices[a], matrices[a, :, 2].copy()
        major = 2 if _along_z(matrix) else 1
        minor = 3 - major
        step = 1 / abs(direction[major])
        for i in range(out.shape[1]):
            place = shifts[a] + matrix[:, 1] * (i - (out.shape[1] - 1) / 2)
            first, rise = _minor(place, direction, sizes, major)
            total = out[a, i]
            for r in range(n_rows):
                total[r] = 0
            low, high = _range(first, rise, sizes[major], sizes[minor])
            for k in range(low, high):
                u = first + k * rise
                j = int(np.floor(u))
                f = u - j
                before, behind = volume.dtype.type(step * (1 - f)), volume.dtype.type(step * f)
                inside, next_inside = 0 <= j < sizes[minor], 0 <= j + 1 < sizes[minor]
                if inside and next_inside:
                    p = volume[j, k] if major == 2 else volume[k, j]
                    q = volume[j + 1, k] if major == 2 else volume[k, j + 1]
                    for r in range(n_rows):
                        total[r] += before * p[r] + behind * q[r]
                elif inside:
                    p = volume[j, k] if major == 2 else volume[k, j]
                    for r in range(n_rows):
                        total[r] += before * p[r]
                elif next_inside:
                    q = volume[j + 1, k] if major == 2 else volume[k, j + 1]
                    for r in range(n_rows):
                        total[r] += behind * q[r]


@_jit
def back_project_rows(upstream: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, volume: np.ndarray) -> None:
    """Add the adjoint of `project_rows` of ``upstream`` ``(angle, x', row)`` to ``volume`` ``(x, z, row)``."""
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    n_rows = volume.shape[2]
    for a in range(upstream.shape[0]):
        matrix, direction = matrices[a], matrices[a, :, 2].copy()
        major = 2 if _along_z(matrix) else 1
        minor = 3 - major
        step = 1 / abs(direction[major])
        for i in range(upstream.shape[1]):
            place = shifts[a] + matrix[:, 1] * (i - (upstream.shape[1] - 1) / 2)
            first, rise = _minor(place, direction, sizes, major)
            g = upstream[a, i]
            low, high = _range(first, rise, sizes[major], sizes[minor])
            for k in range(low, high):
                u = first + k * rise
                j = int(np.floor(u))
                f = u - j
                before, behind = volume.dtype.type(step * (1 - f)), volume.dtype.type(step * f)
                if 0 <= j < sizes[minor]:
                    p = volume[j, k] if major == 2 else volume[k, j]
                    for r in range(n_rows):
                        p[r] += before * g[r]
                if 0 <= j + 1 < sizes[minor]:
                    q = volume[j + 1, k] if major == 2 else volume[k, j + 1]
                    for r in range(n_rows):
                        q[r] += behind * g[r]


@_jit
def geometry_of_rows(
    volume: np.ndarray, upstream: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, found: tuple
) -> None:
    """Gradients of ``<upstream, project_rows>`` by matrices and shifts, added to ``found``: two arrays like them."""
    g_matrices, g_shifts = found
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    n_rows = volume.shape[2]
    for a in range(upstream.shape[0]):
        matrix, direction = matrices[a], matrices[a, :, 2].copy()
        major = 2 if _along_z(matrix) else 1
        minor = 3 - major
        step = 1 / abs(direction[major])
        for i in range(upstream.shape[1]):
            across = i - (upstream.shape[1] - 1) / 2
            place = shifts[a] + matrix[:, 1] * across
            first, rise = _minor(place, direction, sizes, major)
            g = upstream[a, i]
            value, slope, lever = 0.0, 0.0, 0.0
            low, high = _range(first, rise, sizes[major], sizes[minor])
            for k in range(low, high):
                u = first + k * rise
                j = int(np.floor(u))
                f = u - j
                here, there = 0.0, 0.0
                if 0 <= j < sizes[minor]:
                    p = volume[j, k] if major == 2 else volume[k, j]
                    for r in range(n_rows):
                        here += g[r] * p[r]
                if 0 <= j + 1 < sizes[minor]:
                    q = volume[j + 1, k] if major == 2 else volume[k, j + 1]
                    for r in range(n_rows):
                        there += g[r] * q[r]
                value += (1 - f) * here + f * there
                slope += there - here
                lever += (there - here) * (k - (sizes[major] - 1) / 2 - place[major])
            lever /= direction[major]
            g_place = np.zeros(3)
            g_place[minor] = step * slope
            g_place[major] = -step * slope * rise
            g_shifts[a] += g_place
            g_matrices[a, :, 1] += g_place * across
            g_matrices[a, minor, 2] += step * lever
            g_matrices[a, major, 2] -= step * lever * rise + value * step / direction[major]
