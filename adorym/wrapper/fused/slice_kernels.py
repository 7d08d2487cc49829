"""Waves through a thick object in slices, up to the last of them, and back, in compiled loops.

Slices and waves are pictures of `strips`, ``(2, size)``. `through` takes a wave from in front of the first slice to in
front of the last, which is then as good as a thin object; `back_through` is its adjoint.
"""

from __future__ import annotations

import numpy as np

from adorym.wrapper.fused.kernels import _jit
from adorym.wrapper.fused.lanes import LANES
from adorym.wrapper.fused.products import LINE, add_conj, copy, multiply, multiply_conj, pass_back
from adorym.wrapper.fused.strips import BACK, LINES, NX, NY, STRIPS, THERE, Layout, transform


@_jit
def _step(
    obj: np.ndarray, kernel: np.ndarray, grid: Layout, wave: np.ndarray, after: np.ndarray, spectrum: np.ndarray
) -> None:
    """The wave ``after`` a slice and the free space that follows; it may be the same array as ``wave``."""
    multiply(obj, wave, after)
    transform(after, spectrum, grid, THERE)
    multiply(kernel, spectrum, spectrum)
    transform(spectrum, after, grid, BACK)


@_jit
def through(
    slices: np.ndarray, kernels: np.ndarray, grid: Layout, wave: np.ndarray, last: np.ndarray, work: tuple
) -> None:
    """The wave in front of the last slice, from ``wave`` in front of the first; both may be one array.

    Args:
        slices: ``(z, 2, size)``.
        kernels: Transfer functions, as in `Beam`.
        grid: Where pixels lie.
        wave: Given.
        last: Result.
        work: What is kept for `back_through`: the waves in front of the slices of the last segment,
            ``(slices a segment, 2, size)``, and those in front of the other segments, ``(segments - 1, 2, size)``. Two
            scratch spectra.
    """
    segment, kept, (spectrum, _) = work
    length, end = segment.shape[0], slices.shape[0] - 1
    copy(wave, segment[0])
    for z in range(end):
        given = segment[z % length]
        if z % length == 0 and z // length < kept.shape[0]:
            copy(given, kept[z // length])
        after = last if z == end - 1 else segment[(z + 1) % length]
        _step(slices[z], kernels[z % kernels.shape[0]], grid, given, after, spectrum)


@_jit
def back_through(
    slices: np.ndarray, kernels: np.ndarray, grid: Layout, g: np.ndarray, results: tuple, work: tuple
) -> None:
    """The adjoint of `through`, after it: the gradient ``g`` by the last wave becomes that by the first.

    Gradients by slices and transfer functions are added to ``results``, by the latter unless they are empty.
    """
    g_slices, g_kernels = results
    segment, kept, (spectrum, other) = work
    length, end = segment.shape[0], slices.shape[0] - 1
    for back in range(end):
        z = end - 1 - back
        first = z // length * length
        if back and z % length == length - 1:
            copy(kept[z // length], segment[0])
            for y in range(first, z):
                wave, after = segment[y - first], segment[y - first + 1]
                _step(slices[y], kernels[y % kernels.shape[0]], grid, wave, after, spectrum)
        k = z % kernels.shape[0]
        transform(g, spectrum, grid, THERE)
        if g_kernels.size:
            multiply(slices[z], segment[z - first], g)
            transform(g, other, grid, THERE)
            add_conj(other, spectrum, g_kernels[k])
        multiply_conj(kernels[k], spectrum, spectrum)
        transform(spectrum, g, grid, BACK)
        pass_back(segment[z - first], slices[z], g, g_slices[z])


@_jit
def add_transmitted(slices: np.ndarray, factor: float, out: np.ndarray) -> None:
    """``out += factor prod_z |O_z|^2``: what all slices together transmit."""
    power = np.empty(LINE, out.dtype)
    for first in range(0, out.size, LINE):
        last = min(first + LINE, out.size)
        part, target = power[: last - first], out[first:last]
        for k in range(target.size):
            part[k] = factor
        for z in range(slices.shape[0]):
            re, im = slices[z, 0, first:last], slices[z, 1, first:last]
            for k in range(target.size):
                part[k] *= re[k] * re[k] + im[k] * im[k]
        for k in range(target.size):
            target[k] += part[k]


@_jit
def slices_to_strips(window: np.ndarray, out: np.ndarray, grid: Layout) -> None:
    """A thick window ``(y, 2 x z)``, for each pixel real and imaginary part of every slice, to ``(z, 2, size)``."""
    ny, nx, lines, depth = grid.table[NY], grid.table[NX], grid.table[LINES], out.shape[0]
    for strip in range(grid.table[STRIPS]):
        first = strip * LANES
        wide = min(LANES, nx - first)
        for y in range(ny):
            row, at = window[y], (strip * lines + y) * LANES
            for z in range(depth):
                for x in range(wide):
                    i = 2 * ((first + x) * depth + z)
                    out[z, 0, at + x], out[z, 1, at + x] = row[i], row[i + 1]


@_jit
def slices_from_strips(slices: np.ndarray, out: np.ndarray, grid: Layout) -> None:
    """The inverse of `slices_to_strips`, and its adjoint."""
    ny, nx, lines, depth = grid.table[NY], grid.table[NX], grid.table[LINES], slices.shape[0]
    for strip in range(grid.table[STRIPS]):
        first = strip * LANES
        wide = min(LANES, nx - first)
        for y in range(ny):
            row, at = out[y], (strip * lines + y) * LANES
            for z in range(depth):
                for x in range(wide):
                    i = 2 * ((first + x) * depth + z)
                    row[i], row[i + 1] = slices[z, 0, at + x], slices[z, 1, at + x]
