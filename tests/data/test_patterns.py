"""Stacks of patterns: any order of reading gives the same as the array in memory."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from data_files import WINDOW, counts, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adorym.data.dataset import ArrayPatterns
from adorym.data.patterns import (
    CorrectedPatterns,
    Hdf5Patterns,
    JoinedPatterns,
    MaskedPatterns,
    Orientation,
    OrientedPatterns,
    blocks,
    load,
    select,
)
from adorym.errors import DataError

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("stack", [(12,), (3, 4), (2, 3, 2), (1, 12)])
@QUICK
@given(data=st.data())
def test_reads_any_index(tmp_path, stack, data):
    array = counts(12).reshape(*stack, *WINDOW)
    path = tmp_path / "stack.h5"
    if not path.exists():
        write(path, {"data": array})
    index = np.array(data.draw(st.lists(st.integers(0, 11), max_size=20)), int)
    patterns = Hdf5Patterns(path, "data")
    assert patterns.shape == (12, *WINDOW)
    read = patterns.read(index)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, counts(12)[index])
    kept = np.array(data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=8)), int)
    np.testing.assert_array_equal(
        patterns.select(kept).select(np.array([0])).read(np.array([0, 0])), counts(12)[kept[[0, 0]]]
    )


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "u8", "f4", "f8", "bool"])
def test_dtypes_become_float32(tmp_path, dtype):
    array = counts(3).astype(dtype)
    read = Hdf5Patterns(write(tmp_path / "a.h5", {"d": array}), "d").read(np.arange(3))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, array.astype(np.float32))


def test_one_picture_is_a_stack_of_one(tmp_path):
    patterns = Hdf5Patterns(write(tmp_path / "a.h5", {"d": counts(1)[0]}), "d")
    assert patterns.shape == (1, *WINDOW)
    np.testing.assert_array_equal(patterns.read(np.array([0])), counts(1))


def test_threads_share_one_stack(tmp_path):
    patterns = Hdf5Patterns(write(tmp_path / "a.h5", {"d": counts(20)}), "d")
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: patterns.read(np.array([i, 0])), range(20)))
    for i, pair in enumerate(read):
        np.testing.assert_array_equal(pair, counts(20)[[i, 0]])


def test_pickled_and_forked_stack_opens_the_file_anew(tmp_path):
    patterns = Hdf5Patterns(write(tmp_path / "a.h5", {"d": counts(4)}), "d", selection=np.array([3, 1]))
    patterns.read(np.array([0]))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(patterns)).read(np.array([1])), counts(4)[[1]])
    handle = patterns._handle
    patterns._owner = os.getpid() + 1  # as a forked child sees it
    np.testing.assert_array_equal(patterns.read(np.array([0])), counts(4)[[3]])
    assert patterns._handle is not handle
    patterns.close()
    np.testing.assert_array_equal(patterns.read(np.array([1])), counts(4)[[1]])


def test_wrong_datasets_are_refused(tmp_path):
    path = write(
        tmp_path / "a.h5", {"line": np.zeros(3), "wave": np.zeros((2, 3, 4), complex), "none": np.zeros((0, 3, 4))}
    )
    with pytest.raises(DataError, match=r"line: patterns have the wrong shape; expected \(n, y, x\).*found \(3,\)"):
        Hdf5Patterns(path, "line")
    with pytest.raises(DataError, match="none: patterns have the wrong shape"):
        Hdf5Patterns(path, "none")
    with pytest.raises(DataError, match="wave: patterns are not real numbers; found complex128"):
        Hdf5Patterns(path, "wave")
    with pytest.raises(DataError, match="missing dataset '/lime'; found line, none, wave"):
        Hdf5Patterns(path, "lime")


def test_unreadable_chunk_says_where(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("d", data=counts(2), chunks=(1, *WINDOW), compression="gzip")
        offset = stored.id.get_chunk_info(1).byte_offset
    with open(path, "r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * 16)
    with pytest.raises(DataError, match=r"a\.h5:/d: patterns cannot be read.*copy a damaged file again"):
        Hdf5Patterns(path, "d").read(np.arange(2))


def test_joined_stacks_count_on():
    joined = JoinedPatterns([ArrayPatterns(counts(3, seed=0)), ArrayPatterns(counts(4, seed=1))])
    whole = np.concatenate([counts(3, seed=0), counts(4, seed=1)])
    assert joined.shape == (7, *WINDOW)
    index = np.array([6, 0, 3, 2, 2])
    np.testing.assert_array_equal(joined.read(index), whole[index])


def test_dark_and_white_restore_the_counts():
    truth, dark = counts(3), np.full(WINDOW, 2.0)
    gain = np.linspace(0.5, 2, 48).reshape(WINDOW)
    recorded = ArrayPatterns(truth / gain.astype(np.float32) + 2)
    np.testing.assert_allclose(CorrectedPatterns(recorded, dark, gain).read(np.arange(3)), truth, rtol=1e-5, atol=1e-5)
    below = CorrectedPatterns(ArrayPatterns(np.zeros((1, *WINDOW), np.float32)), dark).read(np.array([0]))
    assert (below == 0).all()


def test_bad_pixels_become_zero_only_where_unusable():
    frames = counts(2)
    frames[0, 1, 2], frames[1, 1, 2], frames[0, 3, 3] = np.nan, 7, -1
    good = np.ones(WINDOW, bool)
    good[1, 2] = False
    read = MaskedPatterns(ArrayPatterns(frames), good).read(np.arange(2))
    assert read[0, 1, 2] == 0 and read[1, 1, 2] == 7 and read[0, 3, 3] == -1
    by_pattern = np.stack([good, np.ones(WINDOW, bool)])
    assert MaskedPatterns(ArrayPatterns(frames), by_pattern).read(np.array([1, 0]))[1, 1, 2] == 0


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (6, 7)])
def test_flips_leave_the_zero_frequency_in_place(shape):
    wave = np.random.default_rng(0).normal(size=shape) + 1j
    pattern = np.fft.fftshift(np.abs(np.fft.fft2(wave)) ** 2)
    turned = np.roll(np.flip(wave, 0), 1, 0)  # y -> -y on the periodic grid
    expected = np.fft.fftshift(np.abs(np.fft.fft2(turned)) ** 2)
    np.testing.assert_allclose(Orientation(flip_y=True).apply(pattern), expected, rtol=1e-9)
    assert np.array_equal(Orientation(flip_x=True, keep_center=False).apply(pattern), pattern[:, ::-1])


@QUICK
@given(st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_orientation_acts_on_every_pattern_alike(corner, transpose, flip_y, flip_x):
    turn = Orientation(from_corner=corner, transpose=transpose, flip_y=flip_y, flip_x=flip_x)
    turned = OrientedPatterns(ArrayPatterns(counts(4)), turn)
    read = turned.read(np.array([2, 0]))
    assert turned.shape[1:] == read.shape[1:] == (WINDOW[::-1] if transpose else WINDOW)
    np.testing.assert_array_equal(read[1], turn.apply(counts(4)[0]))
    assert turn.is_identity == (turn.describe() == "")
    twice = turn.apply(turn.apply(counts(4))) if not transpose else counts(4)
    np.testing.assert_array_equal(twice, counts(4))


def test_blocks_and_loading(tmp_path):
    patterns = Hdf5Patterns(write(tmp_path / "a.h5", {"d": counts(7).reshape(7, 1, *WINDOW)}), "d")
    pieces = list(blocks(patterns, block_bytes=4 * 48 * 3))
    assert [start for start, _ in pieces] == [0, 3, 6]
    np.testing.assert_array_equal(np.concatenate([frames for _, frames in pieces]), counts(7))
    assert load(patterns, limit_bytes=4 * 48 * 7 - 1) is patterns
    loaded = load(patterns, limit_bytes=4 * 48 * 7)
    assert isinstance(loaded, ArrayPatterns)
    np.testing.assert_array_equal(loaded.array, counts(7))
    for stack in (loaded, patterns, JoinedPatterns([patterns])):
        np.testing.assert_array_equal(select(stack, np.array([5, 1])).read(np.array([1])), counts(7)[[1]])


def test_an_array_that_was_never_written_is_refused(tmp_path):
    """However large it is: as of an aborted measurement, or of a file made to fill the memory."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (6, 2**16, 2**16), "f4", chunks=(1, 32, 32))
        file.create_dataset("written", (6, 40, 40), "f4", chunks=(1, 32, 32))[2, 3, 4] = 1
    with pytest.raises(DataError, match="never written; found 6 x 65536 x 65536 numbers.*; copy the whole file again"):
        Hdf5Patterns(tmp_path / "a.h5", "data")
    assert Hdf5Patterns(tmp_path / "a.h5", "written").read(np.array([2]))[0, 3, 4] == 1
