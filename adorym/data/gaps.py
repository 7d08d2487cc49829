"""Pixels that hold no counts in any frame: gaps between modules and dead pixels, which the detector marks by a number.

Counting detectors mark such pixels by the largest number of their type, by -1 or -2, or by NaN, and files carry these
numbers on in wider types. A pixel that has such a mark in nearly every frame is left out; one that has it in a few is
either saturated there, or wrong, and is judged with the counts (`adorym.data.checks`).

Some files have 0 there instead. A scan's rows, columns or rectangles of pixels that count nothing at all, between
others that count much, are left out as well: light does not end at a pixel's edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Patterns
from adorym.data.patterns import BLOCK_BYTES

# Full counters of 16 to 64 bits, and the number below that of 16, by their values in float32.
MARKS = {float(np.float32(n)): n for n in (2**16 - 2, *(2**bits - 1 for bits in (16, 20, 24, 31, 32, 63, 64)))}
SMALLEST_MARK = min(MARKS)
# Fraction of the frames in which a gap has its mark.
NEARLY_ALL = 0.9
# A mark is one only among counts below this fraction of it; among higher ones it is a saturated counter.
FAR_ABOVE = 0.25
# Counts of the lines on both sides of one without any, and of each pixel around a rectangle without any.
LIT_LINE, LIT_PIXEL = 200, 100
# Part of the pixels around a rectangle that have to be there, and lit: it may lie at the rim, or at a gap.
LIT_AROUND = 0.5
SAMPLE_FRAMES, SAMPLE_BYTES, RUN_FRAMES = 64, 16 * BLOCK_BYTES, 8


@dataclass(frozen=True)
class Gaps:
    """The pixels without counts.

    Attributes:
        bad: ``(y, x)`` True where there is a mark in nearly every frame.
        found: The marks in words, with the number of pixels that hold each.
    """

    bad: np.ndarray
    found: tuple[str, ...]


def sample_of(patterns: Patterns) -> Iterator[np.ndarray]:
    """Some frames from all parts of a stack, in short runs that lie together in the file: ``(k, y, x)`` each."""
    n, y, x = patterns.shape
    most = max(4, min(SAMPLE_FRAMES, SAMPLE_BYTES // (4 * y * x)))
    runs = 1 if n <= most else -(-most // RUN_FRAMES)
    length = min(n, -(-most // runs))
    for start in np.unique(np.linspace(0, n - length, runs).astype(int)):
        yield patterns.read(np.arange(start, start + length))


def find_gaps(
    patterns: Patterns, good: np.ndarray | None, *, signed: bool = False, silent: bool = False
) -> Gaps | None:
    """The gaps of raw patterns, from some of them; ``None`` without any.

    Args:
        patterns: As the detector wrote them.
        good: Mask ``(y, x)`` or ``(n, y, x)`` that leaves out pixels already.
        signed: Whether the numbers may be negative, as line integrals are.
        silent: Whether 0 may be a mark, too: between pixels that count much.
    """
    window, n = patterns.shape[1:], 0
    marks: dict[float, np.ndarray] = {}
    not_finite, negative, total = np.zeros(window, np.int32), np.zeros(window, np.int32), np.zeros(window)
    for frames in sample_of(patterns):
        n += len(frames)
        finite = np.isfinite(frames)
        not_finite += (~finite).sum(0)
        frames = np.where(finite, frames, np.float32(0))
        if not signed:
            negative += (frames < 0).sum(0)
        for mark in MARKS if frames.max() >= SMALLEST_MARK else ():
            if (at := frames == mark).any():
                marks[mark] = marks.get(mark, np.int32(0)) + at.sum(0, dtype=np.int32)
        total += frames.sum(0, dtype=np.float64)
    always = NEARLY_ALL * n
    holding = {"NaN": not_finite >= always, "a negative number": negative >= always}
    marked = {mark: number >= always for mark, number in marks.items()}
    anywhere = np.logical_or.reduce([*holding.values(), *marked.values()])
    if anywhere.all():
        return None
    usable = np.ones(window, bool) if good is None else good if good.ndim == 2 else good.any(0)
    holding |= {
        str(MARKS[mark]): where & ~_saturated(where, mark, total / n, anywhere) for mark, where in marked.items()
    }
    if silent and n > 1:
        holding["0"] = _silent(total, usable & ~anywhere)
    holding = {name: where & usable for name, where in holding.items()}
    found = tuple(f"{name} in {where.sum()} pixels" for name, where in holding.items() if where.any())
    return Gaps(np.logical_or.reduce(list(holding.values())), found) if found else None


def _saturated(where: np.ndarray, mark: float, mean: np.ndarray, anywhere: np.ndarray) -> np.ndarray:
    """Those regions of ``where`` whose surroundings come close to the mark: the counter is full there, not dead."""
    labels, _ = scipy.ndimage.label(where, np.ones((3, 3)))
    saturated = np.zeros(where.shape, bool)
    for i, place in enumerate(scipy.ndimage.find_objects(labels), 1):
        around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in place)
        region = labels[around] == i
        ring = scipy.ndimage.binary_dilation(region, np.ones((3, 3))) & ~anywhere[around]
        if ring.any() and np.median(mean[around][ring]) > FAR_ABOVE * mark:
            saturated[around] |= region
    return saturated


def _silent(total: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Where nothing is counted between pixels that count much: whole rows and columns, and filled rectangles."""
    none = usable & (total == 0)
    found = np.zeros(total.shape, bool)
    for axis in (0, 1):
        lines = np.where(usable, total, 0).sum(1 - axis)
        labels, _ = scipy.ndimage.label((lines == 0) & usable.any(1 - axis))
        for (run,) in scipy.ndimage.find_objects(labels):
            inside = run.start > 0 and run.stop < len(lines)
            if inside and min(lines[run.start - 1], lines[run.stop]) >= LIT_LINE:
                found[(run, slice(None)) if axis == 0 else (slice(None), run)] = True
    none &= ~found
    labels, _ = scipy.ndimage.label(none, np.ones((3, 3)))
    for place in scipy.ndimage.find_objects(labels):
        if not none[place].all():
            continue
        box = np.zeros(total.shape, bool)
        box[place] = True
        around = scipy.ndimage.binary_dilation(box, np.ones((3, 3))) & ~box
        sides = sum(side.stop - side.start for side in place)
        lit = total[around & usable & ~found]
        if len(lit) >= LIT_AROUND * (2 * sides + 4) and lit.min() >= LIT_PIXEL:
            found |= box
    return found & usable
