import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from adorym import registry
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.result import Result, write_result
from adorym.errors import ConfigError, DataError, GeometryError
from adorym.optics.modes import beam_center_px, beam_diameter_px, beam_sigma_px
from adorym.optics.probe_search import AutoProbe
from adorym.optics.probes import (
    ApertureProbe,
    DataProbe,
    FileProbe,
    GaussianProbe,
    InitialProbe,
    MeanPatternProbe,
    PlaneProbe,
)

WINDOW = (48, 64)
ENERGY = 12398.41984332 / 1.24  # 1.24 angstrom
PIXEL = (12e-9, 9e-9)  # a far field with square detector pixels: N times the pixel is the same on both axes


def dataset(window=WINDOW, **fields):
    return Dataset(ArrayPatterns(np.ones((3, *window), "f4")), **fields)


def physical(window=WINDOW, pixel=PIXEL, **fields):
    return dataset(window, energy_ev=ENERGY, pixel_size_m=pixel, **fields)


def far_field(probe):
    return abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), axes=(-2, -1)))


PROBES = {
    "plane": PlaneProbe(),
    "gaussian": GaussianProbe(fwhm="9 px"),
    "aperture": ApertureProbe(outer_radius="10 px", central_stop=3, defocus=20e-6),
    "mean_pattern": MeanPatternProbe(),
    "data": DataProbe(),
    "auto": AutoProbe(),
}


def test_every_registered_probe_is_tested():
    assert set(registry.names("probe")) == {*PROBES, "file"}


@pytest.mark.parametrize("kind", sorted(PROBES))
def test_contract(kind):
    probe = PROBES[kind]
    assert isinstance(probe, InitialProbe)
    start = np.ones((1, *WINDOW), "c8")
    made = probe.make(physical(start_probe=start))
    assert made.shape == (1, *WINDOW)
    assert made.dtype == np.complex128
    assert np.isfinite(made).all()
    assert made.any()
    assert beam_center_px(made) == pytest.approx((23.5, 31.5), abs=0.05)


def test_making_a_probe_needs_no_torch():
    code = "import sys, adorym.optics.probes; sys.exit('torch' in sys.modules or 'autograd' in sys.modules)"
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=env)


# -- gaussian -------------------------------------------------------------------------------------------------------
def test_gaussian_width_is_that_of_the_intensity():
    made = GaussianProbe(fwhm="9 px").make(dataset())[0]
    line = abs(made[24]) ** 2 / (abs(made) ** 2).max()
    x = np.arange(64) - 31.5
    assert np.interp(4.5, x[32:], line[32:]) == pytest.approx(line.max() / 2, rel=0.02)
    assert beam_sigma_px(GaussianProbe(sigma=4).make(dataset())) == pytest.approx((4, 4), rel=1e-3)


def test_gaussian_in_metres_is_round_in_metres():
    made = GaussianProbe(sigma="36 nm").make(physical())
    assert beam_sigma_px(made) == pytest.approx((3, 4), rel=1e-3)


# -- aperture -------------------------------------------------------------------------------------------------------
def test_far_field_of_an_aperture_is_an_annulus():
    made = ApertureProbe(outer_radius="10 px", central_stop="4 px", softness=0).make(dataset())[0]
    y, x = np.meshgrid(np.arange(48) - 24, np.arange(64) - 32, indexing="ij")
    radius = np.hypot(y, x)
    np.testing.assert_allclose(far_field(made), ((radius <= 10) & (radius > 4)).astype(float), atol=1e-12)


def test_softness_is_the_width_of_the_edge():
    made = ApertureProbe(outer_radius="10 px", softness=1.5).make(dataset())[0]
    edge = far_field(made)[24, 32:]  # along +x from the zero frequency
    assert edge[10] == pytest.approx(0.5)
    assert edge[12] == pytest.approx(1 / (1 + np.exp(2 / 1.5)))


