"""Pixels that hold no counts in any frame: gaps between modules and dead pixels, which the detector marks by a number.

Counting detectors mark such pixels by the largest number of their type, by -1 or -2, or by NaN, and files carry these
numbers on in wider types. A pixel that has such a mark in nearly every frame is left out; one that has it in a few is
either saturated there, or wrong, and is judged with the counts (`adorym.data.checks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from adorym.data.dataset import Patterns
from adorym.data.patterns import BLOCK_BYTES

# Full counters of 16 to 64 bits, and the number below that of 16, by their values in float32.
MARKS = {float(np.float32(n)): n for n in (2**16 - 2, *(2**bits - 1 for bits in (16, 20, 24, 31, 32, 63, 64)))}
SMALLEST_MARK = min(MARKS)
# Fraction of the frames in which a gap has its mark.
NEARLY_ALL = 0.9
# A mark is one only among counts below this fraction of it; among higher ones it is a saturated counter.
FAR_ABOVE = 0.25
SAMPLE_FRAMES, SAMPLE_BYTES, RUN_FRAMES = 64, 4 * BLOCK_BYTES, 8


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


def find_gaps(patterns: Patterns, good: np.ndarray | None, *, signed: bool) -> Gaps | None:
    """The gaps of raw patterns, from some of them; ``None`` without any.

    Args:
        patterns: As the detector wrote them.
        good: Mask ``(y, x)`` or ``(n, y, x)`` that leaves out pixels already.
        signed: Whether the numbers may be negative, as line integrals are.
    """
    window, n = patterns.shape[1:], 0
    marks = {mark: np.zeros(window, int) for mark in MARKS}
    not_finite, negative, total = np.zeros(window, int), np.zeros(window, int), np.zeros(window)
    for frames in sample_of(patterns):
        n += len(frames)
        finite = np.isfinite(frames)
        not_finite += (~finite).sum(0)
        frames = np.where(finite, frames, np.float32(0))
        if not signed:
            negative += (frames < 0).sum(0)
        for mark in MARKS if frames.max() >= SMALLEST_MARK else ():
            marks[mark] += (frames == mark).sum(0)
        total += frames.sum(0, dtype=np.float64)
    always = NEARLY_ALL * n
    holding = {"NaN": not_finite >= always, "a negative number": negative >= always}
    marked = {mark: number >= always for mark, number in marks.items() if number.any()}
    anywhere = np.logical_or.reduce([*holding.values(), *marked.values()])
    open_ = anywhere if good is None else anywhere & (good if good.ndim == 2 else good.any(0))
    if not open_.any() or anywhere.all():
        return None
    holding |= {
        str(MARKS[mark]): where & ~_saturated(where, mark, total / n, anywhere) for mark, where in marked.items()
    }
    holding = {name: where & open_ for name, where in holding.items()}
    found = tuple(f"{name} in {where.sum()} pixels" for name, where in holding.items() if where.any())
    return Gaps(np.logical_or.reduce(list(holding.values())), found) if found else None


def _saturated(where: np.ndarray, mark: float, mean: np.ndarray, anywhere: np.ndarray) -> np.ndarray:
    """Those regions of ``where`` whose surroundings come close to the mark: the counter is full there, not dead."""
    labels, _ = ndimage.label(where, np.ones((3, 3)))
    saturated = np.zeros(where.shape, bool)
    for i, place in enumerate(ndimage.find_objects(labels), 1):
        around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in place)
        region = labels[around] == i
        ring = ndimage.binary_dilation(region, np.ones((3, 3))) & ~anywhere[around]
        if ring.any() and np.median(mean[around][ring]) > FAR_ABOVE * mark:
            saturated[around] |= region
    return saturated
