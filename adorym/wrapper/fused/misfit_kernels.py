"""The loss of predicted patterns or waves in one pass over memory, compiled by numba."""

from __future__ import annotations

import numpy as np

from adorym.wrapper.fused.kernels import _jit, pixel_losses


@_jit
def weigh(mask: np.ndarray, slope: np.ndarray, value: np.ndarray) -> None:
    """Slope and value of each pixel times its weight; one of weight 0 may hold anything, also no number."""
    zero = mask.dtype.type(0)
    for k in range(mask.size):
        slope[k] = mask[k] * slope[k] if mask[k] != 0 else zero
        value[k] = mask[k] * value[k] if mask[k] != 0 else zero


@_jit
def of_intensities(
    intensity: np.ndarray, target: np.ndarray, mask: np.ndarray, noise: tuple, floor: float, slope: np.ndarray
) -> float:
    """The loss of predicted ``intensity`` ``(n, y, x)``, summed over pixels, and its slope by each of them.

    ``mask`` ``(1 or n, y, x)`` weights the pixels; no pixels if all count.
    """
    value, total = np.empty(intensity.shape[2], intensity.dtype), 0.0
    for n in range(intensity.shape[0]):
        for y in range(intensity.shape[1]):
            pixel_losses(intensity[n, y], target[n, y], noise, floor, slope[n, y], value)
            if mask.size:
                weigh(mask[n % mask.shape[0], y], slope[n, y], value)
            total += value.sum()
    return total


@_jit
def of_wave(
    wave: np.ndarray, rows: np.ndarray, seen: tuple, noise: tuple, floor: float, background: float, g: np.ndarray
) -> tuple:
    """The loss of ``|wave|^2 + background``, and its derivative by the background.

    Args:
        wave: ``(z, y, 2 x)`` real and imaginary parts in turn.
        rows: ``(n,)`` which frames of it were measured.
        seen: Targets ``(n, y, x)``, and weights of pixels ``(1 or n, y, x)``; no pixels if all count.
        noise: As `pixel_losses` takes it.
        floor: Added to the intensities.
        background: A number in the arrays' type.
        g: Result, gradient by the wave, zero before.
    """
    target, mask = seen
    columns = target.shape[2]
    intensity, slope, value = (
        np.empty(columns, wave.dtype),
        np.empty(columns, wave.dtype),
        np.empty(columns, wave.dtype),
    )
    total, of_background = 0.0, 0.0
    for n in range(rows.size):
        for y in range(target.shape[1]):
            row, out = wave[rows[n], y], g[rows[n], y]
            for x in range(columns):
                intensity[x] = row[2 * x] * row[2 * x] + row[2 * x + 1] * row[2 * x + 1] + background
            pixel_losses(intensity, target[n, y], noise, floor, slope, value)
            if mask.size:
                weigh(mask[n % mask.shape[0], y], slope, value)
            for x in range(columns):
                out[2 * x] += 2 * slope[x] * row[2 * x]
                out[2 * x + 1] += 2 * slope[x] * row[2 * x + 1]
            total += value.sum()
            of_background += slope.sum()
    return total, of_background
