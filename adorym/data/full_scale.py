"""Counts at the end of the detector's scale: marks that are no counts, and pixels that are saturated."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from adorym.data.gaps import FAR_ABOVE, MARKS, SMALLEST_MARK

# Counts within this fraction of the largest are near it.
NEAR = 0.98
MOST_VALUES = 1024
# Counts pile up at the largest if there are so many of them, and this many times more than near it.
FEWEST_SATURATED, PILE = 10, 2.0
SMALLEST_FULL_SCALE, LARGEST_SHARE = 200.0, 0.2
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
    _values: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    _numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

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
        if largest > 0 and (not len(self._values) or largest >= NEAR * self._values[-1]):
            self._near(frames, largest)
        return frames

    def _near(self, frames: np.ndarray, largest: float) -> None:
        limit = np.float32(NEAR * max(largest, float(self._values[-1]) if len(self._values) else 0.0))
        values, numbers = np.unique(frames[frames >= limit], return_counts=True)
        kept = self._values >= limit
        values = np.concatenate([self._values[kept], values])
        self._values, which = np.unique(values, return_inverse=True)
        total = np.bincount(which, np.concatenate([self._numbers[kept], numbers])).astype(int)
        self._values, self._numbers = self._values[-MOST_VALUES:], total[-MOST_VALUES:]

    def marks(self) -> dict[float, tuple[np.ndarray, np.ndarray]]:
        """Number in each frame and pixel of each value that is far above all other counts: a mark, not a count."""
        return {mark: found for mark, found in self._marks.items() if mark not in self.counts()}

    def counts(self) -> dict[float, tuple[np.ndarray, np.ndarray]]:
        """Likewise of full counters that other counts come close to."""
        found, below = {}, float(self._values[-1]) if len(self._values) else 0.0
        for mark in sorted(self._marks):
            if below > FAR_ABOVE * mark:
                found[mark] = self._marks[mark]
                below = mark
        return found

    def saturation(self, pixel_maximum: np.ndarray, total: int) -> tuple[float, int] | None:
        """The largest count, at which counts pile up, and how many there are; ``None`` if they do not.

        Args:
            pixel_maximum: ``(y, x)`` largest count of each pixel, marks left out.
            total: Number of counts.
        """
        if full := self.counts():
            return max(full), int(full[max(full)][0].sum())
        if not len(self._values):
            return None
        largest, number = float(self._values[-1]), int(self._numbers[-1])
        piled = (
            number >= FEWEST_SATURATED and number > PILE * self._numbers[:-1].sum() and number < LARGEST_SHARE * total
        )
        spread = largest in FULL_SCALES or (pixel_maximum == largest).sum() > 2  # one may be a stuck pixel
        if piled and spread and largest >= SMALLEST_FULL_SCALE and largest == round(largest):
            return largest, number
        return None
