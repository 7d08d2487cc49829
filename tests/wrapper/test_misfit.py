"""The loss in one pass is the loss, and so is its gradient."""

import numpy as np
import pytest

from adorym.losses.counting import Huber, Intensity, LeastSquares, Mixed, Poisson, Student
from adorym.wrapper import get_backend
from adorym.wrapper.fused.misfit import Misfit, Seen, WaveMisfit

LOSSES = [LeastSquares(), LeastSquares(saturation=6.0), Poisson(), Intensity(), Huber(threshold=0.8), Student()]


MASKS = {"none": None, "one": (1, 5, 7), "each": (2, 5, 7)}


def weights(mask):
    return None if MASKS[mask] is None else np.random.default_rng(1).integers(0, 3, MASKS[mask]) / 2.0


@pytest.fixture(params=["torch", "autograd"])
def xp(request):
    return get_backend(request.param, device="cpu", precision="double")


def assert_equal(xp, fused, plain, tree):
    (value, _, slope), (expected, _, right) = (
        xp.value_and_grad(lambda t, f=f: (1.5 * f(t), None))(tree) for f in (fused, plain)
    )
    assert value == pytest.approx(expected)
    for name in tree:
        assert xp.to_numpy(slope[name]) == pytest.approx(xp.to_numpy(right[name])), name


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.kind}-{loss.saturation}")
def test_misfit_is_the_loss(xp, loss, mask):
    rng, weight = np.random.default_rng(4), weights(mask)
    target = loss.target(rng.poisson(4.0, (2, 5, 7)).astype(float), 0.01)
    seen, limit = Seen(target, weight, loss.fused_noise(0.01), 0.01), None if weight is None else xp.asarray(weight)
    assert_equal(
        xp,
        lambda t: xp.host_operation(Misfit(seen), t["i"]),
        lambda t: loss.value(xp, t["i"], xp.asarray(target), limit, 0.01),
        {"i": xp.asarray(rng.uniform(0.5, 9.0, (2, 5, 7)))},
    )


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.kind}-{loss.saturation}")
def test_of_some_frames_of_a_wave(xp, loss, mask):
    rng, weight, rows = np.random.default_rng(5), weights(mask), np.array([3, 0])
    target = loss.target(rng.poisson(4.0, (2, 5, 7)).astype(float), 0.01)
    seen, limit = Seen(target, weight, loss.fused_noise(0.01), 0.01), None if weight is None else xp.asarray(weight)

    def plain(t):
        intensity = xp.take(xp.permute_dims(xp.abs2(t["wave"]), (2, 0, 1)), rows) + t["background"][0]
        return loss.value(xp, intensity, xp.asarray(target), limit, 0.01)

    wave = 2 * (rng.normal(size=(5, 7, 4)) + 1j * rng.normal(size=(5, 7, 4)))
    tree = {"wave": xp.asarray(wave), "background": xp.asarray(np.array([0.3]))}
    assert_equal(xp, lambda t: xp.host_operation(WaveMisfit(seen, rows), t["wave"], t["background"]), plain, tree)


def test_what_is_masked_may_be_no_number(xp):
    loss, weight = LeastSquares(), np.ones((1, 5, 7))
    weight[0, 2, 3] = 0
    counts, predicted = np.full((2, 5, 7), 3.0), xp.asarray(np.full((2, 5, 7), 2.0))
    counts[:, 2, 3] = np.nan
    seen = Seen(loss.target(counts, 0.01), weight, loss.fused_noise(0.01), 0.01)
    value, _, slope = xp.value_and_grad(lambda t: (1.0 * xp.host_operation(Misfit(seen), t["i"]), None))(
        {"i": predicted}
    )
    assert np.isfinite(float(value)) and (xp.to_numpy(slope["i"])[:, 2, 3] == 0).all()


def test_a_frame_may_be_measured_twice(xp):
    loss, wave = LeastSquares(), np.full((3, 4, 2), 1.5 + 1j)
    target, rows = loss.target(np.full((2, 3, 4), 2.0), 0.01), np.array([1, 1])
    seen = Seen(target, None, loss.fused_noise(0.01), 0.01)
    assert_equal(
        xp,
        lambda t: xp.host_operation(WaveMisfit(seen, rows), t["wave"], xp.zeros((1,))),
        lambda t: loss.value(
            xp, xp.take(xp.permute_dims(xp.abs2(t["wave"]), (2, 0, 1)), rows), xp.asarray(target), None, 0.01
        ),
        {"wave": xp.asarray(wave)},
    )


def test_derivative_along_a_direction(xp):
    loss, rng = Poisson(), np.random.default_rng(6)
    target, along = loss.target(rng.poisson(4.0, (2, 5, 7)).astype(float), 0.01), rng.normal(size=(2, 5, 7))
    seen, point = Seen(target, None, loss.fused_noise(0.01), 0.01), {"i": xp.asarray(rng.uniform(0.5, 9.0, (2, 5, 7)))}
    _, found = xp.jvp(lambda t: xp.host_operation(Misfit(seen), t["i"]), point, {"i": xp.asarray(along)})
    _, expected = xp.jvp(
        lambda t: loss.value(xp, t["i"], xp.asarray(target), None, 0.01), point, {"i": xp.asarray(along)}
    )
    assert float(xp.to_numpy(found)) == pytest.approx(float(xp.to_numpy(expected)), rel=1e-7)


class Hundredfold(LeastSquares):
    """A user's loss with a formula of its own."""

    def terms(self, xp, predicted, target):
        return 100 * super().terms(xp, predicted, target)


class WithAName(LeastSquares):
    """A user's loss with the formula of the built-in one."""


def test_a_formula_of_a_subclass_counts():
    assert Hundredfold().fused_noise(0.01) is None
    assert WithAName().fused_noise(0.01) == LeastSquares().fused_noise(0.01)
    assert all(loss.fused_noise(0.01) is not None for loss in [*LOSSES, Mixed(read_noise=2.0)])


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.kind}-{loss.saturation}")
def test_no_number_is_hidden(loss, precision):
    """A model that predicts fewer photons than none: its loss is no number, as by the plain expression."""
    xp = get_backend("torch", device="cpu", precision=precision)
    target = loss.target(np.full((1, 2, 40), 3.0), 0.01)
    intensity = xp.asarray(np.where(np.arange(80).reshape(1, 2, 40) == 17, -2.0, 4.0))
    found = xp.host_operation(Misfit(Seen(target, None, loss.fused_noise(0.01), 0.01)), intensity)
    expected = loss.value(xp, intensity, xp.asarray(target), None, 0.01)
    assert np.isfinite(float(found)) == np.isfinite(float(expected))
