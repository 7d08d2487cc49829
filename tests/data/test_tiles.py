"""Pictures cut into tiles."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_holograms import series

from adorym.data.dataset import ArrayPatterns
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.data.tiles import cut, joined
from adorym.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
STACK = RNG.random((3, 14, 19)).astype(np.float32)


def data(**changes):
    return series(patterns=ArrayPatterns(STACK), propagation_distance_m=np.array([0.01, 0.02, 0.03]), **changes)


@pytest.mark.parametrize("tiles", [(1, 1), (2, 1), (3, 4), (14, 19)])
def test_tiles_join_to_the_pictures(tiles):
    made = cut(data(), tiles)
    assert made.n_pictures == 3 and made.picture_px == (14, 19)
    assert made.n_patterns == 3 * tiles[0] * tiles[1]
    np.testing.assert_array_equal(joined(made, made.patterns.read(np.arange(made.n_patterns))), STACK)


def test_whatever_has_one_entry_a_pixel_or_pattern_is_cut_as_well():
    mask, weights = RNG.random((14, 19)) > 0.1, RNG.random((3, 1, 1))
    made = cut(data(mask=mask, weights=weights), (2, 3))
    np.testing.assert_array_equal(joined(made, made.mask), np.broadcast_to(mask, STACK.shape))
    np.testing.assert_array_equal(made.weights[3:6], weights)


def test_tiles_of_a_file(tmp_path):
    write_native(data(), tmp_path / "d.h5")
    made = open_dataset(tmp_path / "d.h5", {"tiles": [2, 2]})
    assert made.window_px == (7, 10)
    with pytest.raises(DataError, match="a data set cut into tiles is not written"):
        write_native(made, tmp_path / "e.h5")


def test_what_cannot_be_cut():
    with pytest.raises(ConfigError, match="data.tiles: more tiles than pixels"):
        cut(data(), (15, 1))
    with pytest.raises(ConfigError, match="the patterns of a scan are not cut"):
        cut(data(probe_positions_px=np.zeros((3, 2))), (2, 2))
