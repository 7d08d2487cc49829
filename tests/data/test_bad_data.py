"""Marks instead of counts, saturated counts, and patterns that fall out of a scan."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import native

from adorym.comm import SerialCommunicator
from adorym.data.open import open_dataset
from adorym.data.selection import shown_numbers
from adorym.engine.build import bind
from adorym.engine.likelihood import loss_of
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, DataError
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import Huber, LeastSquares, Poisson

SIDE, N = 24, 100


def scan(seed=0, transmission=None, photons=3e4):
    """``(100, 24, 24)`` counts of a disc-shaped beam on a 10 x 10 raster, and the positions."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    disc = 1 / (1 + np.exp((np.hypot(y, x) - 6) / 0.5)) + 1e-4
    speckle = 1 + 0.6 * np.cos(rng.uniform(0, 6, (N, 1, 1)) + rng.uniform(0.3, 0.9, (N, 1, 1)) * y + 0.5 * x)
    expected = photons * disc / disc.sum() * speckle
    expected = expected if transmission is None else expected * transmission[:, None, None]
    places = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0), indexing="ij"), -1).reshape(-1, 2) * 3
    return rng.poisson(expected), places + rng.uniform(-0.5, 0.5, (N, 2))


def used(loss, dataset):
    recipe = Recipe(Ptychography(), {}, loss)
    return loss_of(recipe, bind(dataset, recipe, RunSettings()), SerialCommunicator())[0]


def written(folder, frames, places, name="a.h5", **entries):
    return native(folder / name, exchange__data=frames[None], metadata__probe_pos_px=places, **entries)


def gap():
    bad = np.zeros((SIDE, SIDE), bool)
    bad[:, 17:19] = bad[8:10] = bad[3, 4] = True
    return bad


@pytest.mark.parametrize(
    ("mark", "dtype", "said"),
    [
        (65535, "uint16", "65535"),
        (65535, "float32", "65535"),
        (65534, "int32", "65534"),
        (2**32 - 1, "uint32", "4294967295"),
        (2**32 - 1, "float64", "4294967295"),
        (2**31 - 1, "int32", "2147483647"),
        (2**63 - 1, "int64", "9223372036854775807"),
        (2**20 - 1, "int32", "1048575"),
        (-1, "int16", "a negative number"),
        (-2, "float32", "a negative number"),
        (np.nan, "float32", "NaN"),
        (np.inf, "float64", "NaN"),
    ],
)
def test_marks_at_the_same_pixels_are_masked(tmp_path, mark, dtype, said):
    frames, places = scan()
    frames = np.where(gap(), 0, frames).astype(dtype)
    counts = frames.astype(float)
    frames[:, gap()] = mark
    path = written(tmp_path, frames, places)
    for settings in ({}, {"memory_limit_gib": 1e-9}, {"frames": "3::7"}):
        dataset = open_dataset(path, settings)
        np.testing.assert_array_equal(dataset.mask, ~gap())
        (doubt,) = dataset.doubts
        assert said in doubt and f"in {gap().sum()} pixels" in doubt
        good = dataset.patterns.read(np.arange(4))[:, ~gap()]
        np.testing.assert_array_equal(good, counts[dataset.pattern_numbers[:4]][:, ~gap()])


def test_gap_of_half_the_frame_beside_a_mask_of_the_file(tmp_path):
    frames, places = scan()
    mask = np.ones((SIDE, SIDE))
    mask[:, 0] = 0
    frames[:, 12:], frames[5, 2:4] = -1, 0
    dataset = open_dataset(written(tmp_path, frames.astype("int64"), places, metadata__mask=mask))
    np.testing.assert_array_equal(dataset.mask, (mask == 1) & (np.arange(SIDE) < 12)[:, None])
    assert "in 276 pixels" in dataset.doubts[0]


def test_marks_before_the_dark_field_is_subtracted(tmp_path):
    frames, places = scan()
    frames[:, gap()] = 65535
    path = written(tmp_path, frames.astype("uint16"), places, exchange__data_dark=np.full((SIDE, SIDE), 0.5))
    np.testing.assert_array_equal(open_dataset(path).mask, ~gap())


def test_line_integrals_may_be_negative(tmp_path):
    values = np.random.default_rng(0).normal(-0.3, 0.01, (5, 1, SIDE, SIDE))
    path = native(tmp_path / "a.h5", exchange__data=values, metadata__probe_pos_px=None)
    assert open_dataset(path, {"measured": "line_integrals"}).mask is None


