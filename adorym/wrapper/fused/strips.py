"""Two-dimensional Fourier transforms of one picture at a time, in the cache, in compiled loops.

A complex picture ``(y, x)`` is kept as ``(2, size)`` real numbers, real and imaginary parts, in vertical *strips* of
`LANES` columns: with eight, pixel (y, x) is number ``(x // 8 lines + y) 8 + x % 8``, so that a transform along y works
on whole vectors. `transform` goes along y, transposes, and goes along x: spectra have strips of eight rows, frequency
``(k_y, k_x)`` is number ``(k_y // 8 lines + place[k_x]) 8 + k_y % 8``. The order ``place`` of lines is what is left by
butterflies in place; along y the transposition removes it.

Strips have one line more than the picture. Lanes beyond a picture whose sides are no multiples of eight come from that
line of other strips, and strips do not begin at multiples of a power of two, which a cache would keep in one place:
pictures of 1024 x 1024 pixels are transformed in half the time. What is beyond the picture is zero in arrays that were
zero when they were made, and nothing here changes that.

A picture of 64 x 64 pixels takes less than half of the time that general libraries need.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from adorym.wrapper.fused.kernels import _jit
from adorym.wrapper.fused.lanes import LANES, RADICES, butterfly, join, outer, split, transpose

# Typed, as calls with a literal would be compiled once for each.
THERE, BACK = np.int64(0), np.int64(1)

# What the numbers of `Layout.table` are: the header, then the lists and the plans that it points to.
NY, NX, LINES, LINES_X, STRIPS, STRIPS_Y, ROWS, COLUMNS, PLACES, STARTS, PLAN_Y, PLAN_X, HEADER = range(13)
# A plan: passes, length of a convolution (0 for none), where its chirps and spectra begin, and then each pass.
PASSES, LONG, CHIRP, KERNEL, FIRST = range(5)
RADIX, SPAN, FACTORS, PASS = range(4)


class Layout(NamedTuple):
    """Where the pixels of a picture, and of its spectrum, lie, and the passes of its transforms.

    Two arrays only: compiled code counts references to each array of what it is given, at every call.

    Attributes:
        table: Integers: sides, lines and strips; offsets of the lines of the picture for each k_y once it is
            transformed (`ROWS`), of those of the spectrum for each x before its transform (`COLUMNS`) and for each
            k_x after it (`PLACES`); where the rows of an array (y, x) begin (`STARTS`); plans along y and x.
        factors: Cosines and sines in turn: twiddle factors of each pass; chirps, and spectra of what is convolved with.
    """

    table: np.ndarray
    factors: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) pixels."""
        return int(self.table[NY]), int(self.table[NX])

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of a picture; of a spectrum."""
        table = self.table
        return int(table[LINES] * table[STRIPS] * LANES), int(table[LINES_X] * table[STRIPS_Y] * LANES)


def _radices(n: int) -> list[int]:
    """Factors of ``n`` for which there are butterflies; empty if they do not make it up."""
    found = []
    for radix in RADICES:
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return found[::-1] if n == 1 else []  # the last pass is one of four, if there is one: it needs no factors


class _Factors:
    """Complex numbers, one list after the other."""

    def __init__(self) -> None:
        self.size, self.parts = 0, [np.zeros(0)]

    def add(self, values: np.ndarray) -> int:
        """Where they begin."""
        start = self.size
        self.parts.append(np.ascontiguousarray(values, np.complex128).reshape(-1).view(np.float64))
        self.size += len(self.parts[-1])
        return start


def _passes(n: int, factors: _Factors) -> tuple[list[int], np.ndarray]:
    """Radix, span and twiddle factors of each pass, and the line on which each frequency is left."""
    found: list[int] = []
    place, frequency, left = np.zeros(n, np.int64), np.arange(n), n
    for radix in _radices(n):
        left //= radix
        place += frequency % radix * left
        frequency = frequency // radix
        angle = -2 * np.pi * np.outer(np.arange(left), np.arange(1, radix)) / (left * radix)
        found += [radix, left, factors.add(np.exp(1j * angle))]
    return found, place


def _plan(n: int, factors: _Factors) -> tuple[list[int], np.ndarray]:
    """The plan of a length, and the line on which each frequency is left.

    A length with other prime factors is a convolution of a smooth one (Bluestein, IEEE Trans. Audio Electroacoust. 18,
    451 (1970)).
    """
    if n == 1 or _radices(n):
        passes, place = _passes(n, factors)
        return [len(passes) // PASS, 0, 0, 0, *passes], place
    m = next(m for m in range(2 * n - 1, 4 * n) if _radices(m))
    passes, place = _passes(m, factors)
    j = np.arange(n)
    chirp = np.exp(-1j * np.pi * (j * j % (2 * n)) / n)
    wrapped = np.zeros(m, np.complex128)
    wrapped[:n], wrapped[m - n + 1 :] = chirp.conj(), chirp[:0:-1].conj()
    kernels = np.zeros((2, m), np.complex128)
    kernels[:, place] = np.stack([np.fft.fft(each) for each in (wrapped, wrapped.conj())]) / m
    starts = [factors.add(np.stack([chirp, chirp.conj()])), factors.add(kernels)]
    return [len(passes) // PASS, m, *starts, *passes], j


@lru_cache(maxsize=16)
def layout(shape: tuple[int, int], real: str) -> Layout:
    """How pictures of ``shape`` are laid out, with factors in the type ``real`` (``float32`` or ``float64``)."""
    ny, nx = shape
    factors = _Factors()
    (plan_y, place_y), (plan_x, place_x) = _plan(ny, factors), _plan(nx, factors)
    strips, strips_y = -(-nx // LANES), -(-ny // LANES)
    rows, columns = np.full(strips_y * LANES, ny), np.full(strips * LANES, nx)  # beyond: the line more
    rows[:ny], columns[:nx] = place_y, np.arange(nx)
    lists: list[Any] = [rows * LANES, columns * LANES, place_x * LANES, np.arange(ny) * nx, plan_y, plan_x]
    ends = np.cumsum([HEADER, *(len(each) for each in lists)])
    header = [ny, nx, ny + 1, nx + 1, strips, strips_y, *ends[:-1]]
    return Layout(np.concatenate([header, *lists]).astype(np.int64), np.concatenate(factors.parts).astype(real))


@lru_cache(maxsize=4)
def _places(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    table = layout(shape, "float64").table
    y, x = np.indices(shape).reshape(2, -1)
    picture = (x // LANES * table[LINES] + y) * LANES + x % LANES
    return picture, y // LANES * table[LINES_X] * LANES + table[table[PLACES] + x] + y % LANES


def picture_places(grid: Layout) -> np.ndarray:
    """``(y x,)`` numbers of the pixels of a picture."""
    return _places(grid.shape)[0]


def spectrum_places(grid: Layout) -> np.ndarray:
    """``(y x,)`` numbers of the frequencies of a spectrum."""
    return _places(grid.shape)[1]


@lru_cache(maxsize=4)
def frequencies(shape: tuple[int, int], real: str) -> tuple[np.ndarray, np.ndarray]:
    """``(size,)`` frequencies along y and x of the numbers of a spectrum, in cycles a pixel; 0 beyond it."""
    grid = layout(shape, real)
    out = np.zeros((2, grid.sizes[1]), real)
    out[:, spectrum_places(grid)] = np.stack(np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")).reshape(2, -1)
    return out[0], out[1]


def by_frequency(by_y: np.ndarray, by_x: np.ndarray, grid: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Complex factors ``(n, k_y)`` and ``(n, k_x)`` of spectra, as `lanes.outer` multiplies them.

    The first ``(n, 2, size)`` by the lanes of each strip, the second ``(n, 2 lines)`` by the lines.
    """
    table, (ny, nx), real = grid.table, grid.shape, grid.factors.dtype
    lanes = np.zeros((len(by_y), 2, table[STRIPS_Y] * LANES), real)
    lanes[:, 0, :ny], lanes[:, 1, :ny] = by_y.real, by_y.imag
    lines = np.zeros((len(by_x), table[LINES_X]), np.complex128)
    lines[:, table[table[PLACES] : table[PLACES] + nx] // LANES] = by_x
    return lanes, lines.view(np.float64).astype(real)


def rates_by_frequency(by_y: np.ndarray, by_x: np.ndarray, grid: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Real numbers ``(k_y,)`` and ``(k_x,)`` by the lanes and by the lines of a spectrum; 0 beyond it."""
    lanes, lines = by_frequency(by_y[None] + 0j, by_x[None] + 0j, grid)
    return np.ascontiguousarray(lanes[0, 0]), np.ascontiguousarray(lines[0, ::2])


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
def _along(re: np.ndarray, im: np.ndarray, strips: int, lines: int, length: int, plan: tuple, inverse: int) -> None:
    """Transforms of the columns of all strips, in place; the lines of a spectrum are in the order of its places."""
    table, factors, begin = plan
    passes = table[begin + PASSES]
    # The passes are written in here, as all that is called counts references, which takes as long as a butterfly.
    for strip in range(strips):
        at = strip * lines * LANES
        for i in range(passes):
            n = begin + FIRST + PASS * (passes - 1 - i if inverse else i)
            radix, start, sizes = table[n + RADIX], table[n + FACTORS], (table[n + SPAN], length, inverse)
            if radix == 4 and table[n + SPAN] == 1:
                _last_pass_4(re, im, at, sizes, factors, start)
            elif radix == 4:
                _pass_4(re, im, at, sizes, factors, start)
            elif radix == 2:
                _pass_2(re, im, at, sizes, factors, start)
            elif radix == 3:
                _pass_3(re, im, at, sizes, factors, start)
            elif radix == 5:
                _pass_5(re, im, at, sizes, factors, start)
            else:
                _pass_7(re, im, at, sizes, factors, start)


@_jit
def _times(a: np.ndarray, at: int, factors: tuple, out: np.ndarray, to: int) -> None:
    """Each line times its factor."""
    values, begin, n = factors
    for k in range(n):
        outer(a, at + k * LANES, values, begin + 2 * k, out, to + k * LANES)


@_jit
def _along_any(picture: np.ndarray, strips: int, lines: int, length: int, plan: tuple, inverse: int) -> None:
    """`_along`, for lengths that have other factors as a convolution with a chirp."""
    table, factors, begin = plan
    m = table[begin + LONG]
    buffer = np.empty((2, m * LANES), picture.dtype)
    chirp = (factors, table[begin + CHIRP] + 2 * length * inverse, length)
    kernel = (factors, table[begin + KERNEL] + 2 * m * inverse, m)
    for turn in range(2 * strips if m else 1):
        strip, second = turn // 2, turn % 2
        at = strip * lines * LANES
        if m and not second:
            buffer[:] = 0
            _times(picture, at, chirp, buffer, 0)
        there = buffer if m else picture
        sizes = (1, m, m, second) if m else (strips, lines, length, inverse)
        _along(there[0], there[1], sizes[0], sizes[1], sizes[2], plan, sizes[3])
        if m:
            _times(buffer, 0, chirp if second else kernel, picture if second else buffer, at * second)


@_jit
def transform(given: np.ndarray, made: np.ndarray, grid: Layout, inverse: int) -> None:
    """The spectrum ``made`` of a picture ``given``, unnormalized; or, `BACK`, the picture of a spectrum.

    Back has no factor 1 / (y x) either: each is the adjoint of the other. What is given is lost.
    """
    table = grid.table
    for stage in range(2):
        axis = 1 - stage if inverse else stage
        lines, strips = table[LINES + axis], table[STRIPS + axis]
        plan = (table, grid.factors, table[PLAN_Y + axis])
        _along_any(made if stage else given, strips, lines, table[NY + axis], plan, inverse)
        if stage:
            break
        rows, columns = table[ROWS + inverse], table[COLUMNS - inverse]
        across = table[LINES + 1 - axis] * LANES
        for part in range(2):
            for a in range(strips):
                for b in range(table[STRIPS + 1 - axis]):
                    first, start = rows + b * LANES, columns + a * LANES
                    transpose(given[part], a * lines * LANES, table, first, made[part], b * across, start)


# -- in and out --------------------------------------------------------------------------------------------------------
@_jit
def to_strips(picture: np.ndarray, out: np.ndarray, grid: Layout) -> None:
    """A complex picture, rows of real and imaginary parts in turn ``(y, 2 x)``, in strips ``(2, size)``."""
    ny, nx, lines, flat = grid.table[NY], grid.table[NX], grid.table[LINES], picture.reshape(-1)
    for strip in range(nx // LANES):
        for y in range(ny):
            split(flat, 2 * (y * nx + strip * LANES), out[0], out[1], (strip * lines + y) * LANES)
    for x in range(nx // LANES * LANES, nx):
        for y in range(ny):
            i = (x // LANES * lines + y) * LANES + x % LANES
            out[0, i], out[1, i] = picture[y, 2 * x], picture[y, 2 * x + 1]


@_jit
def from_strips(strips: np.ndarray, out: np.ndarray, grid: Layout) -> None:
    """The inverse of `to_strips`, and its adjoint."""
    ny, nx, lines, flat = grid.table[NY], grid.table[NX], grid.table[LINES], out.reshape(-1)
    for strip in range(nx // LANES):
        for y in range(ny):
            join(strips[0], strips[1], (strip * lines + y) * LANES, flat, 2 * (y * nx + strip * LANES))
    for x in range(nx // LANES * LANES, nx):
        for y in range(ny):
            i = (x // LANES * lines + y) * LANES + x % LANES
            out[y, 2 * x], out[y, 2 * x + 1] = strips[0, i], strips[1, i]


@_jit
def lay(image: np.ndarray, as_spectrum: bool, strip: int, out: np.ndarray, grid: Layout) -> None:
    """Real numbers ``(y x,)`` that lie in one strip to ``out``, in the order of a picture or of a spectrum."""
    table, first = grid.table, strip * LANES
    ny, nx, places = table[NY], table[NX], table[PLACES]
    if not as_spectrum:
        for y in range(ny):
            for x in range(first, min(first + LANES, nx)):
                out[y * LANES + x - first] = image[y * nx + x]
        return
    wide = min(LANES, ny - first)
    whole = nx // LANES * LANES if wide == LANES else 0
    for x in range(0, whole, LANES):
        transpose(image, x, table, table[STARTS] + first, out, 0, places + x)
    for y in range(first, first + wide):
        for x in range(whole, nx):
            out[table[places + x] + y - first] = image[y * nx + x]
