"""What the detector adds."""

import numpy as np
import pytest

from adorym.schema import build
from adorym.simulate.noise import Noise

EXPECTED = np.full((40, 12, 16), 25.0, np.float32)


def measure(seed: int = 0, **settings: float) -> tuple[np.ndarray, np.ndarray | None]:
    return build(Noise, settings).measure(EXPECTED, np.random.default_rng(seed))


def test_counts_are_whole_and_have_their_own_variance():
    patterns, mask = measure()
    assert mask is None
    assert patterns.dtype == np.float32
    np.testing.assert_array_equal(patterns, np.rint(patterns))
    assert patterns.mean() == pytest.approx(25, rel=0.01)
    assert patterns.var() == pytest.approx(25, rel=0.05)


def test_without_noise_the_expected_intensity_is_measured():
    np.testing.assert_array_equal(measure(poisson=False)[0], EXPECTED)


def test_background_and_read_noise_add():
    patterns, _ = measure(background=5.0, read_noise=3.0)
    assert patterns.mean() == pytest.approx(30, rel=0.01)
    assert patterns.var() == pytest.approx(30 + 9, rel=0.05)


def test_bad_pixels_are_masked_and_stuck():
    patterns, mask = measure(bad_pixels=0.05)
    assert mask.shape == (12, 16)
    assert np.sum(~mask) == round(0.05 * 192)
    assert np.ptp(patterns[:, ~mask], axis=0).max() == 0
    assert patterns[:, mask].max() < patterns[:, ~mask].max()
    assert patterns[:, ~mask].min() == 0


def test_same_seed_gives_the_same_noise():
    settings = {"read_noise": 2.0, "bad_pixels": 0.1}
    np.testing.assert_array_equal(measure(3, **settings)[0], measure(3, **settings)[0])
    assert np.any(measure(3, **settings)[0] != measure(4, **settings)[0])