@pytest.mark.parametrize("mark", [np.nan, -1.0, 2.0**32 - 1])
def test_marks_in_single_frames_are_an_error_whose_remedies_work(tmp_path, mark):
    frames, places = scan()
    frames = frames.astype("float32")
    frames[17, 2, 3] = frames[40, 5, 6] = mark
    path = written(tmp_path, frames, places)
    with pytest.raises(DataError, match="2 counts are .* in 2 of 100 patterns, first in pattern 17; mask the pixels"):
        open_dataset(path)
    single = open_dataset(path, {"bad_counts": "mask_values"})
    assert single.mask.shape == single.patterns.shape
    assert np.argwhere(~single.mask).tolist() == [[17, 2, 3], [40, 5, 6]]
    masked = open_dataset(path, {"bad_counts": "mask_pixels"})
    assert masked.n_patterns == N and (~masked.mask).sum() == 2
    assert open_dataset(path, {"bad_counts": "drop_patterns"}).n_patterns == N - 2
    assert open_dataset(path, {"drop_frames": (17, 40)}).n_patterns == N - 2
    assert open_dataset(path, {"frames": "41:"}).n_patterns == N - 41


def test_a_damaged_frame_alone_is_left_out(tmp_path):
    frames, places = scan()
    frames = frames.astype("float32")
    frames[0] = np.nan
    dataset = open_dataset(written(tmp_path, frames, places))
    np.testing.assert_array_equal(dataset.pattern_numbers, np.arange(1, N))
    assert dataset.doubts == (
        "patterns fall out and are left out: 0 (unreadable) (data.drop_frames: auto; 'none' keeps them)",
    )
    with pytest.raises(DataError, match=r"576 counts are not finite.*; leave out the patterns"):
        open_dataset(written(tmp_path, frames, places), {"drop_frames": "none"})


def modules():
    """Two columns between modules, three dead rows, a dead chip at the rim, and a dead pixel."""
    bad = np.zeros((SIDE, SIDE), bool)
    bad[:, 9:11] = bad[15:18] = bad[12, 13] = True
    return bad


@pytest.mark.parametrize("settings", [{}, {"memory_limit_gib": 1e-9}])
def test_modules_that_count_nothing_between_those_that_do_are_masked(tmp_path, settings):
    frames, places = scan(photons=3e5)
    frames[:, modules()] = 0
    dataset = open_dataset(written(tmp_path, frames, places), settings)
    np.testing.assert_array_equal(dataset.mask, ~modules())
    assert dataset.doubts[0].startswith(f"mask: pixels without counts are left out: 0 in {modules().sum()} pixels")
    frames[:, :4] = 0
    np.testing.assert_array_equal(open_dataset(written(tmp_path, frames, places, "b.h5")).mask, ~modules())
    np.save(tmp_path / "mask.npy", np.ones((SIDE, SIDE)))
    assert open_dataset(tmp_path / "b.h5", {"mask": str(tmp_path / "mask.npy")}).mask.all()


def test_a_dead_chip(tmp_path):
    frames, places = scan(photons=3e5)
    frames[:, 10:16, 8:14] = 0
    assert (~open_dataset(written(tmp_path, frames, places)).mask).sum() == 36


@pytest.mark.parametrize("photons", [30, 3e3, 3e5])
def test_darkness_is_no_gap(tmp_path, photons):
    """Around the beam, behind a central stop, and between two beams."""
    frames, places = scan(photons=photons)
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    radius = np.hypot(y, x)
    for k, dark in enumerate((radius > 7, radius < 3.3, np.abs(y + 0.3 * x) < 2)):
        path = written(tmp_path, np.where(dark, 0, frames), places, f"{k}.h5")
        assert open_dataset(path).mask is None


# ---- saturated counts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "dtype"), [(250, "int32"), (255, "uint8"), (65535, "uint16")])
def test_clipped_counts_are_lower_bounds(tmp_path, limit, dtype):
    frames, places = scan(photons=limit * 140)
    assert frames.max() > limit
    path = written(tmp_path, np.minimum(frames, limit).astype(dtype), places)
    dataset = open_dataset(path)
    assert dataset.saturation_counts == limit and dataset.mask is None
    assert f"{(frames >= limit).sum()} counts in {(frames >= limit).any(0).sum()} pixels" in dataset.doubts[0]
    for made in (LeastSquares(), Poisson(), Huber()):
        assert used(made, dataset).saturation == limit and made.saturation is None
    assert used(LeastSquares(saturation=7.0), dataset).saturation == 7
    assert open_dataset(path, {"saturation": "none"}).saturation_counts is None
    assert open_dataset(path, {"saturation": 99}).saturation_counts == 99
    with pytest.raises(ConfigError, match=r"data\.saturation"):
        open_dataset(path, {"saturation": -1})


