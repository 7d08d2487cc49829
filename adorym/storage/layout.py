"""Distribution of rows over ranks, and the pixels that a set of windows covers: pure index arithmetic.

The object is divided into slabs along y, one per rank. Overlapping windows are sent once: messages hold the *union* of
the windows, packed row by row (`Cover`). Since slabs are divided along y, packed pixels are ordered by owner, and each
message is one contiguous piece of memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Slabs:
    """``rows`` rows distributed over ``parts`` ranks as evenly as possible; surplus ranks have none."""

    rows: int
    parts: int

    def of(self, part: int) -> tuple[int, int]:
        """(start, stop) of the rows of rank ``part``."""
        each, more = divmod(self.rows, self.parts)
        start = part * each + min(part, more)
        return start, start + each + (part < more)

    @property
    def edges(self) -> np.ndarray:
        """``(parts + 1,)`` int64: the first row of each rank, and the number of rows."""
        return np.array([self.of(part)[0] for part in range(self.parts)] + [self.rows], np.int64)


@dataclass(frozen=True)
class Cover:
    """The pixels in the union of windows, packed row by row, and along x in each row.

    Rows between two ``edges`` form a band: all of them are covered in the same intervals along x.

    Attributes:
        edges: ``(bands + 1,)`` int64, increasing.
        first: ``(bands + 1,)``: intervals ``first[b]`` to ``first[b + 1]`` belong to band b.
        starts: First x of each interval.
        stops: One past its last x.
        places: Index of the interval's first pixel among the covered pixels of its row.
        before: ``(bands + 1,)`` number of covered pixels before each band; the last entry is the total.
    """

    edges: np.ndarray
    first: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    places: np.ndarray
    before: np.ndarray

    @property
    def n_pixels(self) -> int:
        """Number of covered pixels."""
        return int(self.before[-1])

    def pixels_before(self, rows: np.ndarray) -> np.ndarray:
        """Number of covered pixels in the rows before each of ``rows``."""
        if len(self.edges) < 2:
            return np.zeros(len(rows), np.int64)
        return np.interp(rows, self.edges, self.before).round().astype(np.int64)

    def as_arrays(self) -> tuple[np.ndarray, ...]:
        """Its arrays, for compiled loops."""
        return self.edges, self.first, self.starts, self.stops, self.places, self.before


def cover(boxes: np.ndarray, rows: tuple[int, int]) -> Cover:
    """The pixels that the boxes ``(n, 4)`` int64 ``(y, x, height, width)`` cover within ``rows``."""
    boxes = np.asarray(boxes, np.int64).reshape(-1, 4)
    top, bottom = np.maximum(boxes[:, 0], rows[0]), np.minimum(boxes[:, 0] + boxes[:, 2], rows[1])
    there = (top < bottom) & (boxes[:, 3] > 0)
    edges = np.unique(np.concatenate([top[there], bottom[there]]))
    order = np.argsort(boxes[there, 1], kind="stable")
    x = boxes[there, 1][order]
    made = _intervals(edges, top[there][order], bottom[there][order], x, x + boxes[there, 3][order])
    return Cover(edges, *made)


def covers(boxes: list[np.ndarray], rows: tuple[int, int]) -> dict[int, Cover]:
    """`cover` of each rank's boxes, for the ranks whose boxes cover anything within ``rows``.

    Few of many ranks need the same rows; the others cost nothing here.
    """
    every = np.concatenate(boxes) if boxes else np.zeros((0, 4), np.int64)
    rank = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
    there = (every[:, 0] < rows[1]) & (every[:, 0] + every[:, 2] > rows[0]) & (every[:, 3] > 0)
    return {int(r): cover(boxes[r], rows) for r in np.unique(rank[there])} if rows[0] < rows[1] else {}


@njit(cache=True)
def _intervals(
    edges: np.ndarray, top: np.ndarray, bottom: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The merged intervals of each band, from boxes sorted by their left side."""
    n_bands = max(0, len(edges) - 1)
    first, before = np.zeros(n_bands + 1, np.int64), np.zeros(n_bands + 1, np.int64)
    # A compiled list takes its type from its first entry, which is removed at once.
    starts, stops, places = [np.int64(0)], [np.int64(0)], [np.int64(0)]
    starts.clear()
    stops.clear()
    places.clear()
    for b in range(n_bands):
        width, stop = np.int64(0), np.int64(-1)
        for i in range(len(left)):
            if top[i] > edges[b] or bottom[i] < edges[b + 1]:
                continue
            if stop < 0 or left[i] > stop:
                starts.append(left[i])
                stops.append(right[i])
                places.append(width)
                width += right[i] - left[i]
                stop = right[i]
            elif right[i] > stop:
                width += right[i] - stop
                stop = right[i]
                stops[-1] = stop
        first[b + 1] = len(starts)
        before[b + 1] = before[b] + width * (edges[b + 1] - edges[b])
    n = len(starts)
    out = np.empty((3, n), np.int64)
    for i in range(n):
        out[0, i], out[1, i], out[2, i] = starts[i], stops[i], places[i]
    return first, out[0], out[1], out[2], before


