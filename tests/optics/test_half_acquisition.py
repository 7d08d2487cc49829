"""A whole turn about an axis near the edge: found from opposite projections, and joined to a wide volume."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.optics.filtered_back_projection import filtered_back_projection, find_rotation_center
from adorym.optics.half_acquisition import (
    axis_of_turn,
    is_half_acquisition,
    is_whole_turn,
    overlap_weights,
    seen_width_px,
)

DISCS = ((1.0, 0.0, 0.0, 38.0), (0.8, 14.0, -9.0, 7.0), (-0.6, -17.0, 12.0, 6.0), (0.7, -3.0, -24.0, 4.0))


def sinogram(theta: np.ndarray, width: int, center: float, move: np.ndarray) -> np.ndarray:
    """Chords of discs ``(density, x, z, radius)``, by their formula."""
    at = np.arange(width) - (width - 1) / 2 - center
    total = np.zeros((len(theta), width))
    for (density, x, z, radius), (dx, dz) in zip(DISCS, move, strict=True):
        off = at - (x + dx) * np.cos(theta)[:, None] - (z + dz) * np.sin(theta)[:, None]
        total += 0.02 * density * 2 * np.sqrt(np.maximum(radius**2 - off**2, 0))
    return total


def true_slice(n: int, move: np.ndarray) -> np.ndarray:
    x, z = np.meshgrid(np.arange(n) - (n - 1) / 2, np.arange(n) - (n - 1) / 2, indexing="ij")
    found = np.zeros((n, n))
    for (density, x0, z0, radius), (dx, dz) in zip(DISCS, move, strict=True):
        found += 0.02 * density * (np.hypot(x - x0 - dx, z - z0 - dz) <= radius)
    return found


@pytest.mark.parametrize("side", [-1, 1])
def test_axis_near_either_edge_is_found_and_the_volume_is_whole(side):
    rng = np.random.default_rng(3)
    theta = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    for _ in range(5):
        center, move = side * rng.uniform(8, 22), rng.uniform(-2, 2, (len(DISCS), 2))
        measured = sinogram(theta, 60, center, move) + rng.normal(0, 0.01, (180, 60))
        found = find_rotation_center(measured, theta)
        assert found.center_px == pytest.approx(center, abs=0.25)
        assert is_half_acquisition(measured, found.center_px)
        assert found.doubt < 0.7 and "opposite projections" in found.words
    width = seen_width_px(60, found.center_px)
    assert width == 60 + 2 * int(abs(found.center_px))
    volume = filtered_back_projection(measured[:, None], theta, found.center_px, width)[0]
    true = true_slice(width, move)
    assert np.linalg.norm(volume - true) < 0.25 * np.linalg.norm(true)


def test_opposite_rays_share_their_weight():
    weights = overlap_weights(60, -21.5)
    mirrored = 2 * -21.5 - (np.arange(60) - 29.5)
    there = np.interp(mirrored, np.arange(60) - 29.5, weights, left=0, right=0)
    twice = (mirrored >= -29.5) & (mirrored <= 29.5)
    np.testing.assert_allclose((weights + there)[twice], 1)
    np.testing.assert_allclose(weights[mirrored < -30], 1)


def test_a_whole_sample_about_the_middle_is_none():
    theta = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    assert is_whole_turn(theta) and not is_whole_turn(theta[:80]) and not is_whole_turn(np.zeros(4))
    measured = sinogram(theta, 100, 2.0, np.zeros((4, 2)))
    assert not is_half_acquisition(measured, 2.0)
    assert find_rotation_center(measured, theta).center_px == pytest.approx(2.0, abs=0.25)


def test_axis_of_a_wide_detector():
    """Coarse steps are made on binned columns, whose measure does not compare with that of the fine ones."""
    theta = np.linspace(0, np.pi, 60, endpoint=False)
    measured = sinogram(theta, 420, 9.4, np.zeros((4, 2)))
    found = find_rotation_center(measured, theta, reach_px=12.0, start_px=5.0)
    assert found.center_px == pytest.approx(9.4, abs=0.25) and not found.on_border


@pytest.mark.parametrize("center", [-22.1, 18.3, 21.75])
def test_opposite_projections_tell_the_axis_to_a_tenth_of_a_pixel(center):
    theta = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    measured = sinogram(theta, 96, center, np.zeros((4, 2)))
    assert axis_of_turn(measured, theta)[0] == pytest.approx(center, abs=0.1)
