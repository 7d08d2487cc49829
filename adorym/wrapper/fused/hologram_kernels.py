"""Loops of the near-field hologram, compiled by numba: factorized transfer functions, images read between pixels.

Waves and their spectra are in the order of `strips`, images are not.

An affine map moves on by almost one pixel from one detector pixel to the next, so that along a row the integer parts
of the positions run for dozens of pixels side by side. `interpolate` and its adjoint work run by run: within one all
arrays are contiguous, and LLVM vectorizes. Maps far from the identity have shorter runs and are right as well.

Interpolation is by cubic B-splines: the image is first filtered into the spline's coefficients, by two recursive passes
along each axis (Unser, IEEE Signal Process. Mag. 16 (6), 22 (1999), box 2), as if it went on periodically. Images of
waves hold detail up to the Nyquist frequency, where splines err far less than kernels of the same width. Positions
beyond the image's edge are those of its edge.
"""

from __future__ import annotations

import numpy as np

from adorym.wrapper.fused.kernels import _jit
from adorym.wrapper.fused.lanes import LANES, outer, product, transpose
from adorym.wrapper.fused.strips import LINES, LINES_X, STRIPS, STRIPS_Y, Layout

# Pole of the recursive filter, and samples after which its power is below rounding.
POLE, HORIZON = float(np.sqrt(3.0) - 2.0), 28


@_jit
def modulate(spectrum: np.ndarray, lanes: np.ndarray, lines: np.ndarray, out: np.ndarray, grid: Layout) -> None:
    """``out = h spectrum``, with the transfer function ``h`` as `strips.by_frequency` has it."""
    for strip in range(grid.table[STRIPS_Y]):
        for line in range(grid.table[LINES_X]):
            at = (strip * grid.table[LINES_X] + line) * LANES
            outer(lanes, strip * LANES, lines, 2 * line, out, at)
            product(spectrum, out, out, at)


