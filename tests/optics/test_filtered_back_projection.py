"""Filtered back-projection of discs whose line integrals are known, and the rotation axis found from them."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.errors import DataError
from adorym.optics.filtered_back_projection import angle_weights, filtered_back_projection, find_rotation_center

WIDTH, CENTER = 64, 4.6
X = np.arange(WIDTH) - (WIDTH - 1) / 2
DISCS = [(0, 0, 20, 0.02), (6, -8, 4, 0.02), (-7, 3, 5, -0.015), (2, 12, 3, 0.03)]  # x, z, radius, density
TURNS = {
    "half": np.linspace(0, np.pi, 60, endpoint=False),
    "whole": np.linspace(0, 2 * np.pi, 120, endpoint=False),
    "uneven": np.sort(np.random.default_rng(0).uniform(0, np.pi, 90)),
}


def integrals(theta: np.ndarray, center: float = CENTER) -> np.ndarray:
    out = np.zeros((len(theta), WIDTH))
    for x, z, r, v in DISCS:
        s = X - center - (x * np.cos(theta) + z * np.sin(theta))[:, None]
        out += 2 * v * np.sqrt(np.maximum(r * r - s * s, 0))
    return out


@pytest.mark.parametrize("turn", TURNS)
def test_discs_come_back_with_their_density(turn):
    theta = TURNS[turn]
    image = filtered_back_projection(integrals(theta)[:, None], theta, CENTER)[0]
    truth = sum(v * (np.hypot(X[:, None] - x, X - z) < r) for x, z, r, v in DISCS)
    assert np.linalg.norm(image - truth) < 0.25 * np.linalg.norm(truth)
    flat = np.hypot(X[:, None] - 12, X - 8) < 2.5
    assert image[flat].mean() == pytest.approx(0.02, rel=0.03)


def test_rows_are_independent_and_the_volume_may_be_wider():
    theta = TURNS["half"]
    both = np.stack([integrals(theta), 2 * integrals(theta)], axis=1)
    volume = filtered_back_projection(both, theta, CENTER, 72)
    assert volume.shape == (2, 72, 72)
    np.testing.assert_allclose(volume[1], 2 * volume[0], rtol=1e-4, atol=1e-6)


def test_angles_stand_for_their_share_of_the_half_circle():
    assert angle_weights(TURNS["half"]) == pytest.approx(np.pi / 60)
    assert angle_weights(TURNS["whole"]).sum() == pytest.approx(np.pi)
    assert angle_weights(np.linspace(0, 2, 50)).sum() == pytest.approx(2, rel=0.1)  # the rest is a missing wedge


@pytest.mark.parametrize("turn", TURNS)
def test_axis_is_found_in_noise(turn):
    theta = TURNS[turn]
    counts = np.random.default_rng(1).poisson(5000 * np.exp(-integrals(theta)))
    found = find_rotation_center(-np.log(np.maximum(counts, 1) / 5000), theta)
    assert found.center_px == pytest.approx(CENTER, abs=0.25)
    assert not found.on_border and (np.diff(found.candidates_px) > 0).all()
    assert found.metric[np.argmin(np.abs(found.candidates_px - found.center_px))] == found.metric.min()


def test_axis_beyond_the_search_is_said():
    theta = TURNS["half"]
    assert find_rotation_center(integrals(theta), theta, reach_px=2, start_px=0).on_border


def test_transmissions_are_refused():
    theta = TURNS["half"]
    with pytest.raises(DataError, match=r"rotation center: the row is brighter outside.*take the logarithm first"):
        find_rotation_center(np.exp(-integrals(theta)), theta)
    with pytest.raises(DataError, match=r"no line integrals of matter"):
        find_rotation_center(np.zeros((5, 20)), np.linspace(0, 3, 5))
