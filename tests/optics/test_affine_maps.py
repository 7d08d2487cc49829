"""Affine maps: parts and back, groups, and images read between pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_adjoint, relative_error

from adorym.optics import affine
from adorym.wrapper import get_backend
from adorym.wrapper.fused import hologram_kernels as kernels

NUMBERS = st.floats(-0.3, 0.3)
PARTS = st.builds(
    lambda y, x, r, a, b, g: affine.AffineParts((10 * y, 10 * x), r, (1 + a, 1 + b), g),
    NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(PARTS)
def test_parts_make_the_map_they_are_of(parts):
    found = affine.parts_of(parts.map_px())
    assert found.rotation_rad == pytest.approx(parts.rotation_rad, abs=1e-12)
    assert found.shear == pytest.approx(parts.shear, abs=1e-12)
    np.testing.assert_allclose([*found.shift_px, *found.scale], [*parts.shift_px, *parts.scale], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(PARTS, PARTS)
def test_maps_are_a_group(a, b):
    points = affine.corners_px((20, 31))
    both = affine.compose(a.map_px(), b.map_px())
    wanted = affine.apply(a.map_px(), affine.apply(b.map_px(), points))
    np.testing.assert_allclose(affine.apply(both, points), wanted, atol=1e-9)
    np.testing.assert_allclose(affine.compose(both, affine.inverse(both)), affine.IDENTITY, atol=1e-12)


def test_rotation_turns_x_towards_y():
    quarter = affine.AffineParts(rotation_rad=np.pi / 2).map_px()
    np.testing.assert_allclose(affine.apply(quarter, np.array([0.0, 1.0])), [1.0, 0.0], atol=1e-15)


def test_units_of_the_parameter():
    maps = np.array([[1, 2, 3, 4, 5, 6.0]])
    np.testing.assert_array_equal(affine.to_pixels(maps, 10.0), [[1, 2, 30, 4, 5, 60]])
    np.testing.assert_allclose(affine.from_pixels(affine.to_pixels(maps, 7.0), 7.0), maps)
    assert affine.half_side_px((20, 30)) == 15


def smooth(y, x, size):
    """A periodic image with detail up to half the Nyquist frequency."""
    y, x = 2 * np.pi * y / size[0], 2 * np.pi * x / size[1]
    return 1 + 0.3 * np.cos(2 * y + 1) - 0.2 * np.sin(3 * x - y) + 0.1 * np.cos(size[1] // 4 * x)


@pytest.mark.parametrize("kind", ["plain", "kernel"])
def test_splines_read_smooth_images(kind):
    """Row and column numbers count from the middle of both arrays."""
    size, window = (40, 44), (16, 21)
    y, x = (np.arange(n) - (n - 1) / 2 for n in size)
    image = smooth(y[:, None], x, size)
    mapped = affine.AffineParts((1.3, -2.1), 0.07, (1.02, 0.97), 0.03).map_px()
    v, u = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in window), indexing="ij")
    wanted = smooth(*np.moveaxis(affine.apply(mapped, np.stack([v, u], -1)), -1, 0), size)
    assert np.abs(read(kind, image, mapped, window) - wanted).max() < 4e-3


def read(kind, image, mapped, window):
    if kind == "plain":
        xp = get_backend("autograd", precision="double")
        return affine.interpolate(xp, image[None], mapped[None], window)[0]
    out, image = np.empty(window), image.copy()
    kernels.to_spline(image)
    kernels.interpolate(image, mapped, 0.5, out)
    return out


@pytest.mark.parametrize("turn", [0.0, 0.02, 0.6, 2.0])
def test_kernel_and_plain_agree_beyond_the_edge_too(turn):
    rng = np.random.default_rng(0)
    image, window = rng.random((14, 19)), (16, 23)
    mapped = affine.AffineParts((0.7, 2.2), turn, (1.1, 0.9), 0.1).map_px()
    assert relative_error(read("kernel", image, mapped, window), read("plain", image, mapped, window)) < 1e-12


def test_adjoint_of_the_kernel():
    rng = np.random.default_rng(1)
    mapped, window = affine.AffineParts((0.4, -1.2), 0.1, (1.05, 0.98), 0.02).map_px(), (11, 17)

    def back(g):
        image = np.zeros((20, 24))
        kernels.interpolate_adjoint(g, image, mapped, 0.5, image, np.zeros(6), False)
        kernels.to_spline(image)
        return image

    image, g = rng.random((20, 24)), rng.random(window)
    assert_adjoint(lambda a: read("kernel", a, mapped, window), back, image, g, 1e-13)
