"""Crop, center and bin: what becomes of patterns, masks, positions, pixel sizes and probes."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import WINDOW, counts, cxi, native, positions

from adorym.data.detector_window import DetectorWindow, WindowedPatterns
from adorym.data.open import open_dataset
from adorym.errors import ConfigError

HC_EV_M = 1.239841984e-6


def framed(frames, first, size, fill=0.0):
    """The part of ``frames`` from ``first`` on, by padding and slicing."""
    room = 20
    wide = np.pad(frames, [(0, 0)] * (frames.ndim - 2) + [(room, room)] * 2, constant_values=fill)
    (y, x), (ny, nx) = first, size
    return wide[..., room + y : room + y + ny, room + x : room + x + nx]


@pytest.mark.parametrize(
    ("settings", "first", "size"),
    [
        ({"crop": 4}, (1, 2), (4, 4)),
        ({"crop": (2, 6)}, (2, 1), (2, 6)),
        ({"crop": 4, "center": (2, 5)}, (0, 3), (4, 4)),
        ({"crop": 4, "center": (5, 1)}, (3, -1), (4, 4)),
        ({"center": (1, 4)}, (-2, 0), WINDOW),
        ({"crop": (3, 5), "center": (3, 4)}, (2, 2), (3, 5)),
    ],
)
def test_window_about_a_pixel(tmp_path, settings, first, size):
    path = native(tmp_path / "a.h5")
    for limit in (2.0, 1e-9):
        dataset = open_dataset(path, settings | {"memory_limit_gib": limit})
        np.testing.assert_array_equal(dataset.patterns.read(np.arange(5)), framed(counts(5), first, size))
        inside = framed(np.ones(WINDOW, bool), first, size)
        assert (dataset.mask is None) == inside.all()
        if dataset.mask is not None:
            np.testing.assert_array_equal(dataset.mask, inside)
        np.testing.assert_array_equal(dataset.probe_positions_px, positions(5))


def test_center_is_that_of_the_turned_patterns(tmp_path):
    dataset = open_dataset(native(tmp_path / "a.h5"), {"transpose": True, "crop": 4, "center": (5, 2)})
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(5)), counts(5).swapaxes(1, 2)[:, 3:7, 0:4])


def test_bins_are_sums_over_good_pixels(tmp_path):
    mask = np.ones(WINDOW)
    mask[0, 0] = mask[2, 4] = mask[3, 4] = mask[4, 6] = mask[4, 7] = mask[5, 6] = 0
    frames = counts(5)
    frames[:, mask == 0] = np.nan
    path = native(tmp_path / "a.h5", exchange__data=frames[None], metadata__mask=mask)
    good = mask.reshape(3, 2, 4, 2).sum(axis=(1, 3))
    total = np.nansum(frames.reshape(5, 3, 2, 4, 2), axis=(2, 4))
    dataset = open_dataset(path, {"bin": 2})
    np.testing.assert_array_equal(dataset.mask, good >= 2)
    expected = np.where(good >= 2, total * 4 / np.maximum(good, 1), 0)
    np.testing.assert_allclose(dataset.patterns.read(np.arange(5)), expected, rtol=1e-6)
    roots = open_dataset(
        native(tmp_path / "b.h5", exchange__data=np.sqrt(frames)[None], metadata__mask=mask),
        {"bin": 2, "measured": "amplitude"},
    )
    np.testing.assert_allclose(roots.patterns.read(np.arange(5)), np.sqrt(expected), rtol=1e-5)


def test_a_bad_count_is_found_in_a_bin(tmp_path):
    frames = counts(5)
    frames[3, 2, 2] = -1
    with pytest.raises(Exception, match="1 counts are not finite .* first in pattern 3"):
        open_dataset(native(tmp_path / "a.h5", exchange__data=frames[None]), {"bin": 2})


def test_far_field_pixel_follows_from_the_distance(tmp_path):
    path = cxi(tmp_path / "a.cxi")
    whole = open_dataset(path)
    for settings, size, b in (
        ({"crop": (4, 6)}, (4, 6), 1),
        ({"bin": 2}, WINDOW, 2),
        ({"crop": 4, "bin": 2}, (4, 4), 2),
    ):
        part = open_dataset(path, settings)
        pitch = 55e-6 * b, 75e-6 * b
        assert part.detector_pixel_size_m == pytest.approx(pitch)
        expected = [HC_EV_M / 1e4 * 2.0 / (n // b * p) for n, p in zip(size, pitch, strict=True)]
        assert part.pixel_size_m == pytest.approx(expected, rel=1e-6)
        middle = (part.probe_positions_px - 2 + np.array(part.window_px) // 2) * part.pixel_size_m
        np.testing.assert_allclose(
            middle, (whole.probe_positions_px - 2 + np.array(WINDOW) // 2) * whole.pixel_size_m, rtol=1e-6
        )


def test_pixel_of_the_file_belongs_to_its_frames_or_to_the_cut(tmp_path):
    geometry = {
        "metadata__energy_ev": 1e4,
        "metadata__distance_m": 2.0,
        "metadata__detector_pixel_size_m": np.array([55e-6, 75e-6]),
    }
    of_frames = [HC_EV_M / 1e4 * 2.0 / (n * p) for n, p in zip(WINDOW, (55e-6, 75e-6), strict=True)]
    path = native(tmp_path / "a.h5", **geometry, metadata__psize_cm=100 * np.array(of_frames))
    part = open_dataset(path, {"crop": (3, 4)})
    assert part.pixel_size_m == pytest.approx((2 * of_frames[0], 2 * of_frames[1]), rel=1e-6)
    np.testing.assert_allclose(part.probe_positions_px, positions(5) / 2)
    alone = open_dataset(native(tmp_path / "b.h5"), {"crop": (3, 4)})
    assert alone.pixel_size_m == pytest.approx((1e-8, 1e-8)) and any("cropped patterns" in n for n in alone.notes)
    np.testing.assert_array_equal(alone.probe_positions_px, positions(5))
    assert open_dataset(path, {"crop": (3, 4), "pixel_size": 7e-9}).pixel_size_m == (7e-9, 7e-9)


def beam(n, pupil=3.0, to=(0, 0)):
    """Wave ``(n, n)`` in the middle of a window and its far field, zero frequency at ``n // 2``, moved by ``to``."""
    y, x = np.indices((n, n)) - n // 2
    far = np.exp(-((y - to[0]) ** 2 + (x - to[1]) ** 2) / pupil**2) * np.exp(0.05j * (y**2 + x**2))
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(far), norm="ortho")), np.abs(far) ** 2


