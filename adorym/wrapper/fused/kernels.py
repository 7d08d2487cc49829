"""Losses of pixels, and steps of optimizers and of phasing, in loops that numba compiles.

Scalars arrive in the type of the arrays: one float64 among float32 halves the width of a loop. Indices are written
``2 * k``: a loop of stride two is not vectorized.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

import numpy as np
from numba import njit

from adorym.wrapper.fused.lanes import FAST
from adorym.wrapper.fused.logarithm import logarithm
from adorym.wrapper.fused.noise import HUBER, INTENSITY, LEAST_SQUARES, POISSON

LOG = logging.getLogger("adorym.start")
_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath=set(FAST))
_inlined = njit(inline="always", error_model="numpy", fastmath=set(FAST))  # called from one place: compiled with it


def forget_older(cache: str) -> None:
    """Remove compiled functions in the folder ``cache`` that are older than any of the sources in this one.

    A function contains those it calls, but the library looks only whether the file of the function itself has changed.
    Sources from the future say nothing, or all would be removed at every start.
    """
    now, times = time.time(), [source.stat().st_mtime for source in Path(__file__).parent.glob("*.py")]
    newest = max((each for each in times if each <= now), default=0.0)
    for compiled in Path(cache).glob("*.nb[ic]"):
        with contextlib.suppress(OSError):  # another process was first, or the folder belongs to somebody else
            if compiled.stat().st_mtime < newest:
                compiled.unlink()


def tell_of_compiling(cache: str, name: str) -> None:
    """Log that the function ``name`` is compiled at its first use, unless the folder ``cache`` holds it."""
    if not any(Path(cache).glob(f"{name}-*.nbi")):
        LOG.info("loops are compiled, once in this installation: the first batch takes some ten seconds longer")


@_jit
def pixel_losses(
    intensity: np.ndarray, target: np.ndarray, noise: tuple, floor: float, slope: np.ndarray, value: np.ndarray
) -> None:
    """Loss (``value``) of each pixel and its derivative by the intensity (``slope``), with ``J = intensity + floor``.

    Least squares: ``(sqrt J - target)^2``, the target an amplitude; Poisson: the deviance
    ``J - target + target log(target / J)``, the target a count; others as in `noise`. Where the target is saturated,
    an intensity above it costs nothing. For ``noise = (code, shape, saturated)`` of `FusedNoise`.
    """
    code, shape, saturated = noise
    two = floor / floor + floor / floor  # in the arrays' type
    if code == LEAST_SQUARES:
        for k in range(intensity.size):
            amplitude = np.sqrt(intensity[k] + floor)
            difference = amplitude - target[k]
            value[k] = difference * difference
            slope[k] = difference / amplitude
    elif code == POISSON:
        for k in range(intensity.size):
            i, t = intensity[k] + floor, target[k]
            slope[k] = (i - t) / i
            value[k] = i - t + t * logarithm(t / i)
    elif code == INTENSITY:
        for k in range(intensity.size):
            t = target[k]
            difference = intensity[k] + floor - t
            slope[k] = difference / t
            value[k] = difference * difference / (two * t)
    elif code == HUBER:
        for k in range(intensity.size):
            amplitude = np.sqrt(intensity[k] + floor)
            difference = amplitude - target[k]
            ratio = np.sqrt(two / two + difference * difference / (shape * shape))
            value[k] = two * shape * shape * (ratio - two / two)
            slope[k] = difference / (amplitude * ratio)
    else:
        for k in range(intensity.size):
            amplitude = np.sqrt(intensity[k] + floor)
            difference = amplitude - target[k]
            ratio = two / two + difference * difference / shape
            value[k] = shape * logarithm(ratio)
            slope[k] = difference / (amplitude * ratio)
    if saturated < np.inf:
        for k in range(intensity.size):
            if target[k] >= saturated and slope[k] > 0:
                slope[k] = 0
                value[k] = 0


forget_older(pixel_losses.stats.cache_path)  # before any other module finds what it compiled


@_jit
def preconditioned_step(
    value: np.ndarray, gradient: np.ndarray, velocity: np.ndarray, curvature: np.ndarray, sizes: tuple
) -> None:
    """``value -= u`` with ``u = rate gradient / (keep curvature + floor)``, in place; Nesterov with a velocity.

    Flat real views with one or two numbers a pixel; an empty ``velocity`` means none. Where the batch does not
    see a pixel, its velocity rests.
    """
    rate, keep, floor, momentum, unseen, one = sizes
    pair = value.size == 2 * curvature.size
    for k in range(curvature.size):
        c = curvature[k]
        part = rate / (keep * c + floor)
        if velocity.size == 0:
            if pair:
                value[2 * k] -= part * gradient[2 * k]
                value[2 * k + 1] -= part * gradient[2 * k + 1]
            else:
                value[k] -= part * gradient[k]
            continue
        seen = min(one, c / unseen)
        lost, ahead = one - seen * (one - momentum), seen * momentum
        if pair:
            u, w = part * gradient[2 * k], part * gradient[2 * k + 1]
            velocity[2 * k] = lost * velocity[2 * k] + u
            velocity[2 * k + 1] = lost * velocity[2 * k + 1] + w
            value[2 * k] -= ahead * velocity[2 * k] + u
            value[2 * k + 1] -= ahead * velocity[2 * k + 1] + w
        else:
            u = part * gradient[k]
            velocity[k] = lost * velocity[k] + u
            value[k] -= ahead * velocity[k] + u


@_jit
def adam_step(
    value: np.ndarray, gradient: np.ndarray, mean: np.ndarray, square: np.ndarray, rows: np.ndarray, sizes: tuple
) -> None:
    """``value -= a mean / (sqrt(b square) + epsilon)`` with running means of the gradient and its square, in place.

    Flat real views; ``rows`` ``(n, 2)`` holds the factors a and b of each row.
    """
    keep, new, keep_square, new_square, epsilon = sizes
    width = value.size // rows.shape[0]
    for row in range(rows.shape[0]):
        a, b, first, last = rows[row, 0], rows[row, 1], row * width, (row + 1) * width
        x, g, m, s = value[first:last], gradient[first:last], mean[first:last], square[first:last]
        for k in range(width):
            m[k] = keep * m[k] + new * g[k]
            s[k] = keep_square * s[k] + new_square * g[k] * g[k]
            x[k] -= a * m[k] / (np.sqrt(b * s[k]) + epsilon)


@_jit
def set_modulus(wave: np.ndarray, modulus: np.ndarray, good: np.ndarray, tiny: float) -> None:
    """Give ``wave`` ``(n, 2 size)``, real and imaginary parts in turn, the ``modulus`` ``(size,)``, in place.

    ``good`` ``(size,)`` says where; empty if everywhere.
    """
    for n in range(wave.shape[0]):
        row = wave[n]
        for k in range(modulus.size):
            re, im = row[2 * k], row[2 * k + 1]
            factor = modulus[k] / np.sqrt(re * re + im * im + tiny)
            if good.size:
                factor = factor if good[k] else wave.dtype.type(1)
            row[2 * k] = re * factor
            row[2 * k + 1] = im * factor


@_jit
def relax(found: np.ndarray, before: np.ndarray, support: np.ndarray, parts: tuple, made: np.ndarray) -> None:
    """``made = found`` within ``support``, ``a before + b found`` outside; real and imaginary parts in turn."""
    a, b = parts
    for k in range(support.size):
        re, im = found[2 * k], found[2 * k + 1]
        made[2 * k] = re if support[k] else a * before[2 * k] + b * re
        made[2 * k + 1] = im if support[k] else a * before[2 * k + 1] + b * im


@_jit
def scale(a: np.ndarray, made: np.ndarray, factor: np.ndarray) -> None:
    """``made = a factor``: ``a`` holds real and imaginary parts in turn."""
    for k in range(factor.size):
        made[2 * k] = a[2 * k] * factor[k]
        made[2 * k + 1] = a[2 * k + 1] * factor[k]