def test_radius_of_the_optic_and_in_fourier_pixels_agree():
    """A Fourier pixel is lambda F / (N pixel) wide in the plane of the optic."""
    focal_length = 0.02
    fourier_pixel = 1.24e-10 * focal_length / (48 * 12e-9)
    optic = ApertureProbe(
        outer_radius=f"{10 * fourier_pixel} m",
        central_stop=f"{4e6 * fourier_pixel} um",
        focal_length="2 cm",
        defocus="30 um",
    )
    pixels = ApertureProbe(outer_radius="10 px", central_stop="4 px", defocus="30 um")
    np.testing.assert_allclose(optic.make(physical()), pixels.make(physical()), atol=1e-12)


def test_optic_is_round_in_metres_whatever_the_pixels():
    optic = ApertureProbe(outer_radius="40 um", focal_length="20 mm", softness=0)
    made = far_field(optic.make(physical(pixel=(12e-9, 12e-9))))[0]
    ny, nx = (made > 0.5).any(1).sum(), (made > 0.5).any(0).sum()
    assert nx / ny == pytest.approx(64 / 48, rel=0.05)  # finer Fourier pixels along the wider window


def test_defocus_is_downstream_and_matches_the_quadratic_phase():
    """Against exp(-i pi d k^2), d = lambda z / pixel^2, with the beam moved to the middle of the window by hand."""
    data = physical((64, 64), (10e-9, 10e-9))
    made = ApertureProbe(outer_radius=10, softness=0.4, defocus=90 * 1e-16 / 1.24e-10).make(data)[0]
    k = np.fft.fftfreq(64)
    kk = np.hypot(k[:, None], k[None, :])
    pupil = 1 / (1 + np.exp((kk * 64 - 10) / 0.4)) * np.exp(-1j * np.pi * 90 * kk**2)
    half = np.exp(1j * np.pi * k)  # the reference has the beam at pixel N/2, half a pixel further
    expected = np.fft.fftshift(np.fft.ifft2(pupil * half[:, None] * half[None, :], norm="ortho"))
    np.testing.assert_allclose(made, expected, atol=1e-9)
    assert beam_diameter_px(made[None]) > 1.5 * beam_diameter_px(
        ApertureProbe(outer_radius=10, softness=0.4).make(data)
    )


def test_aperture_errors():
    with pytest.raises(GeometryError, match=r"outer_radius: the aperture does not fit .* at most 24 Fourier pixels"):
        ApertureProbe(outer_radius="25 px").make(dataset())
    with pytest.raises(GeometryError, match=r"data\.pixel_size: pixel size absent"):
        ApertureProbe(outer_radius="9 px", defocus="10 um").make(dataset(energy_ev=ENERGY))
    with pytest.raises(
        GeometryError, match=r"data\.energy: energy absent: the wavelength needs it; give 'data\.energy'"
    ):
        ApertureProbe(outer_radius="9 px", defocus="10 um").make(dataset(pixel_size_m=PIXEL))
    with pytest.raises(
        GeometryError, match=r"defocus: the defocused beam is wider than the window along x; .* \|z\| <= 6.6\d*e-05 m"
    ):
        ApertureProbe(outer_radius="9 px", defocus="-70 um").make(physical(pixel=(12e-9, 6e-9)))
    with pytest.raises(GeometryError, match=r"data\.pixel_size: pixel size absent"):
        GaussianProbe(fwhm="1 um").make(dataset())


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (GaussianProbe, {}, "give the width once; expected either fwhm or sigma"),
        (GaussianProbe, {"fwhm": 3, "sigma": 3}, "give the width once"),
        (GaussianProbe, {"sigma": "-1 px"}, "the width must be positive; found -1 px"),
        (GaussianProbe, {"sigma": "3 keV"}, "expected pixels or a length, such as '12 px' or '2 um', found '3 keV'"),
        (
            ApertureProbe,
            {"outer_radius": 3, "central_stop": 4},
            "no opening; expected 0 <= central_stop < outer_radius",
        ),
        (ApertureProbe, {"outer_radius": 0}, "no opening"),
        (ApertureProbe, {"outer_radius": "90 um"}, "focal_length: absent: radii in meters need it"),
        (ApertureProbe, {"outer_radius": 3, "softness": -1}, "softness: must not be negative"),
        (MeanPatternProbe, {"patterns": 0}, "patterns: must be at least 1"),
    ],
)
def test_wrong_fields(cls, fields, message):
    with pytest.raises(ValidationError, match=message):
        cls(**fields)