@pytest.mark.parametrize("to", [(0, 0), (4, -3)])
def test_start_probe_follows_a_crop(tmp_path, to):
    probe, pattern = beam(32, to=to)
    frames = np.repeat(1e4 * pattern[None], 5, axis=0)
    path = native(tmp_path / "a.h5", exchange__data=frames[None], start__probe=100 * probe[None])
    part = open_dataset(path, {"crop": 16, "center": "auto"})
    assert part.start_probe.shape == (1, 16, 16)
    found = np.fft.fftshift(np.abs(np.fft.fft2(part.start_probe[0], norm="ortho")) ** 2)
    np.testing.assert_allclose(found, part.patterns.read(np.arange(1))[0], rtol=1e-3, atol=1e-2)
    assert part.pixel_size_m == pytest.approx((2e-8, 2e-8))  # the probe says whose pixel it is


def test_start_probe_follows_a_bin(tmp_path):
    probe, pattern = beam(32, pupil=8.0)
    frames = np.repeat(1e4 * pattern[None], 5, axis=0)
    path = native(tmp_path / "a.h5", exchange__data=frames[None], start__probe=100 * probe[None])
    part = open_dataset(path, {"bin": 2})
    np.testing.assert_allclose(part.start_probe[0], 100 * probe[8:24, 8:24], atol=1e-9)
    found = np.fft.fftshift(np.abs(np.fft.fft2(part.start_probe[0], norm="ortho")) ** 2)
    assert found.sum() == pytest.approx(part.patterns.read(np.arange(1)).sum(), rel=0.01)
    assert part.pixel_size_m == pytest.approx((1e-8, 1e-8))


