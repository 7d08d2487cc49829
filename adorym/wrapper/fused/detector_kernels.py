"""The detector's side of the exit-wave loss: what waves are worth beside the measured numbers, in compiled loops.

Numbers are in the order of `strips`. One strip is worked on after the other: it and what is made of it stay in the
nearest cache. Scalars arrive in the type of the arrays: one float64 among float32 halves the width of a loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adorym.wrapper.fused.kernels import _inlined, _jit, pixel_losses
from adorym.wrapper.fused.lanes import LANES
from adorym.wrapper.fused.misfit_kernels import weigh
from adorym.wrapper.fused.products import add, add_power
from adorym.wrapper.fused.strips import LINES, NX, NY, STRIPS, Layout, lay


class Measured(NamedTuple):
    """What the detector measured, and how it is compared.

    Attributes:
        target: ``(any, y x)``.
        rows: ``(n,)`` rows of ``target`` that belong to the patterns.
        mask: ``(1 or n, y x)`` weights of pixels; ``(1, 0)`` if all count.
        noise: ``(code, shape, saturated)`` of `noise`.
        sizes: ``(unit, floor, factor)``: the intensity is ``unit`` times the sum of the squares; ``factor`` times the
            slope multiplies the waves.
        scale: ``(n,)`` factors on the intensity; ones if there are none.
        background: ``(y x,)``, or empty.
    """

    target: np.ndarray
    rows: np.ndarray
    mask: np.ndarray
    noise: tuple[int, float, float]
    sizes: tuple[float, float, float]
    scale: np.ndarray
    background: np.ndarray


class Asked(NamedTuple):
    """What is worked out besides the gradient of the object."""

    probe: bool
    positions: bool
    scale: bool


class Sums(NamedTuple):
    """Results that several patterns add to, and those of each.

    Attributes:
        windows: Gradient of the windows of the object, and of their shape.
        modes: ``(m, 2, size)`` gradient of `Beam.modes` in their order.
        power: ``(size,)`` intensity that the object transmits, times the scales; empty if nobody asks.
        background: ``(size,)`` sum of the slopes; empty if nobody asks.
        each: ``(n, 7)`` gradient of the position (y, x), sums over pixels of slope times signal and of squared signal
            over the intensity, and the curvature of the position (yy, yx, xx).
        kernels: Gradient of the transfer functions between slices in their order; empty if nobody asks.
    """

    windows: np.ndarray
    modes: np.ndarray
    power: np.ndarray
    background: np.ndarray
    each: np.ndarray
    kernels: np.ndarray


@_jit
def times(re: np.ndarray, im: np.ndarray, slope: np.ndarray, factor: float) -> None:
    """``re + i im`` times ``factor slope``, in place."""
    for k in range(slope.size):
        c = factor * slope[k]
        re[k] *= c
        im[k] *= c


@_inlined
def _intensity(waves: np.ndarray, first: int, unit: float, background: np.ndarray, out: np.ndarray) -> None:
    last = first + out.size
    for k in range(out.size):
        out[k] = background[k]
    for m in range(waves.shape[0]):
        add_power(waves[m, 0, first:last], waves[m, 1, first:last], unit, out)


@_inlined
def _nothing_beyond(width: int, slope: np.ndarray, value: np.ndarray) -> None:
    """What is beyond the pixels of the last strip counts for nothing."""
    for line in range(0, slope.size, LANES):
        for k in range(line + width, line + LANES):
            slope[k] = 0
            value[k] = 0


@_inlined
def _by_scale(
    intensity: np.ndarray, slope: np.ndarray, background: np.ndarray, mask: np.ndarray, floor: float, each: np.ndarray
) -> None:
    """Adds the sums for gradient and curvature of a factor on the intensity."""
    zero = mask.dtype.type(0)
    first, second = zero, zero
    for k in range(intensity.size):
        signal = intensity[k] - background[k] if mask[k] != 0 else zero
        first += slope[k] * signal
        second += mask[k] * signal * signal / (intensity[k] + floor) if mask[k] != 0 else zero
    each[2] += first
    each[3] += second


@_inlined
def _by_position(
    jacobian: np.ndarray, intensity: np.ndarray, mask: np.ndarray, factor: float, floor: float, each: np.ndarray
) -> None:
    """Adds to the curvature of the position."""
    zero = mask.dtype.type(0)
    yy, yx, xx = zero, zero, zero
    j_y, j_x = jacobian[0], jacobian[1]
    for k in range(intensity.size):
        weight = mask[k] / (intensity[k] + floor) if mask[k] != 0 else zero
        along_y, along_x = (j_y[k], j_x[k]) if mask[k] != 0 else (zero, zero)
        yy += weight * along_y * along_y
        yx += weight * along_y * along_x
        xx += weight * along_x * along_x
    each[4] += factor * factor * yy
    each[5] += factor * factor * yx
    each[6] += factor * factor * xx


@_inlined
def detect(
    n: int,
    waves: np.ndarray,
    seen: Measured,
    grid: Layout,
    near: bool,
    jacobian: np.ndarray | None,
    asked: Asked,
    sums: Sums,
) -> float:
    """The loss of one pattern; the waves are multiplied by its slope."""
    unit, floor, factor = seen.sizes
    scale, each, image, total = seen.scale[n], sums.each[n], seen.target[seen.rows[n]], 0.0
    axis, kind = (0 if near else 1), waves.dtype
    size = grid.table[NY + axis] * LANES
    target, mask, background = np.ones(size, kind), np.ones(size, kind), np.zeros(size, kind)
    intensity, slope, value = np.empty(size, kind), np.empty(size, kind), np.empty(size, kind)
    for strip in range(grid.table[STRIPS + axis]):
        first, width = strip * grid.table[LINES + axis] * LANES, grid.table[NX - axis] - strip * LANES
        last = first + size
        lay(image, not near, strip, target, grid)
        if seen.mask.size:
            lay(seen.mask[n if seen.mask.shape[0] > 1 else 0], not near, strip, mask, grid)
        if seen.background.size:
            lay(seen.background, not near, strip, background, grid)
        _intensity(waves, first, unit * scale, background, intensity)
        pixel_losses(intensity, target, seen.noise, floor, slope, value)
        if seen.mask.size:
            weigh(mask, slope, value)
        if width < LANES:
            _nothing_beyond(width, slope, value)
        part = floor * 0
        for k in range(size):
            part += value[k]
        total += part
        if asked.scale:
            _by_scale(intensity, slope, background, mask, floor, each)
        if jacobian is not None:
            _by_position(jacobian[:, first:last], intensity, mask, unit * scale, floor, each)
        if sums.background.size:
            add(slope, sums.background[first:last])
        for m in range(waves.shape[0]):
            times(waves[m, 0, first:last], waves[m, 1, first:last], slope, factor * scale)
    return total
