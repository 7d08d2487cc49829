"""Elementwise loops of the ptychographic exit-wave loss, compiled by numba.

Complex arrays arrive as real views with the real and imaginary parts interleaved in the last axis (length ``2 k`` for
``k`` pixels): LLVM vectorizes these loops better than complex ones. No ``nnan`` among the fast-math flags, so a
not-a-number in the data is seen by the caller. Scalars arrive in the type of the arrays: one float64 among float32
halves the width of a loop. Indices are written ``2 * k``: a loop of stride two is not vectorized.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from adorym.wrapper.fused.noise import HUBER, INTENSITY, LEAST_SQUARES, POISSON

_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


@_jit
def exit_waves(probe: np.ndarray, obj: np.ndarray, out: np.ndarray) -> None:
    """``out[n, m] = probe[n or 0, m] * obj[n]``."""
    step = 0 if probe.shape[0] == 1 else 1
    for n in range(out.shape[0]):
        o = obj[n]
        for m in range(out.shape[1]):
            p, w = probe[n * step, m], out[n, m]
            for k in range(o.size // 2):
                w[2 * k] = p[2 * k] * o[2 * k] - p[2 * k + 1] * o[2 * k + 1]
                w[2 * k + 1] = p[2 * k] * o[2 * k + 1] + p[2 * k + 1] * o[2 * k]


@_jit
def _intensity(wave: np.ndarray, factor: float, background: np.ndarray, out: np.ndarray) -> None:
    out[:] = 0
    for m in range(wave.shape[0]):
        w = wave[m]
        for k in range(out.size):
            out[k] += w[2 * k] * w[2 * k] + w[2 * k + 1] * w[2 * k + 1]
    for k in range(out.size):
        out[k] *= factor
    if background.size:
        for k in range(out.size):
            out[k] += background[k]


@_jit
def pixel_losses(
    intensity: np.ndarray, target: np.ndarray, noise: tuple, floor: float, slope: np.ndarray, value: np.ndarray
) -> None:
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
            value[k] = i - t + t * np.log(t / i)
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
            value[k] = shape * np.log(ratio)
            slope[k] = difference / (amplitude * ratio)
    if saturated < np.inf:
        for k in range(intensity.size):
            if target[k] >= saturated and slope[k] > 0:
                slope[k] = 0
                value[k] = 0


@_jit
def _multiply(wave: np.ndarray, slope: np.ndarray, factor: float) -> None:
    for m in range(wave.shape[0]):
        w = wave[m]
        for k in range(slope.size):
            c = factor * slope[k]
            w[2 * k] *= c
            w[2 * k + 1] *= c


@_jit
def detect(
    wave: np.ndarray,
    measured: tuple,
    sizes: tuple,
    scale: np.ndarray,
    background: np.ndarray,
    intensity: np.ndarray,
    slope: np.ndarray,
) -> float:
    """Intensities ``(n, k)``, their slope ``dL/dI`` and the loss summed over pixels; then the wave times its slope.

    ``intensity[n] = scale[n] unit sum_m |wave[n, m]|^2 + background``, where ``scale`` and ``background`` may be empty.
    With ``J = intensity + floor`` the loss is ``(sqrt J - target)^2`` (least squares, target an amplitude), the Poisson
    deviance ``J - target + target log(target / J)`` (target a count), or another one of `fused.noise`. Unless
    ``factor`` is zero, ``wave[n, m] *= factor scale[n] slope[n]``. One pattern after the other: it stays in the cache.
    Results of one row are scratch, overwritten by the next pattern.

    Args:
        wave: ``(n, m, 2 k)``.
        measured: ``(target (any, k), its rows (n,), mask (1 or n, k or 0), (code, shape, saturated))``.
        sizes: ``(unit, floor, factor)``.
        scale: ``(n,)`` or empty.
        background: ``(k,)`` or empty.
        intensity: Result, ``(n, k)`` or ``(1, k)``.
        slope: Result, likewise.
    """
    target, rows, mask, noise = measured
    unit, floor, factor = sizes
    total = 0.0
    step = 0 if mask.shape[0] == 1 else 1
    value = np.empty(intensity.shape[1], intensity.dtype)
    keep = 0 if intensity.shape[0] == 1 else 1
    for n in range(wave.shape[0]):
        s = scale[n] if scale.size else unit / unit
        i_row, s_row = intensity[n * keep], slope[n * keep]
        _intensity(wave[n], unit * s, background, i_row)
        pixel_losses(i_row, target[rows[n]], noise, floor, s_row, value)
        if mask.size:
            for k in range(value.size):
                s_row[k] *= mask[n * step, k]
                value[k] *= mask[n * step, k]
        part = floor - floor
        for k in range(value.size):
            part += value[k]
        total += part
        if factor != 0:
            _multiply(wave[n], s_row, factor * s)
    return total


@_jit
def multiply_slope(wave: np.ndarray, slope: np.ndarray, scale: np.ndarray, factor: float) -> None:
    """``wave[n, m] *= factor scale[n] slope[n]`` in place, for a wave that `detect` was to leave as it was."""
    for n in range(wave.shape[0]):
        _multiply(wave[n], slope[n], factor * scale[n] if scale.size else factor)


@_jit
def _split_first(w: np.ndarray, p: np.ndarray, o: np.ndarray, results: tuple) -> None:
    go, gp, power = results
    for k in range(power.size):
        a, b, c, d = w[2 * k], w[2 * k + 1], o[2 * k], o[2 * k + 1]
        power[k] += c * c + d * d
        go[2 * k] = p[2 * k] * a + p[2 * k + 1] * b
        go[2 * k + 1] = p[2 * k] * b - p[2 * k + 1] * a
        gp[2 * k] += c * a + d * b
        gp[2 * k + 1] += c * b - d * a


@_jit
def split_gradient(g: np.ndarray, probe: np.ndarray, obj: np.ndarray, results: tuple, shifted: bool) -> None:
    """The adjoint of `exit_waves`, ``results = (g_obj, g_probe, power)``.

    ``g_obj[n] = sum_m conj(probe) g[n, m]``; ``conj(obj) g`` replaces ``g`` (shifted), or its sum is added to
    ``g_probe``; unless it is empty, ``sum_n |obj[n]|^2`` is added to ``power``.
    """
    g_obj, g_probe, power = results
    step = 0 if probe.shape[0] == 1 else 1
    for n in range(g.shape[0]):
        o, go = obj[n], g_obj[n]
        first = 0
        if power.size and not shifted:  # all of the first mode's work at once: this loop is bound by memory
            _split_first(g[n, 0], probe[n * step, 0], o, (go, g_probe[0], power))
            first = 1
        else:
            go[:] = 0
            for k in range(power.size):
                power[k] += o[2 * k] * o[2 * k] + o[2 * k + 1] * o[2 * k + 1]
        for m in range(first, g.shape[1]):
            p, w = probe[n * step, m], g[n, m]
            if shifted:
                for k in range(o.size // 2):
                    a, b = w[2 * k], w[2 * k + 1]
                    go[2 * k] += p[2 * k] * a + p[2 * k + 1] * b
                    go[2 * k + 1] += p[2 * k] * b - p[2 * k + 1] * a
                    w[2 * k] = o[2 * k] * a + o[2 * k + 1] * b
                    w[2 * k + 1] = o[2 * k] * b - o[2 * k + 1] * a
            else:
                gp = g_probe[m]
                for k in range(o.size // 2):
                    a, b = w[2 * k], w[2 * k + 1]
                    go[2 * k] += p[2 * k] * a + p[2 * k + 1] * b
                    go[2 * k + 1] += p[2 * k] * b - p[2 * k + 1] * a
                    gp[2 * k] += o[2 * k] * a + o[2 * k + 1] * b
                    gp[2 * k + 1] += o[2 * k] * b - o[2 * k + 1] * a


@_jit
def apply_ramp(spectrum: np.ndarray, ramp_y: np.ndarray, ramp_x: np.ndarray, out: np.ndarray) -> None:
    """``out[n, m] = spectrum[m] ramp_y[n] ramp_x[n]``, ``out`` ``(n, m, y, 2 x)``: a shift in Fourier space."""
    for n in range(out.shape[0]):
        rx = ramp_x[n]
        for m in range(out.shape[1]):
            for y in range(out.shape[2]):
                c, s = ramp_y[n, 2 * y], ramp_y[n, 2 * y + 1]
                source, row = spectrum[m, y], out[n, m, y]
                for k in range(row.size // 2):
                    re = c * rx[2 * k] - s * rx[2 * k + 1]
                    im = c * rx[2 * k + 1] + s * rx[2 * k]
                    row[2 * k] = source[2 * k] * re - source[2 * k + 1] * im
                    row[2 * k + 1] = source[2 * k] * im + source[2 * k + 1] * re


@_jit
def ramp_adjoint(
    g: np.ndarray,
    spectrum: np.ndarray,
    ramp_y: np.ndarray,
    ramp_x: np.ndarray,
    frequency: tuple,
    g_spectrum: np.ndarray,
    g_shift: np.ndarray,
) -> None:
    """Adjoint of `apply_ramp`: adds to ``g_spectrum[m]`` and, unless it is empty, to ``g_shift[n]`` ``(y, x)``."""
    f_y, f_x = frequency
    size = g.shape[3] // 2
    slope = np.empty(size, g.dtype)
    zero = f_y[0] * 0
    for n in range(g.shape[0]):
        rx = ramp_x[n]
        s_y, s_x = 0.0, 0.0
        for m in range(g.shape[1]):
            for y in range(g.shape[2]):
                c, s = ramp_y[n, 2 * y], ramp_y[n, 2 * y + 1]
                row, p, acc = g[n, m, y], spectrum[m, y], g_spectrum[m, y]
                for k in range(size):
                    re = c * rx[2 * k] - s * rx[2 * k + 1]
                    im = c * rx[2 * k + 1] + s * rx[2 * k]
                    a = re * row[2 * k] + im * row[2 * k + 1]
                    b = re * row[2 * k + 1] - im * row[2 * k]
                    acc[2 * k] += a
                    acc[2 * k + 1] += b
                    slope[k] = p[2 * k + 1] * a - p[2 * k] * b
                if g_shift.size:
                    line, moment = zero, zero
                    for k in range(size):
                        line += slope[k]
                        moment += f_x[k] * slope[k]
                    s_y += f_y[y] * line
                    s_x += moment
        if g_shift.size:
            g_shift[n, 0] += s_y
            g_shift[n, 1] += s_x


@_jit
def ramp_derivative(spectrum: np.ndarray, rate: np.ndarray, axis: int, out: np.ndarray) -> None:
    """``out = i rate spectrum``, rate = -2 pi f: derivative of the shifted probe by its shift along ``axis``."""
    for n in range(out.shape[0]):
        for m in range(out.shape[1]):
            for y in range(out.shape[2]):
                row, target = spectrum[n, m, y], out[n, m, y]
                for k in range(row.size // 2):
                    f = rate[y] if axis == 0 else rate[k]
                    target[2 * k] = -f * row[2 * k + 1]
                    target[2 * k + 1] = f * row[2 * k]


@_jit
def gauss_newton(
    wave: np.ndarray, d_y: np.ndarray, d_x: np.ndarray, weight: np.ndarray, factor: np.ndarray
) -> np.ndarray:
    """``(n, 2, 2)`` sums over pixels of ``J J^T`` with ``J = factor[n] sqrt(weight) sum_m Re(conj(wave) d)``."""
    n_patterns, n_modes = wave.shape[0], wave.shape[1]
    size = weight.shape[1]
    out = np.zeros((n_patterns, 2, 2))
    j_y, j_x = np.empty(size, wave.dtype), np.empty(size, wave.dtype)
    zero = factor[0] * 0
    for n in range(n_patterns):
        j_y[:] = 0
        j_x[:] = 0
        for m in range(n_modes):
            w, a, b = wave[n, m], d_y[n, m], d_x[n, m]
            for k in range(size):
                j_y[k] += w[2 * k] * a[2 * k] + w[2 * k + 1] * a[2 * k + 1]
                j_x[k] += w[2 * k] * b[2 * k] + w[2 * k + 1] * b[2 * k + 1]
        yy, yx, xx = zero, zero, zero
        row = weight[n]
        for k in range(size):
            yy += row[k] * j_y[k] * j_y[k]
            yx += row[k] * j_y[k] * j_x[k]
            xx += row[k] * j_x[k] * j_x[k]
        f = factor[n] * factor[n]
        out[n, 0, 0], out[n, 0, 1], out[n, 1, 0], out[n, 1, 1] = f * yy, f * yx, f * yx, f * xx
    return out


@_jit
def power_sum(wave: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """``out += sum_n weight[n] |wave[n]|^2``; an empty ``weight`` is one."""
    one = wave.dtype.type(1)
    for n in range(wave.shape[0]):
        f = weight[n] if weight.size else one
        w = wave[n]
        for k in range(out.size):
            out[k] += f * (w[2 * k] * w[2 * k] + w[2 * k + 1] * w[2 * k + 1])


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
