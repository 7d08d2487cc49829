"""Projections and holograms with holes: counts that are no numbers, stuck and dead pixels."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from adorym.data.open import open_dataset
from adorym.errors import DataError

N, ROWS, WIDTH = 16, 4, 30


def scan(path, change=lambda counts: None, white=True, noise=True):
    """Smooth projections of noise-free or counted light."""
    x, angle = np.arange(WIDTH), np.linspace(0, np.pi, N)[:, None, None]
    exact = 1000 * np.exp(
        -np.clip(np.sin(np.pi * (x - 5) / 20) * (2 + np.cos(angle)) / 3, 0, None) * (x > 5) * (x < 25)
    )
    exact = np.repeat(exact, ROWS, axis=1)
    counts = np.random.default_rng(0).poisson(exact).astype(float) if noise else exact
    change(counts)
    with h5py.File(path, "w") as file:
        file["exchange/data"], file["exchange/theta"] = counts, np.linspace(0, 180, N)
        if white:
            file["exchange/data_white"] = np.full((3, ROWS, WIDTH), 1000.0)
    return path, exact


def test_counts_that_are_no_numbers_are_interpolated(tmp_path):
    def change(counts):
        counts[3, :, 12], counts[7, 1, 4], counts[9, 2, 20:22] = np.nan, np.inf, np.nan

    path, exact = scan(tmp_path / "a.h5", change)
    dataset = open_dataset(path)
    assert dataset.mask is None and dataset.n_patterns == N
    assert "7 that are not finite (NaN or infinite), in pictures 3, 7, 9, are interpolated" in dataset.doubts[0]
    found = dataset.patterns.read(np.arange(N))
    for place in ((3, slice(None), 12), (7, 1, 4), (9, 2, slice(20, 22))):
        np.testing.assert_allclose(found[place], exact[place], rtol=0.2)
    assert open_dataset(path, {"bad_counts": "drop_patterns"}).n_patterns == N - 3


def test_a_picture_without_any_number_and_diffraction_are_no_holes(tmp_path):
    path, _ = scan(tmp_path / "a.h5", lambda counts: counts[3].fill(np.nan))
    with pytest.raises(DataError, match=r"counts are not finite.*first in pattern 3.*drop_patterns"):
        open_dataset(path)

    def one(counts):
        counts[3, 0, 0] = np.nan

    path, _ = scan(tmp_path / "b.h5", one, white=False)  # not known to be pictures of the field
    with pytest.raises(DataError, match="1 counts are not finite"):
        open_dataset(path)
    assert open_dataset(path, {"propagation_distance": 0.1}).doubts


def test_stuck_and_dead_pixels_are_masked(tmp_path):
    def change(counts):
        counts[:, 1, 12], counts[:, 2, 20], counts[:, :, 8] = 700, 0, 4000

    dataset = open_dataset(scan(tmp_path / "a.h5", change)[0])
    expected = np.ones((ROWS, WIDTH), bool)
    expected[1, 12], expected[2, 20], expected[:, 8] = False, False, False
    np.testing.assert_array_equal(dataset.mask, expected)
    said = "6 hold the same number in all pictures and are masked: (y, x) (0, 8), (1, 8)"
    assert any(said in doubt for doubt in dataset.doubts)
    assert open_dataset(scan(tmp_path / "b.h5", noise=False)[0]).mask is None
