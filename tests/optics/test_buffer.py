"""The buffer around a hologram."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.errors import GeometryError
from adorym.optics.buffer import buffer_px, fast_width, reach_px
from adorym.optics.geometry import Grid, fresnel_scaling


def test_reach_is_that_of_the_finest_fringe():
    grid = Grid((512, 400), (1e-6, 2e-6), 70.85e-12)
    assert reach_px(grid, 1.0) == reach_px(grid, -1.0) == (36, 9)  # lambda z / (2 pixel^2), rounded up


def test_light_of_an_edge_does_not_come_in_again():
    """A point at the rim of the field, propagated on the padded grid: nothing arrives within the opposite half."""
    grid, z = Grid((64, 90), (1e-6, 1e-6), 70.85e-12), 0.5
    (y, x), cut = buffer_px(grid, z)
    assert not any(cut)
    shape = (64 + 2 * y, 90 + 2 * x)
    wave = np.zeros(shape, complex)
    wave[y, x] = 1
    f_y, f_x = np.fft.fftfreq(shape[0], 1e-6)[:, None], np.fft.fftfreq(shape[1], 1e-6)
    power = np.abs(np.fft.ifft2(np.fft.fft2(wave) * np.exp(-1j * np.pi * 70.85e-12 * z * (f_y**2 + f_x**2)))) ** 2
    assert power[y + 32 : y + 64, x : x + 90].sum() < 0.02 * power.sum()


def test_widths_transform_fast_and_keep_the_middle():
    assert [fast_width(n, n % 2) for n in (97, 121, 606)] == [105, 125, 630]
    (y, x), _ = buffer_px(Grid((65, 90), (1e-6, 1e-6), 70.85e-12), 0.3, room=0.1)
    assert (65 + 2 * y, 90 + 2 * x) == (fast_width(65 + 2 * y, 1), fast_width(90 + 2 * x, 0))


def test_visible_light_is_cut_at_the_width_of_the_window():
    (y, x), cut = buffer_px(Grid((40, 50), (85e-9, 85e-9), 500e-9), 15e-6)
    assert cut == (True, True) and y < 1.2 * 40 and x < 1.2 * 50


def test_fresnel_scaling():
    z, magnification, pixel = fresnel_scaling(np.array([0.01, 0.02]), np.array([0.99, 0.98]), (10e-6, 12e-6))
    np.testing.assert_allclose(magnification, [100, 50])
    np.testing.assert_allclose(z, [0.0099, 0.0196])
    assert pixel == pytest.approx((0.1e-6, 0.12e-6))
    with pytest.raises(GeometryError, match="does not match 'data.distance'; expected 3 values, or one; found 2"):
        fresnel_scaling(np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    with pytest.raises(GeometryError, match="distances must be positive"):
        fresnel_scaling(np.array([-1.0]), np.array([1.0]))
