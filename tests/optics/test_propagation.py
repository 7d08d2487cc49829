import numpy as np
import pytest

from adorym.errors import GeometryError
from adorym.optics.geometry import Grid
from adorym.optics.propagation import (
    TRANSFER_FUNCTIONS,
    angular_spectrum,
    angular_spectrum_rate_rad_per_m,
    check,
    check_far_field,
    check_transfer_function,
    critical_distance_m,
    fresnel,
    fresnel_rate_rad_per_m,
    paraxial_error_rad,
    propagate,
    transfer_function_angular_spectrum,
    transfer_function_fresnel,
)

GRID = Grid((24, 34), (20e-9, 30e-9), 1.24e-10)  # neither the window nor the pixel is square
KINDS = sorted(TRANSFER_FUNCTIONS)


# A distance at which both sample it.
DISTANCE = 0.8 * min(critical_distance_m(GRID))


def dot(a, b):
    return np.vdot(a, b)


def gaussian_beam(grid, waists, z):
    """Exact paraxial beam with waists (y, x) at z = 0, on the centered grid, without the carrier."""
    out = 1.0
    for axis, (n, p, w) in enumerate(zip(grid.window_px, grid.pixel_size_m, waists, strict=True)):
        r = (np.arange(n) - n // 2) * p
        q = 1 + 1j * z * grid.wavelength_m / (np.pi * w**2)
        out = (
            out * (np.exp(-(r**2) / (w**2 * q)) / np.sqrt(q))[(slice(None), None) if axis == 0 else (None, slice(None))]
        )
    return out


# -- laws of every propagator ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_adjoint(xp, tolerance, waves, kind):
    a, b = waves(3, 24, 34), waves(3, 24, 34)
    kernel = TRANSFER_FUNCTIONS[kind](xp, GRID, DISTANCE)
    forward = xp.to_numpy(propagate(xp, xp.asarray(a), kernel))
    back = xp.to_numpy(propagate(xp, xp.asarray(b), xp.conj(kernel)))
    assert forward.dtype == xp.complex_dtype
    assert dot(b, forward) == pytest.approx(dot(back, a), rel=tolerance * 100, abs=tolerance * 100)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_wave_is_the_adjoint(xp, tolerance, waves, kind):
    a, b = waves(24, 34), waves(24, 34)
    kernel, target = TRANSFER_FUNCTIONS[kind](xp, GRID, DISTANCE), xp.asarray(b)

    def overlap(tree):
        return xp.sum(xp.real(xp.conj(target) * propagate(xp, tree["a"], kernel))), None

    _, _, gradient = xp.value_and_grad(overlap)({"a": xp.asarray(a)})
    expected = xp.to_numpy(propagate(xp, target, xp.conj(kernel)))
    np.testing.assert_allclose(xp.to_numpy(gradient["a"]), expected, atol=tolerance * abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_energy_is_conserved_and_minus_z_undoes_z(xp, tolerance, waves, kind):
    a, z = waves(2, 24, 34), DISTANCE
    there = propagate(xp, xp.asarray(a), TRANSFER_FUNCTIONS[kind](xp, GRID, z))
    again = propagate(xp, there, TRANSFER_FUNCTIONS[kind](xp, GRID, -z))
    assert np.sum(abs(xp.to_numpy(there)) ** 2) == pytest.approx(np.sum(abs(a) ** 2), rel=tolerance)
    np.testing.assert_allclose(xp.to_numpy(again), a, atol=10 * tolerance)
    assert abs(xp.to_numpy(there) - a).max() > 0.5  # it did go somewhere


@pytest.mark.parametrize("kind", KINDS)
def test_distances_add_up(xp64, kind):
    make = TRANSFER_FUNCTIONS[kind]
    one, two, both = (xp64.to_numpy(make(xp64, GRID, z)) for z in (1e-5, 2.5e-5, 3.5e-5))
    np.testing.assert_allclose(one * two, both, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_axes_are_treated_alike(xp64, waves, kind):
    """Exchanging y and x everywhere exchanges y and x in the answer."""
    a, z = waves(24, 34), DISTANCE
    turned = Grid(GRID.window_px[::-1], GRID.pixel_size_m[::-1], GRID.wavelength_m)
    make = TRANSFER_FUNCTIONS[kind]
    straight = xp64.to_numpy(propagate(xp64, xp64.asarray(a), make(xp64, GRID, z)))
    crossed = xp64.to_numpy(propagate(xp64, xp64.asarray(a.T.copy()), make(xp64, turned, z)))
    np.testing.assert_allclose(crossed.T, straight, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_number_and_array_distances_agree(xp, kind):
    z = DISTANCE
    make = TRANSFER_FUNCTIONS[kind]
    number = xp.to_numpy(make(xp, GRID, z))
    atol = 5e-5 if xp.precision == "single" else 1e-11
    np.testing.assert_allclose(xp.to_numpy(make(xp, GRID, xp.asarray(np.array(z)))), number, atol=atol)
    stack = xp.to_numpy(make(xp, GRID, np.array([z, 1.1 * z])))
    assert stack.shape == (2, 24, 34)
    np.testing.assert_allclose(stack[0], number, atol=atol)
    np.testing.assert_allclose(stack[1], xp.to_numpy(make(xp, GRID, 1.1 * z)), atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_distances(xp64, waves, kind):
    wave, target = xp64.asarray(waves(24, 34)), xp64.asarray(waves(2, 24, 34))
    make = TRANSFER_FUNCTIONS[kind]
    start = np.array([1.0, 1.07]) * DISTANCE

    def loss(tree):
        difference = xp64.abs2(propagate(xp64, wave, make(xp64, GRID, tree["z"]))) - xp64.abs2(target)
        return xp64.sum(difference * difference), None

    value_and_grad = xp64.value_and_grad(loss)
    gradient = xp64.to_numpy(value_and_grad({"z": xp64.asarray(start)})[2]["z"])
    step = 1e-5 * DISTANCE
    for i in range(2):
        values = [value_and_grad({"z": xp64.asarray(start + s * step * np.eye(2)[i])})[0] for s in (1, -1)]
        assert gradient[i] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_gradient_of_a_single_distance(xp64, waves):
    wave, target = xp64.asarray(waves(24, 34)), xp64.asarray(abs(waves(24, 34)))

    def loss(tree):
        return xp64.sum(xp64.abs2(fresnel(xp64, wave, GRID, tree["z"])) * target), None

    value_and_grad = xp64.value_and_grad(loss)
    z, step = 4e-5, 1e-9
    gradient = float(xp64.to_numpy(value_and_grad({"z": xp64.asarray(np.array(z))})[2]["z"]))
    up, down = (value_and_grad({"z": xp64.asarray(np.array(z + s))})[0] for s in (step, -step))
    assert gradient == pytest.approx((up - down) / (2 * step), rel=1e-5)


# -- known answers -----------------------------------------------------------------------------------------------
WIDE = Grid((96, 128), (1.0e-6, 0.8e-6), 1e-10)
WAISTS = (7e-6, 6e-6)


@pytest.mark.parametrize("move", [fresnel, angular_spectrum])
@pytest.mark.parametrize("z", [0.5, -0.7])
def test_gaussian_beam(xp, move, z):
    start = xp.asarray(gaussian_beam(WIDE, WAISTS, 0.0) + 0j)
    moved = xp.to_numpy(move(xp, start, WIDE, z))
    np.testing.assert_allclose(moved, gaussian_beam(WIDE, WAISTS, z), atol=1e-5)


def test_wave_convention():
    """A converging wave exp(-i pi r^2 / lambda f) focuses downstream, at z = +f."""
    from adorym.wrapper import get_backend

    xp = get_backend("torch", device="cpu", precision="double")
    y, x = (np.arange(96)[:, None] - 48) * 1e-6, (np.arange(128)[None, :] - 64) * 0.8e-6
    lens = np.exp(-1j * np.pi * (y**2 + x**2) / (1e-10 * 0.6)) * np.exp(-(y**2 + x**2) / (12e-6) ** 2)
    peaks = [abs(xp.to_numpy(fresnel(xp, xp.asarray(lens), WIDE, z))).max() for z in (-0.6, 0.3, 0.6, 0.8)]
    assert np.argmax(peaks) == 2


def test_transfer_function_agrees_with_a_defocus_in_square_pixels(xp64):
    """exp(-i pi d k^2) with d = lambda z / pixel^2 and k in cycles a pixel."""
    grid = Grid((16, 20), (10e-9, 10e-9), 1.24e-10)
    k = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(20)[None, :])
    kernel = xp64.to_numpy(transfer_function_fresnel(xp64, grid, 90.0 * 1e-16 / 1.24e-10))
    np.testing.assert_allclose(kernel, np.exp(-1j * np.pi * 90.0 * k**2), atol=1e-12)


def test_small_angles_keep_their_digits():
    """The angular spectrum is the paraxial phase times 1 + (lambda f)^2 / 4 + ..., although k is 1e6 times larger."""
    fy, fx = GRID.frequencies_per_m()
    exact, passes = angular_spectrum_rate_rad_per_m(GRID)
    correction = 1 + GRID.wavelength_m**2 * (fy**2 + fx**2) / 4
    assert passes.all()
    np.testing.assert_allclose(exact, fresnel_rate_rad_per_m(GRID) * correction, rtol=1e-9)


def test_evanescent_waves_are_dropped(xp64, waves):
    fine = Grid((12, 16), (0.3, 0.4), 1.0)  # pixels below half a wavelength
    kernel = xp64.to_numpy(transfer_function_angular_spectrum(xp64, fine, 0.2))
    fy, fx = fine.frequencies_per_m()
    propagates = fy**2 + fx**2 < 1.0
    assert 0 < propagates.sum() < propagates.size
    np.testing.assert_allclose(abs(kernel), propagates.astype(float), atol=1e-12)
    wave = xp64.asarray(waves(12, 16))
    there = angular_spectrum(xp64, wave, fine, 0.2)
    again = angular_spectrum(xp64, there, fine, -0.2)
    np.testing.assert_allclose(
        np.fft.fft2(xp64.to_numpy(again)), np.fft.fft2(xp64.to_numpy(wave)) * propagates, atol=1e-11
    )


def test_steep_waves_leave_the_paraxial_phase():
    coarse_angle = Grid((16, 16), (0.6, 0.6), 1.0)
    assert paraxial_error_rad(coarse_angle, -2.0) > 0.1
    assert paraxial_error_rad(GRID, 1e-6) < 1e-4


# -- sampling ----------------------------------------------------------------------------------------------------
def test_critical_distance_of_each_axis():
    y, x = critical_distance_m(GRID)
    assert y == pytest.approx(24 * 20e-9**2 / 1.24e-10)
    assert x == pytest.approx(34 * 30e-9**2 / 1.24e-10)


@pytest.mark.parametrize("factor", [0.3, 0.999, 1.001, 3.0])
def test_phase_steps_reach_pi_at_the_critical_distance(factor):
    """The criterion is the step of the kernel's phase between neighboring frequencies at the edge of the band."""
    z = factor * critical_distance_m(GRID)[0]
    frequency, spacing = 0.5 / 20e-9, 1 / (24 * 20e-9)
    slope = 2 * np.pi * GRID.wavelength_m * z * frequency * spacing
    assert (slope <= np.pi) == (factor <= 1)


def test_transfer_function_beyond_its_range():
    y, x = critical_distance_m(GRID)
    check_transfer_function(GRID, -0.99 * y)
    with pytest.raises(GeometryError, match=r"forward_model\.propagation: .* undersampled along y; .* check the units"):
        check_transfer_function(GRID, 1.5 * y)
    wide = Grid((340, 34), (30e-9, 30e-9), GRID.wavelength_m)
    with pytest.raises(GeometryError, match="undersampled along x"):
        check_transfer_function(wide, 1.5 * x)
    with pytest.raises(GeometryError, match="use patterns of larger or more pixels$"):
        check_transfer_function(GRID, 1.01 * max(y, x))
    with pytest.raises(GeometryError, match="use 'buffer_px: 7'$"):
        check_transfer_function(GRID, 1.01 * max(y, x), widen="'buffer_px: 7'")
    with pytest.raises(GeometryError, match="use 'forward_model.propagation: far_field'"):
        check("angular_spectrum", GRID, 1.0)


def test_far_field_too_near():
    check_far_field(1e-6, 1e-10, 1.0)
    with pytest.raises(GeometryError, match=r"data\.distance: the detector is not in the far field; .* z >= 0\.1 m"):
        check_far_field(1e-6, 1e-10, 0.05, where="data.distance")
    with pytest.raises(GeometryError, match="use propagation 'fresnel'"):
        check("far_field", GRID, 1e-6)


def test_unknown_propagator():
    with pytest.raises(GeometryError, match="no such propagator; expected far_field, fresnel"):
        check("frenel", GRID, 1e-6)
