"""The support of a blurred amplitude, against the shape that a Gaussian has."""

import numpy as np
import pytest

from adorym.optics.support import shrink_wrap


@pytest.mark.parametrize("sigma", [1.5, 3.0])
@pytest.mark.parametrize("wraps", [True, False])
def test_a_point_grows_to_the_width_of_the_blur(xp64, sigma, wraps):
    """A Gaussian falls to the fraction t of its maximum at sigma sqrt(2 ln(1/t))."""
    point = np.zeros((2, 41, 43))
    point[0, 20, 18] = point[1, 17, 25] = 3.0
    found = xp64.to_numpy(shrink_wrap(xp64, xp64.asarray(point), sigma, 0.2, (1, 2), wraps=wraps))
    for one, (y0, x0) in zip(found, ((20, 18), (17, 25)), strict=True):
        y, x = np.indices(one.shape)
        away, radius = np.hypot(y - y0, x - x0), sigma * np.sqrt(2 * np.log(5))
        assert one[away < radius - 0.1].all() and not one[away > radius + 0.1].any()


def test_dilation_adds_a_voxel_along_each_axis(xp64):
    point = np.zeros((1, 9, 9))
    point[0, 4, 4] = 1.0
    found = xp64.to_numpy(shrink_wrap(xp64, xp64.asarray(point), 0.2, 0.5, (1, 2), dilate=2))
    assert found[0, 2:7, 2:7].all() and found.sum() == 25