def test_fields_read_units_and_survive_being_written():
    """The configuration writes lengths with units; a bare number of a length-or-pixels field counts pixels."""
    probe = ApertureProbe(
        outer_radius="90 um", central_stop="12 px", focal_length="2 cm", defocus="70 um", softness="1 px"
    )
    assert probe.outer_radius == "9e-05 m"
    assert (probe.focal_length, probe.defocus) == pytest.approx((0.02, 70e-6))
    assert ApertureProbe(outer_radius=12.5).outer_radius == "12.5 px"
    written = TypeAdapter(ApertureProbe).dump_python(probe)
    assert ApertureProbe(**written) == probe


# -- mean pattern ---------------------------------------------------------------------------------------------------
def annulus_data(measured, **fields):
    made = ApertureProbe(outer_radius="10 px", central_stop="3 px").make(dataset())
    power = far_field(made)[0] ** 2 * np.array([0.5, 1.0, 1.5])[:, None, None]
    return made, Dataset(
        ArrayPatterns((power if measured == "intensity" else np.sqrt(power)).astype("f4")), measured=measured, **fields
    )


@pytest.mark.parametrize("measured", ["intensity", "amplitude"])
def test_mean_pattern_gives_back_a_focused_beam(measured):
    made, data = annulus_data(measured)
    np.testing.assert_allclose(MeanPatternProbe().make(data), made, atol=1e-6)


def test_mean_pattern_defocus_is_that_of_the_aperture():
    _, data = annulus_data("intensity", energy_ev=ENERGY, pixel_size_m=PIXEL)
    expected = ApertureProbe(outer_radius="10 px", central_stop="3 px", defocus="20 um").make(physical())
    np.testing.assert_allclose(MeanPatternProbe(defocus="20 um").make(data), expected, atol=1e-6)


def test_mean_pattern_off_the_middle_is_propagated_along_its_direction():
    _, data = annulus_data("intensity", energy_ev=ENERGY, pixel_size_m=PIXEL)
    moved = data.with_(patterns=ArrayPatterns(np.roll(data.patterns.array, (6, -8), (1, 2))))
    y, x = np.indices(WINDOW) - np.array([23.5, 31.5])[:, None, None]
    tilted = MeanPatternProbe(defocus="20 um").make(data) * np.exp(2j * np.pi * (6 * y / 48 - 8 * x / 64))
    made = MeanPatternProbe(defocus="20 um").make(moved)
    assert abs(np.vdot(made, tilted)) > 0.99 * np.linalg.norm(made) * np.linalg.norm(tilted)


@pytest.mark.parametrize("ndim", [2, 3])
def test_bad_pixels_do_not_count(ndim):
    made, data = annulus_data("intensity")
    patterns = np.array(data.patterns.array)
    mask = np.ones((3, *WINDOW), bool)
    mask[:, 0, 5] = False  # dark there, so that leaving it out changes nothing
    if ndim == 3:
        mask[0, 24, 40] = mask[2, 24, 40] = False  # seen once, in the pattern with the mean brightness
        patterns[0, 24, 40] = 7e5
    patterns[:, 0, 5] = [np.nan, 1e6, 1e6]
    data = Dataset(ArrayPatterns(patterns), mask=mask if ndim == 3 else mask[0])
    np.testing.assert_allclose(MeanPatternProbe().make(data), made, atol=1e-6)


