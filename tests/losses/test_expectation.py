"""The loss that photon noise leaves at a perfect fit, against drawn counts and formulas written out here."""

import numpy as np
import pytest

from adorym.losses.counting import Huber, Intensity, LeastSquares, Mixed, Poisson, Student
from adorym.losses.expectation import Expectation

FLOOR = 0.01
BY_HAND = {
    "least_squares": (LeastSquares(), lambda i, n: (np.sqrt(i) - np.sqrt(n)) ** 2),
    "poisson": (Poisson(), lambda i, n: i - n + n * np.log(n / i)),
    "intensity": (Intensity(), lambda i, n: (i - n) ** 2 / (2 * n)),
    "huber": (Huber(), lambda i, n: 4.5 * (np.sqrt(1 + (np.sqrt(i) - np.sqrt(n)) ** 2 / 2.25) - 1)),
    "student": (Student(), lambda i, n: 2 * np.log(1 + (np.sqrt(i) - np.sqrt(n)) ** 2 / 2)),
}


@pytest.mark.parametrize("intensity", [3e-3, 0.4, 5.0, 60.0, 5e3])
@pytest.mark.parametrize("kind", BY_HAND)
def test_it_is_the_mean_over_drawn_counts(kind, intensity):
    loss, formula = BY_HAND[kind]
    counts = np.random.default_rng(1).poisson(intensity, 400_000)
    terms = formula(intensity + FLOOR, counts + FLOOR)
    expected = Expectation(loss, FLOOR)(np.array([intensity]))[0]
    assert expected == pytest.approx(terms.mean(), rel=0.01, abs=5 * terms.std() / np.sqrt(len(terms)))


def test_bright_pixels_have_a_quarter_of_a_photon_or_half_of_one():
    bright = np.array([1e5, 1e7])
    np.testing.assert_allclose(Expectation(LeastSquares(), FLOOR)(bright), 0.25, rtol=1e-3)
    np.testing.assert_allclose(Expectation(Poisson(), FLOOR)(bright), 0.5, rtol=1e-3)
    np.testing.assert_allclose(Expectation(LeastSquares(), FLOOR, gain=7.0)(bright), 7 / 4, rtol=1e-2)


def test_dark_pixels_are_certain():
    found = Expectation(LeastSquares(), FLOOR)(np.array([0.0, 1e-9, 1e-5]))
    assert found[0] == 0 and 0 < found[1] < 1e-8 < found[2] < 1e-4


@pytest.mark.parametrize("intensity", [0.5, 20.0, 3e3])
def test_read_out_noise_adds(intensity):
    loss, rng = Mixed(read_noise=2.0, gain=3.0), np.random.default_rng(2)
    counts = np.maximum(3.0 * rng.poisson(intensity / 3.0, 400_000) + 2.0 * rng.normal(size=400_000), 0)
    floor = 2.0**2 / 3.0
    i, n = intensity + floor, counts + floor
    found = Expectation(loss, floor, *loss.detector)(np.array([intensity]))[0]
    assert found == pytest.approx((i - n + n * np.log(n / i)).mean(), rel=0.02)
