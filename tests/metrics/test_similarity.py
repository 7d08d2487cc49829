"""R-factor, phase error and structural similarity."""

import numpy as np
import pytest

from adorym.errors import DataError
from adorym.metrics import phase_error, r_factor, structural_similarities

SHAPE = (40, 28)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]] / 10.0
PHASE = np.sin(2 * Y) * np.cos(X)
TRUE = (1 + 0.3 * np.cos(3 * X + Y)) * np.exp(1j * PHASE)


def test_r_factor_of_a_perfect_prediction_is_zero_and_of_none_is_one():
    intensity = np.random.default_rng(0).poisson(20, (5, 6, 7))
    assert r_factor(intensity, intensity) == 0
    assert r_factor(intensity, np.zeros_like(intensity)) == 1


def test_r_factor_counts_good_pixels_only():
    measured = np.full((2, 3, 4), 9.0)
    wrong = measured.copy()
    wrong[:, 0, 0] = 1e6
    mask = np.ones((3, 4), bool)
    mask[0, 0] = False
    assert r_factor(measured, wrong, mask) == 0
    assert r_factor(measured, wrong) > 1


def test_r_factor_is_that_of_amplitudes():
    assert r_factor(np.full((2, 2), 4.0), np.full((2, 2), 9.0)) == pytest.approx(0.5)
    assert r_factor(np.array([[4.0, -3.0]]), np.array([[4.0, 0.0]])) == 0


def test_r_factor_of_different_shapes_is_refused():
    with pytest.raises(DataError, match="R-factor: the patterns differ in shape"):
        r_factor(np.ones((2, 3)), np.ones((3, 2)))


def test_r_factor_of_nothing_is_refused():
    with pytest.raises(DataError, match="R-factor: no intensity"):
        r_factor(np.zeros((2, 3)), np.ones((2, 3)))


def test_phase_error_ignores_amplitude_and_offset():
    error = phase_error(7 * np.abs(TRUE) ** 3 * np.exp(1j * (PHASE + 2.5)), TRUE)
    assert error.rms_rad < 1e-12


def test_phase_error_is_the_rms_difference():
    difference = 0.1 * np.sign(np.sin(9 * Y + 5 * X))
    difference -= difference.mean()
    error = phase_error(np.exp(1j * (PHASE + difference)), TRUE)
    assert error.rms_rad == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-3)
    assert error.nrmse == pytest.approx(error.rms_rad / PHASE.std(), rel=1e-6)
    assert error.mae_rad == pytest.approx(np.mean(np.abs(difference)), rel=1e-3)


def test_flat_phase_has_an_error_of_one():
    assert phase_error(np.ones(SHAPE), TRUE).nrmse == pytest.approx(1, abs=0.02)


def test_wrapped_truth_is_normalized_by_its_unwrapped_spread():
    steep = 9 * PHASE
    error = phase_error(np.exp(1j * (steep + 0.1 * X)), np.exp(1j * steep))
    assert error.nrmse == pytest.approx(0.1 * X.std() / steep.std(), rel=1e-3)


def test_phase_error_of_a_flat_truth_is_refused():
    with pytest.raises(DataError, match="phase error: the true phase is flat"):
        phase_error(TRUE, np.ones(SHAPE))


def test_similarity_of_equal_objects_is_one():
    assert structural_similarities(TRUE, TRUE) == pytest.approx((1, 1))


def test_similarity_tells_amplitude_from_phase():
    amplitude, phase = structural_similarities(np.exp(1j * PHASE), TRUE)
    assert phase == pytest.approx(1)
    assert amplitude < 0.5
    amplitude, phase = structural_similarities(np.abs(TRUE).astype(complex), TRUE)
    assert amplitude == pytest.approx(1)
    assert phase < 0.5


def test_phase_wraps_are_no_edges():
    turned = TRUE * np.exp(1j * (np.pi - 0.1))
    assert np.ptp(np.angle(turned)) > 6  # wraps
    assert structural_similarities(turned * np.exp(0.01j), turned)[1] == pytest.approx(1, abs=1e-3)


def test_similarity_of_a_flat_truth_is_finite():
    assert structural_similarities(np.ones(SHAPE), np.ones(SHAPE)) == pytest.approx((1, 1))


def test_similarity_of_small_images_is_refused():
    with pytest.raises(DataError, match="structural similarity: the images are too small; expected 11 pixels"):
        structural_similarities(TRUE[:, :9], TRUE[:, :9])


def test_different_shapes_are_refused():
    with pytest.raises(DataError, match="phase error: the objects do not compare"):
        phase_error(TRUE.T, TRUE)