def test_mean_pattern_reads_at_most_so_many():
    class Counting:
        shape = (100, *WINDOW)
        seen: list[int] = []

        def read(self, index):
            self.seen.extend(index.tolist())
            return np.ones((len(index), *WINDOW), "f4")

    MeanPatternProbe(patterns=5).make(Dataset(Counting()))
    assert sorted(Counting.seen) == [0, 25, 50, 74, 99]


def test_mean_pattern_errors():
    with pytest.raises(DataError, match="the mean pattern is dark"):
        MeanPatternProbe().make(Dataset(ArrayPatterns(np.zeros((2, *WINDOW), "f4"))))
    with pytest.raises(ConfigError, match="defocus: has no effect in the near field; leave it out"):
        MeanPatternProbe(defocus=1e-3).make(dataset(propagation_distance_m=np.array([0.1])))


def test_in_the_near_field_the_root_of_the_mean_picture_goes_back_to_the_sample():
    """A wide Gaussian beam that is flat on the detector converges at the sample; its formula is known."""
    n, pixel, wavelength, z, waist = 96, 1e-6, 1e-10, 0.4, 8e-6
    r2 = ((np.indices((n, n)) - (n - 1) / 2) ** 2).sum(0) * pixel**2
    q = 1 - 1j * z * wavelength / (np.pi * waist**2)  # complex beam parameter at -z, over that of the waist
    wanted = np.exp(-r2 / waist**2 / q) / q
    counts = 1e4 * np.exp(-2 * r2 / waist**2)
    mask = np.ones((n, n), bool)
    mask[:, 40:42] = False
    data = Dataset(
        ArrayPatterns(np.where(mask, counts, 1e9).astype("f4")[None].repeat(3, 0)),
        energy_ev=1.23984198e-6 / wavelength,
        pixel_size_m=(pixel, pixel),
        propagation_distance_m=np.array([z]),
    )
    (clean,) = MeanPatternProbe().make(replace(data, patterns=ArrayPatterns(counts.astype("f4")[None])))
    np.testing.assert_allclose(clean / 100, wanted, atol=2e-3)
    (made,) = MeanPatternProbe().make(replace(data, mask=mask))
    np.testing.assert_allclose(made / 100, wanted, atol=0.05)


# -- data and file --------------------------------------------------------------------------------------------------
def test_start_probe_of_the_data(waves):
    start = waves(2, *WINDOW).astype("c8")
    made = DataProbe().make(dataset(start_probe=start))
    np.testing.assert_array_equal(made, start)
    made[:] = 0
    assert start.any()  # a copy


def test_start_probe_errors():
    with pytest.raises(
        DataError, match="no start probe in the data set; choose another initial probe, such as 'aperture'"
    ):
        DataProbe().make(dataset())
    with pytest.raises(DataError, match=r"does not fit the patterns; expected \(modes, 48, 64\); found \(1, 48, 48\)"):
        DataProbe().make(dataset(start_probe=np.ones((1, 48, 48), "c8")))
    for value in (0, np.nan):
        with pytest.raises(DataError, match="the start probe is dark or not finite; choose another initial probe"):
            DataProbe().make(dataset(start_probe=np.full((1, *WINDOW), value, "c8")))


@pytest.fixture
def files(tmp_path, waves):
    modes = waves(2, *WINDOW).astype("c8")
    np.save(tmp_path / "modes.npy", modes)
    np.save(tmp_path / "one.npy", modes[0])
    np.save(tmp_path / "nested.npy", modes[None, None, None])
    np.savez(tmp_path / "only.npz", beam=modes)
    np.savez(tmp_path / "several.npz", beam=modes, probe=2 * modes)
    with h5py.File(tmp_path / "any.h5", "w") as file:
        file["entry/beam"] = modes
        file["metadata/energy_ev"] = 8800.0
    write_result(Result(np.ones((60, 70, 1), "c8"), probe=modes), tmp_path / "result.h5")
    return tmp_path, modes


