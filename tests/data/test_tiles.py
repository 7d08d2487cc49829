"""Tiles: every pixel counts once, windows are what the image holds, masks, how many there are, and wrong input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.tiles import Tiling, divide, safe_zone_px, tiled
from adorym.errors import GeometryError


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


def dataset(mask=None):
    rng = np.random.default_rng(0)
    frames = rng.uniform(1, 2, (3, 13, 18)).astype(np.float32)
    return Dataset(ArrayPatterns(frames), angle_index=np.arange(3), theta_rad=np.linspace(0, 2, 3), mask=mask), frames


def test_tiles_hold_the_image():
    whole, frames = dataset()
    cut = tiled(whole, Tiling((13, 18), (2, 3), 2))
    assert cut.n_patterns == 18 and cut.window_px == (7 + 4, 6 + 4)
    np.testing.assert_array_equal(cut.angle_index[:6], [0, 1, 2, 0, 1, 2])
    padded = np.pad(frames, [(0, 0), (10, 10), (10, 10)], mode="edge")
    for number in (17, 4, 0):
        y, x = cut.probe_positions_px[number].astype(int) + 10
        tile = cut.patterns.read(np.array([number]))[0]
        np.testing.assert_array_equal(tile, padded[cut.angle_index[number], y : y + 11, x : x + 10])
    assert cut.mask.sum() == frames.size


@pytest.mark.parametrize("each", [False, True])
def test_masks_are_cut_too(each):
    mask = np.ones((3, 13, 18) if each else (13, 18), bool)
    mask[..., 4, 5] = False
    cut = tiled(dataset(mask)[0], Tiling((13, 18), (2, 3), 2))
    assert cut.mask.sum() == 3 * (13 * 18 - 1)


def test_memory_decides():
    whole = divide((64, 64), 4, 64, 2**30)
    assert whole is None
    few, many = (divide((64, 64), 4, 64, memory * 2**20) for memory in (8, 4))
    assert few.tiles[0] < many.tiles[0] and few.tiles[1] == 1
    with pytest.raises(GeometryError, match=r"tile_memory_gib: not even the smallest tile fits; expected at least"):
        divide((64, 64), 4, 64, 2**10)


def test_safe_zone_is_as_wide_as_a_wave_spreads():
    assert safe_zone_px(1e-10, 0.01, 1e-7) == 50 + 2
