"""Two-dimensional Fourier transforms of one picture at a time, in the cache, in compiled loops.

A complex picture ``(y, x)`` is kept as ``(2, size)`` real numbers, real and imaginary parts, in vertical *strips* of
eight columns: pixel (y, x) is number ``(x // 8 lines + y) 8 + x % 8``, so that a transform along y works on whole
vectors. `forward` transforms along y, transposes, and transforms along x: spectra have strips of eight rows, frequency
``(k_y, k_x)`` is number ``(k_y // 8 lines + place[k_x]) 8 + k_y % 8``. The order ``place`` of lines is what is left by
butterflies in place; along y the transposition removes it. Lanes beyond a picture whose sides are no multiples of
eight, and the one spare line that such strips have, hold anything finite.

A picture of 64 x 64 pixels takes about a third of the time that general libraries need.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from adorym.wrapper.fused.kernels import _jit
from adorym.wrapper.fused.lanes import LANES, RADICES, butterfly, join, outer, split, transpose


class Plan(NamedTuple):
    """The passes of a transform along one axis.

    Attributes:
        radices: ``(passes,)``.
        spans: ``(passes,)`` lines between the members of a butterfly.
        starts: ``(passes,)`` where their twiddle factors begin.
        twiddles: Cosines and sines, for each pass and place.
        chirp: ``(2, 2 n)`` for lengths with other prime factors than the butterflies have, there and back: the passes
            are those of a longer convolution (Bluestein, IEEE Trans. Audio Electroacoust. 18, 451 (1970)). Else empty.
        kernel: ``(2, 2 m)`` spectrum of what is convolved with, as the passes leave it.
    """

    radices: np.ndarray
    spans: np.ndarray
    starts: np.ndarray
    twiddles: np.ndarray
    chirp: np.ndarray
    kernel: np.ndarray


class Layout(NamedTuple):
    """Where the pixels of a picture, and of its spectrum, lie.

    Attributes:
        shape: (y, x).
        lines: Lines of a strip of the picture; of the spectrum.
        strips: Strips of the picture; of the spectrum.
        along_y: Transform along y.
        along_x: Transform along x.
        rows: ``(8 spectrum strips,)`` offsets of the lines of the picture for each k_y, once it is transformed.
        columns: ``(8 picture strips,)`` offsets of the lines of the spectrum for each x, before its transform.
        places: ``(x,)`` offsets of the lines of the spectrum for each k_x.
        starts: ``(y,)`` where the rows of an array ``(y, x)`` begin.
    """

    shape: tuple[int, int]
    lines: tuple[int, int]
    strips: tuple[int, int]
    along_y: Plan
    along_x: Plan
    rows: np.ndarray
    columns: np.ndarray
    places: np.ndarray
    starts: np.ndarray

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of a picture; of a spectrum."""
        return self.lines[0] * self.strips[0] * LANES, self.lines[1] * self.strips[1] * LANES


def _radices(n: int) -> list[int]:
    """Factors of ``n`` for which there are butterflies; empty if they do not make it up."""
    found = []
    for radix in RADICES:
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return found[::-1] if n == 1 else []  # the last pass is one of four, if there is one: it needs no factors


