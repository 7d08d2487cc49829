"""The exit-wave loss and its adjoints, one pattern after the other, in compiled loops that stay in the cache.

Pictures and spectra are in the order of `strips`: ``(2, size)`` numbers, real and imaginary parts. What the detector
sees is a spectrum in the far field and a picture in the near field. Scalars arrive in the type of the arrays: one
float64 among float32 halves the width of a loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adorym.wrapper.fused.detector_kernels import Asked, Measured, Sums, add, add_power, detect
from adorym.wrapper.fused.kernels import _inlined, _jit, forget_older
from adorym.wrapper.fused.lanes import LANES, add_adjoint_product, adjoint_product, outer, product
from adorym.wrapper.fused.strips import (
    BACK,
    LINES,
    LINES_X,
    STRIPS,
    STRIPS_Y,
    THERE,
    Layout,
    from_strips,
    to_strips,
    transform,
)

# So many numbers are added up in their own precision, these sums in double precision.
LINE = 512


class Beam(NamedTuple):
    """What lights the object.

    Attributes:
        modes: ``(m, 2, size)`` probe modes; their spectra over the number of pixels if they are shifted.
        ramp_y: ``(n, 2, LANES strips)`` factors of the shifts by ``k_y``; empty without shifts.
        ramp_x: ``(n, 2 lines)`` factors by the lines of a spectrum, real and imaginary parts in turn.
        f_y: ``(size,)`` frequency along y of the numbers of a spectrum, in cycles a pixel; empty without shifts.
        f_x: The same along x.
        transfer: ``(2, size)`` near-field transfer function over the number of pixels; empty in the far field.
    """

    modes: np.ndarray
    ramp_y: np.ndarray
    ramp_x: np.ndarray
    f_y: np.ndarray
    f_x: np.ndarray
    transfer: np.ndarray


# -- complex numbers in two parts, (2, size) ---------------------------------------------------------------------------
@_jit
def _product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for at in range(0, out.shape[1], LANES):
        product(a, b, out, at)


@_jit
def _adjoint_product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``conj(a) b``."""
    for at in range(0, out.shape[1], LANES):
        adjoint_product(a, b, out, at)


@_jit
def _split(probe: np.ndarray, obj: np.ndarray, g: np.ndarray, g_obj: np.ndarray, g_probe: np.ndarray) -> None:
    """Adds ``conj(probe) g`` to ``g_obj`` and ``conj(obj) g`` to ``g_probe``."""
    for at in range(0, g.shape[1], LANES):
        add_adjoint_product(probe, g, g_obj, at)
        add_adjoint_product(obj, g, g_probe, at)


@_jit
def _split_in_place(probe: np.ndarray, obj: np.ndarray, g: np.ndarray, g_obj: np.ndarray) -> None:
    """Adds ``conj(probe) g`` to ``g_obj``; ``conj(obj) g`` replaces ``g``."""
    for at in range(0, g.shape[1], LANES):
        add_adjoint_product(probe, g, g_obj, at)
        adjoint_product(obj, g, g, at)


@_jit
def _turned(a: np.ndarray, rate: np.ndarray, size: float, out: np.ndarray) -> None:
    """``out = i size rate a``."""
    a_re, a_im, re, im = a[0], a[1], out[0], out[1]
    for k in range(re.size):
        c = size * rate[k]
        x = -c * a_im[k]
        im[k] = c * a_re[k]
        re[k] = x


@_jit
def _moment(a: np.ndarray, b: np.ndarray, f: np.ndarray) -> float:
    """``sum f Im(conj(a) b)``."""
    total = 0.0
    for first in range(0, f.size, LINE):
        last = min(first + LINE, f.size)
        a_re, a_im, b_re, b_im = a[0, first:last], a[1, first:last], b[0, first:last], b[1, first:last]
        weight, part = f[first:last], f[0] * 0
        for k in range(weight.size):
            part += weight[k] * (a_re[k] * b_im[k] - a_im[k] * b_re[k])
        total += part
    return total


# -- one pattern -------------------------------------------------------------------------------------------------------
@_inlined
def _ramp(n: int, beam: Beam, grid: Layout, out: np.ndarray) -> None:
    """The factors that shift pattern ``n``'s probe, by frequency."""
    lines, strips = grid.table[LINES_X], grid.table[STRIPS_Y]
    for strip in range(strips):
        for line in range(lines):
            to = (strip * lines + line) * LANES
            outer(beam.ramp_y[n], strip * LANES, beam.ramp_x[n], 2 * line, out, to)


@_inlined
def _jacobian(beam: Beam, grid: Layout, seen: tuple, scratch: tuple) -> None:
    """``d sqrt(I) / d position`` of every pixel along both axes, but for the factor ``unit / sqrt(I)``."""
    waves, spectra, jacobian = seen
    ramp, obj, picture, spectrum, other = scratch
    two_pi = obj.dtype.type(2 * np.pi)
    near = beam.transfer.size > 0
    jacobian[:] = 0
    for axis in range(2):
        f = beam.f_y if axis == 0 else beam.f_x
        out = jacobian[axis]
        for m in range(waves.shape[0]):
            _product(beam.modes[m], ramp, spectrum)
            _turned(spectrum, f, -two_pi, spectrum)
            transform(spectrum, picture, grid, BACK)
            _product(obj, picture, picture)
            transform(picture, spectrum, grid, THERE)
            if near:  # the detector stands still: the wave is shifted back by as much
                _turned(spectra[m], f, two_pi, other)
                add(other[0], spectrum[0])
                add(other[1], spectrum[1])
                _product(beam.transfer, spectrum, spectrum)
                _adjoint_product(ramp, spectrum, spectrum)
                transform(spectrum, picture, grid, BACK)
            moved = picture if near else spectrum
            for k in range(out.size):
                out[k] += waves[m, 0, k] * moved[0, k] + waves[m, 1, k] * moved[1, k]


