"""Specimens: physically possible, the same at every sampling, and placed by the seed."""

import numpy as np
import pytest

from adorym.optics.geometry import Grid
from adorym.registry import lookup, names
from adorym.schema import build
from adorym.simulate.phantoms import Cells, Pictures, SiemensStar
from adorym.units import wavelength_m

KINDS = sorted(["cells", "electrode", "pictures", "siemens_star", "vacuum"])


def grid(fine: int = 1, shape: tuple[int, int] = (60, 44), pixel: tuple[float, float] = (12e-9, 15e-9)) -> Grid:
    size = shape[0] * fine, shape[1] * fine
    return Grid(size, (pixel[0] / fine, pixel[1] / fine), wavelength_m(8800.0))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_phantom_is_registered():
    assert set(KINDS) <= set(names("phantom"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_specimen_absorbs_and_does_not_amplify(kind):
    wave = build(lookup("phantom", kind), {}).transmission(grid(), rng())
    assert wave.shape == (60, 44)
    assert np.abs(wave).max() <= 1 + 1e-12
    assert np.abs(wave).min() > 0.2


@pytest.mark.parametrize("kind", ["cells", "electrode", "siemens_star"])
def test_finer_sampling_shows_the_same_specimen(kind):
    phantom = build(lookup("phantom", kind), {})
    coarse, fine = (phantom.transmission(grid(factor), rng()) for factor in (2, 6))
    # Fine sample 3 i is coarse sample i: bin what lies around it.
    binned = np.roll(fine, 1, (0, 1)).reshape(120, 3, 88, 3).mean((1, 3))
    assert np.mean(np.abs(binned - coarse) ** 2) < 0.05 * np.mean(np.abs(coarse - coarse.mean()) ** 2)


@pytest.mark.parametrize("kind", ["cells", "pictures"])
def test_seed_places_what_is_random(kind):
    phantom = build(lookup("phantom", kind), {})
    first, again, other = (phantom.transmission(grid(), rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_metal_has_the_phase_and_absorption_of_its_index():
    star = SiemensStar(thickness=400e-9, delta=3e-5, beta=4e-6)
    coverage = star.coverage(grid())
    wave = star.transmission(grid(), rng())[coverage == 1]
    k = 2 * np.pi / wavelength_m(8800.0)
    assert wave.size > 100
    np.testing.assert_allclose(np.angle(wave), -k * 3e-5 * 400e-9)
    np.testing.assert_allclose(np.abs(wave), np.exp(-k * 4e-6 * 400e-9))


def test_spokes_are_counted_on_a_circle():
    star = SiemensStar(spokes=14, rings=1, diameter=3.8e-6)
    fine = grid(shape=(400, 400), pixel=(10e-9, 10e-9))
    angle = np.linspace(-np.pi, np.pi, 4000, endpoint=False)
    y, x = (np.rint(200 + 120 * f(angle)).astype(int) for f in (np.sin, np.cos))
    circle = star.coverage(fine)[y, x] > 0.5
    assert np.sum(circle & ~np.roll(circle, 1)) == 14
    assert circle.mean() == pytest.approx(0.5, abs=0.03)


def test_star_ends_at_its_diameter():
    star = SiemensStar(diameter=400e-9)
    y, x = np.mgrid[:60, :44]
    radius = np.hypot((y - 30) * 12e-9, (x - 22) * 15e-9)
    assert star.coverage(grid())[radius > 200e-9 + 15e-9].max() == 0
    assert star.coverage(grid())[np.abs(radius - 190e-9) < 1e-9].min() > 0.5


def test_edges_are_antialiased():
    coverage = SiemensStar().coverage(grid())
    assert 0.05 < np.mean((coverage > 0) & (coverage < 1)) < 0.8


def test_pictures_fill_their_ranges():
    wave = Pictures(amplitude=(0.5, 0.9), phase=2.0).transmission(grid(), rng())
    assert 0.5 <= np.abs(wave).min() < 0.6
    assert 0.8 < np.abs(wave).max() <= 0.9
    assert 1.5 < np.ptp(np.angle(wave)) <= 2.0


def test_amplitude_and_phase_of_pictures_are_unrelated():
    wave = Pictures().transmission(grid(), rng())
    assert abs(np.corrcoef(np.abs(wave).ravel(), np.angle(wave).ravel())[0, 1]) < 0.5


def test_cells_are_one_material():
    wave = Cells(count=5, absorption=0.2).transmission(grid(), rng())
    inside = np.abs(wave) < 0.999
    ratio = np.log(np.abs(wave[inside])) / np.unwrap(np.angle(wave[inside]))
    np.testing.assert_allclose(ratio, 0.2, rtol=1e-6)