def _passes_of(n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Radices, spans, starts and twiddle factors of a length, and the line on which each frequency is left."""
    radices, spans, starts, factors = _radices(n), [], [], [np.zeros(0)]
    place, frequency, left = np.zeros(n, np.int64), np.arange(n), n
    for radix in radices:
        left //= radix
        spans.append(left)
        place += frequency % radix * left
        frequency = frequency // radix
        starts.append(sum(map(len, factors)))
        angle = -2 * np.pi * np.outer(np.arange(left), np.arange(1, radix)) / (left * radix)
        factors.append(_in_turn(np.exp(1j * angle)).ravel())
    return [*(np.array(a, np.int64) for a in (radices, spans, starts)), np.concatenate(factors)], place


def _in_turn(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.complex128).view(np.float64)


def _planned(n: int, real: np.dtype) -> tuple[Plan, np.ndarray]:
    """Passes, and the line on which each frequency is left."""
    if n == 1 or _radices(n):
        (*integers, twiddles), place = _passes_of(n)
        return Plan(*integers, *(a.astype(real) for a in (twiddles, *np.zeros((2, 2, 0))))), place
    m = next(m for m in range(2 * n - 1, 4 * n) if _radices(m))
    (*integers, twiddles), place = _passes_of(m)
    j = np.arange(n)
    there = np.exp(-1j * np.pi * (j * j % (2 * n)) / n)
    wrapped = np.zeros(m, np.complex128)
    wrapped[:n], wrapped[m - n + 1 :] = there.conj(), there[:0:-1].conj()
    kernels = np.zeros((2, m), np.complex128)
    kernels[:, place] = np.stack([np.fft.fft(each) for each in (wrapped, wrapped.conj())]) / m
    chirp = np.stack([there, there.conj()])
    arrays = (twiddles, _in_turn(chirp), _in_turn(kernels))
    return Plan(*integers, *(a.astype(real) for a in arrays)), j


@cache
def layout(shape: tuple[int, int], real: str) -> Layout:
    """How pictures of ``shape`` are laid out, with factors in the type ``real`` (``float32`` or ``float64``)."""
    (ny, nx), dtype = shape, np.dtype(real)
    lines = tuple(n + (1 if other % LANES else 0) for n, other in ((ny, ny), (nx, nx)))
    strips = -(-nx // LANES), -(-ny // LANES)
    (along_y, place_y), (along_x, place_x) = _planned(ny, dtype), _planned(nx, dtype)
    rows, columns = np.full(strips[1] * LANES, ny), np.full(strips[0] * LANES, nx)  # beyond: the spare line
    rows[:ny], columns[:nx] = place_y, np.arange(nx)
    tables = (rows * LANES, columns * LANES, place_x * LANES, np.arange(ny) * nx)
    return Layout(shape, (lines[0], lines[1]), strips, along_y, along_x, *tables)


@cache
def _places(shape: tuple[int, int], real: str) -> tuple[np.ndarray, np.ndarray]:
    grid = layout(shape, real)
    y, x = np.indices(shape).reshape(2, -1)
    picture = (x // LANES * grid.lines[0] + y) * LANES + x % LANES
    return picture, y // LANES * grid.lines[1] * LANES + grid.places[x] + y % LANES


def picture_places(grid: Layout) -> np.ndarray:
    """``(y x,)`` numbers of the pixels of a picture."""
    return _places(grid.shape, grid.along_y.twiddles.dtype.name)[0]


def spectrum_places(grid: Layout) -> np.ndarray:
    """``(y x,)`` numbers of the frequencies of a spectrum."""
    return _places(grid.shape, grid.along_y.twiddles.dtype.name)[1]


# -- transforms --------------------------------------------------------------------------------------------------------
def _pass(radix: int, turned: bool = True) -> Any:
    """The pass of one radix over a strip: ``f(re, im, at, (span, length, inverse), twiddles, start)``."""
    there, back = butterfly(radix, False, turned), butterfly(radix, True, turned)

    @njit(inline="always")
    def run(re: np.ndarray, im: np.ndarray, at: int, sizes: tuple, twiddles: np.ndarray, start: int) -> None:
        span, length, inverse = sizes
        step, jump, more = span * LANES, (radix - 1) * span * LANES, 2 * (radix - 1)
        j, t = 0, start
        if inverse:
            for _ in range(length // radix):
                back(re, im, at, step, twiddles, t)
                at, j, t = at + LANES, j + 1, t + more
                if j == span:
                    at, j, t = at + jump, 0, start
        else:
            for _ in range(length // radix):
                there(re, im, at, step, twiddles, t)
                at, j, t = at + LANES, j + 1, t + more
                if j == span:
                    at, j, t = at + jump, 0, start

    return run


_pass_4, _pass_2, _pass_3, _pass_5, _pass_7 = map(_pass, RADICES)
_last_pass_4 = _pass(4, turned=False)


@_jit
def _along(re: np.ndarray, im: np.ndarray, sizes: tuple, plan: Plan, inverse: bool) -> None:
    """Transforms of the columns of all strips, in place; the lines of a spectrum are in the order of its places."""
    strips, lines, length = sizes
    radices, spans, starts, twiddles = plan.radices, plan.spans, plan.starts, plan.twiddles
    passes = radices.size
    # The passes are written in here, as all that is called counts references, which takes as long as a butterfly.
    for strip in range(strips):
        at = strip * lines * LANES
        for i in range(passes):
            n = passes - 1 - i if inverse else i
            radix, start, span = radices[n], starts[n], spans[n]
            if radix == 4 and span == 1:
                _last_pass_4(re, im, at, (span, length, inverse), twiddles, start)
            elif radix == 4:
                _pass_4(re, im, at, (span, length, inverse), twiddles, start)
            elif radix == 2:
                _pass_2(re, im, at, (span, length, inverse), twiddles, start)
            elif radix == 3:
                _pass_3(re, im, at, (span, length, inverse), twiddles, start)
            elif radix == 5:
                _pass_5(re, im, at, (span, length, inverse), twiddles, start)
            else:
                _pass_7(re, im, at, (span, length, inverse), twiddles, start)


@_jit
def _times(re: np.ndarray, im: np.ndarray, at: int, factors: np.ndarray, out: tuple, to: int) -> None:
    """Each line times its factor."""
    for k in range(factors.size // 2):
        outer(re, im, at + k * LANES, factors, 2 * k, out[0], out[1], to + k * LANES)


@_jit
def _convolved(re: np.ndarray, im: np.ndarray, sizes: tuple, plan: Plan, inverse: bool) -> None:
    """The same as a convolution with a chirp."""
    strips, lines, _ = sizes
    way = 1 if inverse else 0
    chirp, kernel = plan.chirp[way], plan.kernel[way]
    m = kernel.size // 2
    for strip in range(strips):
        at = strip * lines * LANES
        long = (np.zeros(m * LANES, re.dtype), np.zeros(m * LANES, re.dtype))
        _times(re, im, at, chirp, long, 0)
        for turn in range(2):
            _along(long[0], long[1], (1, m, m), plan, turn == 1)
            _times(long[0], long[1], 0, chirp if turn else kernel, (re, im) if turn else long, at * turn)


@_jit
def _transform(given: np.ndarray, made: np.ndarray, grid: Layout, inverse: bool) -> None:
    """`forward` or `inverse`."""
    for stage in range(2):
        along_x = (stage == 0) == inverse
        axis = 1 if along_x else 0
        plan = grid.along_x if along_x else grid.along_y
        picture, sizes = made if stage else given, (grid.strips[axis], grid.lines[axis], grid.shape[axis])
        if plan.chirp.size:
            _convolved(picture[0], picture[1], sizes, plan, inverse)
        else:
            _along(picture[0], picture[1], sizes, plan, inverse)
        if stage == 1:
            break
        rows = grid.columns if inverse else grid.rows
        columns = grid.rows if inverse else grid.columns
        for part in range(2):
            for a in range(grid.strips[axis]):
                for b in range(grid.strips[1 - axis]):
                    at, to = a * grid.lines[axis] * LANES, b * grid.lines[1 - axis] * LANES
                    transpose(given[part], at, rows, b * LANES, made[part], to, columns, a * LANES)


@_jit
def forward(picture: np.ndarray, spectrum: np.ndarray, grid: Layout) -> None:
    """``spectrum`` of a ``picture``, unnormalized; the picture is lost."""
    _transform(picture, spectrum, grid, False)


@_jit
def inverse(spectrum: np.ndarray, picture: np.ndarray, grid: Layout) -> None:
    """``picture`` of a ``spectrum``, without the factor 1 / (y x): the adjoint of `forward`; the spectrum is lost."""
    _transform(spectrum, picture, grid, True)


# -- in and out --------------------------------------------------------------------------------------------------------
@_jit
def to_strips(picture: np.ndarray, out: np.ndarray, grid: Layout) -> None:
    """A complex picture, rows of real and imaginary parts in turn ``(y, 2 x)``, in strips ``(2, size)``."""
    ny, nx = grid.shape
    lines, flat = grid.lines[0], picture.reshape(-1)
    if lines > ny or nx % LANES:
        out[:] = 0
    for strip in range(nx // LANES):
        for y in range(ny):
            split(flat, 2 * (y * nx + strip * LANES), out[0], out[1], (strip * lines + y) * LANES)
    for x in range(nx // LANES * LANES, nx):
        for y in range(ny):
            i = (x // LANES * lines + y) * LANES + x % LANES
            out[0, i], out[1, i] = picture[y, 2 * x], picture[y, 2 * x + 1]


@_jit
def from_strips(strips: np.ndarray, out: np.ndarray, grid: Layout) -> None:
    """The adjoint of `to_strips`."""
    ny, nx = grid.shape
    lines, flat = grid.lines[0], out.reshape(-1)
    for strip in range(nx // LANES):
        for y in range(ny):
            join(strips[0], strips[1], (strip * lines + y) * LANES, flat, 2 * (y * nx + strip * LANES))
    for x in range(nx // LANES * LANES, nx):
        for y in range(ny):
            i = (x // LANES * lines + y) * LANES + x % LANES
            out[y, 2 * x], out[y, 2 * x + 1] = strips[0, i], strips[1, i]


@_jit
def lay_strip(image: np.ndarray, as_spectrum: bool, strip: int, out: np.ndarray, grid: Layout) -> None:
    """Real numbers ``(y x,)`` of one strip to ``out``, in the order of a picture or of a spectrum."""
    ny, nx = grid.shape
    first = strip * LANES
    if not as_spectrum:
        for y in range(ny):
            for x in range(first, min(first + LANES, nx)):
                out[y * LANES + x - first] = image[y * nx + x]
    elif ny % LANES or nx % LANES:
        for y in range(first, min(first + LANES, ny)):
            for x in range(nx):
                out[grid.places[x] + y - first] = image[y * nx + x]
    else:
        for x in range(0, nx, LANES):
            transpose(image, x, grid.starts, first, out, 0, grid.places, x)


@_jit
def lay(image: np.ndarray, as_spectrum: bool, out: np.ndarray, grid: Layout) -> None:
    """All strips of ``image``."""
    axis = 1 if as_spectrum else 0
    size = grid.lines[axis] * LANES
    for strip in range(grid.strips[axis]):
        lay_strip(image, as_spectrum, strip, out[strip * size : (strip + 1) * size], grid)
