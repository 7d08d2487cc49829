"""The package's own layout: what is written is read back equal, and the original's files open unchanged."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from data_files import WINDOW, counts, native, positions, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import tiles_per_angle, write_native
from adorym.data.open import open_dataset
from adorym.data.patterns import blocks
from adorym.errors import DataError

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
lengths = st.floats(1e-12, 1e3)


def optional(strategy):
    return st.none() | strategy


@st.composite
def datasets(draw):
    """Data sets of any size, with any of their parts missing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_angles, tiles = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    n, window = n_angles * tiles, (draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    index = np.repeat(np.arange(n_angles), tiles)
    if draw(st.booleans()):
        index = rng.permutation(index)
    scale, per_angle = draw(st.sampled_from([0.0, 1.0, 1e4])), rng.normal(size=(tiles, 2))
    common = np.tile(per_angle, (n_angles, 1))
    place = draw(st.sampled_from(["none", "common", "each"]))
    mask = draw(st.sampled_from([None, window, (n, *window)]))
    return Dataset(
        patterns=ArrayPatterns(
            rng.poisson(3, (n, *window)).astype(draw(st.sampled_from(["f4", "u2", "f8", "i8"]))) + 1
        ),
        probe_positions_px={"none": None, "common": scale * common, "each": scale * rng.normal(size=(n, 2))}[place],
        angle_index=index,
        theta_rad=rng.uniform(-4, 4, n_angles),
        measured=draw(st.sampled_from(["intensity", "amplitude"])),
        energy_ev=draw(optional(st.floats(1, 1e6))),
        pixel_size_m=draw(optional(st.tuples(lengths, lengths))),
        detector_pixel_size_m=draw(optional(st.tuples(lengths, lengths))),
        distance_m=draw(optional(lengths)),
        source_distance_m=draw(optional(lengths.map(lambda length: 1.0 + length))),  # beyond what is propagated
        propagation_distance_m=draw(optional(st.just(rng.uniform(1e-6, 1, draw(st.integers(1, 3)))))),
        mask=None if mask is None else rng.random(mask) < 0.9,
        start_probe=draw(optional(st.just((rng.normal(size=(2, *window)) + 1j).astype(np.complex64)))),
        truth=draw(st.sampled_from([{}, {"object": np.ones((3, 4), complex), "tilt_rad": 0.25, "kind": "star"}])),
        notes=draw(st.sampled_from([(), ("one", "größer")])),
    )


@QUICK
@given(dataset=datasets())
def test_written_is_read_equal(tmp_path, dataset):
    if dataset.mask is not None and not dataset.mask.any():
        dataset.mask[...] = True
    read = open_dataset(write_native(dataset, tmp_path / "set.h5"))
    everything = np.arange(dataset.n_patterns)
    np.testing.assert_array_equal(read.patterns.read(everything), dataset.patterns.read(everything))
    for name in ("probe_positions_px", "angle_index", "theta_rad", "mask", "start_probe"):
        np.testing.assert_array_equal(getattr(read, name), getattr(dataset, name), err_msg=name)
    for name in ("energy_ev", "distance_m", "source_distance_m", "detector_pixel_size_m", "measured"):
        # a file that knows distance, pitch and energy fixes the pixel size too; the others stay as they were
        assert getattr(read, name) == getattr(dataset, name), name
    for name in ("pixel_size_m", "propagation_distance_m"):
        before, after = getattr(dataset, name), getattr(read, name)
        if before is not None:
            np.testing.assert_allclose(after, before, rtol=1e-15)
    assert read.truth.keys() == dataset.truth.keys()
    for name, value in dataset.truth.items():
        np.testing.assert_array_equal(read.truth[name], value)
    assert read.notes[: len(dataset.notes)] == dataset.notes
    assert read.format == "adorym" and list(tmp_path.iterdir()) == [tmp_path / "set.h5"]


@QUICK
@given(dataset=datasets())
def test_all_numbers_carry_units(tmp_path, dataset):
    path = write_native(dataset, tmp_path / "set.h5")
    without = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                without.append(name) if isinstance(item, h5py.Dataset) and "units" not in item.attrs else None
            )
        )
    assert set(without) <= {"metadata/notes"}


def test_patterns_cross_blocks_and_angles(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "__defaults__", (4 * 48 * 5,))  # five patterns a block
    dataset = Dataset(ArrayPatterns(counts(12)), angle_index=np.repeat(np.arange(4), 3), theta_rad=np.zeros(4))
    path = write_native(dataset, tmp_path / "set.h5")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["exchange/data"][()], counts(12).reshape(4, 3, *WINDOW))


def test_failed_writing_leaves_the_old_file(tmp_path):
    path = write_native(Dataset(ArrayPatterns(counts(2))), tmp_path / "set.h5")
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"set\.h5: the data set cannot be written"):
        write_native(Dataset(ArrayPatterns(counts(2)), truth={"thing": object()}), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="cannot be written"):
        write_native(Dataset(ArrayPatterns(counts(2))), path / "below" / "a.h5")


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path):
    path = write_native(Dataset(ArrayPatterns(counts(2))), tmp_path / "set.h5")
    before = path.read_bytes()
    with open(path, "rb") as reader:
        write_native(Dataset(ArrayPatterns(counts(3))), path)
        assert reader.read() == before
    assert open_dataset(path).n_patterns == 3


