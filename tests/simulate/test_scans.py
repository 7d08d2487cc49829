"""Scans stay on the object, have the density they say, and record positions with the error they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from adorym.errors import ConfigErrors, GeometryError
from adorym.schema import build
from adorym.simulate.scans import Scan

PATTERNS = ["grid", "jittered", "spiral", "fermat", "fly"]
BEAM = np.array([24.0, 18.0])


def scan(**settings: object) -> Scan:
    return build(Scan, settings)


def points(made: Scan, room: tuple[float, float] = (90.0, 130.0), seed: int = 0) -> np.ndarray:
    return made.positions_px(np.array(room), BEAM, np.random.default_rng(seed))


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=10, deadline=None)
@given(step=st.floats(3, 15), room=st.tuples(st.floats(45, 150), st.floats(45, 150)), seed=st.integers(0, 99))
def test_the_whole_exposure_is_on_the_object(pattern, step, room, seed):
    made = scan(pattern=pattern, step=step)
    found = points(made, room, seed)[:, None] + made.path_px(BEAM)
    assert found.min() >= -1e-9
    assert (found.max((0, 1)) <= np.array(room) + 1e-9).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_there_is_one_point_per_square_step(pattern):
    made = scan(pattern=pattern, step=5)
    found = points(made, (200.0, 160.0))
    assert len(found) * 25 / (200 * 160) == pytest.approx(1, abs=0.12)
    nearest = cKDTree(found).query(found, 2)[0][:, 1]
    assert np.median(nearest) == pytest.approx(5, rel=0.25)


def test_grid_is_a_centered_grid_with_x_fastest():
    found = points(scan(pattern="grid", step=10), (25.0, 31.0))
    np.testing.assert_allclose(found[:4], [[2.5, 0.5], [2.5, 10.5], [2.5, 20.5], [2.5, 30.5]])
    np.testing.assert_allclose(np.unique(found[:, 0]), [2.5, 12.5, 22.5])


def test_overlap_gives_the_step_along_each_axis():
    np.testing.assert_allclose(scan(overlap=0.75).step_px(BEAM), BEAM / 4)
    np.testing.assert_allclose(scan(step="7 px").step_px(BEAM), [7, 7])


def test_fly_lines_are_lines():
    found = points(scan(pattern="fly", step=6))
    lines = np.unique(np.round(found[:, 0], 9))
    assert len(found) % len(lines) == 0
    first = found[np.isclose(found[:, 0], lines[0])]
    np.testing.assert_allclose(np.diff(first[:, 1]), 6)


def test_path_of_an_exposure_is_centered_on_the_recorded_position():
    path = scan(pattern="fly", step=8, duty=0.5, sub_positions=4).path_px(BEAM)
    np.testing.assert_allclose(path, [[0, -1.5], [0, -0.5], [0, 0.5], [0, 1.5]])
    np.testing.assert_array_equal(scan(pattern="grid").path_px(BEAM), [[0, 0]])


@settings(max_examples=10, deadline=None)
@given(rms=st.floats(0, 5), seed=st.integers(0, 1000))
def test_recorded_positions_are_wrong_by_what_was_asked(rms, seed):
    true = points(scan(step=9))
    error = scan(position_error=rms).recorded_px(true, np.random.default_rng(seed)) - true
    assert np.sqrt(np.mean(np.sum(error**2, 1))) == pytest.approx(rms, abs=1e-9)
    np.testing.assert_allclose(error.mean(0), 0, atol=1e-9)


def test_seed_decides_the_jitter():
    made = scan(pattern="jittered", step=9)
    np.testing.assert_array_equal(points(made, seed=4), points(made, seed=4))
    assert np.abs(points(made, seed=4) - points(made, seed=5)).max() > 1


def test_scan_without_room_is_refused():
    with pytest.raises(GeometryError, match="scan: no room for a scan.*enlarge object_px"):
        points(scan(step=30), (20.0, 130.0))


def test_step_and_overlap_together_are_refused():
    with pytest.raises(ConfigErrors, match="overlap: says the same as 'step'"):
        scan(step=3, overlap=0.5)


def test_unknown_pattern_is_refused_with_the_known_ones():
    with pytest.raises(ConfigErrors, match=r"pattern: expected one of 'grid', 'jittered'.*did you mean 'spiral'"):
        scan(pattern="spiral_")