@pytest.mark.parametrize(
    ("name", "key", "factor"),
    [
        ("modes.npy", None, 1),
        ("nested.npy", None, 1),
        ("only.npz", None, 1),
        ("several.npz", None, 2),
        ("several.npz", "beam", 1),
        ("any.h5", "/entry/beam", 1),
        ("result.h5", None, 1),
    ],
)
def test_probe_from_a_file(files, name, key, factor):
    folder, modes = files
    made = FileProbe(path=str(folder / name), key=key).make(dataset())
    assert made.dtype == np.complex128
    np.testing.assert_array_equal(made, factor * modes)


def test_one_mode_from_a_file(files):
    assert FileProbe(path=str(files[0] / "one.npy")).make(dataset()).shape == (1, *WINDOW)


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("absent.npy", None, r"absent\.npy: no such file"),
        ("modes.npy", "probe", "an npy file has no keys; found key 'probe'; leave out the key"),
        ("several.npz", "beem", "no array 'beem'; did you mean 'beam'"),
        ("any.h5", None, "no dataset '/probe'; known: entry/beam, metadata/energy_ev"),
        (
            "any.h5",
            "metadata/energy_ev",
            r"the probe has the wrong shape; expected \(modes, y, x\) or \(y, x\); found \(\)",
        ),
        ("any.h5", "entry", "no dataset '/entry'"),
        ("notes.txt", None, r"not a probe file; expected a name that ends in \.npy, \.npz, \.h5"),
        ("broken.h5", None, r"broken\.h5: cannot be read as a probe"),
        ("broken.npy", None, r"broken\.npy: cannot be read as a probe"),
        ("words.npy", None, "the probe is not an array of numbers"),
        ("dark.npy", None, "the probe is dark or not finite"),
    ],
)
def test_file_errors(files, name, key, message):
    folder = files[0]
    for broken in ("notes.txt", "broken.h5", "broken.npy"):
        (folder / broken).write_text("no probe")
    np.save(folder / "words.npy", np.array([["a", "b"]]))
    np.save(folder / "dark.npy", np.zeros(WINDOW))
    with pytest.raises(DataError, match=message):
        FileProbe(path=str(folder / name), key=key).make(dataset())


def test_another_window_is_an_error_unless_it_is_said_what_to_do(files):
    probe = FileProbe(path=str(files[0] / "modes.npy"))
    with pytest.raises(
        DataError, match=r"window differs .* expected \(40, 64\); found \(48, 64\); set fit to 'resample'"
    ):
        probe.make(dataset((40, 64)))


@pytest.mark.parametrize("window", [(64, 80), (36, 80), (49, 63)])
def test_resampled_probe_is_the_probe_on_the_other_grid(tmp_path, window):
    """An aperture has the same Fourier pixels on every grid that is as wide in meters."""
    aperture = ApertureProbe(outer_radius="9 px", softness=0.4, defocus="15 um")
    np.save(tmp_path / "probe.npy", aperture.make(physical()))
    finer = physical(window, tuple(p * n / m for p, n, m in zip(PIXEL, WINDOW, window, strict=True)))
    made = FileProbe(path=str(tmp_path / "probe.npy"), fit="resample").make(finer)
    expected = aperture.make(finer)
    np.testing.assert_allclose(made, expected, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("window", [(64, 80), (32, 80), (49, 63)])
def test_cropped_or_padded_probe_keeps_its_pixels(tmp_path, window):
    gaussian = GaussianProbe(sigma="2.5 px")
    np.save(tmp_path / "probe.npy", gaussian.make(dataset()))
    made = FileProbe(path=str(tmp_path / "probe.npy"), fit="crop_or_pad").make(dataset(window))
    assert made.shape == (1, *window)
    middle = [(n - 1) / 2 for n in window]
    assert beam_center_px(made) == pytest.approx(middle, abs=0.51)
    if all((n - m) % 2 == 0 for n, m in zip(window, WINDOW, strict=True)):
        np.testing.assert_allclose(made, gaussian.make(dataset(window)), atol=1e-4)
