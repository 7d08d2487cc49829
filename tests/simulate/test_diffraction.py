"""Propagation on the simulation's own grid, checked against other ways to compute the same."""

import numpy as np
import pytest

from adorym.errors import GeometryError
from adorym.optics.geometry import Grid
from adorym.simulate.diffraction import FarField, NearField, Scene, fourier_crop

WINDOW, FINE = (20, 24), (40, 48)
REST = np.zeros((1, 2))
RNG = np.random.default_rng(6)


def smooth(shape: tuple[int, int], width: float) -> np.ndarray:
    """Complex noise without frequencies above ``width`` cycles a sample."""
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    noise = np.fft.fft2(RNG.normal(size=shape) + 1j * RNG.normal(size=shape))
    return np.fft.ifft2(np.where(k < width, noise, 0))


def gaussian(waist: float = 5.0) -> np.ndarray:
    """A beam ``FINE`` of one photon."""
    y, x = (np.arange(n) - n // 2 for n in FINE)
    beam = np.exp(-(y[:, None] ** 2 + x**2) / waist**2).astype(complex)
    return beam / np.linalg.norm(beam)


def scene(path: np.ndarray | None = None, width: float = 0.1) -> Scene:
    path = np.zeros((1, 2)) if path is None else path
    obj = 1 + 0.4 * smooth((100, 90), width) / 0.1
    return Scene(obj.astype(np.complex64), gaussian()[None].astype(np.complex64), path, oversample=2)


@pytest.mark.parametrize("integrate", [False, True])
def test_far_field_keeps_the_photons(integrate):
    waves = 30 * np.stack([gaussian(4), gaussian(6)])
    assert FarField(WINDOW, integrate).intensity(waves, np.zeros((2, 2))).sum() == pytest.approx(2 * 900, rel=1e-3)


@pytest.mark.parametrize("integrate", [False, True])
def test_far_field_beam_is_at_the_middle_pixel(integrate):
    pattern = FarField(WINDOW, integrate).intensity(gaussian()[None], REST)
    for axis, n in enumerate(WINDOW):
        assert (pattern.sum(1 - axis) * np.arange(n)).sum() == pytest.approx(n // 2, abs=0.01)


def test_integrating_pixels_blur_what_a_pixel_cannot_resolve():
    # Two beams far apart interfere in fringes of two pixels.
    pair = np.roll(gaussian(2), -12, 1) + np.roll(gaussian(2), 12, 1)
    points, areas = (FarField(WINDOW, on).intensity(pair[None], REST) for on in (False, True))
    line = slice(10, 14)
    contrast = [np.ptp(p[10, line]) / p[10, line].mean() for p in (points, areas)]
    # A pixel's transfer at half a cycle a pixel is sinc(1/2); of the two samples that stand for it, cos(pi/4).
    assert contrast[1] / contrast[0] == pytest.approx(np.cos(np.pi / 4), rel=0.1)


def test_detector_loses_what_is_scattered_beyond_it():
    grating = np.exp(0.5j * np.cos(np.pi * np.arange(FINE[1]) * 0.8))
    pattern = FarField(WINDOW).intensity((gaussian() * grating)[None], REST)
    assert pattern.sum() < 0.95


def test_patterns_of_smooth_specimens_are_those_of_the_reconstruction_grid():
    made = scene()
    position = np.array([[7.0, 9.0]])
    probe, obj = made.probe_px()[0], made.object_px()
    exit_wave = probe * obj[7:27, 9:33]
    simple = np.fft.fftshift(np.abs(np.fft.fft2(exit_wave, norm="ortho")) ** 2)
    np.testing.assert_allclose(made.expected(position, FarField(WINDOW))[0], simple, atol=1e-3 * simple.max())


def test_sub_pixel_positions_are_those_of_a_shifted_probe():
    made = scene()
    probe, obj = made.probe_px()[0], made.object_px()
    dy, dx = 0.3, -0.4
    ky, kx = (np.fft.fftfreq(n) for n in WINDOW)
    moved = np.fft.ifft2(np.fft.fft2(probe) * np.exp(-2j * np.pi * (ky[:, None] * dy + kx * dx)))
    simple = np.fft.fftshift(np.abs(np.fft.fft2(moved * obj[7:27, 9:33], norm="ortho")) ** 2)
    found = made.expected(np.array([[7 + dy, 9 + dx]]), FarField(WINDOW))[0]
    np.testing.assert_allclose(found, simple, atol=2e-3 * simple.max())


def test_exposure_is_the_mean_of_the_places_on_the_way():
    path = np.array([[0, -1.5], [0, 0.2], [0.5, 1.3]])
    moving, resting = scene(path), scene()
    resting = Scene(moving.transmission, moving.modes, resting.path_px, 2)
    position = np.array([8.0, 9.3])
    mean = resting.expected(position + path, FarField(WINDOW)).mean(0)
    np.testing.assert_allclose(moving.expected(position[None], FarField(WINDOW))[0], mean, rtol=1e-4, atol=1e-7)


def test_equivalent_modes_explain_a_moving_exposure():
    made = scene(np.stack([np.zeros(5), np.linspace(-2, 2, 5)], -1))
    probe, obj = made.probe_px(), made.object_px()
    assert len(probe) > 1
    simple = (np.abs(np.fft.fft2(probe * obj[7:27, 9:33], norm="ortho")) ** 2).sum(0)
    found = made.expected(np.array([[7.0, 9.0]]), FarField(WINDOW))[0]
    np.testing.assert_allclose(found, np.fft.fftshift(simple), atol=2e-3 * simple.max())
    flat = probe.reshape(len(probe), -1)
    gram = flat.conj() @ flat.T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-6)
    assert np.all(np.diff(np.diag(gram).real) < 0)


def test_fourier_crop_keeps_power_and_place():
    beam = gaussian()
    cropped = fourier_crop(beam, 2)
    assert np.linalg.norm(cropped) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(cropped, 2 * beam[::2, ::2], atol=1e-4)


def near(distance: float, integrate: bool = False, pixel: tuple[float, float] = (0.5e-6, 0.4e-6)) -> NearField:
    return NearField(Grid(FINE, pixel, 1e-10), distance, 2, integrate)


@pytest.mark.parametrize("integrate", [False, True])
@pytest.mark.parametrize("distance", [0.0, 0.02])
def test_near_field_keeps_the_photons(integrate, distance):
    assert near(distance, integrate).intensity(gaussian()[None], REST).sum() == pytest.approx(1, rel=1e-3)


def test_near_field_at_no_distance_is_the_intensity():
    expected = 4 * np.abs(gaussian()[::2, ::2]) ** 2
    np.testing.assert_allclose(near(0.0).intensity(gaussian()[None], REST), expected, atol=1e-6)


@pytest.mark.parametrize("integrate", [False, True])
def test_integrating_pixels_do_not_move_the_picture(integrate):
    pattern = near(0.01, integrate).intensity(gaussian()[None], REST)
    for axis, n in enumerate(WINDOW):
        assert (pattern.sum(1 - axis) * np.arange(n)).sum() == pytest.approx(n // 2, abs=0.01)


def test_gaussian_beam_spreads_as_it_should():
    # Variance of the intensity of exp(-r^2 / w^2): w^2 / 4 (1 + (lambda z / pi w^2)^2) (Siegman, Lasers, 17.1).
    pixel, distance, wavelength = (0.5e-6, 0.4e-6), 0.03, 1e-10
    pattern = near(distance).intensity(gaussian(4)[None], REST)
    for axis, n in enumerate(WINDOW):
        profile, r = pattern.sum(1 - axis), (np.arange(n) - n // 2) * 2 * pixel[axis]
        waist = 4 * pixel[axis]
        expected = waist**2 / 4 * (1 + (wavelength * distance / (np.pi * waist**2)) ** 2)
        assert (profile * r**2).sum() / profile.sum() == pytest.approx(expected, rel=0.01)


def test_near_field_is_seen_in_the_frame_of_the_probe():
    """Without specimen the picture stands still wherever the stage is."""
    vacuum = Scene(np.ones((100, 90), np.complex64), gaussian()[None].astype(np.complex64), np.zeros((1, 2)), 2)
    patterns = vacuum.expected(np.array([[7.0, 9.0], [7.2, 9.4], [8.5, 10.1]]), near(0.01))
    np.testing.assert_allclose(patterns[1:], patterns[[0, 0]], atol=1e-3 * patterns.max())


def test_too_long_a_distance_is_refused():
    with pytest.raises(GeometryError, match=r"distance: too far for near-field.*at most 0.154 m; found 1 m"):
        near(1.0)
