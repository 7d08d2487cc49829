"""Large images divided into tiles, each a pattern of its own, to limit the memory.

Propagation spreads the light of each object pixel, so a tile is propagated with a rim. Either the rim is part of the
tile (the *safe zone*), predicted and discarded; or the model takes a window of the object wider than the tile, and the
rim here is 0. Every detector pixel counts once. At the edges of an image the rim extends beyond the detector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adorym.data.dataset import Dataset
from adorym.errors import GeometryError

SMALLEST_PX = 8  # of a tile without its rim
# ``f((y, x) size of a tile with its rim) -> bytes`` that it takes.
Needed = Callable[[tuple[int, int]], float]


@dataclass(frozen=True)
class Tiling:
    """How a field ``(y, x)`` is divided: tiles of equal size within it, the last ones overlapping if need be.

    Attributes:
        field_px: Size of the field.
        tiles: Number of tiles along y and x.
        safe_px: Width of the rim.
    """

    field_px: tuple[int, int]
    tiles: tuple[int, int]
    safe_px: int = 0

    @property
    def inner_px(self) -> tuple[int, int]:
        """Size of a tile without its rim."""
        return -(-self.field_px[0] // self.tiles[0]), -(-self.field_px[1] // self.tiles[1])

    @property
    def window_px(self) -> tuple[int, int]:
        """Size of a tile with its rim."""
        return self.inner_px[0] + 2 * self.safe_px, self.inner_px[1] + 2 * self.safe_px

    @property
    def corners_px(self) -> np.ndarray:
        """``(tile, 2)`` first pixel of each tile with its rim, in the field; row after row."""
        return self._nodes(lambda i, inner, size: min(i * inner, size - inner) - self.safe_px)

    def counted(self) -> np.ndarray:
        """``(tile, y, x)`` bool, pixels that count: those neither in the rim nor in an earlier tile."""
        found = np.zeros((len(self.corners_px), *self.window_px), bool)
        skipped = self._nodes(lambda i, inner, size: self.safe_px + max(0, i * inner - (size - inner)))
        ends = [n + self.safe_px for n in self.inner_px]
        for tile, (y, x) in zip(found, skipped.tolist(), strict=True):
            tile[y : ends[0], x : ends[1]] = True
        return found

    def cut(self, pictures: Sequence[np.ndarray], tiles: np.ndarray) -> np.ndarray:
        """Tile ``tiles[i]`` of ``pictures[i]`` ``(y, x)``; the edge is continued beyond it."""
        out = np.empty((len(tiles), *self.window_px), pictures[0].dtype)
        for found, picture, corner in zip(out, pictures, self.corners_px[tiles].tolist(), strict=True):
            parts = zip(corner, self.window_px, self.field_px, strict=True)
            found[:] = picture[np.ix_(*(np.clip(c + np.arange(n), 0, size - 1) for c, n, size in parts))]
        return out

    def _nodes(self, place: Callable[[int, int, int], int]) -> np.ndarray:
        """``(tile, 2)`` of ``place(number, tile, field)`` along each axis."""
        each = zip(self.tiles, self.inner_px, self.field_px, strict=True)
        along = [[place(i, inner, size) for i in range(n)] for n, inner, size in each]
        return np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 2)


@dataclass(frozen=True)
class TiledPatterns:
    """Every image of ``source`` divided into tiles: all images at the first tile, all at the second, ..."""

    source: Dataset
    tiling: Tiling

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.source.n_patterns * len(self.tiling.corners_px), *self.tiling.window_px)

    def read(self, index: np.ndarray) -> np.ndarray:
        tiles, pictures = np.divmod(np.asarray(index, np.intp), self.source.n_patterns)
        distinct, which = np.unique(pictures, return_inverse=True)
        read = self.source.patterns.read(distinct)
        return self.tiling.cut([read[i] for i in which.ravel()], tiles)


def tiled(dataset: Dataset, tiling: Tiling) -> Dataset:
    """``dataset`` of images as one of tiles."""
    n, t = dataset.n_patterns, len(tiling.corners_px)

    def parts(stack: np.ndarray) -> np.ndarray:
        """Divide an array with one entry per image, per pixel, or both."""
        if stack.shape[-2:] != tiling.field_px:
            return np.concatenate([stack] * t)
        every = list(np.broadcast_to(stack, (n, *tiling.field_px)))
        return np.concatenate([tiling.cut(every, np.full(n, tile)) for tile in range(t)])

    counted = np.repeat(tiling.counted(), n, axis=0)
    return dataset.with_(
        patterns=TiledPatterns(dataset, tiling),
        angle_index=np.tile(dataset.angle_index, t),
        pattern_numbers=np.tile(dataset.pattern_numbers, t),
        mask=counted if dataset.mask is None else counted & parts(dataset.mask),
        weights=None if dataset.weights is None else parts(dataset.weights),
        tile_corners_px=tiling.corners_px,
        picture_px=tiling.field_px,
        notes=(*dataset.notes, "cut into {} x {} tiles of {} x {} px".format(*tiling.tiles, *tiling.window_px)),
    )


def whole(dataset: Dataset) -> Dataset:
    """The data set of whole images that ``dataset`` was made from, or ``dataset`` itself."""
    return dataset.patterns.source if isinstance(dataset.patterns, TiledPatterns) else dataset


def divide(field_px: tuple[int, int], safe_px: int, memory_gib: float, needed: Needed) -> Tiling | None:
    """The smallest number of tiles that each fit into the memory; ``None`` if the whole field does.

    Rows are divided first, so that fewer rows of a volume have to be rotated.

    Args:
        field_px: (y, x) size of the images.
        safe_px: Width of the rim.
        memory_gib: Memory for one image, with object, waves and gradients.
        needed: Memory of a tile.

    Raises:
        GeometryError: Not even the smallest tile fits.
    """
    memory = memory_gib * 2**30
    if needed(field_px) <= memory:
        return None
    most = max(1, field_px[0] // SMALLEST_PX), max(1, field_px[1] // SMALLEST_PX)
    tiling = Tiling(field_px, (1, 1), safe_px)
    for tiles in [(n, 1) for n in range(2, most[0] + 1)] + [(most[0], n) for n in range(2, most[1] + 1)]:
        tiling = Tiling(field_px, tiles, safe_px)
        if needed(tiling.window_px) <= memory:
            return tiling
    rim = "safe_zone" if safe_px else "buffer_px"
    raise GeometryError(
        "forward_model.tile_memory_gib", "not even the smallest tile fits", found=f"{memory_gib:.3g} GiB",
        expected=f"at least {needed(tiling.window_px) / 2**30:.3g} GiB",
        remedy=f"raise it, or give a smaller 'forward_model.{rim}'",
    )  # fmt: skip
