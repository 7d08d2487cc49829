import numpy as np
import pytest

from adorym.optics.refraction import (
    attenuation_length_m,
    optical_constants,
    phase_rad,
    thickness_from_phase_m,
    transmission,
)

WAVELENGTH, THICKNESS = 1.4e-10, 2e-6
K = 2 * np.pi / WAVELENGTH


@pytest.fixture
def matter(rng):
    return 1e-5 * rng.random((2, 5, 7)), 1e-6 * rng.random((2, 5, 7))


def test_matter_retards_less_and_absorbs(xp, tolerance, matter):
    delta, beta = matter
    wave = xp.to_numpy(transmission(xp, xp.asarray(delta), xp.asarray(beta), THICKNESS, WAVELENGTH))
    assert wave.dtype == xp.complex_dtype
    np.testing.assert_allclose(wave, np.exp(-K * THICKNESS * (beta + 1j * delta)), rtol=tolerance)
    np.testing.assert_allclose(np.angle(wave), phase_rad(delta, THICKNESS, WAVELENGTH), atol=tolerance)
    assert (np.angle(wave) < 0).all()
    assert (abs(wave) < 1).all()


def test_it_is_the_index_of_refraction(matter):
    """exp(i k (n - 1) t) with n = 1 - delta + i beta."""
    from adorym.wrapper import get_backend

    xp = get_backend("autograd", precision="double")
    delta, beta = matter
    wave = transmission(xp, delta, beta, THICKNESS, WAVELENGTH)
    np.testing.assert_allclose(wave, np.exp(1j * K * THICKNESS * (-delta + 1j * beta)), rtol=1e-12)


def test_slices_multiply(xp64, matter):
    delta, beta = (xp64.asarray(a) for a in matter)
    half = transmission(xp64, delta, beta, THICKNESS / 2, WAVELENGTH)
    whole = transmission(xp64, delta, beta, THICKNESS, WAVELENGTH)
    np.testing.assert_allclose(xp64.to_numpy(half * half), xp64.to_numpy(whole), rtol=1e-12)


def test_round_trip(xp, matter):
    wave = transmission(xp, *(xp.asarray(a) for a in matter), THICKNESS, WAVELENGTH)
    atol = 1e-10 if xp.precision == "single" else 1e-18
    for found, true in zip(optical_constants(xp, wave, THICKNESS, WAVELENGTH), matter, strict=True):
        np.testing.assert_allclose(
            xp.to_numpy(found), true, rtol=1e-4 if xp.precision == "single" else 1e-10, atol=atol
        )


def test_gradients(xp64, matter):
    names = ("delta", "beta", "thickness_m")
    # In units that make all three of order one, so that one step fits all.
    scale = {"delta": 1e-5, "beta": 1e-5, "thickness_m": THICKNESS}
    start = {"delta": matter[0] / 1e-5, "beta": matter[1] / 1e-5, "thickness_m": np.array(1.0)}
    weight = xp64.asarray(np.random.default_rng(1).random((2, 5, 7)))

    def loss(tree):
        wave = transmission(xp64, *(tree[n] * scale[n] for n in names), WAVELENGTH)
        return xp64.sum(weight * (xp64.abs2(wave) + xp64.real(wave) + 0.5 * xp64.imag(wave))), None

    def at(changed, step):
        tree = {n: xp64.asarray(start[n] + (step if n == changed else 0.0)) for n in names}
        return xp64.value_and_grad(loss)(tree)

    gradient = at("", 0)[2]
    for name in names:
        slope = (at(name, 1e-5)[0] - at(name, -1e-5)[0]) / 2e-5
        assert float(np.sum(xp64.to_numpy(gradient[name]))) == pytest.approx(slope, rel=1e-7)


def test_phase_and_thickness_are_inverse():
    assert phase_rad(1e-5, 7e-6, WAVELENGTH) == pytest.approx(-np.pi)
    assert thickness_from_phase_m(-np.pi, 1e-5, WAVELENGTH) == pytest.approx(7e-6)


def test_attenuation_length(xp64):
    beta = 3e-7
    depth = attenuation_length_m(beta, WAVELENGTH)
    wave = transmission(xp64, xp64.zeros((3, 4)), xp64.zeros((3, 4)) + beta, depth, WAVELENGTH)
    np.testing.assert_allclose(abs(xp64.to_numpy(wave)) ** 2, np.exp(-1))
