"""Elementwise loops of the ptychographic exit-wave loss, compiled by numba.

Complex arrays arrive as real views with the real and imaginary parts interleaved in the last axis (length ``2 k`` for
``k`` pixels): LLVM vectorises these loops better than complex ones. No ``nnan`` among the fast-math flags, so a
not-a-number in the data is seen by the caller.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
LEAST_SQUARES, POISSON = 0, 1


@_jit
def exit_waves(probe: np.ndarray, obj: np.ndarray, out: np.ndarray) -> None:
    """``out[n, m] = probe[n or 0, m] * obj[n]``."""
    step = 0 if probe.shape[0] == 1 else 1
    for n in range(out.shape[0]):
        o = obj[n]
        for m in range(out.shape[1]):
            p, w = probe[n * step, m], out[n, m]
            for k in range(0, o.size, 2):
                w[k] = p[k] * o[k] - p[k + 1] * o[k + 1]
                w[k + 1] = p[k] * o[k + 1] + p[k + 1] * o[k]


@_jit
def intensities(wave: np.ndarray, unit: float, scale: np.ndarray, background: np.ndarray, out: np.ndarray) -> None:
    """``out[n] = scale[n] unit sum_m |wave[n, m]|^2 + background``; ``scale`` and ``background`` may be empty."""
    for n in range(wave.shape[0]):
        row = out[n]
        row[:] = 0
        for m in range(wave.shape[1]):
            w = wave[n, m]
            for k in range(row.size):
                row[k] += w[2 * k] * w[2 * k] + w[2 * k + 1] * w[2 * k + 1]
        factor = unit * (scale[n] if scale.size else 1.0)
        for k in range(row.size):
            row[k] *= factor
        if background.size:
            for k in range(row.size):
                row[k] += background[k]


@_jit
def residual(
    intensity: np.ndarray, target: np.ndarray, mask: np.ndarray, noise: int, floor: float, slope: np.ndarray
) -> float:
    """The loss summed over pixels, and its slope ``dL/dI`` a pixel.

    ``target`` is the measured amplitude (least squares, ``(sqrt I - a)^2``) or count (Poisson deviance,
    ``I - N + N log(N / I)``).
    """
    total = 0.0
    step = 0 if mask.shape[0] == 1 else 1
    for n in range(intensity.shape[0]):
        i_row, t_row, s_row = intensity[n], target[n], slope[n]
        part = 0.0
        if noise == LEAST_SQUARES:
            for k in range(i_row.size):
                amplitude = np.sqrt(max(i_row[k], floor))
                difference = amplitude - t_row[k]
                part += difference * difference if mask.size == 0 else mask[n * step, k] * difference * difference
                s_row[k] = difference / amplitude
        else:
            for k in range(i_row.size):
                i, t = max(i_row[k], floor), t_row[k]
                s_row[k] = 1.0 - t / i
                value = i - t + (t * np.log(t / i) if t > 0 else 0.0)
                part += value if mask.size == 0 else mask[n * step, k] * value
        if mask.size:
            for k in range(i_row.size):
                s_row[k] *= mask[n * step, k]
        total += part
    return total


@_jit
def multiply_slope(wave: np.ndarray, slope: np.ndarray, scale: np.ndarray, factor: float) -> None:
    """``wave[n, m] *= factor scale[n] slope[n]`` in place."""
    for n in range(wave.shape[0]):
        row = slope[n]
        f = factor * (scale[n] if scale.size else 1.0)
        for m in range(wave.shape[1]):
            w = wave[n, m]
            for k in range(row.size):
                c = f * row[k]
                w[2 * k] *= c
                w[2 * k + 1] *= c


@_jit
def split_gradient(
    g: np.ndarray, probe: np.ndarray, obj: np.ndarray, g_obj: np.ndarray, g_probe: np.ndarray, shifted: bool
) -> None:
    """``g_obj[n] = sum_m conj(probe) g[n, m]``; ``conj(obj) g`` goes into ``g`` (shifted) or is summed into ``g_probe``."""
    step = 0 if probe.shape[0] == 1 else 1
    for n in range(g.shape[0]):
        o, go = obj[n], g_obj[n]
        go[:] = 0
        for m in range(g.shape[1]):
            p, w = probe[n * step, m], g[n, m]
            gp = w if shifted else g_probe[m]
            if shifted:
                for k in range(0, o.size, 2):
                    a, b = w[k], w[k + 1]
                    go[k] += p[k] * a + p[k + 1] * b
                    go[k + 1] += p[k] * b - p[k + 1] * a
                    w[k] = o[k] * a + o[k + 1] * b
                    w[k + 1] = o[k] * b - o[k + 1] * a
            else:
                for k in range(0, o.size, 2):
                    a, b = w[k], w[k + 1]
                    go[k] += p[k] * a + p[k + 1] * b
                    go[k + 1] += p[k] * b - p[k + 1] * a
                    gp[k] += o[k] * a + o[k + 1] * b
                    gp[k + 1] += o[k] * b - o[k + 1] * a


@_jit
def apply_ramp(spectrum: np.ndarray, ramp_y: np.ndarray, ramp_x: np.ndarray, out: np.ndarray) -> None:
    """``out[n, m] = spectrum[m] ramp_y[n] ramp_x[n]`` with ``out`` ``(n, m, y, 2 x)``: a sub-pixel shift in Fourier space."""
    for n in range(out.shape[0]):
        rx = ramp_x[n]
        for m in range(out.shape[1]):
            for y in range(out.shape[2]):
                c, s = ramp_y[n, 2 * y], ramp_y[n, 2 * y + 1]
                source, row = spectrum[m, y], out[n, m, y]
                for k in range(0, row.size, 2):
                    re = c * rx[k] - s * rx[k + 1]
                    im = c * rx[k + 1] + s * rx[k]
                    row[k] = source[k] * re - source[k + 1] * im
                    row[k + 1] = source[k] * im + source[k + 1] * re


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
    for n in range(g.shape[0]):
        rx = ramp_x[n]
        s_y = 0.0
        s_x = 0.0
        for m in range(g.shape[1]):
            for y in range(g.shape[2]):
                c, s = ramp_y[n, 2 * y], ramp_y[n, 2 * y + 1]
                row, p, acc = g[n, m, y], spectrum[m, y], g_spectrum[m, y]
                line = 0.0
                moment = 0.0
                for k in range(0, row.size, 2):
                    re = c * rx[k] - s * rx[k + 1]
                    im = c * rx[k + 1] + s * rx[k]
                    a = re * row[k] + im * row[k + 1]
                    b = re * row[k + 1] - im * row[k]
                    acc[k] += a
                    acc[k + 1] += b
                    q = p[k + 1] * a - p[k] * b
                    line += q
                    moment += f_x[k // 2] * q
                s_y += f_y[y] * line
                s_x += moment
        if g_shift.size:
            g_shift[n, 0] += s_y
            g_shift[n, 1] += s_x


@_jit
def ramp_derivative(spectrum: np.ndarray, frequency: np.ndarray, axis: int, out: np.ndarray) -> None:
    """``out = -2 pi i f spectrum``: the derivative of the shifted probe with respect to its shift along ``axis``."""
    for n in range(out.shape[0]):
        for m in range(out.shape[1]):
            for y in range(out.shape[2]):
                row, target = spectrum[n, m, y], out[n, m, y]
                for k in range(0, row.size, 2):
                    f = -2.0 * np.pi * (frequency[y] if axis == 0 else frequency[k // 2])
                    re = row[k]
                    target[k] = -f * row[k + 1]
                    target[k + 1] = f * re


@_jit
def gauss_newton(
    wave: np.ndarray, d_y: np.ndarray, d_x: np.ndarray, intensity: np.ndarray, mask: np.ndarray, factor: np.ndarray
) -> np.ndarray:
    """``(n, 2, 2)`` sums over pixels of ``J J^T`` with ``J = factor[n] sum_m Re(conj(wave) d) / sqrt(I)``."""
    n_patterns, n_modes = wave.shape[0], wave.shape[1]
    size = intensity.shape[1]
    out = np.zeros((n_patterns, 2, 2))
    j_y, j_x = np.empty(size, intensity.dtype), np.empty(size, intensity.dtype)
    step = 0 if mask.shape[0] == 1 else 1
    for n in range(n_patterns):
        j_y[:] = 0
        j_x[:] = 0
        for m in range(n_modes):
            w, a, b = wave[n, m], d_y[n, m], d_x[n, m]
            for k in range(size):
                j_y[k] += w[2 * k] * a[2 * k] + w[2 * k + 1] * a[2 * k + 1]
                j_x[k] += w[2 * k] * b[2 * k] + w[2 * k + 1] * b[2 * k + 1]
        yy = 0.0
        yx = 0.0
        xx = 0.0
        for k in range(size):
            weight = (1.0 if mask.size == 0 else mask[n * step, k]) / max(intensity[n, k], 1e-12)
            yy += weight * j_y[k] * j_y[k]
            yx += weight * j_y[k] * j_x[k]
            xx += weight * j_x[k] * j_x[k]
        f = factor[n] * factor[n]
        out[n, 0, 0], out[n, 0, 1], out[n, 1, 0], out[n, 1, 1] = f * yy, f * yx, f * yx, f * xx
    return out


@_jit
def power_sum(wave: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """``out += sum_n weight[n] |wave[n]|^2``; an empty ``weight`` is one."""
    for n in range(wave.shape[0]):
        f = weight[n] if weight.size else 1.0
        w = wave[n]
        for k in range(out.size):
            out[k] += f * (w[2 * k] * w[2 * k] + w[2 * k + 1] * w[2 * k + 1])


@_jit
def preconditioned_step(
    value: np.ndarray, gradient: np.ndarray, curvature: np.ndarray, rate: float, keep: float, floor: float
) -> None:
    """``value -= rate gradient / (keep curvature + floor)`` in place; flat real views, ``parts`` values a curvature."""
    parts = value.size // curvature.size
    for i in range(curvature.size):
        f = rate / (keep * curvature[i] + floor)
        for k in range(parts * i, parts * i + parts):
            value[k] -= f * gradient[k]