@pytest.mark.parametrize("hot", [False, True])
def test_beam_is_found(tmp_path, hot):
    rng = np.random.default_rng(2)
    y, x = np.indices((48, 64))
    disc = 40.0 * (np.hypot(y - 29, x - 22) < 7) + 0.1
    frames = rng.poisson(disc, (12, 48, 64)).astype(float)
    if hot:
        frames[:, 5, 60] = 1e6
        frames[:, 10:12] = -1
    dataset = open_dataset(native(tmp_path / "a.h5", n=12, exchange__data=frames[None]), {"crop": 32, "center": "auto"})
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(12)), frames[:, 13:45, 6:38])


def test_images_keep_their_pixel_when_cropped(tmp_path):
    path = native(tmp_path / "a.h5", metadata__free_prop_cm=1.0, metadata__open_beam_counts=9.0)
    crop, both = open_dataset(path, {"crop": (4, 6)}), open_dataset(path, {"crop": (4, 6), "bin": 2})
    assert crop.pixel_size_m == pytest.approx((1e-8, 1e-8)) and both.pixel_size_m == pytest.approx((2e-8, 2e-8))
    np.testing.assert_allclose(crop.probe_positions_px, positions(5) + 1.0)
    np.testing.assert_allclose(both.probe_positions_px, (positions(5) + 1.0) / 2)
    assert crop.open_beam_counts == 9 and both.open_beam_counts == 36


def test_rotation_axis_follows(tmp_path):
    entries = {"metadata__probe_pos_px": None, "metadata__theta": np.arange(5.0), "metadata__rotation_center_px": 0.5}
    path = native(tmp_path / "a.h5", exchange__data=counts(5)[:, None], **entries)  # axis at pixel 4 of 0 to 7
    assert open_dataset(path, {"crop": (6, 4)}).rotation_center_px == pytest.approx(0.5)
    assert open_dataset(path, {"crop": (6, 4), "center": (3, 3)}).rotation_center_px == pytest.approx(1.5)
    assert open_dataset(path, {"bin": 2}).rotation_center_px == pytest.approx(0.25)


def test_weights_follow(tmp_path):
    path, weights = native(tmp_path / "a.h5"), np.arange(48.0).reshape(WINDOW) + 1
    np.testing.assert_array_equal(open_dataset(path, {"crop": 4, "weights": weights}).weights, weights[1:5, 2:6])
    binned = open_dataset(path, {"bin": 2, "weights": weights}).weights
    np.testing.assert_allclose(binned, weights.reshape(3, 2, 4, 2).mean(axis=(1, 3)))
    chosen = open_dataset(path, {"frames": "1::2", "weights": np.arange(5.0)}).weights
    np.testing.assert_array_equal(chosen.ravel(), [1, 3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 7}, "data.crop: not a part of the frames; expected 1 to 6 px along y, 1 to 8"),
        ({"crop": 0}, "data.crop: not a part of the frames"),
        ({"bin": 7}, "data.bin: a binned pixel is larger than the patterns"),
        ({"bin": 0}, "data.bin: .*greater than or equal to 1"),
        ({"center": (6, 1)}, "data.center: not a pixel of the frames; expected y from 0 to 5"),
        ({"center": "auto", "propagation_distance": 0.1}, "data.center: images have no direct beam"),
        ({"center": "middle"}, "data.center"),
    ],
)
def test_windows_that_cannot_be(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        open_dataset(native(tmp_path / "a.h5"), settings)


class Counted:
    """Large frames that remember how many were read at once."""

    shape = (40, 512, 1024)

    def __init__(self):
        self.most = 0

    def read(self, index):
        self.most = max(self.most, len(index))
        return np.asarray(index, np.float32)[:, None, None] * np.ones((1, 512, 1024), np.float32)


def test_large_frames_are_read_in_small_blocks():
    patterns = Counted()
    small = WindowedPatterns(patterns, DetectorWindow((512, 1024), (100, 300), (16, 16), 2))
    np.testing.assert_array_equal(
        small.read(np.arange(40)[::-1]), 4.0 * np.arange(40)[::-1, None, None] * np.ones((8, 8))
    )
    assert patterns.most * 512 * 1024 * 4 <= 64 * 2**20
