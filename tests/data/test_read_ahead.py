"""Patterns are read while others are worked on, in order, and never more than a few of them."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from adorym.data.read_ahead import AHEAD, ReadAhead


def parts(n):
    return [np.arange(3 * i, 3 * i + 3) for i in range(n)]


def test_what_is_expected_is_read_once_and_not_too_early():
    read = []

    def slow(index):
        read.append(int(index[0]) // 3)
        return index * 2

    ahead, chunks = ReadAhead(slow), parts(6)
    ahead.prefetch(chunks)
    time.sleep(0.05)
    assert read == list(range(AHEAD))
    for i, chunk in enumerate(chunks):
        np.testing.assert_array_equal(ahead.take(chunk), chunk * 2)
        assert len(read) <= i + 1 + AHEAD
    assert read == list(range(6))


def test_what_is_not_expected_is_read_all_the_same():
    ahead = ReadAhead(lambda index: index + 1)
    ahead.prefetch(parts(2))
    other = np.array([7, 9])
    np.testing.assert_array_equal(ahead.take(other), [8, 10])
    np.testing.assert_array_equal(ahead.take(parts(2)[1]), [4, 5, 6])


def test_reading_goes_on_meanwhile():
    ready = threading.Event()

    def read(index):
        ready.set()
        return index

    ReadAhead(read).prefetch(parts(1))
    assert ready.wait(5)


def test_errors_come_out_where_the_patterns_are_asked_for():
    def broken(index):
        raise OSError("lost")

    ahead = ReadAhead(broken)
    ahead.prefetch(parts(1))
    with pytest.raises(OSError, match="lost"):
        ahead.take(parts(1)[0])
