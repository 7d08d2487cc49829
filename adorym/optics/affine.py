r"""Affine maps from the frame of one image to that of another.

A map takes the pixel u of the measured image to :math:`M (u - c) + t` in the frame of the reference, both measured from
the middle c of their arrays, (n - 1) / 2. Its six numbers are two rows, y first:
``(m_yy, m_yx, t_y, m_xy, m_xx, t_x)``. M has no unit. Translations are in pixels, but the refined parameter has them in
units of half the larger side of the image, so that equal changes of the six numbers move the corners by similar
distances.

M is split into rotation, scales and shear,

.. math:: M = \begin{pmatrix}\cos\varphi & \sin\varphi \\ -\sin\varphi & \cos\varphi\end{pmatrix}
          \begin{pmatrix} s_y & 0 \\ s_x\,\gamma & s_x \end{pmatrix},

with rotation :math:`\varphi` from x towards y (clockwise on a screen).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.hologram import IDENTITY as IDENTITY


@dataclass(frozen=True)
class AffineParts:
    """An affine map as shift, rotation, scale and shear.

    Attributes:
        shift_px: (y, x) translation.
        rotation_rad: Rotation from x towards y.
        scale: (y, x) magnifications.
        shear: Tangent of the shear angle.
    """

    shift_px: tuple[float, float] = (0.0, 0.0)
    rotation_rad: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0

    def map_px(self) -> np.ndarray:
        """``(6,)`` with the translation in pixels."""
        c, s = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        s_y, s_x = self.scale
        linear = np.array([[c, s], [-s, c]]) @ np.array([[s_y, 0.0], [s_x * self.shear, s_x]])
        return np.concatenate([[*row, t] for row, t in zip(linear, self.shift_px, strict=True)])


def parts_of(map_px: np.ndarray) -> AffineParts:
    """The parts of a map ``(6,)`` in pixels; its linear part must not mirror."""
    (m, t), r = _split(map_px), np.zeros((2, 2))
    # The second column of M is that of the rotation times s_x.
    s_x = float(np.hypot(m[0, 1], m[1, 1]))
    angle = math.atan2(m[0, 1], m[1, 1])
    r[:] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    lower = r.T @ m
    return AffineParts((float(t[0]), float(t[1])), angle, (float(lower[0, 0]), s_x), float(lower[1, 0] / s_x))


def half_side_px(window_px: tuple[int, int]) -> float:
    """Half the larger side: the unit of translations in the refined parameter."""
    return max(window_px) / 2


def to_pixels(maps: np.ndarray, half_px: float) -> np.ndarray:
    """Maps ``(..., 6)`` with translations in pixels from those with translations in units of ``half_px``."""
    return np.asarray(maps) * np.array([1.0, 1.0, half_px, 1.0, 1.0, half_px])


def from_pixels(maps: np.ndarray, half_px: float) -> np.ndarray:
    """Inverse of `to_pixels`."""
    return to_pixels(maps, 1 / half_px)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The map ``(6,)`` that applies ``inner`` first."""
    (a, t), (b, u) = _split(outer), _split(inner)
    return _joined(a @ b, a @ u + t)


def inverse(map_px: np.ndarray) -> np.ndarray:
    """The map ``(6,)`` that undoes ``map_px``."""
    m, t = _split(map_px)
    back = np.linalg.inv(m)
    return _joined(back, -back @ t)


def apply(map_px: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """Images of ``points_px`` ``(..., 2)``, (y, x) from the middle, under the map."""
    m, t = _split(map_px)
    return points_px @ m.T + t


def corners_px(window_px: tuple[int, int]) -> np.ndarray:
    """``(4, 2)`` corner pixels of a window, from its middle."""
    y, x = ((n - 1) / 2 for n in window_px)
    return np.array([[-y, -x], [-y, x], [y, -x], [y, x]])


def _split(map_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.asarray(map_px, np.float64).reshape(2, 3)
    return rows[:, :2], rows[:, 2]


def _joined(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return np.concatenate([linear, shift[:, None]], axis=1).ravel()


# -- interpolation of images -------------------------------------------------------------------------------------------
def interpolate(xp: Backend, images: Array, maps: Array, window_px: tuple[int, int]) -> Array:
    """Interpolate ``images`` ``(n, Y, X)`` at a window mapped by ``maps`` ``(n, 6)``, in pixels: ``(n, y, x)``.

    By periodic cubic splines (Unser, IEEE Signal Process. Mag. 16 (6), 22 (1999)), differentiable in images and maps;
    positions outside take the value at the edge. The reference for `adorym.wrapper.fused.hologram_kernels`.
    """
    n, size = images.shape[0], tuple(images.shape[1:])
    r_y, r_x = (np.arange(k) - (k - 1) / 2 for k in window_px)
    axes = xp.asarray(r_y[:, None] + 0 * r_x), xp.asarray(0 * r_y[:, None] + r_x)
    whole, fraction = [], []
    for axis in range(2):
        a, b, t = (xp.reshape(maps[:, 3 * axis + i], (-1, 1, 1)) for i in range(3))
        position = xp.clip(a * axes[0] + b * axes[1] + t + (size[axis] - 1) / 2, 1.0, size[axis] - 2.0)
        pixel = xp.minimum(xp.floor(position), size[axis] - 3.0)
        whole.append(xp.as_index(pixel))
        fraction.append(position - pixel)
    flat = xp.reshape(to_spline(xp, images), (-1,))
    image = xp.asarray(np.arange(n)[:, None, None] * size[0], exact=True)
    first = (image + whole[0]) * size[1] + whole[1]
    w_y, w_x = (cubic_weights(f) for f in fraction)
    total: Array = 0.0
    for i, w in enumerate(w_y):
        for j, v in enumerate(w_x):
            index = first + (i - 1) * size[1] + (j - 1)
            total = total + w * v * xp.reshape(xp.take(flat, xp.reshape(index, (-1,))), (n, *window_px))
    return total


def to_spline(xp: Backend, images: Array) -> Array:
    """Coefficients ``(n, Y, X)`` of the periodic cubic splines through ``images`` real, of the same shape."""
    rows, columns = (2 + np.cos(2 * np.pi * np.fft.fftfreq(n)) for n in images.shape[1:])
    gain = xp.asarray(9 / (rows[:, None] * columns))
    return xp.real(xp.ifft2(gain * xp.fft2(xp.complex(images, 0 * images))))


def cubic_weights(f: Array) -> tuple[Array, Array, Array, Array]:
    """Weights of the neighbors at -1, 0, 1 and 2 for a point at the fraction ``f``."""
    g = 1 - f
    return g * g * g / 6, 2 / 3 + f * f * (0.5 * f - 1), 2 / 3 + g * g * (0.5 * g - 1), f * f * f / 6
