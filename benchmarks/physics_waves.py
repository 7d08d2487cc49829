"""Far-field scans on a grid twice as fine as the one that reconstructs them, in plain NumPy.

An exit wave is computed on half pixels, at every position exactly: the beam is moved in its Fourier space, the object
is cut where the beam falls. The detector sees the middle half of the fine grid's frequencies, so that what an object
scatters beyond its edge is lost, as on a real one.
"""

from __future__ import annotations

import numpy as np
from numpy.fft import fft2, fftfreq, fftshift, ifft2
from scipy.ndimage import gaussian_filter

WINDOW = 48
FINE = 2


def specimen(side: int, rng: np.random.Generator, phase: float = 1.0, size: float = 1.0) -> np.ndarray:
    """Discs and grain on half pixels, ``(FINE * side, FINE * side)`` complex; features of about ``size`` pixels."""
    n = FINE * side
    y, x = np.mgrid[:n, :n]
    thickness = np.zeros((n, n))
    for _ in range(int(side * side / size**2) // 40):
        (cy, cx), radius = rng.uniform(0, n, 2), size * rng.uniform(4, 14)
        thickness += rng.uniform(0.1, 0.5) * (np.hypot(y - cy, x - cx) < radius)
    thickness = gaussian_filter(thickness, 1.5)
    thickness /= np.percentile(thickness, 99)
    grain = gaussian_filter(rng.normal(size=(n, n)), 4)
    grain = (grain - grain.min()) / np.ptp(grain)
    return np.exp(-1j * phase * thickness) * (1 - 0.2 * grain * np.minimum(thickness, 1))


def seen(fine: np.ndarray) -> np.ndarray:
    """An object on whole pixels, without the frequencies that these cannot hold."""
    n, half = len(fine), len(fine) // FINE
    spectrum = fftshift(fft2(fine))
    first = n // 2 - half // 2
    cut = spectrum[first : first + half, first : first + half]
    # The middle of a whole pixel lies between two half pixels.
    f = fftfreq(half)
    ramp = np.exp(1j * np.pi * (FINE - 1) / FINE * (f[:, None] + f))
    return ifft2(np.fft.ifftshift(cut) * ramp) / FINE**2


def beam(
    radius: float = 8.0,
    curvature: float = 0.05,
    astigmatism: float = 0.0,
    photons: float = 1e6,
    window: int = WINDOW,
) -> np.ndarray:
    """A round pupil of ``radius`` Fourier pixels with the phase ``curvature q^2``, on half pixels."""
    n = FINE * window
    ky, kx = fftfreq(n, 1 / n)[:, None], fftfreq(n, 1 / n)[None]
    pupil = 1 / (1 + np.exp((np.hypot(ky, kx) - radius) / 0.4))
    bent = curvature * ((1 + astigmatism) * ky**2 + (1 - astigmatism) * kx**2)
    wave = ifft2(pupil * np.exp(1j * bent - 2j * np.pi * (ky + kx) * ((n - 1) / 2) / n))
    return wave * np.sqrt(photons) / np.linalg.norm(wave)


def patterns(obj: np.ndarray, beams: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Expected counts ``(n, y, x)``, zero frequency in the middle.

    Args:
        obj: On half pixels.
        beams: ``(n, y, x)``, one for each pattern, on half pixels.
        positions: ``(n, 2)`` corners of the windows in whole pixels.
    """
    n, window = beams.shape[-1], beams.shape[-1] // FINE
    f, first = fftfreq(n), (n - window) // 2
    found = []
    for position, wave in zip(FINE * positions, beams, strict=True):
        corner = np.round(position).astype(int)
        dy, dx = position - corner
        here = ifft2(fft2(wave) * np.exp(-2j * np.pi * (f[:, None] * dy + f * dx)))
        y, x = corner
        far = fftshift(abs(fft2(here * obj[y : y + n, x : x + n], norm="ortho")) ** 2)
        found.append(far[first : first + window, first : first + window])
    return np.array(found)


def raster(rows: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """Positions of a square raster, each off by up to a fifth of a step, 8 px from the object's edge."""
    line = 8 + step * np.arange(rows)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    return grid + rng.uniform(-0.2, 0.2, grid.shape) * step
