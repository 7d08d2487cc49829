r"""Near-field holograms of a wave, with a hand-written adjoint.

.. math::

    I_k(u) = \left| \mathcal F^{-1}[H_{z_k}\,\mathcal F \psi_{v(k)}] \right|^2 (A_k u), \qquad
    H_z = e^{-i\pi\lambda z (f_y^2 + f_x^2)}

for waves :math:`\psi_v`, distances :math:`z_k` and affine maps :math:`A_k` from the detector's frame to that of the
wave. One transform of every wave serves all its distances; :math:`H_z` is the product of a vector along y and one along
x. With the gradient :math:`g_k` by the intensities, the adjoint interpolation :math:`A_k^*`, and
:math:`G_k = \mathcal F[2\,(A_k^* g_k)\,\mathcal F^{-1} H_k \mathcal F\psi]`,

.. math::

    \frac{\partial L}{\partial\psi} = \mathcal F^{-1} \sum_k \bar H_k G_k, \qquad
    \frac{\partial L}{\partial z_k} = \mathrm{Re} \sum \bar G_k\,(-i\pi\lambda f^2)\,H_k\,\mathcal F\psi .

In all that is one transform and one inverse a hologram, and as many a wave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.wrapper.base import ArrayCore, Backend
from adorym.wrapper.fused import hologram_kernels as kernels

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Camera:
    """What turns waves into holograms, besides distances and maps.

    Attributes:
        window_px: (y, x) pixels of a hologram.
        rates: Phase lag a metre of path, ``(Y,)`` and ``(X,)``; their sum is that of a frequency.
        views: ``(n,)`` wave that each hologram is of.
        moving: ``(n,)`` whether the gradient by each map is needed.
        with_distances: Whether the gradient by the distances is needed.
    """

    window_px: tuple[int, int]
    rates: tuple[np.ndarray, np.ndarray]
    views: np.ndarray
    moving: np.ndarray
    with_distances: bool


def hologram_core(xp: Backend, camera: Camera) -> ArrayCore:
    """The core for `Backend.operation`, to be called with (waves, distances, maps).

    Waves ``(v, Y, X)`` complex, distances ``(n,)`` in metres, maps ``(n, 6)`` as `hologram_kernels.interpolate` takes
    them; the result is the intensities ``(n, y, x)``.
    """

    def core(waves: np.ndarray, distances: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, Callable[..., Any]]:
        work = _Holograms(xp, camera, waves, distances, maps)
        return work.intensities(), work.adjoint

    return core


class _Holograms:
    """One call, with what its adjoint needs."""

    def __init__(
        self, xp: Backend, camera: Camera, waves: np.ndarray, distances: np.ndarray, maps: np.ndarray
    ) -> None:
        self.xp, self.camera, self.maps = xp, camera, maps.astype(np.float64)
        self.real, self.map_dtype, self.distance_dtype = waves.real.dtype, maps.dtype, distances.dtype
        self.half = self.real.type(0.5)
        self.rates = tuple(rate.astype(self.real) for rate in camera.rates)
        self.spectra = xp.host_fft2(waves)
        z = distances.astype(np.float64)[:, None]
        self.h = tuple(np.exp(-1j * z * rate).astype(waves.dtype) for rate in camera.rates)
        self.waves = np.empty((len(z), *waves.shape[1:]), waves.dtype)
        margin = [n - w for n, w in zip(waves.shape[1:], camera.window_px, strict=True)]
        self.inner = tuple(slice(m // 2, m // 2 + w) for m, w in zip(margin, camera.window_px, strict=True))
        centred = all(m % 2 == 0 for m in margin)
        self.plain = [centred and not moves and np.array_equal(a, IDENTITY) for moves, a in zip(camera.moving, self.maps)]
        self.images: dict[int, np.ndarray] = {}

    def intensities(self) -> np.ndarray:
        out = np.empty((len(self.waves), *self.camera.window_px), self.real)
        modulated = np.empty_like(self.spectra[0])
        for k, view in enumerate(self.camera.views):
            kernels.modulate(self.spectra[view], self.h[0][k], self.h[1][k], modulated)
            self.waves[k] = self.xp.host_ifft2(modulated)
            if self.plain[k]:
                kernels.intensity(self.waves[k][self.inner], out[k])
                continue
            image = np.empty(self.waves.shape[1:], self.real)
            kernels.intensity(self.waves[k], image)
            kernels.interpolate(image, self.maps[k], self.half, out[k])
            np.maximum(out[k], 0, out=out[k])  # a cubic overshoots beside a dark pixel
            if self.camera.moving[k]:
                self.images[k] = image
        self.result = out
        return out

    def adjoint(self, upstream: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        camera, g_maps = self.camera, np.zeros((len(self.waves), 6))
        g_spectra, g_distances = np.zeros_like(self.spectra), np.zeros(len(self.waves), self.distance_dtype)
        for k, view in enumerate(camera.views):
            slope = np.zeros(self.waves.shape[1:], self.real)
            if self.plain[k]:
                slope[self.inner] = upstream[k]
            else:
                moves = bool(camera.moving[k])
                image = self.images[k] if moves else slope
                g = np.where(self.result[k] > 0, upstream[k], self.real.type(0))
                kernels.interpolate_adjoint(g, image, self.maps[k], self.half, slope, g_maps[k], moves)
            kernels.times_slope(self.waves[k], slope)
            gradient = self.xp.host_fft2(self.waves[k])
            h = (self.h[0][k], self.h[1][k])
            g_distances[k] = kernels.demodulate(
                gradient, self.spectra[view], h, self.rates, g_spectra[view], camera.with_distances
            ) / self._scale
        return self.xp.host_ifft2(g_spectra), g_distances, g_maps.astype(self.map_dtype)

    @property
    def _scale(self) -> float:
        # Both spectra are unnormalised transforms: their product is N times that of orthonormal ones.
        return float(np.prod(self.waves.shape[1:]))