@_inlined
def _there(beam: Beam, grid: Layout, arrays: tuple, scratch: tuple) -> None:
    """The waves at the detector, and their spectra behind the object."""
    obj, ramp, probes, spectra, waves = arrays
    picture, spectrum, _ = scratch
    moving = beam.f_y.size > 0
    for m in range(probes.shape[0]):
        if moving:
            _product(beam.modes[m], ramp, spectrum)
            transform(spectrum, probes[m], grid, BACK)
        _product(obj, probes[m], picture)
        transform(picture, spectra[m], grid, THERE)
        if beam.transfer.size:
            _product(beam.transfer, spectra[m], spectrum)
            if moving:
                _adjoint_product(ramp, spectrum, spectrum)
            transform(spectrum, waves[m], grid, BACK)


@_inlined
def _from_detector(
    m: int, beam: Beam, grid: Layout, positions: bool, arrays: tuple, scratch: tuple, each: np.ndarray
) -> None:
    """The gradient by an exit wave, in the picture; a shift back has its part in the gradient of the position."""
    _, ramp, _, spectra, waves = arrays
    picture, spectrum, _ = scratch
    if beam.transfer.size == 0:
        transform(waves[m], picture, grid, BACK)
        return
    transform(waves[m], spectrum, grid, THERE)
    _adjoint_product(beam.transfer, spectrum, spectrum)
    if beam.f_y.size:
        _product(ramp, spectrum, spectrum)
        if positions:
            each[0] -= 2 * np.pi * _moment(spectrum, spectra[m], beam.f_y)
            each[1] -= 2 * np.pi * _moment(spectrum, spectra[m], beam.f_x)
    transform(spectrum, picture, grid, BACK)


@_inlined
def _back(beam: Beam, grid: Layout, asked: Asked, arrays: tuple, scratch: tuple, results: tuple) -> None:
    """From the gradient by the waves at the detector to that by object, probe and position; the waves are lost.

    A single mode that is not shifted leaves the object's in its own place: the cache has room for little more.
    """
    obj, ramp, probes, _, _ = arrays
    picture, spectrum, _ = scratch
    g_obj, g_modes, each = results
    moving = beam.f_y.size > 0
    if moving or probes.shape[0] > 1:
        g_obj[:] = 0
    for m in range(probes.shape[0]):
        _from_detector(m, beam, grid, asked.positions, arrays, scratch, each)
        if not moving:
            if probes.shape[0] == 1:
                _split_in_place(obj, probes[m], picture, g_modes[m])
            else:
                _split(probes[m], obj, picture, g_obj, g_modes[m])
            continue
        _split_in_place(probes[m], obj, picture, g_obj)
        if not (asked.probe or asked.positions):
            continue
        transform(picture, spectrum, grid, THERE)
        _adjoint_product(ramp, spectrum, spectrum)
        add(spectrum[0], g_modes[m, 0])
        add(spectrum[1], g_modes[m, 1])
        if asked.positions:
            each[0] -= 2 * np.pi * _moment(beam.modes[m], spectrum, beam.f_y)
            each[1] -= 2 * np.pi * _moment(beam.modes[m], spectrum, beam.f_x)


# -- all of them -------------------------------------------------------------------------------------------------------
@_jit
def loss_and_gradients(
    obj: np.ndarray, beam: Beam, seen: Measured, grid: Layout, asked: Asked, g_obj: np.ndarray, sums: Sums
) -> float:
    """The loss summed over patterns, with the gradients of the object windows and what `Sums` collects.

    Args:
        obj: ``(n, y, 2 x)`` windows of the object, real and imaginary parts in turn.
        beam: The probe.
        seen: The patterns.
        grid: Where pixels lie.
        asked: What is to be worked out.
        g_obj: Result, like ``obj``.
        sums: Results, zero before.
    """
    modes, kind = beam.modes.shape[0], beam.modes.dtype
    near, moving = beam.transfer.size > 0, beam.f_y.size > 0
    table = grid.table
    size_a, size_b = table[LINES] * table[STRIPS] * LANES, table[LINES_X] * table[STRIPS_Y] * LANES
    size = size_a if near else size_b
    window, g_window, picture = np.empty((2, size_a), kind), np.empty((2, size_a), kind), np.empty((2, size_a), kind)
    spectrum, other, ramp = np.empty((2, size_b), kind), np.empty((2, size_b), kind), np.empty((2, size_b), kind)
    probes = np.empty((modes, 2, size_a), kind) if moving else beam.modes
    spectra = np.empty((modes, 2, size_b), kind)
    waves = np.empty((modes, 2, size_a), kind) if near else spectra
    arrays, scratch = (window, ramp, probes, spectra, waves), (picture, spectrum, other)
    jacobian = np.empty((2, size if asked.position_curvature else 0), kind)
    found = g_window if moving or modes > 1 else picture
    total = 0.0
    for n in range(obj.shape[0]):
        to_strips(obj[n], window, grid)
        if moving:
            _ramp(n, beam, grid, ramp)
        _there(beam, grid, arrays, scratch)
        if asked.position_curvature:
            _jacobian(beam, grid, (waves, spectra, jacobian), (ramp, window, picture, spectrum, other))
        total += detect(n, waves, seen, grid, near, jacobian, asked, sums)
        if sums.power.size:
            add_power(window[0], window[1], seen.scale[n], sums.power)
        _back(beam, grid, asked, arrays, scratch, (g_window, sums.modes, sums.each[n]))
        from_strips(found, g_obj[n], grid)
    return total


forget_older(loss_and_gradients.stats.cache_path)
