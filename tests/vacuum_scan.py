"""A far-field scan of an object with vacuum in a part of it, in plain NumPy: none of the package's physics is used."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from adorym.data.dataset import ArrayPatterns, Dataset

WINDOW, PHOTONS, ROWS, STEP = 32, 2e5, 11, 2.5
SIDES = ("left", "right", "top", "none")


def beam(modes: int = 1) -> np.ndarray:
    """``(modes, y, x)`` out of focus, PHOTONS in all."""
    y, x = np.mgrid[:WINDOW, :WINDOW] - (WINDOW - 1) / 2
    r2 = y**2 + x**2
    wave = np.exp(-r2 / 2 / 3.2**2 + 0.09j * r2)
    found = np.stack([wave, 0.5 * x / 3.2 * wave])[:modes]
    return found * np.sqrt(PHOTONS / (np.abs(found) ** 2).sum())


def specimen(side: str, attenuation: float = 0.3, seed: int = 1) -> np.ndarray:
    """Complex object; the part of it at ``side`` is vacuum, 45 % of it."""
    rng, n = np.random.default_rng(seed), WINDOW + int(ROWS * STEP) + 6
    thickness = sum(gaussian_filter(rng.normal(size=(n, n)), s) * s for s in (1.2, 3.0))
    thickness = np.clip(0.5 + 0.35 * thickness / thickness.std(), 0.05, None)
    along = {"left": np.arange(n)[None, :], "right": np.arange(n)[None, ::-1], "top": np.arange(n)[:, None]}
    if side in along:
        thickness = thickness * (along[side] >= 0.45 * n)
    return np.exp(-(attenuation + 1j) * thickness)


def scan(side: str = "left", modes: int = 1, seed: int = 1, noise: bool = True, **specimen_options) -> Dataset:
    """The data set; the start probe has the right shape, and a wrong number of photons."""
    obj, waves, rng = specimen(side, seed=seed, **specimen_options), beam(modes), np.random.default_rng(seed)
    grid = STEP * np.stack(np.meshgrid(np.arange(ROWS), np.arange(ROWS), indexing="ij"), -1).reshape(-1, 2)
    corners = np.rint(grid + rng.uniform(-0.6, 0.6, grid.shape)).astype(int) + 2
    patterns = [
        sum(
            np.abs(np.fft.fftshift(np.fft.fft2(obj[y : y + WINDOW, x : x + WINDOW] * w, norm="ortho"))) ** 2
            for w in waves
        )
        for y, x in corners
    ]
    counts = rng.poisson(patterns) if noise else np.array(patterns)
    return Dataset(
        ArrayPatterns(counts.astype(np.float32)),
        probe_positions_px=corners.astype(float),
        energy_ev=8000.0,
        pixel_size_m=(1e-8, 1e-8),
        start_probe=7.0 * waves,
    )


def inside(side: str, origin_px: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Which pixels of the reconstructed object are vacuum, and well within the scanned area."""
    n = len(specimen("none"))
    y, x = np.ogrid[: shape[0], : shape[1]]
    y, x = y - origin_px[0], x - origin_px[1]
    first, last = 16, n - 16
    far = {"left": x < 0.45 * n - 4, "right": n - 1 - x < 0.45 * n - 4, "top": y < 0.45 * n - 4, "none": y > np.inf}
    return far[side] & (y > first) & (y < last) & (x > first) & (x < last)
