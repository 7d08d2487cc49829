"""Position errors: a common shift is none, an affine map is reported apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adorym.errors import DataError
from adorym.metrics import position_errors, scanned_region
from adorym.metrics.alignment import inner_region

TRUE = np.random.default_rng(3).uniform(0, (180, 120), (60, 2))


def affine(scale=(1.0, 1.0), shear=0.0, rotation=0.0) -> np.ndarray:
    c, s = np.cos(rotation), np.sin(rotation)
    return np.array([[c, -s], [s, c]]) @ np.array([[1, shear], [0, 1]]) @ np.diag(scale)


def test_common_shift_is_no_error():
    assert position_errors(TRUE + np.array([3.25, -70]), TRUE).rms_px < 1e-9


def test_rms_is_that_of_vector_lengths():
    error = np.zeros_like(TRUE)
    error[::2, 0], error[1::2, 0] = 1, -1
    error[::2, 1], error[1::2, 1] = -2, 2
    assert position_errors(TRUE + error, TRUE).rms_px == pytest.approx(np.sqrt(5))


@settings(max_examples=30, deadline=None)
@given(
    scale=st.tuples(st.floats(0.9, 1.1), st.floats(0.9, 1.1)),
    shear=st.floats(-0.1, 0.1),
    rotation=st.floats(-0.5, 0.5),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
)
def test_affine_map_is_found_and_removed(scale, shear, rotation, shift):
    errors = position_errors(TRUE @ affine(scale, shear, rotation).T + shift, TRUE)
    assert errors.rms_affine_px < 1e-9
    np.testing.assert_allclose(errors.affine.scale, scale, atol=1e-9)
    assert errors.affine.shear == pytest.approx(shear, abs=1e-9)
    assert errors.affine.rotation_rad == pytest.approx(rotation, abs=1e-9)
    np.testing.assert_allclose(errors.affine.translation_px, shift, atol=1e-7)


def test_random_error_remains_when_the_map_is_removed():
    random = np.random.default_rng(0).normal(size=TRUE.shape)
    errors = position_errors(TRUE @ affine((1.02, 1.02)).T + random, TRUE)
    assert errors.rms_px > 1.6
    assert errors.rms_affine_px == pytest.approx(np.sqrt(2), rel=0.1)
    assert errors.rms_affine_px == pytest.approx(np.sqrt(np.mean(np.sum(errors.residual_affine_px**2, 1))))


def test_different_numbers_of_positions_are_refused():
    with pytest.raises(DataError, match=r"probe positions: do not compare; expected \(n, 2\) as the truth, \(60, 2\)"):
        position_errors(TRUE[1:], TRUE)


def test_positions_that_are_not_numbers_are_refused():
    with pytest.raises(DataError, match="not all finite"):
        position_errors(TRUE * np.nan, TRUE)


def test_positions_on_a_line_are_refused():
    line = np.outer(np.arange(9), [1, 2])
    with pytest.raises(DataError, match="lie on one line"):
        position_errors(line, line)


def test_scanned_region_is_where_the_windows_centers_are():
    y, x = np.meshgrid(np.arange(0, 101, 5), np.arange(0, 61, 5), indexing="ij")
    positions = np.stack([y.ravel(), x.ravel()], -1)
    rows, columns = scanned_region(positions, (64, 31), (164, 91))
    assert (rows.start, rows.stop) == (32, 128)
    assert (columns.start, columns.stop) == (16, 72)


def test_scanned_region_of_a_small_scan_stays_inside_the_object():
    rows, columns = scanned_region(np.array([[0, 0], [10, 12]]), (8, 8), (12, 12))
    assert rows.stop <= 12
    assert columns.stop <= 12
    assert (columns.start, columns.stop) == (4, 12)


def test_inner_region_leaves_an_eighth():
    assert inner_region((80, 40)) == (slice(10, 70), slice(5, 35))
