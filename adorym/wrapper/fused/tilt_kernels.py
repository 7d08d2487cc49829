r"""Sampling a volume along any ray, or on any turned grid, on the CPU: compiled loops, adjoints, derivatives.

For rotations about all three axes; `ray_kernels` has what can be faster when the volume turns about y alone. Volumes
are ``(x, z, y, channel)``, real; the channels (one, or the real and the imaginary part) are sampled alike. Rows may be
a band of a taller volume: ``rows`` is the place of the first row from the center of the whole. Between voxels the
volume is interpolated linearly along every axis that a sample lies between voxels of; outside it is 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from adorym.wrapper.fused.ray_kernels import _along_z, _minor, _range

_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


@_jit
def _pick(volume: np.ndarray, major: int, k: int, j: int, y: int, c: int) -> float:
    """A voxel of plane ``k``, 0 outside."""
    if not (0 <= y < volume.shape[2]):
        return 0.0
    if major == 2:
        return volume[j, k, y, c] if 0 <= j < volume.shape[0] else 0.0
    return volume[k, j, y, c] if 0 <= j < volume.shape[1] else 0.0


@_jit
def _put(volume: np.ndarray, major: int, k: int, j: int, y: int, c: int, value: float) -> None:
    if not (0 <= y < volume.shape[2]):
        return
    if major == 2:
        if 0 <= j < volume.shape[0]:
            volume[j, k, y, c] += value
    elif 0 <= j < volume.shape[1]:
        volume[k, j, y, c] += value


@_jit
def _corners(volume: np.ndarray, major: int, k: int, j: int, y: int, c: int) -> tuple:
    if 0 <= j < volume.shape[2 - major] - 1 and 0 <= y < volume.shape[2] - 1:
        # Unsigned, so that no index is looked at for counting from the end.
        a, b, h = np.uint64(j), np.uint64(k), np.uint64(y)
        one = np.uint64(1)
        if major == 2:
            return (
                volume[a, b, h, c],
                volume[a + one, b, h, c],
                volume[a, b, h + one, c],
                volume[a + one, b, h + one, c],
            )
        return volume[b, a, h, c], volume[b, a + one, h, c], volume[b, a, h + one, c], volume[b, a + one, h + one, c]
    return (
        _pick(volume, major, k, j, y, c),
        _pick(volume, major, k, j + 1, y, c),
        _pick(volume, major, k, j, y + 1, c),
        _pick(volume, major, k, j + 1, y + 1, c),
    )


@_jit
def project_tilted(volume: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, rows: tuple, out: np.ndarray) -> None:
    """Line integrals ``(angle, x', y', channel)``, overwritten; arguments as `ray_kernels.project_rows` has them.

    ``rows`` is the place, from the center of the whole volume, of the first row of ``volume`` and of ``out``.
    """
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    out[:] = 0
    for a in range(out.shape[0]):
        matrix, direction = matrices[a], matrices[a, :, 2].copy()
        major = 2 if _along_z(matrix) else 1
        step = 1 / abs(direction[major])
        for i in range(out.shape[1]):
            for h in range(out.shape[2]):
                place = shifts[a] + matrix[:, 1] * (i - (out.shape[1] - 1) / 2) + matrix[:, 0] * (rows[1] + h)
                first, rise = _minor(place, direction, sizes, major)
                climb = direction[0] / direction[major]
                bottom = place[0] - rows[0] - ((sizes[major] - 1) / 2 + place[major]) * climb
                low, high = _range(first, rise, sizes[major], sizes[3 - major])
                for k in range(low, high):
                    u, v = first + k * rise, bottom + k * climb
                    j, y = int(np.floor(u)), int(np.floor(v))
                    if y < -1 or y >= volume.shape[2]:
                        continue
                    f, e = u - j, v - y
                    for c in range(out.shape[3]):
                        p, q, r, s = _corners(volume, major, k, j, y, c)
                        out[a, i, h, c] += step * ((1 - e) * ((1 - f) * p + f * q) + e * ((1 - f) * r + f * s))


@_jit
def back_project_tilted(
    upstream: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, rows: tuple, volume: np.ndarray
) -> None:
    """Add the adjoint of `project_tilted` to ``volume``."""
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    for a in range(upstream.shape[0]):
        matrix, direction = matrices[a], matrices[a, :, 2].copy()
        major = 2 if _along_z(matrix) else 1
        step = 1 / abs(direction[major])
        for i in range(upstream.shape[1]):
            for h in range(upstream.shape[2]):
                place = shifts[a] + matrix[:, 1] * (i - (upstream.shape[1] - 1) / 2) + matrix[:, 0] * (rows[1] + h)
                first, rise = _minor(place, direction, sizes, major)
                climb = direction[0] / direction[major]
                bottom = place[0] - rows[0] - ((sizes[major] - 1) / 2 + place[major]) * climb
                low, high = _range(first, rise, sizes[major], sizes[3 - major])
                for k in range(low, high):
                    u, v = first + k * rise, bottom + k * climb
                    j, y = int(np.floor(u)), int(np.floor(v))
                    if y < -1 or y >= volume.shape[2]:
                        continue
                    f, e = u - j, v - y
                    for c in range(upstream.shape[3]):
                        g = step * upstream[a, i, h, c]
                        _put(volume, major, k, j, y, c, (1 - e) * (1 - f) * g)
                        _put(volume, major, k, j + 1, y, c, (1 - e) * f * g)
                        _put(volume, major, k, j, y + 1, c, e * (1 - f) * g)
                        _put(volume, major, k, j + 1, y + 1, c, e * f * g)


@_jit
def geometry_of_tilted(
    volume: np.ndarray, upstream: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, rows: tuple, found: tuple
) -> None:
    """Gradients of ``<upstream, project_tilted>`` by matrices and shifts, added to ``found``."""
    g_matrices, g_shifts = found
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    for a in range(upstream.shape[0]):
        matrix, direction = matrices[a], matrices[a, :, 2].copy()
        major = 2 if _along_z(matrix) else 1
        minor, step = 3 - major, 1 / abs(direction[major])
        for i in range(upstream.shape[1]):
            for h in range(upstream.shape[2]):
                across, up = i - (upstream.shape[1] - 1) / 2, rows[1] + h
                place = shifts[a] + matrix[:, 1] * across + matrix[:, 0] * up
                first, rise = _minor(place, direction, sizes, major)
                climb = direction[0] / direction[major]
                bottom = place[0] - rows[0] - ((sizes[major] - 1) / 2 + place[major]) * climb
                value, slope_u, slope_v, lever_u, lever_v = 0.0, 0.0, 0.0, 0.0, 0.0
                low, high = _range(first, rise, sizes[major], sizes[minor])
                for k in range(low, high):
                    u, v = first + k * rise, bottom + k * climb
                    j, y = int(np.floor(u)), int(np.floor(v))
                    if y < -1 or y >= volume.shape[2]:
                        continue
                    f, e = u - j, v - y
                    far = (k - (sizes[major] - 1) / 2 - place[major]) / direction[major]
                    for c in range(upstream.shape[3]):
                        g = upstream[a, i, h, c]
                        p, q, r, s = _corners(volume, major, k, j, y, c)
                        value += g * ((1 - e) * ((1 - f) * p + f * q) + e * ((1 - f) * r + f * s))
                        by_u = g * ((1 - e) * (q - p) + e * (s - r))
                        by_v = g * ((1 - f) * (r - p) + f * (s - q))
                        slope_u += by_u
                        slope_v += by_v
                        lever_u += by_u * far
                        lever_v += by_v * far
                g_place = np.zeros(3)
                g_place[0], g_place[minor] = step * slope_v, step * slope_u
                g_place[major] = -step * (slope_u * rise + slope_v * climb)
                g_shifts[a] += g_place
                g_matrices[a, :, 1] += g_place * across
                g_matrices[a, :, 0] += g_place * up
                g_matrices[a, 0, 2] += step * lever_v
                g_matrices[a, minor, 2] += step * lever_u
                g_matrices[a, major, 2] -= step * (lever_u * rise + lever_v * climb) + value * step / direction[major]


# -- whole voxels ------------------------------------------------------------------------------------------------------
@_jit
def _split(place: np.ndarray, sizes: np.ndarray, lowest: float) -> tuple:
    """Whole and fractional part of the index (y, x, z) of a place counted from the center."""
    y, x, z = place[0] - lowest, place[1] + (sizes[1] - 1) / 2, place[2] + (sizes[2] - 1) / 2
    j = (int(np.floor(y)), int(np.floor(x)), int(np.floor(z)))
    return j, (y - j[0], x - j[1], z - j[2])


@_jit
def rotate(volume: np.ndarray, matrix: np.ndarray, shift: np.ndarray, rows: tuple, out: np.ndarray) -> None:
    """Voxels ``(x', z', y', channel)`` of the turned volume, overwritten: each where ``matrix r' + shift`` is."""
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    for i in range(out.shape[0]):
        for k in range(out.shape[1]):
            line = shift + matrix[:, 1] * (i - (out.shape[0] - 1) / 2) + matrix[:, 2] * (k - (out.shape[1] - 1) / 2)
            for h in range(out.shape[2]):
                (y, x, z), (e, f, g) = _split(line + matrix[:, 0] * (rows[1] + h), sizes, rows[0])
                for c in range(out.shape[3]):
                    total = 0.0
                    if -1 <= z < sizes[2]:
                        if z >= 0:
                            p, q, r, s = _corners(volume, 2, z, x, y, c)
                            total += (1 - g) * ((1 - e) * ((1 - f) * p + f * q) + e * ((1 - f) * r + f * s))
                        if z + 1 < sizes[2] and g > 0:
                            p, q, r, s = _corners(volume, 2, z + 1, x, y, c)
                            total += g * ((1 - e) * ((1 - f) * p + f * q) + e * ((1 - f) * r + f * s))
                    out[i, k, h, c] = total


@_jit
def rotate_back(upstream: np.ndarray, matrix: np.ndarray, shift: np.ndarray, rows: tuple, volume: np.ndarray) -> None:
    """Add the adjoint of `rotate` to ``volume``."""
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    n_i, n_k = upstream.shape[0], upstream.shape[1]
    for i in range(n_i):
        for k in range(n_k):
            line = shift + matrix[:, 1] * (i - (n_i - 1) / 2) + matrix[:, 2] * (k - (n_k - 1) / 2)
            for h in range(upstream.shape[2]):
                (y, x, z), (e, f, g) = _split(line + matrix[:, 0] * (rows[1] + h), sizes, rows[0])
                for side in range(2):
                    plane, part = z + side, g if side else 1 - g
                    if not (0 <= plane < sizes[2]):
                        continue
                    for c in range(upstream.shape[3]):
                        value = part * upstream[i, k, h, c]
                        _put(volume, 2, plane, x, y, c, (1 - e) * (1 - f) * value)
                        _put(volume, 2, plane, x + 1, y, c, (1 - e) * f * value)
                        _put(volume, 2, plane, x, y + 1, c, e * (1 - f) * value)
                        _put(volume, 2, plane, x + 1, y + 1, c, e * f * value)


@_jit
def geometry_of_rotate(
    volume: np.ndarray, upstream: np.ndarray, matrix: np.ndarray, shift: np.ndarray, rows: tuple, found: tuple
) -> None:
    """Gradients of ``<upstream, rotate>`` by matrix and shift, added to ``found``."""
    g_matrix, g_shift = found
    sizes = np.array([1, volume.shape[0], volume.shape[1]])
    n_i, n_k = upstream.shape[0], upstream.shape[1]
    for i in range(n_i):
        for k in range(n_k):
            across, along = i - (n_i - 1) / 2, k - (n_k - 1) / 2
            line = shift + matrix[:, 1] * across + matrix[:, 2] * along
            for h in range(upstream.shape[2]):
                up = rows[1] + h
                (y, x, z), (e, f, g) = _split(line + matrix[:, 0] * up, sizes, rows[0])
                by_y, by_x, by_z = 0.0, 0.0, 0.0
                for side in range(2):
                    plane, part = z + side, g if side else 1 - g
                    if not (0 <= plane < sizes[2]):
                        continue
                    for c in range(upstream.shape[3]):
                        p, q, r, s = _corners(volume, 2, plane, x, y, c)
                        value = upstream[i, k, h, c]
                        by_x += value * part * ((1 - e) * (q - p) + e * (s - r))
                        by_y += value * part * ((1 - f) * (r - p) + f * (s - q))
                        total = (1 - e) * ((1 - f) * p + f * q) + e * ((1 - f) * r + f * s)
                        by_z += value * (total if side else -total)
                slope = np.array([by_y, by_x, by_z])
                g_shift += slope
                g_matrix[:, 0] += slope * up
                g_matrix[:, 1] += slope * across
                g_matrix[:, 2] += slope * along
