import numpy as np
import pytest

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.errors import GeometryError
from adorym.optics.geometry import (
    Geometry,
    Grid,
    depth_of_focus_m,
    fresnel_number,
    regime_of,
    sample_grid,
)
from adorym.optics.propagation import fresnel
from adorym.wrapper import get_backend

ENERGY = 12398.41984332  # eV: one angstrom


def dataset(**fields):
    return Dataset(ArrayPatterns(np.ones((2, 6, 8), "f4")), **fields)


def test_far_field_pixel_follows_each_axis_own_size():
    g = Geometry((100, 200), ENERGY, detector_pixel_size_m=(50e-6, 100e-6), distance_m=2.0)
    assert g.wavelength_m == pytest.approx(1e-10)
    assert g.far_field_pixel_size_m == pytest.approx((1e-10 * 2 / (100 * 50e-6), 1e-10 * 2 / (200 * 100e-6)))
    assert g.pixel_size_m("far_field") == g.far_field_pixel_size_m
    assert g.grid("far_field") == Grid((100, 200), g.far_field_pixel_size_m, g.wavelength_m)


def test_a_fringe_lands_on_the_detector_pixel_that_the_geometry_says():
    """A phase ramp of angle theta goes to the detector coordinate theta z, on both axes."""
    g = Geometry((32, 48), ENERGY, detector_pixel_size_m=(60e-6, 75e-6), distance_m=1.5)
    dy, dx = g.far_field_pixel_size_m
    angle_y, angle_x = 5 * 60e-6 / 1.5, 7 * 75e-6 / 1.5
    y, x = np.arange(32)[:, None] * dy, np.arange(48)[None, :] * dx
    pattern = abs(np.fft.fft2(np.exp(2j * np.pi / g.wavelength_m * (angle_y * y + angle_x * x))))
    assert np.unravel_index(pattern.argmax(), pattern.shape) == (5, 7)


def test_parallel_beam_has_no_magnification():
    g = Geometry((4, 6), ENERGY, (1e-6, 2e-6), distance_m=0.3)
    assert (g.magnification, g.effective_distance_m, g.near_field_pixel_size_m) == (1.0, 0.3, (1e-6, 2e-6))


def test_fresnel_scaling_theorem():
    """Near-field pattern of a diverging beam = that of a parallel beam over z_eff, stretched by M."""
    xp = get_backend("torch", device="cpu", precision="double")
    grid = Grid((192, 160), (1e-6, 1.2e-6), 1e-10)
    geometry = Geometry(grid.window_px, ENERGY, (1e-6, 1.2e-6), distance_m=0.4, source_distance_m=0.4)
    assert geometry.magnification == pytest.approx(2)
    assert geometry.effective_distance_m == pytest.approx(0.2)
    assert geometry.near_field_pixel_size_m == pytest.approx((0.5e-6, 0.6e-6))
    y = (np.arange(192)[:, None] - 96) * 1e-6
    x = (np.arange(160)[None, :] - 80) * 1.2e-6
    sample = np.exp(-((y / 7e-6) ** 2) - (x / 6e-6) ** 2) * (1 + 0.5 * np.cos(y / 2e-6 + x / 3e-6))
    diverging = sample * np.exp(1j * np.pi * (y**2 + x**2) / (geometry.wavelength_m * 0.4))
    cone = abs(xp.to_numpy(fresnel(xp, xp.asarray(diverging), grid, 0.4))) ** 2
    parallel = abs(xp.to_numpy(fresnel(xp, xp.asarray(sample + 0j), grid, geometry.effective_distance_m))) ** 2
    # Twice as far from the axis, a quarter of the intensity.
    inner = parallel[96 - 40 : 96 + 40, 80 - 35 : 80 + 35]
    outer = cone[96 - 80 : 96 + 80 : 2, 80 - 70 : 80 + 70 : 2]
    np.testing.assert_allclose(4 * outer, inner, atol=1e-3 * inner.max())


def test_a_given_pixel_size_is_used():
    g = Geometry.of(dataset(pixel_size_m=(1e-8, 2e-8), energy_ev=ENERGY))
    assert g.pixel_size_m("far_field") == g.pixel_size_m("near_field") == (1e-8, 2e-8)
    g.check_pixel_size("far_field")  # nothing to compare it with