@pytest.mark.parametrize(("size", "stored"), [((1e-8, 1e-8), ()), ((1e-8, 2e-8), (2,))])
def test_square_pixels_are_one_number_as_in_the_original(tmp_path, size, stored):
    path = write_native(Dataset(ArrayPatterns(counts(2)), pixel_size_m=size), tmp_path / "set.h5")
    with h5py.File(path) as file:
        assert file["metadata/psize_cm"].shape == stored
        assert file["metadata/psize_cm"].attrs["units"] == "cm"


def test_original_file_opens_unchanged(tmp_path):
    probe = np.ones((1, *WINDOW), np.complex64)
    path = native(tmp_path / "a.h5", start__probe=probe, truth__probe_positions_px=positions(5, seed=7))
    dataset = open_dataset(path)
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(5)), counts(5))
    np.testing.assert_array_equal(dataset.probe_positions_px, positions(5))
    np.testing.assert_array_equal(dataset.truth["probe_positions_px"], positions(5, seed=7))
    assert dataset.energy_ev == 8800 and dataset.pixel_size_m == pytest.approx((1e-8, 1e-8))
    assert dataset.propagation_distance_m is None and dataset.measured == "intensity" and dataset.n_angles == 1
    assert any("taken as intensity" in note for note in dataset.notes)


def test_units_win_over_the_names(tmp_path):
    path = native(
        tmp_path / "a.h5",
        metadata__energy_ev=(8.8, "keV"),
        metadata__psize_cm=([13.0, 12.0], "nm"),
        metadata__theta=([0.0], "deg"),
    )
    dataset = open_dataset(path)
    assert dataset.energy_ev == pytest.approx(8800) and dataset.pixel_size_m == pytest.approx((13e-9, 12e-9))
    with pytest.raises(DataError, match=r"energy_ev: its unit is no unit of eV; found 'nm'"):
        open_dataset(native(tmp_path / "b.h5", metadata__energy_ev=(8.8, "nm")))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"metadata/theta": [0.0, 1.0, 2.0]}, [0, 1, 2]),
        ({"exchange/theta": [0.0, 90.0, 180.0]}, [0, np.pi / 2, np.pi]),
        ({"exchange/theta": ([0.0, 1.0, 2.0], "rad")}, [0, 1, 2]),
        ({}, [0, np.pi / 2, np.pi]),
    ],
)
def test_rotation_angles(tmp_path, entries, expected):
    dataset = open_dataset(write(tmp_path / "a.h5", {"exchange/data": counts(6).reshape(3, 2, *WINDOW), **entries}))
    np.testing.assert_allclose(dataset.theta_rad, expected)
    np.testing.assert_array_equal(dataset.angle_index, [0, 0, 1, 1, 2, 2])
    assert any("theta: not in the file" in doubt for doubt in dataset.doubts) == (not entries)


def test_positions_of_each_angle(tmp_path):
    entries = {"exchange/data": counts(6).reshape(3, 2, *WINDOW), "metadata/theta": [0.0, 1.0, 2.0]}
    each = {f"metadata/probe_pos_px_{i}": positions(2, seed=i) for i in range(3)}
    dataset = open_dataset(write(tmp_path / "a.h5", entries | each))
    np.testing.assert_array_equal(dataset.probe_positions_px, np.concatenate(list(each.values())))
    common = open_dataset(write(tmp_path / "b.h5", entries | {"metadata/probe_pos_px": positions(2)}))
    np.testing.assert_array_equal(common.probe_positions_px, np.tile(positions(2), (3, 1)))
    del each["metadata/probe_pos_px_1"]
    with pytest.raises(DataError, match="missing dataset '/metadata/probe_pos_px_1'"):
        open_dataset(write(tmp_path / "c.h5", entries | each))


def test_three_axes_are_a_scan_or_a_rotation(tmp_path):
    scan = open_dataset(native(tmp_path / "a.h5", exchange__data=counts(5)))
    assert scan.n_angles == 1 and any("5 patterns of one angle" in note for note in scan.notes)
    turn = open_dataset(write(tmp_path / "b.h5", {"exchange/data": counts(3), "metadata/theta": [0.0, 1.0, 2.0]}))
    np.testing.assert_array_equal(turn.angle_index, [0, 1, 2])
    distances = {"exchange/data": counts(3), "metadata/free_prop_cm": [1.0, 2.0, 3.0]}
    assert open_dataset(write(tmp_path / "c.h5", distances)).n_angles == 1


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, None), ("inf", None), (np.inf, None), (2.0, [0.02]), ([1.0, 4.0], [0.01, 0.04])]
)
def test_propagation_distance(tmp_path, value, expected):
    dataset = open_dataset(native(tmp_path / "a.h5", n=4, metadata__free_prop_cm=value))
    if expected is None:
        assert dataset.propagation_distance_m is None
    else:
        np.testing.assert_allclose(dataset.propagation_distance_m, expected)


