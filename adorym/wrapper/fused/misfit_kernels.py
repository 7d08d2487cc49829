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

    Frames lie across the wave, and are compared along their rows: one plane of it after the other is turned in the
    cache.

    Args:
        wave: ``(y, x, 2 z)`` real and imaginary parts in turn.
        rows: ``(n,)`` which z were measured.
        seen: Targets ``(n, y, x)``, and weights of pixels ``(1 or n, y, x)``; no pixels if all count.
        noise: As `pixel_losses` takes it.
        floor: Added to the intensities.
        background: A number in the arrays' type.
        g: Result, gradient by the wave.
    """
    target, mask = seen
    columns, depth = target.shape[2], wave.shape[2] // 2
    intensity = np.empty((rows.size, columns), wave.dtype)
    slope, value, column = np.empty_like(intensity), np.empty(columns, wave.dtype), np.empty(depth, wave.dtype)
    total, of_background = 0.0, 0.0
    for y in range(target.shape[1]):
        for x in range(columns):
            given = wave[y, x]
            for z in range(depth):
                column[z] = given[2 * z] * given[2 * z] + given[2 * z + 1] * given[2 * z + 1] + background
            for n in range(rows.size):
                intensity[n, x] = column[rows[n]]
        for n in range(rows.size):
            pixel_losses(intensity[n], target[n, y], noise, floor, slope[n], value)
            if mask.size:
                weigh(mask[n % mask.shape[0], y], slope[n], value)
            total += value.sum()
            of_background += slope[n].sum()
        for x in range(columns):
            given, out = wave[y, x], g[y, x]
            column[:] = 0
            for n in range(rows.size):
                column[rows[n]] += 2 * slope[n, x]
            for z in range(depth):
                out[2 * z] = column[z] * given[2 * z]
                out[2 * z + 1] = column[z] * given[2 * z + 1]
    return total, of_background
