"""The aligned object error: zero for what the data cannot determine, and only for that."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adorym.errors import DataError
from adorym.metrics import align_object, fourier_shift, object_error
from adorym.metrics.alignment import plane_wave

SHAPE = (72, 56)
REGION = (slice(10, 62), slice(8, 46))


def specimen(seed: int = 0) -> np.ndarray:
    """Smooth complex object ``SHAPE`` of amplitude 0.5 to 1.5 and phase about +-1 rad, periodic."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1]))
    real, imaginary = (
        np.fft.ifft2(np.fft.fft2(rng.normal(size=SHAPE)) * np.exp(-((k / 0.08) ** 2))).real for _ in "ri"
    )
    return (1 + 0.5 * real / np.abs(real).max()) * np.exp(1j * imaginary / np.abs(imaginary).max())


TRUE = specimen()


@settings(max_examples=25, deadline=None)
@given(
    shift=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
    ramp=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    modulus=st.floats(0.01, 100),
    phase=st.floats(-np.pi, np.pi),
)
def test_shift_ramp_and_factor_are_no_error(shift, ramp, modulus, phase):
    moved = fourier_shift(TRUE, np.array(shift)) * plane_wave(SHAPE, np.array(ramp) / (2 * np.pi))
    found = align_object(modulus * np.exp(1j * phase) * moved, TRUE, REGION)
    assert found.error < 2e-3
    np.testing.assert_allclose(found.shift_px, shift, atol=0.01)
    np.testing.assert_allclose(found.ramp_rad_per_px, ramp, atol=1e-3)
    np.testing.assert_allclose(found.aligned[REGION], TRUE[REGION], atol=0.02)


def test_perfect_object_has_no_error():
    assert object_error(TRUE, TRUE) < 1e-12


@pytest.mark.parametrize("level", [0.02, 0.1, 0.3])
def test_error_of_white_noise_is_its_level(level):
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(2, *SHAPE)) * level / np.sqrt(2) * np.sqrt(np.mean(np.abs(TRUE) ** 2))
    # The best factor shrinks a noisy object: E^2 = s^2 / (1 + s^2).
    expected = level / np.sqrt(1 + level**2)
    assert object_error(TRUE + noise[0] + 1j * noise[1], TRUE, REGION) == pytest.approx(expected, rel=0.05)


def test_curved_phase_is_an_error():
    y = np.arange(SHAPE[0])[:, None] / SHAPE[0] - 0.5
    assert object_error(TRUE * np.exp(4j * y**2), TRUE, REGION) > 0.1


def test_flat_object_is_as_bad_as_the_contrast():
    flat = object_error(np.ones(SHAPE), TRUE, REGION)
    best = np.sqrt(1 - np.abs(TRUE[REGION].mean()) ** 2 / np.mean(np.abs(TRUE[REGION]) ** 2))
    assert flat <= best * 1.2
    assert flat > 0.2


def test_unlit_margin_does_not_spill_into_the_region():
    rec = fourier_shift(TRUE, np.array([0.4, -0.3]))
    dark = np.ones(SHAPE, bool)
    dark[4:-4, 3:-3] = False
    rng = np.random.default_rng(2)
    wild = np.where(dark, 1e4 * rng.normal(size=SHAPE), rec)
    assert object_error(wild, TRUE, REGION) < 0.25


def test_values_that_are_not_finite_outside_do_not_matter():
    rec = TRUE.copy()
    rec[0, 0], rec[-1, 3] = np.nan, np.inf
    assert object_error(rec, TRUE, REGION) < 2e-3


def test_objects_with_nothing_in_common_still_get_an_error():
    assert 0.3 < object_error(specimen(seed=8), TRUE, REGION) <= 1
    assert object_error(np.zeros(SHAPE), TRUE, REGION) == 1


def test_different_frames_are_refused():
    with pytest.raises(DataError, match="do not have the same frame.*crop the reconstruction"):
        align_object(TRUE[1:], TRUE)


def test_too_small_region_is_refused():
    with pytest.raises(DataError, match=r"region: too small to align in.*found \(3, 20\)"):
        align_object(TRUE, TRUE, (slice(0, 3), slice(0, 20)))


def test_empty_truth_is_refused():
    with pytest.raises(DataError, match="true object: is 0 everywhere"):
        align_object(TRUE, np.zeros(SHAPE))
