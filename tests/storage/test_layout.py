"""Index arithmetic of slabs and covers, against masks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adorym.storage import layout
from adorym.storage.layout import Slabs, cover

SHAPE = (17, 23)
few = settings(max_examples=60, deadline=None)


@st.composite
def boxes(draw, most=7):
    n = draw(st.integers(0, most))
    made = []
    for _ in range(n):
        h, w = draw(st.integers(1, 6)), draw(st.integers(1, 9))
        made.append((draw(st.integers(0, SHAPE[0] - h)), draw(st.integers(0, SHAPE[1] - w)), h, w))
    return np.array(made, np.int64).reshape(-1, 4)


def mask_of(some):
    mask = np.zeros(SHAPE, bool)
    for y, x, h, w in some:
        mask[y : y + h, x : x + w] = True
    return mask


@few
@given(st.integers(0, 40), st.integers(1, 9))
def test_slabs_are_all_rows_once_and_nearly_equal(rows, parts):
    slabs = Slabs(rows, parts)
    ranges = [slabs.of(p) for p in range(parts)]
    assert ranges[0][0] == 0 and ranges[-1][1] == rows
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    sizes = [b - a for a, b in ranges]
    assert max(sizes) - min(sizes) <= 1
    assert slabs.edges.tolist() == [a for a, _ in ranges] + [rows]


@few
@given(st.lists(boxes(), max_size=5), st.integers(0, SHAPE[0]), st.integers(0, SHAPE[0]))
def test_covers_are_those_of_the_ranks_that_ask_for_anything(every, low, high):
    rows = (min(low, high), max(low, high))
    expected = {rank: cover(some, rows) for rank, some in enumerate(every)}
    found = layout.covers(every, rows)
    assert list(found) == [rank for rank, each in expected.items() if each.n_pixels]
    for rank, each in found.items():
        assert all((a == b).all() for a, b in zip(each.as_arrays(), expected[rank].as_arrays(), strict=True))


@few
@given(boxes(), st.integers(0, SHAPE[0]), st.integers(0, SHAPE[0]))
def test_packing_is_masking(some, low, high):
    low, high = min(low, high), max(low, high)
    image = np.arange(SHAPE[0] * SHAPE[1] * 2, dtype=float).reshape(SHAPE[0], -1)  # two numbers a pixel
    mask = mask_of(some)
    mask[:low], mask[high:] = False, False
    made = cover(some, (low, high))
    assert made.n_pixels == mask.sum()
    counts = np.concatenate([[0], mask.sum(1).cumsum()])
    np.testing.assert_array_equal(made.pixels_before(np.arange(SHAPE[0] + 1)), counts)
    packed = np.zeros(2 * made.n_pixels)
    for a, b in ((0, 5), (5, 6), (6, SHAPE[0])):  # block by block
        layout.pack(image[a:b], a, made.as_arrays(), 2, packed)
    np.testing.assert_array_equal(packed.reshape(-1, 2), image.reshape(*SHAPE, 2)[mask])
    back = np.zeros_like(image)
    for a, b in ((0, 9), (9, SHAPE[0])):
        layout.unpack_add(packed, made.as_arrays(), 2, back[a:b], a)
    np.testing.assert_array_equal(back.reshape(*SHAPE, 2), image.reshape(*SHAPE, 2) * mask[..., None])


@few
@given(st.lists(st.tuples(st.integers(0, SHAPE[0] - 5), st.integers(0, SHAPE[1] - 4)), max_size=8), st.integers(0, 9))
def test_windows_come_out_of_the_packed_pixels_and_go_back(corners, seed):
    corners = np.array(corners, np.int64).reshape(-1, 2)
    some, image = layout.window_boxes(corners, (5, 4)), np.random.default_rng(seed).normal(size=SHAPE)
    made = cover(some, (0, SHAPE[0]))
    packed, windows = np.zeros(made.n_pixels), np.empty((len(corners), 5, 4))
    layout.pack(image, 0, made.as_arrays(), 1, packed)
    layout.cut_windows(packed, made.as_arrays(), corners, 1, windows)
    for (y, x), window in zip(corners, windows, strict=True):
        np.testing.assert_array_equal(window, image[y : y + 5, x : x + 4])
    given_back, expected = np.zeros(made.n_pixels), np.zeros(SHAPE)
    layout.paste_windows(windows, made.as_arrays(), corners, 1, given_back)
    for (y, x), window in zip(corners, windows, strict=True):
        expected[y : y + 5, x : x + 4] += window
    np.testing.assert_allclose(given_back, expected[mask_of(some)])


@few
@given(st.lists(boxes(4), min_size=1, max_size=5))
def test_bytes_are_those_of_the_union_in_the_slabs_of_others(asked):
    slabs, ranks = Slabs(SHAPE[0], len(asked)), range(len(asked))
    expected = [
        sum(8 * int(mask_of(asked[r])[slice(*slabs.of(owner))].sum()) for r in ranks if r != owner) for owner in ranks
    ]
    assert layout.bytes_asked(asked, slabs, 8) == expected
    for owner in ranks:  # what the owner finds in its slab is what the asking rank expects of it
        for some in asked:
            own = cover(some, slabs.of(owner)).n_pixels
            assert own == np.diff(cover(some, (0, SHAPE[0])).pixels_before(slabs.edges))[owner]
