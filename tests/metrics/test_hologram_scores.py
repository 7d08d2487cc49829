"""Scores of holography."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.errors import DataError
from adorym.metrics.holograms import filter_width_px, hologram_similarities, map_error
from adorym.optics.affine import IDENTITY, AffineParts, from_pixels
from adorym.optics.geometry import Grid


def test_error_of_a_shift_is_its_length():
    true = np.stack([IDENTITY, IDENTITY])
    found = np.stack([IDENTITY, from_pixels(AffineParts((3.0, 4.0)).map_px(), 50.0)])
    error = map_error(found, true, (80, 100))
    assert error.corner_rms_px == pytest.approx(5.0)
    assert error.distance == pytest.approx(5.0 / 50)


def test_number_of_maps_must_fit():
    with pytest.raises(DataError, match="affine maps: their number differs from the truth's"):
        map_error(np.ones((2, 6)), np.ones((3, 6)), (8, 9))


def test_slow_phases_and_offsets_do_not_count():
    rng = np.random.default_rng(0)
    y, x = np.indices((60, 70))
    true = (0.8 + 0.1 * rng.random((60, 70))) * np.exp(1j * (0.3 * np.sin(x) + 0.1 * rng.random((60, 70))))
    slow = true * np.exp(0.4j + 0.3j * np.cos(2 * np.pi * y / 300))
    magnitude, phase = hologram_similarities(slow, true, (3.0, 3.0))
    assert magnitude == pytest.approx(1) and phase > 0.99
    assert hologram_similarities(true.conj(), true, (3.0, 3.0))[1] < 0.3
    with pytest.raises(DataError, match="the objects do not compare"):
        hologram_similarities(true[1:], true, (3.0, 3.0))


def test_filter_passes_what_the_longest_distance_shows():
    grid = Grid((10, 10), (1e-6, 2e-6), 70.85e-12)
    assert filter_width_px(1.0, grid) == pytest.approx((3.358, 1.679), rel=1e-3)
