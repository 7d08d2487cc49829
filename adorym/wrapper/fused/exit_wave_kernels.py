"""The exit-wave loss and its adjoints, one pattern after the other, in compiled loops that stay in the cache.

Pictures and spectra are in the order of `strips`: ``(2, size)`` numbers, real and imaginary parts. What the detector
sees is a spectrum in the far field and a picture in the near field. A thin object is the last slice of a thick one.
Scalars arrive in the type of the arrays: one float64 among float32 halves the width of a loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adorym.wrapper.fused.detector_kernels import Asked, Measured, Sums, detect
from adorym.wrapper.fused.kernels import _inlined, _jit, tell_of_compiling
from adorym.wrapper.fused.lanes import LANES, outer
from adorym.wrapper.fused.products import add, add_both, add_power, moment, multiply, multiply_conj, pass_back, times_i
from adorym.wrapper.fused.slice_kernels import (
    add_transmitted,
    back_through,
    slices_from_strips,
    slices_to_strips,
    through,
)
from adorym.wrapper.fused.strips import (
    BACK,
    LINES,
    LINES_X,
    NX,
    STRIPS,
    STRIPS_Y,
    THERE,
    Layout,
    from_strips,
    to_strips,
    transform,
)


class Beam(NamedTuple):
    """What lights the object.

    Attributes:
        modes: ``(m, 2, size)`` probe modes; their spectra over the number of pixels if they are shifted.
        ramp_y: ``(n, 2, LANES strips)`` factors of the shifts by ``k_y``; empty without shifts.
        ramp_x: ``(n, 2 lines)`` factors by the lines of a spectrum, real and imaginary parts in turn.
        f_y: ``(size,)`` frequency along y of the numbers of a spectrum, in cycles a pixel; empty without shifts.
        f_x: The same along x.
        transfer: ``(2, size)`` near-field transfer function over the number of pixels; empty in the far field.
        segment: Number of slices whose waves are stored; those of others are worked out once more for the gradient.
    """

    modes: np.ndarray
    ramp_y: np.ndarray
    ramp_x: np.ndarray
    f_y: np.ndarray
    f_x: np.ndarray
    transfer: np.ndarray
    segment: int


Optional = np.ndarray | None


class Work(NamedTuple):
    """Arrays that one pattern after the other is worked on in; p and s stand for pictures and spectra ``(2, size)``.

    Attributes:
        slices: ``(z, p)`` the object.
        ramp: ``s`` factors of the shift.
        probes: ``(m, p)`` waves in front of the last slice.
        spectra: ``(m, s)`` behind it.
        waves: ``(m, p or s)`` at the detector.
        segments: ``(m, z, p)`` waves in front of the slices of the last segment.
        kept: ``(m, segments - 1, p)`` waves in front of the others.
        scratch: A picture, and two spectra.
        spare: ``(1, p)``.
    """

    slices: np.ndarray
    ramp: np.ndarray
    probes: np.ndarray
    spectra: np.ndarray
    waves: np.ndarray
    segments: np.ndarray
    kept: np.ndarray
    scratch: tuple[np.ndarray, np.ndarray, np.ndarray]
    spare: np.ndarray


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
def _jacobian(beam: Beam, kernels: Optional, grid: Layout, work: Work, jacobian: np.ndarray) -> None:
    """``d sqrt(I) / d position`` of every pixel along both axes, but for the factor ``unit / sqrt(I)``."""
    picture, spectrum, other = work.scratch
    depth, waves = work.slices.shape[0], work.waves
    two_pi = waves.dtype.type(2 * np.pi)
    near = beam.transfer.size > 0
    jacobian[:] = 0
    for axis in range(2):
        f = beam.f_y if axis == 0 else beam.f_x
        out = jacobian[axis]
        for m in range(waves.shape[0]):
            multiply(beam.modes[m], work.ramp, spectrum)
            times_i(spectrum, f, -two_pi, spectrum)
            transform(spectrum, picture, grid, BACK)
            if kernels is not None:
                through(work.slices, kernels, grid, picture, picture, (work.spare, work.kept[m, :0], (spectrum, other)))
            multiply(work.slices[depth - 1], picture, picture)
            transform(picture, spectrum, grid, THERE)
            if near:  # the detector stands still: the wave is shifted back by as much
                times_i(work.spectra[m], f, two_pi, other)
                add(other[0], spectrum[0])
                add(other[1], spectrum[1])
                multiply(beam.transfer, spectrum, spectrum)
                multiply_conj(work.ramp, spectrum, spectrum)
                transform(spectrum, picture, grid, BACK)
            moved = picture if near else spectrum
            for k in range(out.size):
                out[k] += waves[m, 0, k] * moved[0, k] + waves[m, 1, k] * moved[1, k]


@_inlined
def _there(beam: Beam, kernels: Optional, grid: Layout, work: Work) -> None:
    """The waves at the detector, and their spectra behind the object."""
    picture, spectrum, other = work.scratch
    depth, moving = work.slices.shape[0], beam.f_y.size > 0
    for m in range(beam.modes.shape[0]):
        if moving:
            multiply(beam.modes[m], work.ramp, spectrum)
            transform(spectrum, work.probes[m], grid, BACK)
        if kernels is not None:
            first = work.probes[m] if moving else beam.modes[m]
            stored = (work.segments[m], work.kept[m], (spectrum, other))
            through(work.slices, kernels, grid, first, work.probes[m], stored)
        multiply(work.slices[depth - 1], work.probes[m], picture)
        transform(picture, work.spectra[m], grid, THERE)
        if beam.transfer.size:
            multiply(beam.transfer, work.spectra[m], spectrum)
            if moving:
                multiply_conj(work.ramp, spectrum, spectrum)
            transform(spectrum, work.waves[m], grid, BACK)


@_inlined
def _from_detector(m: int, beam: Beam, grid: Layout, positions: bool, work: Work, each: np.ndarray) -> None:
    """The gradient by an exit wave, in the picture; a shift back has its part in the gradient of the position."""
    picture, spectrum, _ = work.scratch
    if beam.transfer.size == 0:
        transform(work.waves[m], picture, grid, BACK)
        return
    transform(work.waves[m], spectrum, grid, THERE)
    multiply_conj(beam.transfer, spectrum, spectrum)
    if beam.f_y.size:
        multiply(work.ramp, spectrum, spectrum)
        if positions:
            each[0] -= 2 * np.pi * moment(spectrum, work.spectra[m], beam.f_y)
            each[1] -= 2 * np.pi * moment(spectrum, work.spectra[m], beam.f_x)
    transform(spectrum, picture, grid, BACK)


@_inlined
def _back(
    n: int, beam: Beam, kernels: Optional, grid: Layout, asked: Asked, work: Work, g_slices: np.ndarray, sums: Sums
) -> None:
    """From the gradient by the waves at the detector to that by object, probe and position; the waves are lost.

    A single mode that is not shifted leaves a thin object's in its own place: the cache has room for little more.
    """
    picture, spectrum, other = work.scratch
    g_modes, each = sums.modes, sums.each[n]
    depth, moving = work.slices.shape[0], beam.f_y.size > 0
    obj, g_obj = work.slices[depth - 1], g_slices[depth - 1]
    if moving or g_modes.shape[0] > 1 or depth > 1:
        for z in range(depth):
            g_slices[z] = 0
    for m in range(g_modes.shape[0]):
        _from_detector(m, beam, grid, asked.positions, work, each)
        if not moving and depth == 1:
            if g_modes.shape[0] == 1:
                pass_back(obj, work.probes[m], picture, g_modes[m])
            else:
                add_both(work.probes[m], obj, picture, g_obj, g_modes[m])
            continue
        pass_back(work.probes[m], obj, picture, g_obj)
        if kernels is not None:
            stored = (work.segments[m], work.kept[m], (spectrum, other))
            back_through(work.slices, kernels, grid, picture, (g_slices, sums.kernels), stored)
        if not (asked.probe or asked.positions):
            continue
        if moving:
            transform(picture, spectrum, grid, THERE)
            multiply_conj(work.ramp, spectrum, spectrum)
        found = spectrum if moving else picture
        add(found[0], g_modes[m, 0])
        add(found[1], g_modes[m, 1])
        if asked.positions and moving:
            each[0] -= 2 * np.pi * moment(beam.modes[m], spectrum, beam.f_y)
            each[1] -= 2 * np.pi * moment(beam.modes[m], spectrum, beam.f_x)


# -- all of them -------------------------------------------------------------------------------------------------------
@_inlined
def _work(beam: Beam, grid: Layout, depth: int) -> Work:
    modes, kind, table = beam.modes.shape[0], beam.modes.dtype, grid.table
    near, moving, deep = beam.transfer.size > 0, beam.f_y.size > 0, depth > 1
    size_a, size_b = table[LINES] * table[STRIPS] * LANES, table[LINES_X] * table[STRIPS_Y] * LANES
    length = min(beam.segment, depth - 1)
    spectra = np.zeros((modes, 2, size_b), kind)
    return Work(
        np.zeros((depth, 2, size_a), kind),
        np.zeros((2, size_b), kind),
        np.zeros((modes, 2, size_a), kind) if moving or deep else beam.modes,
        spectra,
        np.zeros((modes, 2, size_a), kind) if near else spectra,
        np.zeros((modes, length, 2, size_a), kind),
        np.zeros((modes, (depth - 2) // length if deep else 0, 2, size_a), kind),
        (np.zeros((2, size_a), kind), np.zeros((2, size_b), kind), np.zeros((2, size_b), kind)),
        np.zeros((1, 2, size_a), kind),
    )


@_jit
def loss_and_gradients(
    obj: np.ndarray,
    beam: Beam,
    kernels: Optional,
    seen: Measured,
    grid: Layout,
    asked: Asked,
    jacobian: Optional,
    sums: Sums,
) -> float:
    """The loss summed over patterns, with the gradients that `Sums` collects.

    What an argument that is ``None`` stands for is not compiled either.

    Args:
        obj: ``(n, y, 2 x z)`` windows of the object: for each pixel, the real and imaginary parts of all slices.
        beam: The probe.
        kernels: ``(1 or slices - 1, 2, size)`` transfer functions from slice to slice over the number of pixels;
            ``None`` for a thin object.
        seen: The patterns.
        grid: Where pixels lie.
        asked: What is to be worked out.
        jacobian: ``(2, size)`` scratch for the curvature of positions; ``None`` if nobody asks.
        sums: Results, zero before.
    """
    modes, depth = beam.modes.shape[0], obj.shape[2] // (2 * grid.table[NX])
    near, moving = beam.transfer.size > 0, beam.f_y.size > 0
    work = _work(beam, grid, depth)
    slices, g_slices, picture = work.slices, np.zeros(work.slices.shape, work.slices.dtype), work.scratch[0]
    found = g_slices[0] if moving or modes > 1 else picture
    total = 0.0
    for n in range(obj.shape[0]):
        if kernels is None:
            to_strips(obj[n], slices[0], grid)
        else:
            slices_to_strips(obj[n], slices, grid)
        if moving:
            _ramp(n, beam, grid, work.ramp)
        _there(beam, kernels, grid, work)
        if jacobian is not None:
            _jacobian(beam, kernels, grid, work, jacobian)
        total += detect(n, work.waves, seen, grid, near, jacobian, asked, sums)
        if sums.power.size:
            if kernels is None:
                add_power(slices[0, 0], slices[0, 1], seen.scale[n], sums.power)
            else:
                add_transmitted(slices, seen.scale[n], sums.power)
        _back(n, beam, kernels, grid, asked, work, g_slices, sums)
        if kernels is None:
            from_strips(found, sums.windows[n], grid)
        else:
            slices_from_strips(g_slices, sums.windows[n], grid)
    return total


tell_of_compiling(loss_and_gradients.stats.cache_path, "exit_wave_kernels.loss_and_gradients")
