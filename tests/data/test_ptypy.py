"""ptypy's .ptyd files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from data_files import WINDOW, counts, from_corner, write

from adorym.data.open import open_dataset
from adorym.errors import DataError
from adorym.units import wavelength_m

N = 12
POSITIONS = np.random.default_rng(5).uniform(-1e-6, 1e-6, (N, 2))
META = {
    "meta/energy": 6.2,
    "meta/distance": 1.5,
    "meta/psize": 55e-6,
    "meta/propagation": "farfield",
    "meta/label": "None",
}


def ptyd(path, sizes=(1,) * 11 + (1,), **entries):
    content, start = dict(META), 0
    for k, size in enumerate(sizes):
        part = slice(start, start + size)
        content[f"chunks/{k}/data"] = counts(N)[part]
        content[f"chunks/{k}/positions"] = POSITIONS[part]
        start += size
    content |= {name.replace("__", "/"): value for name, value in entries.items()}
    return write(path, {name: value for name, value in content.items() if value is not None})


def pixel(energy=6200.0, distance=1.5, pitch=55e-6):
    return np.array([wavelength_m(energy) * distance / (n * pitch) for n in WINDOW])


@pytest.mark.parametrize("sizes", [(12,), (5, 7), (1,) * 12])  # ten and eleven must not come before two
def test_chunks_come_in_the_order_of_their_numbers(tmp_path, sizes):
    dataset = open_dataset(ptyd(tmp_path / "a.ptyd", sizes))
    assert dataset.format == "ptypy" and dataset.energy_ev == pytest.approx(6200) and dataset.mask is None
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), counts(N))
    expected = from_corner(POSITIONS / pixel())
    np.testing.assert_allclose(dataset.probe_positions_px, expected, rtol=1e-9, atol=1e-9)


def test_large_files_stay_on_disk(tmp_path):
    dataset = open_dataset(ptyd(tmp_path / "a.ptyd", (5, 7)), {"memory_limit_gib": 1e-9, "frames": "1:12:5"})
    np.testing.assert_array_equal(dataset.patterns.read(np.array([2, 0])), counts(N)[[11, 1]])


def test_weights_are_one_where_good(tmp_path):
    weights = np.ones(WINDOW)
    weights[1, 2] = 0
    one = open_dataset(ptyd(tmp_path / "a.ptyd", (5, 7), chunks__0__weights=weights, chunks__1__weights=weights))
    np.testing.assert_array_equal(one.mask, weights > 0)
    each = np.ones((7, *WINDOW))
    each[3, 0, 0] = 0
    path = ptyd(tmp_path / "b.ptyd", (5, 7), chunks__0__weights=np.zeros(0), chunks__1__weights=each)
    mask = open_dataset(path).mask
    assert mask.shape == (N, *WINDOW) and not mask[8, 0, 0] and mask.sum() == mask.size - 1
    common = open_dataset(ptyd(tmp_path / "c.ptyd", info__weight2d=weights))
    np.testing.assert_array_equal(common.mask, weights > 0)


def test_near_field_has_the_detectors_pixel(tmp_path):
    dataset = open_dataset(ptyd(tmp_path / "a.ptyd", meta__propagation="nearfield"))
    assert dataset.pixel_size_m == (55e-6, 55e-6)
    np.testing.assert_allclose(dataset.propagation_distance_m, [1.5])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"chunks__1__data": np.ones((7, 4, 4))}, "chunks hold patterns of different sizes"),
        ({"chunks__0__positions": None}, r"chunks/0: this chunk has no positions, others have"),
        ({"chunks__0__positions": np.zeros((5, 3))}, r"positions have the wrong shape; expected \(n, 2\)"),
        ({"chunks__1__positions": np.zeros((6, 2))}, "expected 12 positions; found 11"),
        ({"chunks__0__weights": np.ones((3, 3))}, "weights have the wrong shape"),
        ({"meta__energy": "None"}, "missing of the geometry: data.energy"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, entries, message):
    with pytest.raises(DataError, match=message):
        open_dataset(ptyd(tmp_path / "a.ptyd", (5, 7), **entries))


def test_lost_part_file(tmp_path):
    path = ptyd(tmp_path / "a.ptyd", (5, 7))
    with h5py.File(path, "r+") as file:
        file["chunks/2"] = h5py.ExternalLink("a.ptyd.part002", "/chunks/2")
    with pytest.raises(
        DataError, match=r"chunks/2: the chunk leads nowhere; found a link to 'a.ptyd.part002'; put the part"
    ):
        open_dataset(path)
    with pytest.raises(DataError, match="no chunk: the file holds no patterns"):
        empty = write(tmp_path / "b.ptyd", META)
        with h5py.File(empty, "r+") as file:
            file.create_group("chunks")
        open_dataset(empty)