@_jit
def demodulate(gradient: np.ndarray, spectrum: np.ndarray, h: tuple, rate: tuple, out: np.ndarray) -> float:
    """``out += conj(h) gradient``; returns ``Re sum conj(gradient) (-i rate) h spectrum``, the slope by the distance.

    ``h`` and ``rate`` hold factors by lanes and by lines: the transfer function is their product, the phase rate their
    sum.
    """
    (lanes, lines), (rate_y, rate_x) = h, rate
    total = 0.0
    for strip in range(rate_y.size // LANES):
        begin, end = strip * LANES, (strip + 1) * LANES
        h_re, h_im, r_y = lanes[0, begin:end], lanes[1, begin:end], rate_y[begin:end]
        for line in range(rate_x.size):
            first = (strip * rate_x.size + line) * LANES
            last = first + LANES
            g_re, g_im, to_re, to_im = (
                gradient[0, first:last],
                gradient[1, first:last],
                out[0, first:last],
                out[1, first:last],
            )
            f_re, f_im = spectrum[0, first:last], spectrum[1, first:last]
            x_re, x_im, r_x = lines[2 * line], lines[2 * line + 1], rate_x[line]
            part = r_x - r_x
            for k in range(LANES):
                re, im = h_re[k] * x_re - h_im[k] * x_im, h_re[k] * x_im + h_im[k] * x_re
                b_re, b_im = re * g_re[k] + im * g_im[k], re * g_im[k] - im * g_re[k]
                to_re[k] += b_re
                to_im[k] += b_im
                # Re(conj(b) (-i) f) = Im(conj(b) f), b = conj(h) g
                part += (r_y[k] + r_x) * (b_re * f_im[k] - b_im * f_re[k])
            total += part
    return total


@_jit
def intensity(wave: np.ndarray, grid: Layout, corner: tuple, out: np.ndarray) -> None:
    """``|wave|^2`` ``(y, x)`` of the part of a wave in strips that begins at the pixel ``corner``."""
    (top, left), (height, width) = corner, out.shape
    for strip in range(left // LANES, -(-(left + width) // LANES)):
        first, last = max(strip * LANES, left), min((strip + 1) * LANES, left + width)
        for y in range(height):
            at = (strip * grid.table[LINES] + top + y) * LANES + first - strip * LANES
            re, im, target = (
                wave[0, at : at + last - first],
                wave[1, at : at + last - first],
                out[y, first - left : last - left],
            )
            for x in range(target.size):
                target[x] = re[x] * re[x] + im[x] * im[x]


@_jit
def times_slope(wave: np.ndarray, grid: Layout, slope: np.ndarray) -> None:
    """``wave *= 2 slope``: the gradient by a wave in strips from that by its intensity ``(Y, X)``, in place."""
    for strip in range(grid.table[STRIPS]):
        first = strip * LANES
        last = min(first + LANES, slope.shape[1])
        for y in range(slope.shape[0]):
            at = (strip * grid.table[LINES] + y) * LANES
            re, im, s = wave[0, at : at + last - first], wave[1, at : at + last - first], slope[y, first:last]
            for x in range(s.size):
                re[x] *= 2 * s[x]
                im[x] *= 2 * s[x]


@_jit
def _filter_along_y(image: np.ndarray, pole: float, gain: float) -> None:
    n, columns = image.shape
    total = image[0].copy()
    power = pole
    for i in range(1, HORIZON):
        row = image[(n * HORIZON - i) % n]
        for x in range(columns):
            total[x] += power * row[x]
        power *= pole
    for x in range(columns):
        image[0, x] = gain * total[x]
    for y in range(1, n):
        row, last = image[y], image[y - 1]
        for x in range(columns):
            row[x] = gain * row[x] + pole * last[x]
    total[:] = image[n - 1]
    power = pole
    for i in range(1, HORIZON):
        row = image[(i - 1) % n]
        for x in range(columns):
            total[x] += power * row[x]
        power *= pole
    for x in range(columns):
        image[n - 1, x] = -pole * total[x]
    for i in range(1, n):
        row, last = image[n - 1 - i], image[n - i]
        for x in range(columns):
            row[x] = pole * (last[x] - row[x])


@_jit
def _turn(image: np.ndarray, top: int, block: np.ndarray, table: np.ndarray, back: bool) -> None:
    """`LANES` rows of an image, from ``top`` on, to the columns of a block ``(n, LANES)``; or back."""
    rows, n = image.shape
    high, flat, columns = min(LANES, rows - top), image.reshape(-1), block.reshape(-1)
    whole = n // LANES * LANES if high == LANES else 0
    for x in range(0, whole, LANES):
        if back:
            transpose(columns, x * LANES, table, LANES, flat, top * n + x, 0)
        else:
            transpose(flat, top * n + x, table, 0, columns, x * LANES, LANES)
    for x in range(whole, n):
        for y in range(high):
            if back:
                image[top + y, x] = block[x, y]
            else:
                block[x, y] = image[top + y, x]


@_jit
def _filter_along_x(image: np.ndarray, pole: float, gain: float) -> None:
    rows, n = image.shape
    block, table = np.zeros((n, LANES), image.dtype), np.empty(2 * LANES, np.int64)
    for k in range(LANES):
        table[k], table[LANES + k] = k * n, k * LANES
    for top in range(0, rows, LANES):
        # Each step waits for the one before: several rows side by side keep the processor busy.
        _turn(image, top, block, table, False)
        _filter_along_y(block, pole, gain)
        _turn(image, top, block, table, True)


def to_spline(image: np.ndarray) -> None:
    """Values ``(Y, X)`` real to the coefficients of the periodic cubic spline through them, in place; self-adjoint."""
    real = image.dtype.type
    pole, gain = real(POLE), real(6.0)
    _filter_along_x(image, pole, gain)
    _filter_along_y(image, pole, gain)


@_jit
def _line(mapped: np.ndarray, y: int, size: tuple, axis: int) -> tuple:
    """Position along an axis of the image of the first pixel of the detector's row ``y``, and that of each next one."""
    image, (rows, columns) = size
    start = mapped[3 * axis] * (y - (rows - 1) / 2) + mapped[3 * axis + 2] + (image[axis] - 1) / 2
    step = mapped[3 * axis + 1]
    return start - step * (columns - 1) / 2, step


@_jit
def _stop_at_edges(mapped: np.ndarray, y: int, size: tuple, axis: int, slope: np.ndarray) -> None:
    """Positions beyond the image's edge are those of its edge, wherever the map moves them."""
    start, step = _line(mapped, y, size, axis)
    for x in range(slope.size):
        position = start + step * x
        if position < 1.0 or position > size[0][axis] - 2.0:
            slope[x] = 0


@_jit
def _places(mapped: np.ndarray, y: int, size: tuple, whole: np.ndarray, part: np.ndarray) -> None:
    """Pixels and fractions ``(2, x)`` of the positions in the image of the detector's row ``y``."""
    for axis in range(2):
        n, columns = size[0][axis], size[1][1]
        start, step = _line(mapped, y, size, axis)
        pixel, fraction = whole[axis], part[axis]
        for x in range(columns):
            position = min(max(start + step * x, 1.0), n - 2.0)
            floor = min(np.floor(position), n - 3.0)
            pixel[x] = int(floor)
            fraction[x] = position - floor


@_jit
def _run(whole: np.ndarray, x: int) -> int:
    """End of the run of neighboring pixels that begins at ``x``."""
    i_y, i_x = whole[0], whole[1]
    end, row, first = x + 1, i_y[x], i_x[x] - x
    while end < i_y.size and i_y[end] == row and i_x[end] - end == first:
        end += 1
    return end


@_jit
def _weights(f: float, half: float) -> tuple:
    """Weights of the four neighbors at a fraction ``f``, of a cubic B-spline; ``half`` is 1/2 in the arrays' type."""
    one = half + half
    sixth = one / (one + one + one) * half
    g = one - f
    w0, w3 = sixth * g * g * g, sixth * f * f * f
    two_thirds = sixth + sixth + sixth + sixth
    w1, w2 = two_thirds + f * f * (half * f - one), two_thirds + g * g * (half * g - one)
    return w0, w1, w2, w3


@_jit
def _derivatives(f: float, half: float) -> tuple:
    """Derivatives of `_weights`."""
    one = half + half
    g, three_halves = one - f, one + half
    return -half * g * g, f * (three_halves * f - one - one), g * (one + one - three_halves * g), half * f * f


@_jit
def _row_weights(f: np.ndarray, half: float, derivative: bool, out: np.ndarray) -> None:
    """`_weights` or `_derivatives` of a whole row, ``(4, x)``."""
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    if derivative:
        for x in range(f.size):
            o0[x], o1[x], o2[x], o3[x] = _derivatives(f[x], half)
    else:
        for x in range(f.size):
            o0[x], o1[x], o2[x], o3[x] = _weights(f[x], half)


# Slices along the last axis alone keep an array contiguous for the compiler; hence whole arrays and where to look.
@_jit
def _read_run(image: np.ndarray, where: tuple, w_y: np.ndarray, w_x: np.ndarray, out: np.ndarray) -> None:
    """``out[x] = sum_ab w_y[a, x] w_x[b, x] image[top + a, left + x + b]`` for a run ``(top, left, start, end)``."""
    top, left, start, end = where
    target = out[start:end]
    target[:] = 0
    x0, x1, x2, x3 = w_x[0, start:end], w_x[1, start:end], w_x[2, start:end], w_x[3, start:end]
    for a in range(4):
        row, w = image[top + a, left : left + end - start + 3], w_y[a, start:end]
        for x in range(target.size):
            along = x0[x] * row[x] + x1[x] * row[x + 1] + x2[x] * row[x + 2] + x3[x] * row[x + 3]
            target[x] += w[x] * along


@_jit
def _slopes_run(
    image: np.ndarray, where: tuple, weights: tuple, derivatives: tuple, v_y: np.ndarray, v_x: np.ndarray
) -> None:
    """Derivatives of what `_read_run` reads by the position along y and along x, in one pass."""
    top, left, start, end = where
    (w_y, w_x), (d_y, d_x) = weights, derivatives
    along_y, along_x = v_y[start:end], v_x[start:end]
    along_y[:] = 0
    along_x[:] = 0
    x0, x1, x2, x3 = w_x[0, start:end], w_x[1, start:end], w_x[2, start:end], w_x[3, start:end]
    s0, s1, s2, s3 = d_x[0, start:end], d_x[1, start:end], d_x[2, start:end], d_x[3, start:end]
    for a in range(4):
        row, w, d = image[top + a, left : left + end - start + 3], w_y[a, start:end], d_y[a, start:end]
        for x in range(along_y.size):
            i0, i1, i2, i3 = row[x], row[x + 1], row[x + 2], row[x + 3]
            along_y[x] += d[x] * (x0[x] * i0 + x1[x] * i1 + x2[x] * i2 + x3[x] * i3)
            along_x[x] += w[x] * (s0[x] * i0 + s1[x] * i1 + s2[x] * i2 + s3[x] * i3)


@_jit
def _spread_run(upstream: np.ndarray, where: tuple, w_y: np.ndarray, w_x: np.ndarray, image: np.ndarray) -> None:
    """Adjoint of `_read_run`: adds to ``image``."""
    top, left, start, end = where
    g = upstream[start:end]
    for a in range(4):
        w = w_y[a, start:end]
        for b in range(4):
            row, v = image[top + a, left + b : left + b + end - start], w_x[b, start:end]
            for x in range(g.size):
                row[x] += g[x] * w[x] * v[x]


@_jit
def interpolate(image: np.ndarray, mapped: np.ndarray, half: float, out: np.ndarray) -> None:
    """The spline ``image`` ``(Y, X)`` read where ``mapped`` ``(6,)`` takes the pixels of ``out`` ``(y, x)``.

    Both are counted from the middle of their array: row ``(a, b, t)`` of the map gives ``a r_y + b r_x + t`` pixels.
    """
    columns = out.shape[1]
    whole, part = np.empty((2, columns), np.int64), np.empty((2, columns), image.dtype)
    w_y, w_x = np.empty((4, columns), image.dtype), np.empty((4, columns), image.dtype)
    size = (image.shape, out.shape)
    for y in range(out.shape[0]):
        _places(mapped, y, size, whole, part)
        _row_weights(part[0], half, False, w_y)
        _row_weights(part[1], half, False, w_x)
        start = 0
        while start < columns:
            end = _run(whole, start)
            _read_run(image, (whole[0, start] - 1, whole[1, start] - 1, start, end), w_y, w_x, out[y])
            start = end


@_jit
def _moments(upstream: np.ndarray, slope: np.ndarray, r_x: np.ndarray) -> tuple:
    """Sums of ``upstream slope`` and of ``upstream slope r_x``."""
    zero = upstream[0] - upstream[0]
    first, second = zero, zero
    for x in range(upstream.size):
        product = upstream[x] * slope[x]
        first += product
        second += product * r_x[x]
    return first, second


@_jit
def interpolate_adjoint(
    upstream: np.ndarray,
    image: np.ndarray,
    mapped: np.ndarray,
    half: float,
    g_image: np.ndarray,
    g_mapped: np.ndarray,
    with_map: bool,
) -> None:
    """From ``upstream`` ``(y, x)``: adds gradients by image and map to ``g_image`` and ``g_mapped`` ``(6,)``."""
    columns, real = upstream.shape[1], image.dtype
    whole, part = np.empty((2, columns), np.int64), np.empty((2, columns), real)
    w_y, w_x = np.empty((4, columns), real), np.empty((4, columns), real)
    d_y, d_x = np.empty((4, columns), real), np.empty((4, columns), real)
    v_y, v_x, r_x = np.empty(columns, real), np.empty(columns, real), np.empty(columns, real)
    for x in range(columns):
        r_x[x] = x - (columns - 1) / 2
    size = (image.shape, upstream.shape)
    for y in range(upstream.shape[0]):
        _places(mapped, y, size, whole, part)
        _row_weights(part[0], half, False, w_y)
        _row_weights(part[1], half, False, w_x)
        if with_map:
            _row_weights(part[0], half, True, d_y)
            _row_weights(part[1], half, True, d_x)
        r_y = y - (upstream.shape[0] - 1) / 2
        start = 0
        while start < columns:
            end = _run(whole, start)
            where = (whole[0, start] - 1, whole[1, start] - 1, start, end)
            _spread_run(upstream[y], where, w_y, w_x, g_image)
            if with_map:
                _slopes_run(image, where, (w_y, w_x), (d_y, d_x), v_y, v_x)
            start = end
        if with_map:
            for axis, slope in enumerate((v_y, v_x)):
                _stop_at_edges(mapped, y, size, axis, slope)
                plain, along = _moments(upstream[y], slope, r_x)
                g_mapped[3 * axis] += plain * r_y
                g_mapped[3 * axis + 1] += along
                g_mapped[3 * axis + 2] += plain
