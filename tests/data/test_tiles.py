"""Tiles: every pixel counts once, windows are what the image holds, masks, how many there are, and wrong input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_holograms import joined

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.data.tiles import Tiling, divide, tiled, whole
from adorym.errors import DataError, GeometryError


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(5, 23), st.integers(5, 23)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 6),
)
def test_every_pixel_counts_once(field, tiles, safe):
    tiling = Tiling(field, tiles, safe)
    seen = np.zeros((field[0] + 60, field[1] + 60), int)
    for (y, x), counted in zip(tiling.corners_px + 20, tiling.counted(), strict=True):
        seen[y : y + counted.shape[0], x : x + counted.shape[1]] += counted
    inside = seen[20 : 20 + field[0], 20 : 20 + field[1]]
    assert (inside == 1).all() and seen.sum() == inside.size


def dataset(mask=None, **changes):
    rng = np.random.default_rng(0)
    frames = rng.uniform(1, 2, (3, 13, 18)).astype(np.float32)
    return Dataset(
        ArrayPatterns(frames), angle_index=np.arange(3), theta_rad=np.linspace(0, 2, 3), mask=mask, **changes
    ), frames


def test_tiles_hold_the_image():
    pictures, frames = dataset()
    cut = tiled(pictures, Tiling((13, 18), (2, 3), 2))
    assert whole(cut) is pictures and whole(pictures) is pictures
    assert cut.n_patterns == 18 and cut.window_px == (7 + 4, 6 + 4)
    np.testing.assert_array_equal(cut.angle_index[:6], [0, 1, 2, 0, 1, 2])
    padded = np.pad(frames, [(0, 0), (10, 10), (10, 10)], mode="edge")
    for number in (17, 4, 0):
        y, x = cut.tile_corners_px[number // 3] + 10
        tile = cut.patterns.read(np.array([number]))[0]
        np.testing.assert_array_equal(tile, padded[cut.angle_index[number], y : y + 11, x : x + 10])
    assert cut.mask.sum() == frames.size


@pytest.mark.parametrize("each", [False, True])
def test_masks_are_cut_too(each):
    mask = np.ones((3, 13, 18) if each else (13, 18), bool)
    mask[..., 4, 5] = False
    cut = tiled(dataset(mask)[0], Tiling((13, 18), (2, 3), 2))
    assert cut.mask.sum() == 3 * (13 * 18 - 1)


@pytest.mark.parametrize("tiles", [(1, 1), (2, 1), (3, 4), (13, 18)])
def test_tiles_without_a_rim_join_to_the_pictures(tiles):
    pictures, frames = dataset()
    cut = tiled(pictures, Tiling((13, 18), tiles))
    assert cut.n_pictures == 3 and cut.picture_px == (13, 18) and cut.n_patterns == 3 * tiles[0] * tiles[1]
    np.testing.assert_array_equal(joined(cut, cut.patterns.read(np.arange(cut.n_patterns))), frames)


@pytest.mark.parametrize("shape", [(13, 18), (3, 1, 1), (3, 13, 18)])
def test_weights_are_cut_too(shape):
    weights = np.random.default_rng(1).random(shape)
    cut = tiled(dataset(weights=weights)[0], Tiling((13, 18), (2, 4)))
    if shape[-2:] == (1, 1):
        np.testing.assert_array_equal(cut.weights, np.tile(weights, (8, 1, 1)))
    else:
        np.testing.assert_array_equal(joined(cut, cut.weights), np.broadcast_to(weights, (3, 13, 18)))


def test_tiles_are_not_written(tmp_path):
    with pytest.raises(DataError, match="a data set cut into tiles is not written; write the pictures they are of"):
        write_native(tiled(dataset()[0], Tiling((13, 18), (2, 2))), tmp_path / "d.h5")


def test_memory_decides():
    def needed(window):
        return 2**20 * window[0] * window[1]

    assert divide((64, 64), 4, 4.0, needed) is None
    few, many = (divide((64, 64), 4, gib, needed) for gib in (2.5, 1.25))
    assert few.tiles == (3, 1) and many.tiles == (8, 1)
    with pytest.raises(GeometryError, match=r"tile_memory_gib: not even the smallest tile fits; expected at least"):
        divide((64, 64), 4, 1e-3, needed)
