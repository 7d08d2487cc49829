"""A first object of one's own: differential phase contrast."""

import numpy as np
from scipy.interpolate import griddata

from adorym import Initializer
from adorym.data.patterns import blocks


class DifferentialPhase(Initializer):
    """Where matter bends the beam, the center of mass of the pattern moves; the phase is the integral of that.

    grad(phi) = 2 pi q, q being the center of mass in cycles per object pixel, its mean over the scan removed; Waddell
    & Chapman, Optik 54, 83 (1979).
    """

    def make(self, dataset, shape, rng):
        """exp(i phi) ``(y, x)``, from patterns with the zero frequency at pixel n // 2."""
        fy, fx = (np.fft.fftshift(np.fft.fftfreq(n)) for n in dataset.window_px)
        moments = []
        for _, frames in blocks(dataset.patterns):
            counts = np.maximum(frames.sum((1, 2)), 1e-12)
            moments.append(np.stack([frames.sum(2) @ fy, frames.sum(1) @ fx], axis=1) / counts[:, None])
        q = np.concatenate(moments)
        scanned = dataset.probe_positions_px
        middle = scanned - (scanned.min(0) + scanned.max(0)) / 2 + (np.array(shape[:2]) - 1) / 2
        grid = np.stack(np.indices(shape[:2]), axis=-1)
        slope = 2 * np.pi * griddata(middle, q - q.mean(0), grid, fill_value=0.0)  # (y, x, 2), radian per pixel
        ky, kx = (2 * np.pi * np.fft.fftfreq(n) for n in shape[:2])
        k2 = ky[:, None] ** 2 + kx**2
        spectrum = np.fft.fft2(slope, axes=(0, 1))
        k2[0, 0] = 1.0  # the mean phase is not known: it is 0
        phase = np.fft.ifft2(-1j * (ky[:, None] * spectrum[..., 0] + kx * spectrum[..., 1]) / k2).real
        return np.exp(1j * phase)
