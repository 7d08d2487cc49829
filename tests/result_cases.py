"""Synthetic results for the report's tests: a Siemens star under a defocused probe with three modes."""

from __future__ import annotations

import numpy as np

from adorym.data.result import ParameterResult, Result

PIXEL_M = (12e-9, 10e-9)


def siemens(shape: tuple[int, int], pixel: tuple[float, float] = PIXEL_M, spokes: int = 18) -> np.ndarray:
    """Transmission ``(y, x)`` of a gold star with rings, soft edges."""
    y, x = np.indices(shape, float)
    y, x = (y - (shape[0] - 1) / 2) * pixel[0], (x - (shape[1] - 1) / 2) * pixel[1]
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    largest = 0.42 * min(shape[0] * pixel[0], shape[1] * pixel[1])
    star = 0.5 + 0.5 * np.tanh(6 * np.sin(spokes * angle) * radius / largest)
    rings = 1 / (1 + np.exp(-(np.abs(radius / largest - 0.55) - 0.03) * 60))
    metal = star * rings / (1 + np.exp((radius / largest - 1) * 60))
    return (1 - 0.15 * metal) * np.exp(-0.9j * metal)


def probe_modes(window: tuple[int, int], pixel: tuple[float, float] = PIXEL_M) -> np.ndarray:
    """Three orthogonal modes of a defocused Gaussian, ``(3, y, x)``, 1e5 photons in 80, 15 and 5 %."""
    y, x = (
        (np.arange(n) - (n - 1) / 2)[s] * p / (0.14 * n * p)
        for n, s, p in zip(window, ((slice(None), None), (None, slice(None))), pixel, strict=True)
    )
    envelope = np.exp(-(x**2 + y**2) / 2 + 1j * 1.3 * (x**2 + y**2))
    modes = np.stack([envelope, envelope * x, envelope * y])
    modes /= np.sqrt(np.sum(np.abs(modes) ** 2, axis=(1, 2), keepdims=True))
    return (modes * np.sqrt(1e5 * np.array([0.80, 0.15, 0.05]))[:, None, None]).astype(np.complex64)


def ptychography_result(n: int = 10, window: tuple[int, int] = (24, 32), step: float = 4.0, epochs: int = 30) -> Result:
    """``n * n`` positions, corrections of 0.4 px, noise of 300 where it is dark, a phase ramp."""
    rng = np.random.default_rng(7)
    grid = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1).reshape(-1, 2) * step
    start = grid + rng.normal(0, 0.25 * step, grid.shape)
    turn = (grid - grid.mean(0))[:, ::-1] * (0.01, -0.01)
    refined = start + turn + rng.normal(0, 0.3, grid.shape)
    margin = 12
    shape = tuple(int(np.ceil(step * n)) + w + 2 * margin for w in window)
    y, x = np.indices(shape)
    clean = siemens(shape) * np.exp(1j * (0.03 * y - 0.05 * x + 1.0))
    noise = rng.normal(0, 1, (2, *shape))
    probe = probe_modes(window)
    corner = margin + 4
    lit = np.zeros(shape)
    for top, left in np.rint(refined).astype(int) + corner:
        lit[top : top + window[0], left : left + window[1]] += np.sum(np.abs(probe) ** 2, axis=0)
    obj = clean + np.where(lit > 0.05 * lit.max(), 0.01, 300.0) * (noise[0] + 1j * noise[1])
    predicted = np.fft.fftshift(np.sum(np.abs(np.fft.fft2(probe, norm="ortho")) ** 2, axis=0))
    predicted = 4 * predicted * (1 + 0.3 * np.cos(np.indices(window)[0] * 0.9) * np.cos(np.indices(window)[1] * 0.7))
    epoch = np.arange(1, epochs + 1)
    return Result(
        object=obj[..., None],
        origin_px=(corner, corner),
        pixel_size_m=PIXEL_M,
        probe=probe,
        parameters={
            "probe_positions": ParameterResult(refined, "px", start),
            "propagation_distance": ParameterResult(np.array(0.01312), "m", np.array(0.0125)),
            "slice_spacing": ParameterResult(np.array([1.02e-5, 0.97e-5, 1.01e-5]), "m", np.full(3, 1e-5)),
            "tilt": ParameterResult(rng.normal(0, 2e-3, (41, 3)), "rad", np.zeros((41, 3))),
        },
        history={
            "epoch": epoch,
            "loss": 3e3 * np.exp(-epoch / 6) + 80 + rng.normal(0, 1, epochs),
            "time_s": np.full(epochs, 0.27),
            "propagation_distance": 0.01312 - 0.0006 * np.exp(-epoch / 8),
        },
        config="data:\n  path: siemens.h5\nforward_model:\n  kind: ptychography\nrun:\n  epochs: 30\n  seed: 1\n",
        provenance={"adorym": "1.0.0", "backend": "torch", "device": "cpu", "ranks": "4", "seed": "1"},
        fit={"measured": rng.poisson(predicted).astype(np.float32), "predicted": predicted, "index": np.array(17)},
    )
