"""Preparation of Bragg peaks: counts are kept, the peak comes to the middle, stray counts go."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_crystal import ellipsoid, far_field

from adorym.data.block_dct import resized
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.stray import without_stray
from adorym.data.volume import (
    Volume,
    binned,
    cropped,
    crystal_extent,
    oversampling,
    peak,
    read_volume,
    sub_voxel_peak,
    to_dataset,
)
from adorym.errors import ConfigError, DataError


def bragg_peak(shape=(20, 24, 22), part=0.3) -> Volume:
    y, x, z = shape[1], shape[2], shape[0]
    return Volume((300 * far_field(10 * ellipsoid((y, x, z), part)) / 100).astype(np.float32))


def test_counts_are_the_same_whether_measured_as_amplitude_or_intensity():
    volume = bragg_peak()
    a = read_volume(Dataset(patterns=ArrayPatterns(volume.counts)))
    b = read_volume(Dataset(patterns=ArrayPatterns(volume.modulus), measured="amplitude"))
    np.testing.assert_allclose(a.counts, b.counts, rtol=1e-5)


def test_masked_voxels_hold_nothing():
    mask = np.ones((24, 22), bool)
    mask[3, 4] = False
    counts = bragg_peak().counts.copy()
    counts[:, 3, 4] = np.nan
    volume = read_volume(Dataset(patterns=ArrayPatterns(counts), mask=mask))
    assert (volume.counts[:, 3, 4] == 0).all() and not volume.good[:, 3, 4].any() and np.isfinite(volume.counts).all()


def test_too_few_frames_are_refused():
    with pytest.raises(DataError, match="too few frames.*>= 4 frames.*found 2"):
        read_volume(Dataset(patterns=ArrayPatterns(np.ones((2, 5, 6)))))


@pytest.mark.parametrize("factors", [(1, 2, 2), (3, 1, 2), (2, 5, 4)])
def test_binning_keeps_counts_and_the_middle(factors):
    counts = np.zeros((20, 25, 23), np.float32)
    counts[10, 12, 11] = 7
    found = binned(Volume(counts), factors)
    assert found.counts.sum() == 7 and found.binned == factors
    assert (peak(found) == [n // 2 for n in found.shape]).all()


def test_a_box_with_a_bad_voxel_is_bad():
    good = np.ones((8, 8, 8), bool)
    good[4, 4, 4] = False
    found = binned(Volume(np.ones((8, 8, 8), np.float32), good), (2, 2, 2))
    assert (~found.good).sum() == 1 and found.counts[~found.good].sum() == 0


def test_binning_beyond_the_volume_is_refused():
    with pytest.raises(ConfigError, match="not a binning of this volume"):
        binned(bragg_peak(), (1, 0, 1))


def test_cropping_brings_the_peak_to_the_middle_and_marks_what_was_not_measured():
    volume = bragg_peak()
    off = Volume(np.roll(volume.counts, (4, -3, 2), (0, 1, 2)))
    found = cropped(off, (16, 18, 22))
    assert (peak(found) == (8, 9, 11)).all() and found.shift == (4, -3, 2)
    np.testing.assert_array_equal(found.counts[5:11, 6:12, 8:14], volume.counts[7:13, 9:15, 8:14])
    assert found.good is not None and not found.good[:, :, -2:].any()


def test_sub_voxel_peak_follows_a_phase_ramp():
    obj = ellipsoid((24, 22, 20), 0.3)
    z = np.exp(2j * np.pi * 0.3 * np.arange(20) / 20)
    places = [sub_voxel_peak(Volume(far_field(o).astype(np.float32))) for o in (obj, obj * z)]
    assert places[1][0] - places[0][0] == pytest.approx(0.3, abs=0.15)
    assert abs(places[1][1:] - places[0][1:]).max() < 0.02


def test_stray_counts_go_and_the_peak_stays():
    volume, rng = bragg_peak(), np.random.default_rng(1)
    clean = rng.poisson(volume.counts).astype(np.float32)
    dirty = clean.copy()
    places = [(2, 3, 4), (15, 20, 3), (17, 4, 18)]
    for place in places:
        dirty[place] += 500
    found, n = without_stray(Volume(dirty))
    assert all(not found.good[place] for place in places) and found.counts.max() == clean.max()
    assert n < 8
    assert without_stray(Volume(clean))[1] <= n - 3


def test_size_of_a_crystal_is_found_to_a_fifth():
    volume = bragg_peak((40, 36, 44), 0.3)
    true = 0.3 * np.array(volume.shape)
    assert crystal_extent(volume) == pytest.approx(true, rel=0.2)
    assert oversampling(volume) == pytest.approx(np.array(volume.shape) / crystal_extent(volume))


def test_volume_goes_back_into_its_data_set():
    theta = np.linspace(-1, 1, 20)
    pitch = (5e-5, 6e-5)
    data = Dataset(
        patterns=ArrayPatterns(bragg_peak().counts), theta_rad=theta, angle_index=np.arange(20),
        detector_pixel_size_m=pitch,
    )  # fmt: skip
    found = to_dataset(binned(read_volume(data), (1, 2, 2)), data)
    np.testing.assert_array_equal(found.theta_rad, theta)
    assert found.detector_pixel_size_m == (1e-4, 1.2e-4)
    uneven = np.linspace(-1, 1, 20) ** 3
    data = data.with_(theta_rad=uneven)
    two = to_dataset(binned(read_volume(data), (2, 1, 1)), data).theta_rad
    np.testing.assert_allclose(two, (uneven[::2] + uneven[1::2]) / 2)
    wide = to_dataset(cropped(read_volume(data), (24, 24, 22), np.array([8, 12, 11])), data)  # frames -4 to 19
    first = uneven[0] + np.arange(-4, 0) * (uneven[1] - uneven[0])
    np.testing.assert_allclose(wide.theta_rad, [*first, *uneven])
    assert (wide.angle_index == np.arange(24)).all()


def test_what_is_not_a_count_is_not_measured():
    counts = bragg_peak().counts.copy()
    counts[3, 4, 5], counts[6, 7, 8] = np.nan, -1
    volume = read_volume(Dataset(patterns=ArrayPatterns(counts)))
    assert np.argwhere(~volume.good).tolist() == [[3, 4, 5], [6, 7, 8]] and (volume.counts[~volume.good] == 0).all()


# -- resizing --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [33, 40, 49, 56, 64])
def test_resizing_keeps_the_peak_in_the_middle(length):
    axes = np.indices((length,) * 3) - length // 2
    found = resized(np.exp(-(axes**2).sum(0) / (0.05 * length) ** 2))
    assert found.shape == (32, 32, 32) and found.min() >= 0
    places = np.indices(found.shape)
    center = [(p * found).sum() / found.sum() for p in places]
    assert center == pytest.approx([16, 16, 16], abs=0.6)


def test_resizing_refuses_what_is_not_a_cube():
    with pytest.raises(DataError, match="block DCT resizes cubes"):
        resized(np.ones((32, 32, 33)))
