"""Counts at the end of the detector's scale: marks that are no counts, and pixels that are saturated.

Counts of an integer type pile up at one number. Divided by a flat field each pixel has its own, which many of its
counts share, and no pixel that is brighter goes without.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from adorym.data.gaps import FAR_ABOVE, MARKS, SMALLEST_MARK

# Counts within this fraction of the largest are near it.
NEAR = 0.98
# Counts pile up at the largest if there are so many of them, and this many times more than near it.
FEWEST_SATURATED, PILE = 10, 2.0
SMALLEST_FULL_SCALE, LARGEST_SHARE = 200.0, 0.2
# Counts at a pixel's own largest that make a pile, and the part of the brightest pixels that must have one.
FEWEST_REPEATED, SHARED = 3, 0.8
# Part of the patterns that may be the same as another one: of repeated patterns every count repeats.
FEW_COPIES = 0.02
FULL_SCALES = {float(2**bits - 1) for bits in range(8, 25)}


@dataclass
class FullScale:
    """What the counts of many frames, added block by block, say about the end of the scale.

    Attributes:
        n: Number of frames.
        window: (y, x) size of a frame.
    """

    n: int
    window: tuple[int, int]
    _marks: dict[float, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _largest: float = 0.0
    _at_largest: int = 0
    _near_largest: int = 0
    _sums: list[np.ndarray] = field(default_factory=list)
    _own: np.ndarray = field(init=False)
    _at_own: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._own, self._at_own = np.zeros(self.window, np.float32), np.zeros(self.window, int)

    def add(self, frames: np.ndarray, here: slice) -> np.ndarray:
        """Frames ``here`` of the stack without the values that may be marks, which become 0."""
        largest = float(frames.max())
        while largest >= SMALLEST_MARK and largest in MARKS:
            at = frames == np.float32(largest)
            of_frame, of_pixel = self._marks.setdefault(largest, (np.zeros(self.n, int), np.zeros(self.window, int)))
            of_frame[here] += at.sum(axis=(1, 2))
            of_pixel += at.sum(axis=0)
            frames = np.where(at, np.float32(0), frames)
            largest = float(frames.max())
        if largest >= max(SMALLEST_FULL_SCALE, NEAR * self._largest):
            self._near(frames, largest)
        self._repeated(frames)
        return frames

    def _repeated(self, frames: np.ndarray) -> None:
        """Keep how often each pixel has the largest of its own counts."""
        top = frames.max(axis=0)
        at = np.count_nonzero(frames == top, axis=0)
        self._at_own = np.where(top > self._own, at, self._at_own + np.where(top == self._own, at, 0))
        np.maximum(self._own, top, out=self._own)
        self._sums.append(frames.sum(axis=(1, 2), dtype=np.float64))

    def _near(self, frames: np.ndarray, largest: float) -> None:
        if largest > self._largest:
            close = self._largest >= NEAR * largest
            self._near_largest = self._at_largest + self._near_largest if close else 0
            self._largest, self._at_largest = largest, 0
        at = int(np.count_nonzero(frames == np.float32(self._largest)))
        self._at_largest += at
        self._near_largest += int(np.count_nonzero(frames >= np.float32(NEAR * self._largest))) - at

    def marks(self) -> dict[float, tuple[np.ndarray, np.ndarray]]:
        """Number in each frame and pixel of each value that is far above all other counts: a mark, not a count."""
        return {mark: found for mark, found in self._marks.items() if mark not in self.counts()}

    def counts(self) -> dict[float, tuple[np.ndarray, np.ndarray]]:
        """Likewise of full counters that other counts come close to."""
        found, below = {}, self._largest
        for mark in sorted(self._marks):
            if below > FAR_ABOVE * mark:
                found[mark] = self._marks[mark]
                below = mark
        return found

    def saturation(self, pixel_maximum: np.ndarray, total: int) -> tuple[float, int] | None:
        """The largest count, at which counts pile up, and how many there are; ``None`` if they do not.

        If every pixel has its own, the smallest of these.

        Args:
            pixel_maximum: ``(y, x)`` largest count of each pixel, marks left out.
            total: Number of counts.
        """
        if full := self.counts():
            return max(full), int(full[max(full)][0].sum())
        largest, number = self._largest, self._at_largest
        piled = FEWEST_SATURATED <= number < LARGEST_SHARE * total and number > PILE * self._near_largest
        spread = largest in FULL_SCALES or (pixel_maximum == largest).sum() > 2  # one may be a stuck pixel
        return (largest, number) if piled and spread and largest == round(largest) else self._of_pixels(total)

    def _of_pixels(self, total: int) -> tuple[float, int] | None:
        """The smallest of the counts at which each pixel ends, and how many counts are there; ``None`` if none does."""
        sums = np.concatenate(self._sums) if self._sums else np.zeros(0)
        if len(sums) - len(np.unique(sums)) > FEW_COPIES * len(sums):
            return None
        piled = (self._at_own >= FEWEST_REPEATED) & (self._own >= SMALLEST_FULL_SCALE)
        if piled.sum() < FEWEST_SATURATED:
            return None
        least = float(np.percentile(self._own[piled], 5))
        bright = self._own >= least
        number = int(self._at_own[piled & bright].sum())
        shared = (piled & bright).sum() >= SHARED * bright.sum()
        return (least, number) if shared and number < LARGEST_SHARE * total else None
