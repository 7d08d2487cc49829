"""Laws of losses: sums over pixels, zero at a perfect fit, correct slope, finite in the dark."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES
from laws import assert_gradients

from adorym.wrapper import get_backend

LOSSES = sorted(CASES["loss"])
RNG = np.random.default_rng(4)
COUNTS = RNG.poisson(3.0, (5, 6, 8)).astype(float)
INTENSITY = RNG.uniform(0.1, 8, COUNTS.shape)
FLOOR = 0.01


@pytest.fixture(params=LOSSES)
def loss(request):
    return CASES["loss"][request.param](None)


@pytest.fixture(params=[(b, p) for b in ("torch", "autograd") for p in ("single", "double")], ids="-".join)
def xp(request):
    return get_backend(request.param[0], device="cpu", precision=request.param[1])


def value(xp, loss, intensity, counts, mask=None, floor=FLOOR):
    mask = None if mask is None else xp.asarray(mask)
    target = xp.asarray(loss.target(counts.astype(xp.float_dtype), floor))
    return float(loss.value(xp, xp.asarray(intensity), target, mask, floor))


def test_zero_at_a_perfect_fit_and_positive_elsewhere(xp, loss):
    size = value(xp, loss, INTENSITY, COUNTS)
    assert size > 1
    assert value(xp, loss, COUNTS, COUNTS) == pytest.approx(0, abs=1e-5 * size)
    for factor in (0.9, 1.1):
        assert value(xp, loss, factor * COUNTS, COUNTS) > 0


def test_is_a_sum_over_patterns_and_pixels(xp, loss):
    parts = [value(xp, loss, INTENSITY[part], COUNTS[part]) for part in (slice(0, 2), slice(2, 5))]
    assert sum(parts) == pytest.approx(value(xp, loss, INTENSITY, COUNTS), rel=1e-5)
    pixels = [value(xp, loss, INTENSITY[..., part], COUNTS[..., part]) for part in (slice(0, 3), slice(3, 8))]
    assert sum(pixels) == pytest.approx(value(xp, loss, INTENSITY, COUNTS), rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 6, 8), (5, 6, 8)])
def test_mask_weights_pixels(xp, loss, shape):
    mask = RNG.integers(0, 2, shape).astype(float)
    seen = np.broadcast_to(mask, COUNTS.shape) > 0
    expected = value(xp, loss, INTENSITY[seen], COUNTS[seen])
    assert value(xp, loss, INTENSITY, COUNTS, mask) == pytest.approx(expected, rel=1e-5)
    assert value(xp, loss, INTENSITY, COUNTS, 0.5 * mask) == pytest.approx(expected / 2, rel=1e-5)


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_gradient(loss, backend):
    xp = get_backend(backend, device="cpu", precision="double")
    mask, target = xp.asarray(RNG.uniform(0, 1, COUNTS.shape)), xp.asarray(loss.target(COUNTS, FLOOR))
    dim = INTENSITY.copy()
    dim[:, 2] = 5e-2  # not far from the floor
    assert_gradients(xp, lambda t: (loss.value(xp, t["i"], target, mask, FLOOR), None), {"i": dim}, {"i": 0.01})


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_dark_predictions_have_a_finite_slope_towards_the_light(loss, backend):
    xp = get_backend(backend, device="cpu", precision="single")
    target = xp.asarray(loss.target(COUNTS.astype(np.float32), FLOOR))
    call = xp.value_and_grad(lambda t: (loss.value(xp, t["i"], target, None, FLOOR), None))
    found, _, gradient = call({"i": xp.zeros(COUNTS.shape)})
    gradient = xp.to_numpy(gradient["i"])
    assert np.isfinite(found) and np.isfinite(gradient).all()
    assert (gradient[COUNTS > 0] < 0).all()  # more light fits better
    np.testing.assert_allclose(gradient[COUNTS == 0], 0, atol=1e-6)  # dark on dark is a fit


def test_floor_changes_little_where_there_is_light(loss):
    xp = get_backend("autograd", precision="double")
    bright = 1e3 + COUNTS
    low, high = (value(xp, loss, bright * 1.05, bright, floor=floor) for floor in (1e-9, 1e-1))
    assert high == pytest.approx(low, rel=1e-3)


def test_poisson_deviance_is_the_likelihood_up_to_a_constant():
    xp, poisson = get_backend("autograd", precision="double"), CASES["loss"]["poisson"](None)
    counts = COUNTS + 1
    likelihood = [np.sum(i - counts * np.log(i)) for i in (INTENSITY, 2 * INTENSITY)]
    deviance = [value(xp, poisson, i, counts, floor=1e-12) for i in (INTENSITY, 2 * INTENSITY)]
    assert deviance[1] - deviance[0] == pytest.approx(likelihood[1] - likelihood[0], rel=1e-9)


def test_least_squares_and_poisson_agree_near_the_fit():
    """Both are the log-likelihood of nearly the same noise: (I - N)^2 / 2N, up to the factor 2 of their units."""
    xp = get_backend("autograd", precision="double")
    counts = 1e4 + 100 * COUNTS
    near = counts + 10 * RNG.standard_normal(counts.shape)
    amplitude, poisson = (
        value(xp, CASES["loss"][n](None), near, counts, floor=1e-9) for n in ("least_squares", "poisson")
    )
    assert poisson == pytest.approx(2 * amplitude, rel=1e-3)
    assert poisson == pytest.approx(np.sum((near - counts) ** 2 / (2 * counts)), rel=1e-3)


# -- what each of them is for ------------------------------------------------------------------------------------------
SATURATION = 5.0


@pytest.mark.parametrize("name", LOSSES)
def test_saturated_pixels_are_lower_bounds(xp, name):
    """Where the counts are cut off, a brighter prediction costs nothing and a darker one what it always costs."""
    plain = CASES["loss"][name](None)
    loss = type(plain)(**(vars(plain) | {"saturation": SATURATION}))
    counts = np.minimum(COUNTS, SATURATION)
    full = counts == SATURATION
    assert full.any() and not full.all()
    brighter = np.where(full, 2 * SATURATION, INTENSITY)
    expected = value(xp, plain, INTENSITY[~full], counts[~full])
    assert value(xp, loss, brighter, counts) == pytest.approx(expected, rel=1e-5)
    darker = np.where(full, 0.5 * SATURATION, INTENSITY)
    assert value(xp, loss, darker, counts) == pytest.approx(value(xp, plain, darker, counts), rel=1e-5)


def test_mixed_noise_is_poisson_noise_on_a_pedestal():
    """The best constant for pixels that read out g K + e is their mean, whatever the noise; its floor is the offset."""
    mixed = CASES["loss"]["mixed"](None)
    assert mixed.floor_counts(4.0) == pytest.approx(4e-3 + 0.3**2 / 2.0)
    xp, floor = get_backend("autograd", precision="double"), mixed.floor_counts(3.0)
    around = [value(xp, mixed, np.full_like(COUNTS, COUNTS.mean() * f), COUNTS, floor=floor) for f in (0.99, 1, 1.01)]
    assert around[1] < min(around[0], around[2])


@pytest.mark.parametrize(("name", "rises"), [("huber", 2.0), ("student", 1.3)])
def test_robust_losses_bear_outliers(name, rises):
    """A pixel twice as far off, in amplitude, costs at most twice as much (least squares: four times)."""
    xp, loss = get_backend("autograd", precision="double"), CASES["loss"][name](None)
    near, far = (value(xp, loss, np.full((1, 2, 2), i**2), np.zeros((1, 2, 2)), floor=1e-12) for i in (20.0, 40.0))
    assert 1 < far / near < 1.02 * rises
    small = 1e3 * np.ones((1, 2, 2)), 1e3 * np.ones((1, 2, 2)) + 0.5
    assert value(xp, loss, *small) == pytest.approx(value(xp, CASES["loss"]["least_squares"](None), *small), rel=1e-3)


def test_intensity_is_the_quadratic_approximation_of_poisson():
    xp, counts = get_backend("autograd", precision="double"), 1e4 + 100 * COUNTS
    near = counts + 10 * RNG.standard_normal(counts.shape)
    found, expected = (value(xp, CASES["loss"][n](None), near, counts, floor=1e-9) for n in ("intensity", "poisson"))
    assert found == pytest.approx(expected, rel=1e-3)
