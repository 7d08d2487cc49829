import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adorym.optics.shift import fourier_shift, shift_kernel
from adorym.wrapper import get_backend

SHIFTS = np.array([[0.3, -0.45], [-2.5, 4.25], [0.0, 0.5]])
WINDOWS = [(8, 14), (9, 12), (7, 11)]


def reference(a, dy, dx):
    ky, kx = np.fft.fftfreq(a.shape[-2])[:, None], np.fft.fftfreq(a.shape[-1])[None, :]
    return np.fft.ifft2(np.fft.fft2(a) * np.exp(-2j * np.pi * (ky * dy + kx * dx)))


@pytest.mark.parametrize("window", WINDOWS)
def test_every_mode_is_shifted_by_every_shift(xp, tolerance, waves, window):
    modes = waves(2, *window)
    shifted = xp.to_numpy(fourier_shift(xp, xp.asarray(modes), xp.asarray(SHIFTS)))
    assert shifted.shape == (3, 2, *window)
    assert shifted.dtype == xp.complex_dtype
    for i, (dy, dx) in enumerate(SHIFTS):
        np.testing.assert_allclose(shifted[i], reference(modes, dy, dx), atol=10 * tolerance)


def test_one_shift_keeps_the_shape(xp, tolerance, waves):
    modes = waves(3, 2, 8, 14)
    shifted = xp.to_numpy(fourier_shift(xp, xp.asarray(modes), (0.3, -0.45)))
    np.testing.assert_allclose(shifted, reference(modes, 0.3, -0.45), atol=10 * tolerance)
    image = xp.to_numpy(fourier_shift(xp, xp.asarray(modes[0, 0]), SHIFTS))
    assert image.shape == (3, 8, 14)


@pytest.mark.parametrize("window", WINDOWS)
def test_adjoint_is_the_shift_back(xp, tolerance, waves, window):
    a, b = waves(2, *window), waves(3, 2, *window)
    shifts = xp.asarray(SHIFTS)
    forward = xp.to_numpy(fourier_shift(xp, xp.asarray(a), shifts))
    back = sum(xp.to_numpy(fourier_shift(xp, xp.asarray(b[i]), -shifts[i])) for i in range(3))
    assert np.vdot(b, forward) == pytest.approx(np.vdot(back, a), abs=1e3 * tolerance)

    def overlap(tree):
        return xp.sum(xp.real(xp.conj(xp.asarray(b)) * fourier_shift(xp, tree["a"], shifts))), None

    gradient = xp.to_numpy(xp.value_and_grad(overlap)({"a": xp.asarray(a)})[2]["a"])
    np.testing.assert_allclose(gradient, back, atol=20 * tolerance)


def test_gradient_of_the_shifts(xp64, waves):
    modes, target = xp64.asarray(waves(2, 8, 14)), xp64.asarray(abs(waves(3, 2, 8, 14)))

    def loss(tree):
        return xp64.sum(xp64.abs2(fourier_shift(xp64, modes, tree["shift"])) * target), None

    value_and_grad = xp64.value_and_grad(loss)
    gradient = xp64.to_numpy(value_and_grad({"shift": xp64.asarray(SHIFTS)})[2]["shift"])
    assert gradient.shape == (3, 2)
    for index in np.ndindex(3, 2):
        step = np.zeros((3, 2))
        step[index] = 1e-5
        up, down = (value_and_grad({"shift": xp64.asarray(SHIFTS + s)})[0] for s in (step, -step))
        assert gradient[index] == pytest.approx((up - down) / 2e-5, rel=1e-6)


def test_nyquist_frequency_keeps_its_modulus():
    """cos(pi y) moved by d becomes exp(i pi d) cos(pi y): see the module's text."""
    xp = get_backend("autograd", precision="double")
    stripes = np.tile((-1.0) ** np.arange(8)[:, None], (1, 6)) + 0j
    moved = fourier_shift(xp, stripes, (0.25, 0.0))
    np.testing.assert_allclose(moved, np.exp(0.25j * np.pi) * stripes, atol=1e-12)


@given(
    window=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    whole=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    first=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
)
@settings(max_examples=40, deadline=None)
def test_shifts_form_a_group_that_contains_the_rolls(window, whole, first):
    xp = get_backend("autograd", precision="double")
    rng = np.random.default_rng(window[0] * 10 + window[1])
    a = rng.normal(size=window) + 1j * rng.normal(size=window)
    np.testing.assert_allclose(fourier_shift(xp, a, whole), np.roll(a, whole, (0, 1)), atol=1e-11)
    once = fourier_shift(xp, a, first)
    assert np.linalg.norm(once) == pytest.approx(np.linalg.norm(a))
    both = np.add(first, whole)
    np.testing.assert_allclose(fourier_shift(xp, once, whole), fourier_shift(xp, a, both), atol=1e-10)


def test_kernel_has_modulus_one_and_the_shape_of_the_shifts(xp):
    kernel = xp.to_numpy(shift_kernel(xp, (8, 14), SHIFTS))
    assert kernel.shape == (3, 8, 14)
    np.testing.assert_allclose(abs(kernel), 1, atol=1e-6)
