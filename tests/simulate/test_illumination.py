"""Probes: unit power, orthogonal modes, the right pupil and size, the same at every sampling."""

import numpy as np
import pytest

from adorym.errors import GeometryError
from adorym.optics.geometry import Grid
from adorym.registry import lookup
from adorym.schema import build
from adorym.simulate.diffraction import fourier_crop
from adorym.simulate.illumination import beam_diameter_px, check_beam_fits, coherent_modes
from adorym.units import wavelength_m

KINDS = ["focused_beam", "diffused_beam"]
POWERS = [0.6, 0.25, 0.15]
WINDOW = (48, 64)


def grid(fine: int = 2) -> Grid:
    """``WINDOW`` of 819 x 819 nm, hence with pixels that are not square."""
    extent = 819e-9
    size = WINDOW[0] * fine, WINDOW[1] * fine
    return Grid(size, (extent / size[0], extent / size[1]), wavelength_m(8800.0))


def beam(kind: str, fine: int = 2, **settings: object) -> np.ndarray:
    return build(lookup("illumination", kind), settings).modes(grid(fine), np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_modes_are_orthogonal_with_the_asked_powers(kind):
    flat = beam(kind, mode_powers=[6, 2.5, 1.5]).reshape(3, -1)
    np.testing.assert_allclose(flat.conj() @ flat.T, np.diag(POWERS), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_beam_fits_in_the_middle_of_the_window(kind):
    modes = beam(kind)
    check_beam_fits(modes)
    intensity = (np.abs(modes) ** 2).sum(0)
    for axis, n in enumerate(intensity.shape):
        middle = np.sum(intensity.sum(1 - axis) * np.arange(n))
        assert middle == pytest.approx(n // 2, abs=0.02 * n)


@pytest.mark.parametrize("kind", KINDS)
def test_finer_sampling_is_the_same_beam(kind):
    coarse, fine = beam(kind, 2), fourier_crop(beam(kind, 4), 2)
    assert np.abs(np.vdot(coarse, fine)) == pytest.approx(1, abs=1e-3)


def test_far_field_is_the_lens_with_its_stop():
    pupil = np.abs(np.fft.fft2(beam("focused_beam", aperture=10, stop=4)[0], norm="ortho")) ** 2
    # The window is square in meters, so one detector pixel is one frequency step along both axes.
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in pupil.shape), indexing="ij"))
    lit = pupil / pupil.max()
    np.testing.assert_allclose(lit[(radius > 6.5) & (radius < 7.5)], 1, atol=0.02)
    assert lit[radius > 13].max() < 1e-3
    assert lit[radius < 2].max() < 1e-3


def test_defocus_widens_the_beam_as_the_cone_does():
    extent, wavelength = 819e-9, wavelength_m(8800.0)
    defocus = 1e-4
    modes = beam("focused_beam", aperture=10, defocus=f"{defocus} m")
    cone = 2 * defocus * 10 / extent * wavelength
    pixels = cone / np.array(grid().pixel_size_m)
    np.testing.assert_allclose(beam_diameter_px(modes), pixels, rtol=0.15)


def test_default_defocus_scales_with_the_window():
    width = beam_diameter_px(beam("focused_beam")) / (np.array(WINDOW) * 2)
    np.testing.assert_allclose(width, 0.45, atol=0.08)


def test_diameter_of_a_uniform_disc():
    y, x = np.mgrid[:80, :100]
    disc = (((y - 40) / 20) ** 2 + ((x - 50) / 30) ** 2 < 1).astype(complex)
    np.testing.assert_allclose(beam_diameter_px(disc[None]), [40, 60], rtol=0.02)


def test_coherent_mode_is_the_wave_itself():
    wave = beam("focused_beam")[0]
    assert np.vdot(coherent_modes(3j * wave, (1.0,))[0], wave) == pytest.approx(-1j, abs=1e-6)


def test_first_guess_is_near_the_beam_but_not_it():
    made = build(lookup("illumination", "focused_beam"), {})
    overlap = np.abs(np.vdot(made.first_guess(grid()), made.modes(grid(), np.random.default_rng(0)))) ** 2
    assert 0.3 < overlap < 0.995
    exact = build(lookup("illumination", "focused_beam"), {"defocus": "80 um", "guessed_defocus": "80 um"})
    assert np.abs(np.vdot(exact.first_guess(grid()), exact.modes(grid(), np.random.default_rng(0)))) == pytest.approx(1)


def test_diffuser_has_the_asked_strength():
    flat, rough = (beam("diffused_beam", diffuser=f"{rad} rad")[0] for rad in (0.0, 0.5))
    middle = (slice(36, 60), slice(48, 80))
    assert np.ptp(np.angle(flat[middle])) < 1e-6
    assert np.angle(rough[middle] * np.exp(-1j * np.angle(rough[middle].mean()))).std() == pytest.approx(0.5, rel=0.4)


def test_beam_wider_than_the_window_is_refused():
    with pytest.raises(GeometryError, match="illumination: the window cuts the beam off.*reduce the defocus"):
        check_beam_fits(beam("focused_beam", defocus="400 um"))
