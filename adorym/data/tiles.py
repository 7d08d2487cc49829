"""Pictures cut into tiles: each is a pattern of its own, so that a picture larger than memory is worked on in parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from adorym.data.dataset import Dataset, Patterns
from adorym.errors import ConfigError


@dataclass(frozen=True)
class TiledPatterns:
    """Tiles of the pictures of another stack: all pictures at the first tile, all at the second, ...

    Attributes:
        base: The pictures.
        corners_px: ``(t, 2)`` first pixel of each tile.
        tile_px: (y, x) size of all of them.
    """

    base: Patterns
    corners_px: np.ndarray
    tile_px: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self.corners_px) * self.base.shape[0], *self.tile_px)

    def read(self, index: np.ndarray) -> np.ndarray:
        tiles, pictures = np.divmod(np.asarray(index, np.intp), self.base.shape[0])
        out = np.empty((len(pictures), *self.tile_px), np.float32)
        for picture in np.unique(pictures):
            whole = self.base.read(np.array([picture]))[0]
            for i in np.flatnonzero(pictures == picture):
                out[i] = whole[_part(self.corners_px[tiles[i]], self.tile_px)]
        return out


def cut(dataset: Dataset, tiles: tuple[int, int]) -> Dataset:
    """``dataset`` with every picture cut into ``tiles`` (y, x), of equal size; the last ones overlap if need be.

    Raises:
        ConfigError: There are more tiles than pixels, or the patterns belong to a scan.
    """
    window = dataset.window_px
    if dataset.probe_positions_px is not None:
        raise ConfigError("data.tiles", "the patterns of a scan are not cut", remedy="leave it out")
    if any(t > n for t, n in zip(tiles, window, strict=True)):
        raise ConfigError("data.tiles", "more tiles than pixels", expected=f"at most {window}", found=tiles)
    tile = tuple(-(-n // t) for n, t in zip(window, tiles, strict=True))
    firsts = [np.minimum(np.arange(t) * k, n - k) for t, k, n in zip(tiles, tile, window, strict=True)]
    corners = np.stack(np.meshgrid(*firsts, indexing="ij"), -1).reshape(-1, 2)
    size, copies = (tile[0], tile[1]), len(corners)

    def parts(stack: np.ndarray | None) -> np.ndarray | None:
        """Of what has one picture, or one a pattern."""
        if stack is None or stack.shape[-2:] != window:
            return None if stack is None else np.concatenate([stack] * copies)
        every = np.broadcast_to(stack, (dataset.n_patterns, *window))
        return np.concatenate([every[(slice(None), *_part(corner, size))] for corner in corners])

    return replace(
        dataset,
        patterns=TiledPatterns(dataset.patterns, corners, size),
        angle_index=np.tile(dataset.angle_index, copies),
        mask=parts(dataset.mask),
        weights=parts(dataset.weights),
        tile_corners_px=corners,
        picture_px=window,
        notes=(*dataset.notes, f"cut into {tiles[0]} x {tiles[1]} tiles of {size[0]} x {size[1]} px"),
    )


def joined(dataset: Dataset, tiles: np.ndarray) -> np.ndarray:
    """``(pictures, y, x)`` whole pictures from ``tiles`` ``(n, y, x)``, one a pattern."""
    if dataset.tile_corners_px is None:
        return tiles
    stacks = tiles.reshape(len(dataset.tile_corners_px), dataset.n_pictures, *tiles.shape[1:])
    whole = np.empty((dataset.n_pictures, *dataset.picture_px), tiles.dtype)
    for corner, stack in zip(dataset.tile_corners_px, stacks, strict=True):
        whole[(slice(None), *_part(corner, dataset.window_px))] = stack
    return whole


def _part(corner: np.ndarray, size: tuple[int, int]) -> tuple[slice, slice]:
    y, x = (int(first) for first in corner)
    return slice(y, y + size[0]), slice(x, x + size[1])