@pytest.mark.parametrize("photons", [30, 3e3, 3e5, 2.5e7])
def test_ordinary_counts_are_not_saturated(tmp_path, photons):
    frames, places = scan(photons=photons)
    assert open_dataset(written(tmp_path, frames, places)).saturation_counts is None
    flat = np.full((N, SIDE, SIDE), 1000.0)
    assert open_dataset(written(tmp_path, flat, places, "b.h5")).saturation_counts is None


@pytest.mark.parametrize("own", [True, False])
def test_clipped_counts_behind_a_flat_field(tmp_path, own):
    """Each pixel ends at a number of its own, whether the flat field is divided out here or was before."""
    frames, places = scan(photons=4095 * 140)
    gain = np.random.default_rng(3).normal(1, 0.05, (SIDE, SIDE))
    clipped = np.minimum(frames, 4095)
    if own:
        flats = {"exchange__data_white": (1e5 * gain)[None], "exchange__data_dark": np.full((1, SIDE, SIDE), 3.3)}
        dataset = open_dataset(written(tmp_path, clipped, places, **flats))
    else:
        dataset = open_dataset(written(tmp_path, (clipped / gain).astype("float32"), places))
    full = (frames >= 4095).sum(0)
    assert dataset.saturation_counts is not None and "at the largest of their pixel, from" in dataset.doubts[0]
    counts = dataset.patterns.read(np.arange(N))
    bounded = counts >= dataset.saturation_counts
    assert bounded[frames >= 4095].mean() > 0.9 and bounded[frames < 0.8 * 4095].sum() == 0 and full.max() > 3


@pytest.mark.parametrize("photons", [3e3, 3e5, 2.5e7])
def test_ordinary_counts_behind_a_flat_field_are_not_saturated(tmp_path, photons):
    frames, places = scan(photons=photons)
    gain = np.random.default_rng(3).normal(1, 0.05, (SIDE, SIDE))
    assert open_dataset(written(tmp_path, frames / gain, places)).saturation_counts is None
    exact = np.repeat(frames[:10] / 1.7, 10, axis=0)  # as of a simulation without noise: the same beside the object
    assert open_dataset(written(tmp_path, exact, places, "b.h5")).saturation_counts is None


