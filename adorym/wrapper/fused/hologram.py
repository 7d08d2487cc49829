r"""Near-field holograms of a wave, with a hand-written adjoint.

.. math::

    I_k(u) = \left| \mathcal F^{-1}[H_{z_k}\,\mathcal F \psi] \right|^2 (A_k u), \qquad
    H_z = e^{-i\pi\lambda z (f_y^2 + f_x^2)}

for a wave :math:`\psi`, distances :math:`z_k` and affine maps :math:`A_k` from the detector's frame to that of the
wave. One transform of the wave serves all distances; :math:`H_z` is the product of a vector along y and one along x.
With the gradient :math:`g_k` by the intensities, the adjoint interpolation :math:`A_k^*`, and
:math:`G_k = \mathcal F[2\,(A_k^* g_k)\,\mathcal F^{-1} H_k \mathcal F\psi]`,

.. math::

    \frac{\partial L}{\partial\psi} = \mathcal F^{-1} \sum_k \bar H_k G_k, \qquad
    \frac{\partial L}{\partial z_k} = \mathrm{Re} \sum \bar G_k\,(-i\pi\lambda f^2)\,H_k\,\mathcal F\psi .

In all that is one transform and one inverse a hologram, and one of each for the wave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.base import Backend
from adorym.wrapper.fused.noise import FusedNoise
from adorym.wrapper.host_operation import HostOperation

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Camera:
    """What turns a wave into holograms, besides distances and maps.

    Attributes:
        window_px: (y, x) pixels of a hologram.
        rates: Phase per meter of path, ``(Y,)`` and ``(X,)``; their sum is that of a frequency.
        moving: ``(n,)`` whether the gradient by each map may be needed.
    """

    window_px: tuple[int, int]
    rates: tuple[np.ndarray, np.ndarray]
    moving: np.ndarray


class Holograms(HostOperation):
    """``(wave (Y, X) complex, distances (n,) in meters, maps (n, 6)) -> intensities (n, y, x)``, for one call.

    Maps are as `hologram_kernels.interpolate` takes them.
    """

    def __init__(self, xp: Backend, camera: Camera) -> None:
        self.xp, self.camera = xp, camera
        self.images: dict[int, np.ndarray] = {}

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        wave, distances, maps = arrays
        self.real = wave.real.dtype
        self.half, self.maps = self.real.type(0.5), maps.astype(np.float64)
        self.spectrum = self.xp.host_fft2(wave)
        z = distances.astype(np.float64)[:, None]
        self.h_y, self.h_x = (np.exp(-1j * z * rate).astype(wave.dtype) for rate in self.camera.rates)
        margins = [n - w for n, w in zip(wave.shape, self.camera.window_px, strict=True)]
        self.inner = tuple(slice(m // 2, m // 2 + w) for m, w in zip(margins, self.camera.window_px, strict=True))
        whole_pixels = all(m % 2 == 0 for m in margins)
        # A reference that stays where it is needs no interpolation.
        self.crop = [
            whole_pixels and not moves and np.array_equal(a, IDENTITY)
            for moves, a in zip(self.camera.moving, self.maps, strict=True)
        ]
        self.waves = np.empty((len(z), *wave.shape), wave.dtype)
        self.result = np.empty((len(z), *self.camera.window_px), self.real)
        self._propagate()
        return self.result

    def _propagate(self) -> None:
        modulated = np.empty_like(self.spectrum)
        for k, out in enumerate(self.result):
            fused.hologram_kernels.modulate(self.spectrum, self.h_y[k], self.h_x[k], modulated)
            self.waves[k] = self.xp.host_ifft2(modulated)
            if self.crop[k]:
                fused.hologram_kernels.intensity(self.waves[k][self.inner], out)
                continue
            image = np.empty(self.spectrum.shape, self.real)
            fused.hologram_kernels.intensity(self.waves[k], image)
            fused.hologram_kernels.to_spline(image)
            fused.hologram_kernels.interpolate(image, self.maps[k], self.half, out)
            np.maximum(out, 0, out=out)  # a spline overshoots beside a dark pixel
            if self.camera.moving[k]:
                self.images[k] = image

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        _, distances, maps = arrays
        with_distances, with_maps = wanted[1], wanted[2]
        g_maps, g_distances = np.zeros((len(maps), 6)), np.zeros(len(maps))
        g_spectrum = np.zeros_like(self.spectrum)
        rates = tuple(rate.astype(self.real) for rate in self.camera.rates)
        for k, wave in enumerate(self.waves):
            slope = np.zeros(self.spectrum.shape, self.real)
            if self.crop[k]:
                slope[self.inner] = upstream[k]
            else:
                moves = with_maps and bool(self.camera.moving[k])
                g = np.where(self.result[k] > 0, upstream[k], self.real.type(0))
                image = self.images[k] if moves else slope
                fused.hologram_kernels.interpolate_adjoint(g, image, self.maps[k], self.half, slope, g_maps[k], moves)
                fused.hologram_kernels.to_spline(slope)
            fused.hologram_kernels.times_slope(wave, slope)
            h = (self.h_y[k], self.h_x[k])
            gradient = self.xp.host_fft2(wave)
            g_distances[k] = fused.hologram_kernels.demodulate(
                gradient, self.spectrum, h, rates, g_spectrum, with_distances
            )
        # Both spectra are unnormalized: their product is N times that of orthonormal ones.
        g_distances /= self.spectrum.size
        return (
            self.xp.host_ifft2(g_spectrum),
            g_distances.astype(distances.dtype) if with_distances else None,
            g_maps.astype(maps.dtype) if with_maps else None,
        )


class Misfit(HostOperation):
    """``intensities (n, y, x) -> loss ()``, summed over all pixels, in one pass; for one call.

    Args:
        target: ``(n, y, x)`` what the loss compares with.
        noise: The loss.
        floor: Added to the intensities.
    """

    def __init__(self, target: np.ndarray, noise: FusedNoise, floor: float) -> None:
        self.target, self.noise, self.floor = target, noise, floor

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        intensity = np.ascontiguousarray(arrays[0])
        real = intensity.dtype.type
        kind = (self.noise.code, real(self.noise.shape), real(self.noise.saturated))
        self.slope = np.empty_like(intensity)
        return np.array(fused.hologram_kernels.misfit(intensity, self.target, kind, real(self.floor), self.slope), real)

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        self.slope *= upstream
        return (self.slope,)
