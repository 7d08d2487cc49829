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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.base import Backend
from adorym.wrapper.fused.shares import shared_out
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
        self.shape, self.kind, self.real = wave.shape, wave.dtype, wave.real.dtype
        self.half, self.maps = self.real.type(0.5), maps.astype(np.float64)
        self.grid = fused.strips.layout(self.shape, self.real.name)
        z = distances.astype(np.float64)[:, None]
        h_y, h_x = (np.exp(-1j * z * rate) for rate in self.camera.rates)
        self.h = fused.strips.by_frequency(h_y / wave.size, h_x, self.grid)
        margins = [n - w for n, w in zip(self.shape, self.camera.window_px, strict=True)]
        self.corner = (margins[0] // 2, margins[1] // 2)
        whole_pixels = all(m % 2 == 0 for m in margins)
        # A reference that stays where it is needs no interpolation.
        self.crop = [
            whole_pixels and not moves and np.array_equal(a, IDENTITY)
            for moves, a in zip(self.camera.moving, self.maps, strict=True)
        ]
        self.waves = np.zeros((len(z), 2, self.grid.sizes[0]), self.real)
        self.result = np.empty((len(z), *self.camera.window_px), self.real)
        self.spectrum = np.zeros((2, self.grid.sizes[1]), self.real)
        picture = self.waves[0]  # not needed yet
        fused.strips.to_strips(np.ascontiguousarray(wave).view(self.real), picture, self.grid)
        fused.strips.transform(picture, self.spectrum, self.grid, fused.strips.THERE)
        self._shared_out(self._propagate)
        return self.result

    def _shared_out(self, work: Callable[[slice], Any]) -> list[Any]:
        return shared_out(work, len(self.result), self.waves.size // 2, self.xp.workers)

    def _propagate(self, part: slice) -> None:
        modulated = np.zeros_like(self.spectrum)
        for k in range(part.start, part.stop):
            fused.hologram_kernels.modulate(self.spectrum, self.h[0][k], self.h[1][k], modulated, self.grid)
            fused.strips.transform(modulated, self.waves[k], self.grid, fused.strips.BACK)
            out = self.result[k]
            if self.crop[k]:
                fused.hologram_kernels.intensity(self.waves[k], self.grid, self.corner, out)
                continue
            image = np.empty(self.shape, self.real)
            fused.hologram_kernels.intensity(self.waves[k], self.grid, (0, 0), image)
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
        rates = fused.strips.rates_by_frequency(*self.camera.rates, self.grid)

        def back(part: slice) -> np.ndarray:
            g_spectrum, gradient = np.zeros_like(self.spectrum), np.zeros_like(self.spectrum)
            for k in range(part.start, part.stop):
                slope = self._slope(k, upstream[k], g_maps[k], with_maps and bool(self.camera.moving[k]))
                fused.hologram_kernels.times_slope(self.waves[k], self.grid, slope)
                fused.strips.transform(self.waves[k], gradient, self.grid, fused.strips.THERE)
                h = (self.h[0][k], self.h[1][k])
                g_distances[k] = fused.hologram_kernels.demodulate(gradient, self.spectrum, h, rates, g_spectrum)
            return g_spectrum

        first, *others = self._shared_out(back)
        for other in others:
            first += other
        picture, g_wave = self.waves[0], np.empty(self.shape, self.kind)  # the waves are lost already
        fused.strips.transform(first, picture, self.grid, fused.strips.BACK)
        fused.strips.from_strips(picture, g_wave.view(self.real), self.grid)
        return (
            g_wave,
            g_distances.astype(distances.dtype) if with_distances else None,
            g_maps.astype(maps.dtype) if with_maps else None,
        )

    def _slope(self, k: int, upstream: np.ndarray, g_map: np.ndarray, moves: bool) -> np.ndarray:
        """Gradient by the intensity of wave ``k`` ``(Y, X)``; adds that by its map to ``g_map``."""
        slope = np.zeros(self.shape, self.real)
        if self.crop[k]:
            (top, left), (height, width) = self.corner, self.camera.window_px
            slope[top : top + height, left : left + width] = upstream
            return slope
        g = np.where(self.result[k] > 0, upstream, self.real.type(0))
        image = self.images[k] if moves else slope
        fused.hologram_kernels.interpolate_adjoint(g, image, self.maps[k], self.half, slope, g_map, moves)
        fused.hologram_kernels.to_spline(slope)
        return slope
