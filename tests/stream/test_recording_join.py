"""Frames and positions of a recording: joined by number or time, whatever the order in which they came."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adorym.data.recording import NO_NUMBER, interpolated, joined

NAN = np.nan


def test_frames_are_joined_by_number_and_those_without_a_position_are_named():
    found = joined(
        np.array([7, 3, 5]), np.full(3, NAN), np.array([[1.0, 2], [3, 4]]), np.array([7, 3]), np.full(2, NAN)
    )
    assert found.rows.tolist() == [1, 0] and found.without.tolist() == [5]
    assert found.positions.tolist() == [[3, 4], [1, 2]]


def test_several_positions_of_a_number_are_averaged():
    found = joined(np.array([1]), np.full(1, NAN), np.array([[1.0, 2], [3, 6]]), np.array([1, 1]), np.full(2, NAN))
    assert found.positions.tolist() == [[2, 4]]


def test_without_any_position_every_frame_counts():
    found = joined(np.array([2, 1]), np.full(2, NAN), np.zeros((0, 2)), np.zeros(0, int), np.zeros(0))
    assert found.rows.tolist() == [1, 0] and found.positions.shape == (0, 2)


def test_positions_are_linear_between_their_times_and_never_beyond():
    times, positions = np.array([1.0, 3.0]), np.array([[0.0, 10], [4, 20]])
    found = interpolated(np.array([0.9, 1.0, 1.5, 3.0, 3.1]), positions, times)
    assert np.isnan(found[[0, 4]]).all()
    assert found[1:4] == pytest.approx(np.array([[0, 10], [1, 12.5], [4, 20]]))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_order_changes_nothing(data):
    n = data.draw(st.integers(1, 8))
    number = np.arange(10, 10 + n)
    time_s = number * 0.1
    by_time = data.draw(st.booleans())
    k = data.draw(st.integers(1, 8))
    of_number = np.array(data.draw(st.lists(st.integers(10, 18), min_size=k, max_size=k)))
    position = np.array(data.draw(st.lists(st.tuples(*[st.floats(-9, 9)] * 2), min_size=k, max_size=k)))
    of_time = of_number * 0.1 if by_time else np.full(k, NAN)
    of_number = np.full(k, NO_NUMBER) if by_time else of_number
    frames, places = data.draw(st.permutations(range(n))), data.draw(st.permutations(range(k)))
    one = joined(number, time_s, position, of_number, of_time)
    i, j = list(frames), list(places)
    other = joined(number[i], time_s[i], position[j], of_number[j], of_time[j])
    assert number[one.rows].tolist() == number[i][other.rows].tolist()
    if not by_time or len(np.unique(of_time)) == k:  # of equal times, only the order of the values decides
        assert np.array_equal(one.positions, other.positions)
