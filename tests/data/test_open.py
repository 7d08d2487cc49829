"""Opening: every mistake in a file is refused with a place, a finding and a remedy; overrides win."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import WINDOW, counts, cxi, native, positions, write

from adorym.config import config_from
from adorym.data.checks import count_statistics
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.open import open_dataset
from adorym.data.overrides import Overrides, numbers_of
from adorym.data.patterns import Hdf5Patterns
from adorym.errors import ConfigError, ConfigErrors, DataError


def spoiled(value, n=5):
    patterns = counts(n)
    patterns[2, 1, 3] = patterns[4, 0, 0] = value
    return patterns[None]


def test_missing_and_wrong_files(tmp_path):
    with pytest.raises(DataError, match=r"none\.h5: no such file; check the path"):
        open_dataset(tmp_path / "none.h5")
    with pytest.raises(DataError, match="no data file in this folder; name the files"):
        open_dataset(tmp_path)
    for name, content, found in (
        ("text.h5", b"angle, counts", "starts with b'angle, c'"),
        ("empty.h5", b"", "an empty file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: unknown kind of file; expected HDF5.*found .*{found}"):
            open_dataset(tmp_path / name)
    with pytest.raises(
        DataError, match=r"no reader recognizes the file.*found apples; say where things are with data.map"
    ):
        open_dataset(write(tmp_path / "other.h5", {"apples": 3}))


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_truncated_file(tmp_path, share):
    path = native(tmp_path / "a.h5")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a\.h5: the HDF5 file is truncated.*copy the file again"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.nan,
            r"a\.h5: 2 counts are not finite \(NaN or infinite\); found in 2 of 5 patterns, first in pattern 2; mask",
        ),
        (np.inf, "2 counts are not finite"),
        (-3.0, "2 counts are negative; found in 2 of 5 patterns, first in pattern 2; mask the pixels"),
    ],
)
def test_bad_counts(tmp_path, value, message):
    path = native(tmp_path / "a.h5", exchange__data=spoiled(value))
    with pytest.raises(DataError, match=message):
        open_dataset(path)
    with pytest.raises(DataError, match=message):
        open_dataset(path, {"memory_limit_gib": 1e-9})
    assert open_dataset(path, check=False).n_patterns == 5

    masked = open_dataset(path, {"bad_counts": "mask_pixels"})
    expected = np.ones(WINDOW, bool)
    expected[1, 3] = expected[0, 0] = False
    np.testing.assert_array_equal(masked.mask, expected)
    read = masked.patterns.read(np.arange(5))
    assert (read >= 0).all() and any("2 pixels" in note for note in masked.notes)
    np.testing.assert_array_equal(read[:, expected], counts(5)[:, expected])

    single = open_dataset(path, {"bad_counts": "mask_values"})
    valid = np.isfinite(spoiled(value)[0]) & (spoiled(value)[0] >= 0)
    np.testing.assert_array_equal(single.mask, valid)
    read = single.patterns.read(np.arange(5))
    assert (~valid).sum() == 2 and any("2 values" in note for note in single.notes)
    np.testing.assert_array_equal(read[valid], counts(5)[valid])

    dropped = open_dataset(path, {"bad_counts": "drop_patterns"})
    np.testing.assert_array_equal(dropped.patterns.read(np.arange(3)), counts(5)[[0, 1, 3]])
    np.testing.assert_array_equal(dropped.probe_positions_px, positions(5)[[0, 1, 3]])

    mask = np.ones(WINDOW)
    mask[1, 3] = mask[0, 0] = 0
    assert (open_dataset(path, {"mask": mask}).patterns.read(np.arange(5)) >= 0).all()


def test_empty_patterns(tmp_path):
    patterns = counts(5)
    patterns[[1, 3]] = 0
    path = native(tmp_path / "a.h5", exchange__data=patterns[None])
    with pytest.raises(
        DataError, match="2 of 5 patterns hold no counts at all; found only zeros, first in pattern 1; leave"
    ):
        open_dataset(path)
    with pytest.raises(DataError, match="hold no counts"):
        open_dataset(path, {"bad_counts": "mask_pixels"})
    assert open_dataset(path, {"bad_counts": "drop_patterns"}).n_patterns == 3
    assert open_dataset(path, {"frames": (0, 2, 4)}).n_patterns == 3
    with pytest.raises(DataError, match="every pattern is bad or empty"):
        open_dataset(
            native(tmp_path / "b.h5", exchange__data=np.zeros((1, 5, *WINDOW))), {"bad_counts": "drop_patterns"}
        )
    with pytest.raises(DataError, match="every pixel is bad in some pattern"):
        nothing = native(tmp_path / "c.h5", exchange__data=np.full((1, 5, *WINDOW), np.nan))
        open_dataset(nothing, {"bad_counts": "mask_pixels"})


def test_statistics_do_not_depend_on_the_block(tmp_path):
    dataset = open_dataset(native(tmp_path / "a.h5", exchange__data=spoiled(-3.0)), check=False)
    whole, pieces = count_statistics(dataset), count_statistics(dataset, block_bytes=4 * 48 * 2)
    for name in whole.__dataclass_fields__:
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), err_msg=name)
    assert whole.minimum == -3 and whole.maximum == counts(5).max()
    np.testing.assert_array_equal(whole.bad_patterns, [2, 4])
    np.testing.assert_allclose(whole.pixel_mean, spoiled(-3.0)[0].mean(axis=0), rtol=1e-6)


def test_statistics_leave_masked_pixels_out():
    patterns, mask = spoiled(np.nan)[0], np.ones((5, *WINDOW), bool)
    mask[:, 0, 0] = mask[2, 1, 3] = mask[0] = False
    statistics = count_statistics(Dataset(ArrayPatterns(patterns), mask=mask))
    assert not statistics.bad_pixels.any() and len(statistics.bad_patterns) == len(statistics.empty) == 0
    np.testing.assert_array_equal(statistics.masked, [True, False, False, False, False])
    np.testing.assert_allclose(statistics.pattern_sum, np.where(mask, counts(5), 0).sum(axis=(1, 2)))


def test_memory_limit_decides_who_keeps_the_patterns(tmp_path):
    path = native(tmp_path / "a.h5")
    assert isinstance(open_dataset(path).patterns, ArrayPatterns)
    lazy = open_dataset(path, {"memory_limit_gib": 1e-9}).patterns
    assert isinstance(lazy, Hdf5Patterns)
    np.testing.assert_array_equal(lazy.read(np.array([4, 1, 4])), counts(5)[[4, 1, 4]])


def test_overrides_win(tmp_path):
    dataset = open_dataset(
        native(tmp_path / "a.h5", exchange__data=counts(6).reshape(3, 2, *WINDOW), metadata__probe_pos_px=positions(2)),
        {
            "energy": "12.4 keV",
            "pixel_size": ["10 nm", "20 nm"],
            "detector_pixel_size": "75 um",
            "distance": "2 m",
            "source_distance": "1 cm",
            "propagation_distance": ["1 mm", "2 mm"],
            "measured": "amplitude",
            "theta_range": ["0 deg", "90 deg"],
        },
    )
    assert dataset.energy_ev == pytest.approx(12400) and dataset.pixel_size_m == pytest.approx((1e-8, 2e-8))
    assert (
        dataset.detector_pixel_size_m == (75e-6, 75e-6)
        and dataset.distance_m == 2
        and dataset.source_distance_m == 0.01
    )
    np.testing.assert_allclose(dataset.propagation_distance_m, [1e-3, 2e-3])
    np.testing.assert_allclose(dataset.theta_rad, [0, np.pi / 4, np.pi / 2])
    assert dataset.measured == "amplitude"


def test_angles_and_frames_are_chosen(tmp_path):
    path = native(
        tmp_path / "a.h5",
        exchange__data=counts(8).reshape(4, 2, *WINDOW),
        metadata__probe_pos_px=positions(2),
        metadata__theta=[0.0, 1.0, 2.0, 3.0],
        metadata__mask=np.arange(8 * 48).reshape(8, *WINDOW) > 0,
        truth__probe_positions_px=positions(8, seed=2),
    )
    dataset = open_dataset(path, {"angles": "1::2", "frames": "1:"})
    np.testing.assert_array_equal(dataset.theta_rad, [1, 3])
    np.testing.assert_array_equal(dataset.angle_index, [0, 1, 1])
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(3)), counts(8)[[3, 6, 7]])
    np.testing.assert_array_equal(dataset.truth["probe_positions_px"], positions(8, seed=2)[[3, 6, 7]])
    assert dataset.mask.shape == (3, *WINDOW)
    with pytest.raises(DataError, match="number of rotation angles does not fit; expected 4; found 2 in data.theta"):
        open_dataset(path, {"theta": [0.0, 1.0]})


@pytest.mark.parametrize("turn", [{"transpose": True}, {"flip_y": True}, {"flip_x": True, "transpose": True}])
def test_patterns_are_turned_and_positions_stay(tmp_path, turn):
    mask = np.ones(WINDOW)
    mask[0, 1] = 0
    path = native(tmp_path / "a.h5", metadata__mask=mask)
    dataset, orientation = open_dataset(path, turn), Overrides.of(turn).orientation(keep_center=True)
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(5)), orientation.apply(counts(5)))
    np.testing.assert_array_equal(dataset.mask, orientation.apply(mask) == 1)
    np.testing.assert_array_equal(dataset.probe_positions_px, positions(5))


def test_transposed_detector_takes_its_pixel_along(tmp_path):
    dataset = open_dataset(cxi(tmp_path / "a.cxi"), {"transpose": True})
    assert dataset.detector_pixel_size_m == pytest.approx((75e-6, 55e-6)) and dataset.window_px == WINDOW[::-1]


def test_masks_from_files(tmp_path):
    mask = np.ones(WINDOW, np.uint8)
    mask[2, 5] = 0
    np.save(tmp_path / "mask.npy", mask)
    np.savez(tmp_path / "two.npz", a=mask, b=1 - mask)
    write(tmp_path / "mask.h5", {"group/mask": mask})
    path = native(tmp_path / "a.h5")
    for given in ("mask.npy", "two.npz:a", "mask.h5", "mask.h5:/group/mask"):
        np.testing.assert_array_equal(open_dataset(path, {"mask": str(tmp_path / given)}).mask, mask == 1)
    inverted = {"mask": str(tmp_path / "two.npz:b"), "invert_mask": True}
    np.testing.assert_array_equal(open_dataset(path, inverted).mask, mask == 1)
    with pytest.raises(DataError, match="which array is the mask.*found a, b; write"):
        open_dataset(path, {"mask": str(tmp_path / "two.npz")})
    with pytest.raises(DataError, match="no array 'c'; known: a, b"):
        open_dataset(path, {"mask": str(tmp_path / "two.npz:c")})
    with pytest.raises(DataError, match=r"mask\.tif: no such file"):
        open_dataset(path, {"mask": str(tmp_path / "mask.tif")})
    with pytest.raises(DataError, match="the mask does not fit the patterns"):
        open_dataset(path, {"mask": mask.T})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"enregy": 1}, "data.enregy: unknown key; did you mean 'energy'"),
        ({"energy": "8.8 nm"}, "data.energy: .*wrong unit"),
        ({"energy": -1.0}, "data.energy: .*greater than 0"),
        ({"measured": "magnitude"}, "data.measured: .*'intensity'.*'amplitude'"),
        ({"frames": "first"}, "data.frames: not a choice; expected 'start:stop:step'"),
        ({"frames": "7"}, "data.frames: chooses what is not there; .*found number 7"),
        ({"frames": "5:"}, "data.frames: chooses what is not there; .*chooses nothing"),
        ({"angles": [1]}, "data.angles: chooses what is not there; expected .* from 0 to 0; found number 1"),
    ],
)
def test_wrong_overrides(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        open_dataset(native(tmp_path / "a.h5"), overrides)


def test_all_wrong_overrides_come_together():
    with pytest.raises(ConfigErrors, match=r"(?s)data\.energy.*data\.color: unknown key"):
        Overrides.of({"energy": "much", "color": "red"})


def test_choices():
    np.testing.assert_array_equal(numbers_of("-1:", 4, "here"), [3])
    np.testing.assert_array_equal(numbers_of("2", 4, "here"), [2])
    np.testing.assert_array_equal(numbers_of((3, 1), 4, "here"), [3, 1])


@pytest.mark.parametrize("key", ["white", "dark", "distance", "source_distance", "propagation_distance"])
def test_an_empty_list_is_no_value(key):
    with pytest.raises(ConfigErrors, match=rf"data\.{key}: expected .*at least one entry.*, found \[\]"):
        config_from({"data": {"path": "a.h5", key: []}, "forward_model": "ptychography"})


def test_no_files_are_no_data():
    with pytest.raises(DataError, match=r"data\.path: names no file; expected a file, a folder or a list of files"):
        open_dataset([])