def test_contradicting_pixel_sizes_are_found():
    known = {"detector_pixel_size_m": (50e-6, 50e-6), "distance_m": 1.0, "energy_ev": ENERGY}
    right = Geometry((100, 200), **known).far_field_pixel_size_m
    Geometry((100, 200), given_pixel_size_m=right, **known).check_pixel_size("far_field")
    wrong = Geometry((100, 200), given_pixel_size_m=(right[0], 1.02 * right[1]), **known)
    remedy = r"'data.pixel_size: \[2e-08 m, 1e-08 m\]' .* 'data.distance' or 'data.energy'"
    with pytest.raises(GeometryError, match=r"pixel size: .* contradicts .* expected 2e-08 x 1e-08 m.*" + remedy):
        wrong.check_pixel_size("far_field")
    cone = Geometry((4, 4), None, (1e-6, 1e-6), 0.5, 0.5, given_pixel_size_m=(1e-6, 1e-6))
    with pytest.raises(GeometryError, match="contradicts"):
        cone.check_pixel_size("near_field")


@pytest.mark.parametrize(
    ("fields", "ask", "message"),
    [
        ({}, lambda g: g.wavelength_m, r"data\.energy: energy absent: .*'data: \{energy: 8\.8 keV\}'"),
        ({}, lambda g: g.pixel_size_m("far_field"), r"data\.pixel_size: pixel size absent; .*13\.2 nm"),
        ({"distance_m": 1.0}, lambda g: g.pixel_size_m("far_field"), r"data\.detector_pixel_size: .* absent.*75 um"),
        (
            {"detector_pixel_size_m": (1e-6, 1e-6), "energy_ev": 1e4},
            lambda g: g.pixel_size_m("far_field"),
            r"data\.distance: distance absent: the pixel size in the sample plane needs it",
        ),
        ({"source_distance_m": 1.0}, lambda g: g.magnification, r"data\.distance: .* the magnification needs it"),
        ({}, lambda g: g.effective_distance_m, r"data\.distance: .* the propagation distance needs it"),
    ],
)
def test_what_is_absent_is_named_with_its_key(fields, ask, message):
    with pytest.raises(GeometryError, match=message):
        ask(Geometry((6, 8), **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"energy_ev": -1.0}, r"data\.energy: must be positive; found -1\.0 eV"),
        ({"given_pixel_size_m": (1e-8, 0.0)}, r"data\.pixel_size: must be positive"),
        ({"detector_pixel_size_m": (-1e-6, 1e-6)}, r"data\.detector_pixel_size: must be positive"),
        ({"distance_m": 0.0}, r"data\.distance: must be positive"),
        ({"source_distance_m": -0.1}, r"data\.source_distance: .* leave it out for a parallel beam"),
    ],
)
def test_impossible_values_are_refused(fields, message):
    with pytest.raises(GeometryError, match=message):
        Geometry((6, 8), **fields)


def test_grid_refuses_what_cannot_be():
    with pytest.raises(GeometryError, match="grid: sizes and wavelength must be positive"):
        Grid((4, 6), (1e-8, 1e-8), float("nan"))


def test_sample_grid_knows_the_regime():
    detector = {"energy_ev": ENERGY, "detector_pixel_size_m": (1e-6, 2e-6), "distance_m": 0.1}
    near = dataset(propagation_distance_m=np.array([0.1]), source_distance_m=0.1, **detector)
    assert regime_of(near) == "near_field"
    assert sample_grid(near).pixel_size_m == pytest.approx((0.5e-6, 1e-6))
    far = dataset(**detector)
    assert sample_grid(far).pixel_size_m == pytest.approx((1e-11 / 6e-6, 1e-11 / 16e-6))


def test_grid_frequencies_and_extent():
    grid = Grid((4, 6), (2.0, 0.5), 1.0)
    fy, fx = grid.frequencies_per_m()
    assert fy.shape == (4, 1)
    assert fx.shape == (1, 6)
    assert fy[1, 0] == pytest.approx(1 / 8)
    assert fx[0, 1] == pytest.approx(1 / 3)
    assert grid.extent_m == (8.0, 3.0)
    assert grid.wavenumber_per_m == pytest.approx(2 * np.pi)


def test_fresnel_number_and_depth_of_focus():
    assert fresnel_number(1e-6, 1e-10, -0.01) == pytest.approx(1.0)
    assert depth_of_focus_m(1e-6, 0.0709e-9) == pytest.approx(0.0733, rel=1e-3)
