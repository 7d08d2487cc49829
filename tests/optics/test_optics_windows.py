import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adorym.errors import DataError, GeometryError
from adorym.optics.windows import (
    clip_corners,
    corner_bounds,
    corners_and_offsets,
    inside,
    nearest_distances,
    object_shape,
)

positions = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.floats(-1e4, 1e4))
windows = st.tuples(st.integers(1, 40), st.integers(1, 40))
few = settings(max_examples=60, deadline=None)


@given(positions)
@few
def test_a_position_is_its_corner_and_its_offset(p):
    corners, offsets = corners_and_offsets(p)
    assert corners.dtype == np.int64
    assert (abs(offsets) <= 0.5).all()
    np.testing.assert_array_equal(corners + offsets, p)


@given(positions, windows, st.integers(0, 9))
@few
def test_the_object_holds_every_window_and_its_margin(p, window, margin):
    shape, origin = object_shape(p, window, margin)
    corners, _ = corners_and_offsets(p + origin)
    assert inside(p + origin, shape, window).all()
    np.testing.assert_array_equal(clip_corners(corners, shape, window), corners)
    assert (corners >= margin).all()
    assert (corners + window <= np.array(shape) - margin).all()
    # and is not larger than that needs: one pixel of slack a side at most
    assert (corners.min(0) <= margin + 1).all()
    assert ((corners + window).max(0) >= np.array(shape) - margin - 1).all()


@given(positions, windows, windows)
@few
def test_clipped_windows_lie_inside(p, window, room):
    shape = (window[0] + room[0], window[1] + room[1])
    corners, _ = corners_and_offsets(p)
    clipped = clip_corners(corners, shape, window)
    assert (clipped >= 0).all()
    assert (clipped + window <= shape).all()
    kept = inside(p, shape, window)
    np.testing.assert_array_equal(kept, (clipped == corners).all(1))
    np.testing.assert_array_equal(clip_corners(clipped, shape, window), clipped)


def test_known_object():
    shape, origin = object_shape(np.array([[-3.2, 5.0], [10.4, 7.5]]), (8, 6), margin_px=2)
    assert origin == (4 + 2, -5 + 2)
    assert shape == (4 + 11 + 8 + 4, 3 + 6 + 4)


def test_halves_go_to_the_even_corner():
    corners, offsets = corners_and_offsets(np.array([[0.5, 1.5], [-0.5, 2.5]]))
    np.testing.assert_array_equal(corners, [[0, 2], [0, 2]])
    np.testing.assert_array_equal(offsets, [[0.5, -0.5], [-0.5, 0.5]])


def test_errors():
    for far in ([[0, 0], [3.0, 1e300]], [[1e9, 1e9]]):
        with pytest.raises(
            DataError, match="probe_positions: too far apart or away.*; give their unit, data.positions"
        ):
            object_shape(np.array(far), (4, 6))
    with pytest.raises(DataError, match="probe_positions: there are none"):
        object_shape(np.zeros((0, 2)), (4, 4))
    with pytest.raises(GeometryError, match=r"parameters\.object: the object is smaller than one window; .*\(9, 4\)"):
        corner_bounds((8, 8), (9, 4))


GRID = np.stack(np.meshgrid(np.arange(5) * 4.0, np.arange(7) * 4.0, indexing="ij"), -1).reshape(-1, 2)


def test_nearest_neighbors_of_a_grid():
    np.testing.assert_allclose(nearest_distances(GRID), 4.0)
    assert nearest_distances(GRID[:1]) == [np.inf]
