"""What the data saw: illumination against direct summation, ramps removed exactly, colors free of the margin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from result_cases import probe_modes, ptychography_result, siemens

from adorym.data.field_of_view import field_of_view, illumination, robust_range, without_ramp
from adorym.data.result import ParameterResult, Result


def scanned(positions: np.ndarray, shape: tuple[int, int] = (30, 41), origin: tuple[int, int] = (3, 5)) -> Result:
    parameters = {"probe_positions": ParameterResult(positions, "px")}
    return Result(np.ones((*shape, 1)), origin_px=origin, probe=probe_modes((6, 9)), parameters=parameters)


def test_illumination_is_the_sum_of_the_probes_where_they_were():
    positions = np.array([[0.2, 0.4], [10.6, 7.0], [17.9, 25.8], [10.6, 7.0]])
    result = scanned(positions)
    expected = np.zeros((30, 41))
    intensity = np.sum(np.abs(result.probe) ** 2, axis=0)
    for y, x in np.rint(positions + result.origin_px).astype(int):
        expected[y : y + 6, x : x + 9] += intensity
    np.testing.assert_allclose(illumination(result), expected, atol=1e-6 * expected.max())


def test_windows_over_the_edge_light_what_lies_inside():
    result = scanned(np.array([[-6.0, -9.0], [-100.0, 0.0], [24.0, 33.0]]))
    intensity = np.sum(np.abs(result.probe) ** 2, axis=0)
    lit = illumination(result)
    np.testing.assert_allclose(lit[:3, :5], intensity[3:, 4:], atol=1e-6 * intensity.max())
    np.testing.assert_allclose(lit[27:, 38:], intensity[:3, :3], atol=1e-6 * intensity.max())


def test_positions_given_replace_those_of_the_result():
    result = scanned(np.zeros((1, 2)))
    moved = illumination(result, np.array([[2.0, 4.0]]))
    np.testing.assert_allclose(moved, np.roll(illumination(result), (2, 4), (0, 1)), atol=1e-6 * moved.max())


def test_the_field_of_view_is_the_box_around_the_scan():
    grid = np.stack(np.meshgrid(np.arange(0, 15, 2.0), np.arange(0, 20, 2.0)), -1).reshape(-1, 2)
    view = field_of_view(scanned(grid))
    assert view.scanned
    top, left = (side.start for side in view.crop)
    assert 3 <= top <= 6 and 5 <= left <= 9
    assert view.crop[0].stop <= 3 + 14 + 6 and view.crop[1].stop <= 5 + 18 + 9
    assert view.bright.sum() < view.seen.sum() and np.all(view.seen[view.bright])


@pytest.mark.parametrize("probe", [None, np.zeros((1, 6, 9))])
def test_without_a_beam_everything_counts(probe):
    parameters = {"probe_positions": ParameterResult(np.zeros((3, 2)), "px")}
    view = field_of_view(Result(np.ones((8, 9, 1)), probe=probe, parameters=parameters))
    assert not view.scanned and view.seen.all() and view.seen.shape == (8, 9)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-3, 3))
def test_any_ramp_and_phase_is_removed(along_y, along_x, constant):
    truth = np.angle(without_ramp(siemens((40, 52)), np.ones((40, 52), bool)))
    y, x = np.indices((40, 52))
    tilted = siemens((40, 52)) * np.exp(1j * (along_y * y + along_x * x + constant))
    flat = np.angle(without_ramp(tilted, np.ones((40, 52), bool)))
    np.testing.assert_allclose(flat, truth, atol=1e-9)
    coefficients = np.polynomial.polynomial.polyfit(y.ravel(), flat.ravel(), 1)
    assert abs(coefficients[1]) < 1e-9


def test_a_real_gradient_stays_without_ramp_removal():
    wedge = np.exp(0.1j * np.arange(12) * np.ones((7, 1)))
    flat = np.angle(without_ramp(wedge, np.ones((7, 12), bool), ramp=False))
    np.testing.assert_allclose(np.diff(flat, axis=1), 0.1)
    assert abs(flat.mean()) < 1e-9


def test_wild_pixels_have_no_say_in_the_ramp():
    wild = siemens((40, 52))
    wild[3, ::4] = 1000j
    usual = without_ramp(siemens((40, 52)), np.ones((40, 52), bool))
    found = without_ramp(wild, np.ones((40, 52), bool))
    turned = np.angle(found * usual.conj())[10:]
    assert np.abs(turned - turned.mean()).max() < 0.1


def test_colors_come_from_the_scanned_area():
    result = ptychography_result()
    assert np.abs(result.object).max() > 300  # noise in the margin, which the beam did not reach
    view = field_of_view(result)
    low, high = robust_range(np.abs(result.object[..., 0])[view.crop], view.bright)
    assert 0.7 < low < 0.9 and 0.95 < high < 1.1


def test_the_range_of_a_constant_and_of_nothing():
    inside = np.ones((4, 5), bool)
    low, high = robust_range(np.full((4, 5), 2.0), inside)
    assert low < 2 < high
    assert robust_range(np.zeros((4, 5)), inside) == (-0.5, 0.5)
    assert robust_range(np.full((4, 5), np.nan), inside) == (0.0, 1.0)
