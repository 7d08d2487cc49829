"""What ``adorym prepare`` does to peaks as they are measured."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from tiny_crystal import ellipsoid, far_field

import adorym
from adorym.commands.check import check
from adorym.commands.prepare import prepare_peak
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.open import open_dataset
from adorym.data.stray import without_stray
from adorym.data.volume import Volume, evened, read_volume, rocking_places
from adorym.errors import ConfigError, DataError, InputError
from adorym.metrics.crystal import match

SHAPE = (20, 24, 22)  # frames, rows, columns
STEP_DEG = 0.01


def counts(part=0.3, photons=1e6, seed=0):
    made = far_field(ellipsoid((SHAPE[1], SHAPE[2], SHAPE[0]), part))
    return np.random.default_rng(seed).poisson(made * photons / made.sum()).astype(np.float32)


def written(folder, frames, theta=None, **metadata):
    with h5py.File(folder / "raw.h5", "w") as file:
        file["exchange/data"] = frames
        file["exchange/theta"] = STEP_DEG * (np.arange(len(frames)) - 8) if theta is None else theta
        file["exchange/theta"].attrs["units"] = "deg"
        for name, value in {"energy_ev": 9000.0, "distance_m": 0.8, **metadata}.items():
            file[f"metadata/{name}"] = value
        file["metadata/detector_pixel_size_m"] = [5e-5, 6e-5]
    return folder / "raw.h5"


def prepared(folder, frames, settings=None, theta=None):
    found = prepare_peak(written(folder, frames, theta), folder / "peak.h5", settings)
    return dict(found.rows), found.warnings, open_dataset(folder / "peak.h5")


def test_angles_pitch_and_the_place_of_the_arm_follow_crop_and_bin(tmp_path):
    """A lone bright voxel tells where each voxel came from."""
    frames = counts()
    settings = {"bin": (2, 2, 2), "shape": (6, 8, 8), "peak": (9, 15, 7), "arm": (3.5, 2.5), "outliers": 0}
    rows, _, data = prepared(tmp_path, frames, settings)
    middle = data.patterns.read(np.array([3]))[0, 4, 4]
    low = [np.arange(at // 2 * 2, at // 2 * 2 + 2) for at in (9, 15, 7)]
    assert middle == frames[np.ix_(*low)].sum()
    assert np.rad2deg(data.theta_rad[3]) == pytest.approx(STEP_DEG * (low[0].mean() - 8))
    assert data.detector_pixel_size_m == pytest.approx((1e-4, 1.2e-4))
    # In binned pixels, the arm points as far from the middle pixel as it does in measured ones.
    wanted = [4 - (at.mean() - arm) / 2 for at, arm in zip(low[1:], (3.5, 2.5), strict=True)]
    assert data.arm_px == pytest.approx(wanted)
    assert "off the arm" in rows and rows["shape"].startswith("6 x 8 x 8")


def test_a_flip_and_a_crop_of_the_data_move_the_place_of_the_arm(tmp_path):
    prepared(tmp_path, counts(), {"arm": (5.0, 4.0), "outliers": 0, "center": False})
    read = [open_dataset(tmp_path / "peak.h5", {**extra, "flip_y": True}) for extra in ({}, {"crop": (12, 10)})]
    assert read[0].arm_px == (24 - 5.0, 4.0) and read[1].arm_px == (24 - 5.0 - 6, 4.0 - 6)
    turned = open_dataset(tmp_path / "peak.h5", {"transpose": True})
    assert turned.arm_px == (4.0, 5.0)


@pytest.mark.parametrize("mark", [2.0**32 - 1, -1, np.nan, 65535.0])
def test_gaps_and_single_marks_are_not_measured(tmp_path, mark):
    frames = counts()
    frames[:, 10:12] = mark  # a gap beside the peak, in all frames
    frames[3, 4, 5] = mark
    _, _, data = prepared(tmp_path, frames, {"center": False, "outliers": 0})
    good = data.mask if data.mask.ndim == 3 else np.broadcast_to(data.mask, SHAPE)
    assert not good[:, 10:12].any() and not good[3, 4, 5] and good.mean() > 0.9
    assert data.patterns.read(np.arange(SHAPE[0])).max() <= counts().max()


@pytest.mark.parametrize("part", [0.9, 0.75, 0.5])
def test_a_peak_narrower_than_a_voxel_keeps_its_counts(part):
    """The larger the crystal, the narrower its peak; stray counts beside it go all the same."""
    narrow = [np.sinc(part * a) ** 2 for a in (np.arange(n) - n // 2 for n in SHAPE)]
    peak = np.random.default_rng(2).poisson(1e5 * np.einsum("z,y,x->zyx", *narrow) + 0.2).astype(np.float32)
    dirty = peak.copy()
    dirty[3, 4, 5] += 4000
    dirty[:, 20, 2] += 900  # a pixel that always counts
    found, n = without_stray(Volume(dirty))
    assert found.counts.sum() > 0.995 * peak.sum() and found.counts.max() == peak.max()
    assert not found.good[3, 4, 5] and not found.good[:, 20, 2].any() and n < 60


def test_a_peak_of_a_single_voxel_is_kept():
    frames = np.random.default_rng(0).poisson(0.5, SHAPE).astype(np.float32)
    frames[6, 8, 8], frames[10, 3, 3] = 5000, 800
    found, _ = without_stray(Volume(frames))
    assert found.counts[6, 8, 8] == 5000 and found.counts[10, 3, 3] == 0


def test_a_second_crystal_is_boxed_out_or_chosen(tmp_path):
    one, rng = counts(), np.random.default_rng(5)
    two = np.zeros(SHAPE, np.float32)
    two[2:9, 1:7, 14:20] = rng.poisson(3 * one.max() * np.hanning(9)[1:-1, None, None] * np.ones((7, 6, 6)))
    frames = one + two
    middle = tuple(n // 2 for n in SHAPE)
    _, _, alien = prepared(tmp_path, frames)
    assert alien.patterns.read(np.array([middle[0]]))[0][middle[1:]] > 2 * one.max()
    for settings in ({"exclude": ["1:10, 0:8, 13:21"]}, {"peak": middle}):
        _, _, data = prepared(tmp_path, frames, settings)
        assert data.patterns.read(np.array([middle[0]]))[0][middle[1:]] == frames[middle]
    with pytest.raises(ConfigError, match="exclude: not a box of voxels; expected z0:z1, y0:y1, x0:x1"):
        prepared(tmp_path, frames, {"exclude": ["1:4"]})
    with pytest.raises(ConfigError, match="exclude: a box without voxels"):
        prepared(tmp_path, frames, {"exclude": ["40:50, :, :"]})
    with pytest.raises(ConfigError, match="peak: outside of the measured frames; expected 0 to 19, 23, 21"):
        prepared(tmp_path, frames, {"peak": (20, 0, 0)})


def test_empty_frames_stay_and_a_run_takes_them(tmp_path):
    frames = counts()
    frames[:2] = frames[-1] = 0
    rows, _, data = prepared(tmp_path, frames, {"outliers": 0})
    assert rows["empty frames"] == "3, kept" and data.n_patterns == SHAPE[0]
    config = tmp_path / "c.yaml"
    config.write_text(f"data: {tmp_path / 'peak.h5'}\nforward_model: bragg_cdi\n")
    assert check(config).as_dict()["data"]["patterns"] == SHAPE[0]


def test_frames_are_put_in_the_order_of_their_angles(tmp_path):
    frames, order = counts(), np.random.default_rng(3).permutation(SHAPE[0])
    theta = STEP_DEG * np.arange(SHAPE[0])
    _, _, data = prepared(tmp_path, frames[order], {"outliers": 0, "center": False}, theta[order])
    np.testing.assert_array_equal(data.patterns.read(np.arange(SHAPE[0])), frames)
    np.testing.assert_allclose(np.rad2deg(data.theta_rad), theta)
    theta[4] = theta[3]
    with pytest.raises(DataError, match="frame 4 has the rocking angle of another one; .*data.frames"):
        prepared(tmp_path, frames, theta=theta)
    theta[4] = np.nan
    with pytest.raises(DataError, match="rotation angle 4 is not a finite number"):
        prepared(tmp_path, frames, theta=theta)


def test_what_is_no_rocking_scan_is_refused(tmp_path):
    with pytest.raises(DataError, match="too few frames for a three-dimensional Bragg peak"):
        prepared(tmp_path, counts()[:3])
    with pytest.raises(DataError, match="no counts in any measured voxel"):
        prepared(tmp_path, 0 * counts())
    with h5py.File(tmp_path / "twice.h5", "w") as file:
        file["exchange/data"] = counts().reshape(10, 2, 24, 22)
        file["exchange/theta"] = 0.01 * np.arange(10)
    with pytest.raises(DataError, match="not a rocking scan; expected one frame an angle.*found 20 frames and"):
        prepare_peak(tmp_path / "twice.h5", tmp_path / "x.h5")
    with pytest.raises(DataError, match="the rocking angle does not change"):
        rocking_places(open_dataset(written(tmp_path, counts(), np.full(SHAPE[0], 0.3)), check=False))


# -- uneven steps ----------------------------------------------------------------------------------------------------
def uneven_scan(spread=0.35):
    """Places in steps, and the exact intensity there, by a sum over the voxels of the crystal."""
    obj = ellipsoid((SHAPE[1], SHAPE[2], SHAPE[0]), 0.3)
    n = SHAPE[0]
    places = np.arange(n) - n // 2 + np.random.default_rng(8).uniform(-spread, spread, n)
    ramps = np.exp(-2j * np.pi / n * np.outer(places, np.arange(n))) / np.sqrt(n)
    waves = np.fft.fftshift(np.fft.fft2(np.einsum("jz,yxz->jyx", ramps, obj), norm="ortho"), axes=(1, 2))
    return places, np.abs(waves) ** 2, obj


def test_the_intensity_at_even_steps_follows_from_that_at_uneven_ones():
    places, intensity, obj = uneven_scan()
    even = far_field(obj)
    found = evened(Volume(intensity.astype(np.float32)), places)
    error = np.linalg.norm(np.sqrt(found.counts) - np.sqrt(even)) / np.linalg.norm(np.sqrt(even))
    taken = np.linalg.norm(np.sqrt(intensity) - np.sqrt(even)) / np.linalg.norm(np.sqrt(even))
    assert error < 0.1 * taken
    good = np.ones(SHAPE, bool)
    good[:, 3, 4], good[5, 7, 8] = False, False
    masked = evened(Volume(np.where(good, intensity, 0).astype(np.float32), good), places)
    assert not masked.good[:, 3, 4].any() and not masked.good[5, 7, 8] and masked.good.mean() > 0.98


def test_uneven_steps_are_used_as_they_are_or_refused_with_the_model_that_takes_them(tmp_path):
    places, intensity, obj = uneven_scan()
    frames = np.random.default_rng(0).poisson(intensity * 1e6 / intensity.sum()).astype(np.float32)
    _, warnings, _ = prepared(tmp_path, frames, {"center": False, "outliers": 0}, STEP_DEG * places)
    assert any("rocking angles are uneven" in text and "forward_model: rocking_curve" in text for text in warnings)
    tight = {"threshold": 0.2, "sigma": "0.7 px", "first_sigma": "1.5 px", "every": 10}
    start = {"kind": "phasing", "sequence": "2*(40*HIO+10*ER)+10*ER", "starts": 3, "shrink_wrap": tight}
    config = {
        "data": str(tmp_path / "peak.h5"), "forward_model": "bragg_cdi", "run": {"epochs": 5, "device": "cpu"},
        "parameters": {"object": {"initial": start}},
    }  # fmt: skip
    with pytest.raises(DataError, match="the rocking angles are uneven; .*choose 'forward_model: rocking_curve'"):
        adorym.reconstruct(config)
    result = adorym.reconstruct({**config, "forward_model": "rocking_curve"})
    assert match(result.object, obj).overlap > 0.93


# -- with a file of the scan -----------------------------------------------------------------------------------------
def test_angles_and_monitor_of_a_scan(tmp_path):
    frames, rng = counts(), np.random.default_rng(1)
    beam = rng.uniform(0.5, 1.5, SHAPE[0])
    scale = (beam / beam.mean())[:, None, None]
    rows = "".join(f"{17 + 0.01 * i:.3f} {1e5 * b:.1f}\n" for i, b in enumerate(beam))
    (tmp_path / "run.spec").write_text(f"#F x\n#O0 eta\n#S 4 ascan eta 17 17.19 19 1\n#P0 17\n#L eta  mon\n{rows}")
    raw = written(tmp_path, (frames * scale).astype(np.float32), np.zeros(SHAPE[0]) + np.arange(SHAPE[0]))
    settings = {"scan": f"{tmp_path / 'run.spec'}:4", "monitor": "mon", "center": False, "outliers": 0}
    found = prepare_peak(raw, tmp_path / "peak.h5", settings)
    data = open_dataset(tmp_path / "peak.h5")
    np.testing.assert_allclose(np.rad2deg(data.theta_rad), 17 + 0.01 * np.arange(SHAPE[0]), atol=2e-3)
    np.testing.assert_allclose(data.patterns.read(np.arange(SHAPE[0])), frames, rtol=1e-4, atol=1e-3)
    assert dict(found.rows)["rocking angles"] == "column 'eta'"
    with pytest.raises(InputError, match="monitor: has no effect without 'scan'"):
        prepare_peak(raw, tmp_path / "x.h5", {"monitor": "mon"})
    short = written(tmp_path, frames[:12])
    with pytest.raises(DataError, match="the number of rocking angles differs from the number of frames"):
        prepare_peak(short, tmp_path / "x.h5", {"scan": f"{tmp_path / 'run.spec'}:4"})


def test_an_energy_scan_has_the_energy_of_its_middle_frame(tmp_path):
    energies = 9000 + 2.5 * (np.arange(SHAPE[0]) - 9)
    np.savetxt(tmp_path / "e.txt", energies)
    rows, _, data = prepared(tmp_path, counts(), {"energies": str(tmp_path / "e.txt"), "center": False})
    assert data.energy_ev == pytest.approx(energies[10]) and data.n_angles == 1
    assert rows["energy step"].startswith("+2.5 eV a frame")
    np.savetxt(tmp_path / "e.txt", energies + np.random.default_rng(0).normal(0, 2, SHAPE[0]))
    with pytest.raises(DataError, match="energies: the energies of the frames are not even"):
        prepared(tmp_path, counts(), {"energies": str(tmp_path / "e.txt")})


def test_frames_at_one_angle_are_a_volume_too():
    frames = counts()
    volume = read_volume(Dataset(patterns=ArrayPatterns(frames)))
    assert volume.good is None and volume.shape == SHAPE
