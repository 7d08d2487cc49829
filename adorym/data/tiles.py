"""Large full-field images divided into tiles that overlap by a safe zone.

Free space spreads what a pixel sees over its surroundings. A tile is therefore propagated with a rim, the *safe zone*,
as wide as a wave spreads; the rim is predicted and thrown away, so that every pixel of the detector counts once,
and the tiles together say what the whole image says. Beyond the edges of the image the rim is object that no pixel
sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adorym.data.dataset import Dataset, Patterns
from adorym.errors import GeometryError

BYTES = 8  # of a complex number in single precision
SMALLEST_PX = 8  # of a tile without its rim


@dataclass(frozen=True)
class Tiling:
    """How a field ``(y, x)`` is divided.

    Attributes:
        field_px: Size of the field.
        tiles: Number of tiles along y and x.
        safe_px: Width of the rim.
    """

    field_px: tuple[int, int]
    tiles: tuple[int, int]
    safe_px: int

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
        """``(tile, 2)`` first pixel of each tile with its rim, in the field; row after row, around its middle."""
        starts = [
            np.arange(n) * inner - (n * inner - size) // 2 - self.safe_px
            for n, inner, size in zip(self.tiles, self.inner_px, self.field_px, strict=True)
        ]
        return np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2)

    def counted(self) -> np.ndarray:
        """``(tile, y, x)`` bool: the pixels that count, within the rim and on the field."""
        found = np.zeros((len(self.corners_px), *self.window_px), bool)
        s = self.safe_px
        for tile, corner in zip(found, self.corners_px, strict=True):
            inside = [
                slice(max(s, -c), min(s + inner, size - c))
                for c, inner, size in zip(corner.tolist(), self.inner_px, self.field_px, strict=True)
            ]
            tile[inside[0], inside[1]] = True
        return found


@dataclass(frozen=True)
class TiledPatterns:
    """Every image of ``source`` cut into tiles: number ``tile * n + image``; its edge is continued beyond it."""

    source: Dataset
    tiling: Tiling

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.source.n_patterns * len(self.tiling.corners_px), *self.tiling.window_px)

    def read(self, index: np.ndarray) -> np.ndarray:
        tiles, images = np.divmod(np.asarray(index, np.intp), self.source.n_patterns)
        return _cut(self.source.patterns, images, self.tiling.corners_px[tiles], self.tiling.window_px)


def _cut(base: Patterns, images: np.ndarray, corners: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    distinct, which = np.unique(images, return_inverse=True)
    whole = base.read(distinct)
    out = np.empty((len(images), *window), np.float32)
    for found, image, corner in zip(out, which.reshape(-1), corners.tolist(), strict=True):
        y, x = (
            np.clip(c + np.arange(n), 0, size - 1) for c, n, size in zip(corner, window, base.shape[1:], strict=True)
        )
        found[:] = whole[image][np.ix_(y, x)]
    return out


def tiled(dataset: Dataset, tiling: Tiling) -> Dataset:
    """``dataset`` of full-field images as one of tiles, whose corners are its positions."""
    n, t = dataset.n_patterns, len(tiling.corners_px)
    counted = np.repeat(tiling.counted(), n, axis=0)
    if dataset.mask is not None:
        masks = np.broadcast_to(dataset.mask, (n, *tiling.field_px))
        counted &= (
            _cut(_Masks(masks), np.tile(np.arange(n), t), np.repeat(tiling.corners_px, n, 0), tiling.window_px) > 0
        )
    return dataset.with_(
        patterns=TiledPatterns(dataset, tiling),
        probe_positions_px=np.repeat(tiling.corners_px, n, axis=0).astype(float),
        angle_index=np.tile(dataset.angle_index, t),
        mask=counted,
    )


@dataclass(frozen=True)
class _Masks:
    """Masks as if they were patterns."""

    masks: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        n, y, x = self.masks.shape
        return n, y, x

    def read(self, index: np.ndarray) -> np.ndarray:
        return self.masks[index].astype(np.float32)


def safe_zone_px(wavelength_m: float, distance_m: float, pixel_m: float) -> int:
    """How far the finest fringe of a pixel grid spreads over a distance: ``lambda z / (2 pixel^2)``, and two pixels."""
    return math.ceil(wavelength_m * distance_m / (2 * pixel_m**2) - 1e-6) + 2


def divide(field_px: tuple[int, int], safe_px: int, depth: int, memory_bytes: float) -> Tiling | None:
    """The fewest tiles of which each fits into ``memory_bytes``; ``None`` if the whole field does.

    Rows are divided first: a band of fewer rows of the volume has to be turned for them.

    Args:
        field_px: (y, x) size of the images.
        safe_px: Width of the rim.
        depth: Number of slices that the wave goes through.
        memory_bytes: For one image of one angle, volume band, waves and gradients included.

    Raises:
        GeometryError: Not even the smallest tile fits.
    """
    if _bytes(field_px, field_px, depth) <= memory_bytes:
        return None
    most = max(1, field_px[0] // SMALLEST_PX), max(1, field_px[1] // SMALLEST_PX)
    tiling = Tiling(field_px, (1, 1), safe_px)
    for tiles in [(n, 1) for n in range(2, most[0] + 1)] + [(most[0], n) for n in range(2, most[1] + 1)]:
        tiling = Tiling(field_px, tiles, safe_px)
        if _bytes(field_px, tiling.window_px, depth) <= memory_bytes:
            return tiling
    smallest = _bytes(field_px, tiling.window_px, depth)
    raise GeometryError(
        "forward_model.tile_memory_gib", "not even the smallest tile fits", found=f"{memory_bytes / 2**30:.3g} GiB",
        expected=f"at least {smallest / 2**30:.3g} GiB", remedy="raise it, or give a smaller 'forward_model.safe_zone'",
    )  # fmt: skip


def _bytes(field_px: tuple[int, int], window_px: tuple[int, int], depth: int) -> float:
    """Band, turned band, their gradients; slices, their gradients and the waves of one segment."""
    band = 4 * window_px[0] * field_px[1] * max(depth, field_px[1])
    waves = 3 * window_px[0] * window_px[1] * (depth + 2 * math.isqrt(depth))
    return BYTES * (band + waves)