def test_overexposed_middle_of_every_frame_is_no_gap(tmp_path):
    frames, places = scan(photons=1.2e7)
    frames = np.where(np.hypot(*(np.indices((SIDE, SIDE)) - SIDE // 2)) < 3, 65535, np.minimum(frames, 65535))
    dataset = open_dataset(written(tmp_path, frames.astype("uint16"), places))
    assert dataset.mask is None and dataset.saturation_counts == 65535


# ---- patterns that fall out ------------------------------------------------------------------------------------------


def test_too_many_dark_patterns_are_said_and_kept(tmp_path):
    frames, places = scan()
    frames[30:60] = np.random.default_rng(1).poisson(0.02, (30, SIDE, SIDE))
    dataset = open_dataset(written(tmp_path, frames, places))
    assert dataset.n_patterns == N
    assert "fall out, too many to be left out unasked: 30 to 59 (dark); choose" in dataset.doubts[0]
    assert open_dataset(written(tmp_path, frames, places), {"drop_frames": tuple(range(30, 60))}).n_patterns == N - 30


def test_dark_bright_and_empty_patterns_are_named_and_left_out(tmp_path):
    frames, places = scan()
    rng = np.random.default_rng(1)
    frames[40:44] = rng.poisson(0.02, (4, SIDE, SIDE))
    frames[77], frames[90], frames[91] = 0, rng.poisson(900, (SIDE, SIDE)), 40 * frames[91]
    path = written(tmp_path, frames, places)
    out = [40, 41, 42, 43, 77, 90, 91]
    dataset = open_dataset(path)
    np.testing.assert_array_equal(dataset.pattern_numbers, np.setdiff1d(np.arange(N), out))
    np.testing.assert_array_equal(dataset.probe_positions_px, np.delete(places, out, axis=0))
    (doubt,) = dataset.doubts
    assert "77 (empty), 40 to 43 (dark), 90, 91 (far too bright) (data.drop_frames: auto" in doubt
    lazy = open_dataset(path, {"memory_limit_gib": 1e-9, "frames": "30:"})
    assert "40 to 43 (dark)" in lazy.doubts[0]  # by their numbers in the file
    by_hand = open_dataset(path, {"drop_frames": tuple(out)})
    np.testing.assert_array_equal(by_hand.pattern_numbers, dataset.pattern_numbers)
    assert not by_hand.doubts
    with pytest.raises(
        DataError, match="1 of 100 patterns hold no counts at all; found only zeros, first in pattern 77"
    ):
        open_dataset(path, {"drop_frames": "none"})
    some = open_dataset(path, {"drop_frames": "77"})
    assert some.n_patterns == N - 1 and "40 to 43 (dark)" in some.doubts[0] and "drop_frames: auto" in some.doubts[0]


def edge(y, x):
    return np.where((y < 2) & (x < 2), 1.0, 0.02)


@pytest.mark.parametrize(
    "transmission",
    [
        lambda y, x: 10 ** -(2.5 * np.exp(-((y - 5) ** 2 + (x - 4) ** 2) / 8)),  # thick in the middle
        edge,  # one corner beside the object, the rest behind it
        lambda y, x: 1 - 0.98 * edge(y, x) + 0.02 * edge(y, x),  # an opaque corner
        lambda y, x: np.where(x < 5, 1.0, 0.05),
        lambda y, x: np.random.default_rng(4).lognormal(0, 0.7, y.shape),  # a beam that flickers
    ],
)
@pytest.mark.parametrize("photons", [300, 3e4])
def test_scans_of_uneven_brightness_keep_all_patterns(tmp_path, transmission, photons):
    y, x = np.divmod(np.arange(N), 10)
    frames, places = scan(transmission=transmission(y, x), photons=photons)
    frames[:, 0, 0] += 1
    assert open_dataset(written(tmp_path, frames, places)).n_patterns == N


def test_rotation_series_are_not_judged(tmp_path):
    frames = np.random.default_rng(0).poisson(100, (20, 1, SIDE, SIDE)).astype(float)
    frames[4], frames[9] = frames[4] * 60, np.random.default_rng(1).poisson(0.05, (SIDE, SIDE))
    path = native(tmp_path / "a.h5", exchange__data=frames, metadata__probe_pos_px=None)
    assert open_dataset(path).n_patterns == 20


# ---- repair before refusal -------------------------------------------------------------------------------------------


def test_surplus_and_missing_positions(tmp_path):
    frames, places = scan()
    more = np.concatenate([places, places[-2:]])
    path = written(tmp_path, frames, more)
    with pytest.raises(
        DataError, match="2 positions too many; expected 100 positions; found 102; .*data.frames: ':100'"
    ):
        open_dataset(path)
    dataset = open_dataset(path, {"frames": ":100"})
    np.testing.assert_array_equal(dataset.probe_positions_px, places)
    assert any("102 positions for 100 patterns" in note for note in dataset.notes)
    path = written(tmp_path, frames, places[:90], "b.h5")
    with pytest.raises(DataError, match="10 positions too few; .*data.frames: ':90'"):
        open_dataset(path, {"frames": ":95"})
    for settings in ({"frames": ":90"}, {"drop_frames": "90:"}):
        np.testing.assert_array_equal(open_dataset(path, settings).probe_positions_px, places[:90])


def test_positions_that_are_no_numbers(tmp_path):
    frames, places = scan()
    places[7] = np.nan
    path = written(tmp_path, frames, places)
    with pytest.raises(DataError, match="position 7 is not a finite number; found 1 of 100; .*data.drop_frames: 7"):
        open_dataset(path)
    for settings in ({"drop_frames": 7}, {"drop_frames": "7"}, {"frames": tuple(j for j in range(N) if j != 7)}):
        dataset = open_dataset(path, settings)
        np.testing.assert_array_equal(dataset.probe_positions_px, np.delete(places, 7, axis=0))
    places[[3, 60]] = np.inf
    with pytest.raises(DataError, match=r"positions 3, 7, 60 are not finite numbers.*data.drop_frames: \[3, 7, 60\]"):
        open_dataset(written(tmp_path, frames, places))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("all", "data.drop_frames: not a choice"),
        (100, "data.drop_frames: .*found number 100"),
        (":", "no pattern is left"),
    ],
)
def test_patterns_that_cannot_be_dropped(tmp_path, choice, message):
    with pytest.raises(ConfigError, match=message):
        open_dataset(written(tmp_path, *scan()), {"drop_frames": choice})


def test_numbers_in_short():
    assert shown_numbers(np.array([9, 3, 4, 5, 1])) == "1, 3 to 5, 9"
    assert shown_numbers(np.arange(0, 60, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22 and 18 more"
