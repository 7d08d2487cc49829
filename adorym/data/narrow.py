"""Counts kept as whole numbers of one or two bytes; what a loss makes of each number is looked up in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from adorym.wrapper.base import Array, Backend

TOO_WIDE = 8  # bytes of a number that no table has
# ``f(counts)``: the target of a loss, from counts ``(n, y, x)``.
Transform = Callable[[np.ndarray], np.ndarray]


def bytes_needed(counts: np.ndarray) -> int:
    """1 or 2, the bytes that hold each of ``counts``, which are not negative; `TOO_WIDE` if that is not possible."""
    most = float(counts.max(initial=0))
    if most >= 1 << 16 or not (counts == np.rint(counts)).all():
        return TOO_WIDE
    return 1 if most < 1 << 8 else 2


class NarrowCounts:
    """All patterns of a data set, on the backend's device.

    Args:
        xp: Backend.
        shape: ``(n, y, x)``.
        n_bytes: What `bytes_needed` says of all patterns: 1 or 2.
        transform: From counts to the target of the loss, pixel by pixel.
        parts: ``(index, counts)`` of some patterns after the other, until there are all.
    """

    def __init__(
        self,
        xp: Backend,
        shape: tuple[int, ...],
        n_bytes: int,
        transform: Transform,
        parts: Iterable[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self._xp, self.faithful = xp, True
        # Not every operation of every library knows two bytes without a sign.
        self._middle = 0 if n_bytes == 1 else 1 << 15
        kept = np.empty(shape, np.uint8 if n_bytes == 1 else np.int16)
        table = _table(transform, 1 << (8 * n_bytes), shape[1:], xp)
        for number, (index, counts) in enumerate(parts):
            whole = np.rint(counts).astype(np.int64)
            kept[index] = whole - self._middle
            if number == 0:  # a loss of somebody's own may treat pixels differently
                self.faithful = bool(np.array_equal(table[whole], transform(counts), equal_nan=True))
        self._counts, self._table = xp.asarray(kept, exact=True), xp.asarray(table)

    def targets(self, patterns: np.ndarray) -> Array:
        """``(k, y, x)`` targets of the given patterns."""
        xp = self._xp
        number = xp.as_index(xp.take(self._counts, patterns)) + self._middle
        return xp.reshape(xp.take(self._table, xp.reshape(number, (-1,))), tuple(number.shape))


def _table(transform: Transform, n: int, window: tuple[int, ...], xp: Backend) -> np.ndarray:
    """The target of every count below ``n``, made as those of patterns are."""
    pixels = int(np.prod(window))
    numbers = np.arange(-(-n // pixels) * pixels, dtype=xp.float_dtype).reshape(-1, *window)
    return transform(numbers).reshape(-1)[:n]