def window_boxes(corners_px: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Windows of one shape as boxes ``(n, 4)``."""
    n = len(corners_px)
    return np.concatenate([corners_px, np.broadcast_to(np.asarray(shape, np.int64), (n, 2))], axis=1)


def bytes_asked(boxes: list[np.ndarray], slabs: Slabs, pixel_bytes: int) -> list[int]:
    """Minimum number of bytes that each rank sends, so that each rank gets the pixels of its boxes once."""
    sent = [0] * slabs.parts
    for asking, each in enumerate(boxes):
        found = np.diff(cover(each, (0, slabs.rows)).pixels_before(slabs.edges))
        for owner in range(slabs.parts):
            sent[owner] += 0 if owner == asking else int(found[owner]) * pixel_bytes
    return sent


# -- compiled loops over a packed cover --------------------------------------------------------------------------------
# Arrays are real and flat from x on: a run of pixels along x is contiguous, with ``depth`` numbers per pixel.
@njit(cache=True, nogil=True)
def pack(rows: np.ndarray, row0: int, cover: tuple[np.ndarray, ...], depth: int, packed: np.ndarray) -> None:
    """Copy the covered pixels of ``rows`` ``(k, x * depth)``, the object's rows from ``row0`` on, to ``packed``."""
    edges, first, starts, stops, places, before = cover
    for b in range(len(edges) - 1):
        width = (before[b + 1] - before[b]) // (edges[b + 1] - edges[b])
        for y in range(max(edges[b], row0), min(edges[b + 1], row0 + rows.shape[0])):
            base = before[b] + (y - edges[b]) * width
            for i in range(first[b], first[b + 1]):
                n, at, x = (stops[i] - starts[i]) * depth, (base + places[i]) * depth, starts[i] * depth
                packed[at : at + n] = rows[y - row0, x : x + n]


@njit(cache=True, nogil=True)
def unpack_add(packed: np.ndarray, cover: tuple[np.ndarray, ...], depth: int, rows: np.ndarray, row0: int) -> None:
    """Add ``packed`` to ``rows``: the adjoint of `pack`."""
    edges, first, starts, stops, places, before = cover
    for b in range(len(edges) - 1):
        width = (before[b + 1] - before[b]) // (edges[b + 1] - edges[b])
        for y in range(max(edges[b], row0), min(edges[b + 1], row0 + rows.shape[0])):
            base = before[b] + (y - edges[b]) * width
            for i in range(first[b], first[b + 1]):
                n, at, x = (stops[i] - starts[i]) * depth, (base + places[i]) * depth, starts[i] * depth
                for k in range(n):
                    rows[y - row0, x + k] += packed[at + k]


@njit(cache=True, nogil=True)
def _place(cover: tuple[np.ndarray, ...], y: int, x: int, band: int) -> tuple[int, int]:
    """Index of the covered pixel (y, x), and its band; the search starts at ``band``."""
    edges, first, starts, stops, places, before = cover
    while edges[band + 1] <= y:
        band += 1
    i = first[band]
    while stops[i] <= x:
        i += 1
    width = (before[band + 1] - before[band]) // (edges[band + 1] - edges[band])
    return before[band] + (y - edges[band]) * width + places[i] + x - starts[i], band


@njit(cache=True, nogil=True)
def cut_windows(
    packed: np.ndarray, cover: tuple[np.ndarray, ...], corners: np.ndarray, depth: int, windows: np.ndarray
) -> None:
    """Copy windows ``(n, wy, wx * depth)`` from the packed pixels."""
    for w in range(windows.shape[0]):
        y0, x = corners[w]
        band = np.searchsorted(cover[0], y0, side="right") - 1
        for r in range(windows.shape[1]):
            at, band = _place(cover, y0 + r, x, band)
            windows[w, r] = packed[at * depth : at * depth + windows.shape[2]]


@njit(cache=True, nogil=True)
def paste_windows(
    windows: np.ndarray, cover: tuple[np.ndarray, ...], corners: np.ndarray, depth: int, packed: np.ndarray
) -> None:
    """Add windows ``(n or 1, wy, wx * depth)`` to the packed pixels: the adjoint of `cut_windows`."""
    step = 0 if windows.shape[0] == 1 else 1
    for w in range(len(corners)):
        y0, x = corners[w]
        band = np.searchsorted(cover[0], y0, side="right") - 1
        for r in range(windows.shape[1]):
            at, band = _place(cover, y0 + r, x, band)
            source = windows[w * step, r]
            for k in range(source.size):
                packed[at * depth + k] += source[k]