def test_several_distances_share_their_positions(tmp_path):
    path = native(tmp_path / "a.h5", n=6, metadata__free_prop_cm=[1.0, 2.0], metadata__probe_pos_px=positions(3))
    dataset = open_dataset(path)
    np.testing.assert_array_equal(dataset.probe_positions_px, np.tile(positions(3), (2, 1)))
    assert any("the same 3 positions at each of 2 distances" in note for note in dataset.notes)


def test_dxchange_dark_and_white_are_applied(tmp_path):
    truth, white = counts(3), np.linspace(50, 150, 48).reshape(WINDOW)
    mean = white.mean()
    path = write(
        tmp_path / "a.h5",
        {
            "exchange/data": truth * white / mean + 10,
            "exchange/data_white": np.stack([white + 9, white + 11]),
            "exchange/data_dark": np.full((4, *WINDOW), 10.0),
            "exchange/theta": [0.0, 30.0, 60.0],
        },
    )
    dataset = open_dataset(path)
    np.testing.assert_allclose(dataset.patterns.read(np.arange(3)), truth, rtol=1e-4, atol=1e-4)
    assert any("its mean of 100 counts kept" in note for note in dataset.notes)


def test_dark_and_white_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match=r"the flat field does not fit the patterns; expected \(6, 8\); found \(6, 7\)"):
        open_dataset(native(tmp_path / "a.h5", exchange__data_white=np.ones((6, 7))))
    with pytest.raises(DataError, match="the flat field is nowhere brighter than the dark field"):
        open_dataset(
            native(tmp_path / "b.h5", exchange__data_white=np.ones(WINDOW), exchange__data_dark=np.ones(WINDOW))
        )
    path = native(tmp_path / "c.h5", exchange__data_dark=np.ones(WINDOW))
    with h5py.File(path, "r+") as file:
        file["exchange/data"].attrs["measured"] = "amplitude"
    with pytest.raises(DataError, match="dark and flat fields are counts, the patterns are amplitudes"):
        open_dataset(path)


@pytest.mark.parametrize("name", ["metadata__mask", "exchange__mask"])
def test_mask_is_one_where_good(tmp_path, name):
    mask = np.ones(WINDOW, int)
    mask[0, 3] = 0
    dataset = open_dataset(native(tmp_path / "a.h5", **{name: mask}))
    np.testing.assert_array_equal(dataset.mask, mask == 1)


def test_absent_energy_stays_absent(tmp_path):
    assert open_dataset(native(tmp_path / "a.h5", metadata__energy_ev=None)).energy_ev is None
    zero = open_dataset(native(tmp_path / "b.h5", metadata__energy_ev=0.0))
    assert zero.energy_ev is None and any("energy_ev: not a positive number" in note for note in zero.notes)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"metadata__probe_pos_px": positions(4)}, "one position too few; expected 5 positions; found 4; if the"),
        ({"metadata__probe_pos_px": positions(7)}, "2 positions too many; expected 5 positions; found 7; if the"),
        ({"metadata__probe_pos_px": np.zeros((5, 3))}, r"probe positions have the wrong shape; expected \(5, 2\)"),
        (
            {"metadata__probe_pos_px": np.full((5, 2), np.nan)},
            "probe positions 0 to 4 are not finite numbers; found 5 of 5; correct",
        ),
        ({"exchange__data": np.zeros((1, 1, 5, 6, 8))}, r"wrong shape; expected \(angle, tile, y, x\) or"),
        ({"exchange__data": counts(1)[0]}, "patterns have the wrong shape"),
        ({"metadata__theta": [0.0, 1.0]}, "the number of rotation angles does not fit; expected 1; found 2 in theta"),
        ({"metadata__psize_cm": -1.0}, "psize_cm: not a pixel size"),
        ({"metadata__energy_ev": "high"}, "energy_ev: not a number"),
        ({"metadata__mask": np.ones((8, 6))}, r"the mask does not fit the patterns; expected \(6, 8\)"),
        ({"metadata__mask": np.zeros(WINDOW)}, "the mask leaves no good pixel.*invert_mask"),
        ({"metadata__angle_index": [0, 0, 0]}, "angle_index: the angle of every pattern; expected 5 numbers"),
        ({"start__probe": 3.0}, "start/probe: not a probe"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, entries, message):
    with pytest.raises(DataError, match=message):
        open_dataset(native(tmp_path / "a.h5", **entries))


def test_irregular_angles_are_told_apart(tmp_path):
    dataset = Dataset(ArrayPatterns(counts(3)), angle_index=np.array([0, 1, 1]), theta_rad=np.array([0.0, 1.0]))
    assert tiles_per_angle(dataset) is None
    np.testing.assert_array_equal(open_dataset(write_native(dataset, tmp_path / "a.h5")).angle_index, [0, 1, 1])
