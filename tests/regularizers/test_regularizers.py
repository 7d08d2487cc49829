"""Laws of regularizers: gradient, tiles with a halo give the whole, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, OBJECT_SHAPE
from laws import assert_gradients, noise

from adorym.regularizers.variation import TotalVariation
from adorym.wrapper import get_backend

REGULARIZERS = sorted(CASES["regularizer"])


@pytest.fixture(params=["torch", "autograd"])
def xp(request):
    return get_backend(request.param, device="cpu", precision="double")


@pytest.fixture
def obj():
    return noise(np.random.default_rng(9), OBJECT_SHAPE, True)


@pytest.fixture(params=REGULARIZERS)
def regularizer(request, tmp_path):
    return CASES["regularizer"][request.param](tmp_path)


def value(xp, regularizer, obj):
    return float(regularizer.value(xp, xp.asarray(obj)))


def test_gradient(xp, regularizer, obj):
    assert_gradients(xp, lambda t: (regularizer.value(xp, t["object"]), None), {"object": obj}, {"object": 0.1})


def test_gradient_where_the_object_is_flat(xp, regularizer):
    call = xp.value_and_grad(lambda t: (regularizer.value(xp, t["object"]), None))
    found, _, gradient = call({"object": xp.asarray(np.ones(OBJECT_SHAPE, complex))})
    assert np.isfinite(found) and np.isfinite(xp.to_numpy(gradient["object"])).all()


@pytest.mark.parametrize("cut", [5, 14])
def test_tiles_with_their_halo_give_the_whole(xp, regularizer, obj, cut):
    halo = regularizer.halo_px
    tiles = obj[: cut + halo], obj[cut:]
    assert sum(value(xp, regularizer, t) for t in tiles) == pytest.approx(value(xp, regularizer, obj), rel=1e-12)
    columns = obj[:, : cut + halo], obj[:, cut:]
    assert sum(value(xp, regularizer, t) for t in columns) == pytest.approx(value(xp, regularizer, obj), rel=1e-12)


def test_weight_is_a_factor_and_a_global_phase_means_nothing(xp, regularizer, obj):
    whole = value(xp, regularizer, obj)
    doubled = type(regularizer)(**(vars(regularizer) | {"weight": 2 * regularizer.weight}))
    assert value(xp, doubled, obj) == pytest.approx(2 * whole)
    assert value(xp, regularizer, obj * np.exp(1.3j)) == pytest.approx(whole)


def test_total_variation_of_a_step(xp):
    """An edge of height h costs h a pixel of its length, whatever its direction."""
    made = TotalVariation(weight=0.5, epsilon=1e-6)
    step = np.ones(OBJECT_SHAPE, complex)
    step[10:] += 0.3j
    assert value(xp, made, step) == pytest.approx(0.5 * 0.3 * (OBJECT_SHAPE[1] - 1), rel=1e-3)
    step = np.ones(OBJECT_SHAPE, complex)
    step[:, 7:] *= 1.3
    assert value(xp, made, step) == pytest.approx(0.5 * 0.3 * (OBJECT_SHAPE[0] - 1), rel=1e-3)
