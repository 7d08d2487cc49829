"""Laws of regularizers: gradient, tiles with a halo give the whole, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, OBJECT_SHAPE
from laws import assert_gradients, assert_proximal, inner, noise

from adorym.regularizers.base import ProximalRegularizer
from adorym.regularizers.crosstalk import SliceCrosstalk, SliceSmoothness
from adorym.regularizers.sparsity import L1, ReweightedL1, Smoothness
from adorym.regularizers.variation import TotalVariation, differences, divergence
from adorym.wrapper import get_backend

REGULARIZERS = sorted(CASES["regularizer"])
PROXIMAL = [name for name in REGULARIZERS if isinstance(CASES["regularizer"][name](None), ProximalRegularizer)]
SHAPES = dict.fromkeys(("slice_crosstalk", "slice_smoothness"), (*OBJECT_SHAPE, 3))
NOT_TILED = {"smoothness"}  # acts along the rows of a parameter, which no store cuts into tiles


@pytest.fixture(params=["torch", "autograd"])
def xp(request):
    return get_backend(request.param, device="cpu", precision="double")


@pytest.fixture(params=REGULARIZERS)
def regularizer(request, tmp_path):
    return CASES["regularizer"][request.param](tmp_path)


@pytest.fixture
def obj(regularizer):
    return noise(np.random.default_rng(9), SHAPES.get(regularizer.kind, OBJECT_SHAPE), True)


def value(xp, regularizer, obj):
    return float(regularizer.value(xp, xp.asarray(obj)))


def test_gradient(xp, regularizer, obj):
    assert_gradients(xp, lambda t: (regularizer.value(xp, t["object"]), None), {"object": obj}, {"object": 0.1})


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_gradient_where_the_object_is_flat(xp, regularizer, obj, level):
    call = xp.value_and_grad(lambda t: (regularizer.value(xp, t["object"]), None))
    found, _, gradient = call({"object": xp.asarray(level * np.ones(obj.shape, complex))})
    assert np.isfinite(found) and np.isfinite(xp.to_numpy(gradient["object"])).all()


def test_curvature_is_that_of_a_quadratic_above(xp, regularizer, obj):
    """``R(u + d) <= R(u) + g . d + sum h |d|^2 / 2`` for small and large d: no step of the quadratic overshoots."""
    call = xp.value_and_grad(lambda t: (regularizer.value(xp, t["object"]), None))
    obj = 0.2 * obj
    found, _, gradient = call({"object": xp.asarray(obj)})
    g, h = xp.to_numpy(gradient["object"]), xp.to_numpy(regularizer.curvature(xp, xp.asarray(obj)))
    assert h.shape == obj.shape and h.dtype == np.float64 and (h >= 0).all()
    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-2, 0.1) if regularizer.kind != "slice_crosstalk" else (1e-4, 1e-3):  # not convex: locally
        for d in (size * noise(rng, obj.shape, True), -size * obj, -g / (h + 1e-12)):
            above = found + inner(g, d) + 0.5 * float(np.sum(h * np.abs(d) ** 2))
            assert value(xp, regularizer, obj + d) <= above + 1e-9 * abs(found)


@pytest.mark.parametrize("cut", [5, 14])
def test_tiles_with_their_halo_give_the_whole(xp, regularizer, obj, cut):
    if regularizer.kind in NOT_TILED:
        assert regularizer.parameter != "object"
        return
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


# -- proximal operators ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("complex_values", [False, True])
@pytest.mark.parametrize("name", PROXIMAL)
def test_prox_is_the_minimum(xp, name, complex_values, tmp_path):
    """No direction from the point that the operator names leads downhill: brute force."""
    made = CASES["regularizer"][name](tmp_path)
    sharp = {"rounding": 1e-9, "epsilon": 1e-9, "iterations": 2000} if name == "total_variation" else {"rounding": 1e-9}
    fields = {key: value for key, value in sharp.items() if key in vars(made)}
    made = type(made)(**(vars(made) | fields | {"weight": 0.4}))
    start = noise(np.random.default_rng(3), (4, 3, 3) if name in SHAPES else (5, 6), complex_values)
    assert_proximal(xp, made, start, 0.7)


@pytest.mark.parametrize("fields", [{"isotropic": False}, {"along_z": True}, {"isotropic": False, "along_z": True}])
def test_prox_of_every_kind_of_total_variation(xp, fields):
    made = TotalVariation(weight=0.3, epsilon=1e-9, iterations=1500, **fields)
    assert_proximal(xp, made, noise(np.random.default_rng(3), (4, 5, 3), True), 0.8)


def test_divergence_is_the_adjoint_of_the_differences(xp):
    rng = np.random.default_rng(5)
    for shape, axes in (((4, 6), (0, 1)), ((4, 6, 3), (0, 1)), ((4, 6, 3), (0, 1, 2)), ((2, 4, 6), (1, 2))):
        a = noise(rng, shape, True)
        there = [xp.to_numpy(d) for d in differences(xp.asarray(a), axes)]
        fields = [noise(rng, d.shape, True) for d in there]
        back = xp.to_numpy(divergence(xp, [xp.asarray(f) for f in fields], axes))
        assert sum(inner(f, d) for f, d in zip(fields, there, strict=True)) == pytest.approx(inner(back, a))


def test_prox_keeps_what_is_at_rest_and_real_values_real(xp, tmp_path):
    for name in PROXIMAL:
        made = CASES["regularizer"][name](tmp_path)
        found = xp.to_numpy(made.prox(xp, xp.zeros((6, 7)), 0.5))
        assert found.dtype == np.float64 and not found.any(), name


# -- formulas ----------------------------------------------------------------------------------------------------------
def test_anisotropic_variation_counts_both_directions(xp):
    y, x = np.indices(OBJECT_SHAPE)
    corner = 0.3 * ((y >= 10) & (x >= 7)).astype(complex)
    whole = value(xp, TotalVariation(weight=1.0, epsilon=1e-9, isotropic=False), corner)
    assert whole == pytest.approx(0.3 * (OBJECT_SHAPE[0] - 1 - 10 + OBJECT_SHAPE[1] - 1 - 7), rel=1e-4)


def test_variation_along_z(xp):
    slab = np.zeros((*OBJECT_SHAPE, 3), complex)
    slab[..., 1] = 0.5
    made = {z: value(xp, TotalVariation(weight=1.0, epsilon=1e-9, along_z=z), slab) for z in (False, True)}
    assert made[False] == pytest.approx(0, abs=1e-5)
    assert made[True] == pytest.approx(2 * 0.5 * (OBJECT_SHAPE[0] - 1) * (OBJECT_SHAPE[1] - 1), rel=1e-4)


def test_reweighting_spares_the_strong(xp):
    """Small deviations cost what they cost under L1; large ones hardly more when they grow."""
    plain, spared = L1(weight=1.0, rounding=1e-9), ReweightedL1(weight=1.0, epsilon=0.1, rounding=1e-9)

    def slope(term, at):
        call = xp.value_and_grad(lambda t: (term.value(xp, t["u"]), None))
        return float(xp.to_numpy(call({"u": xp.asarray(np.array([at]))})[2]["u"])[0])

    assert slope(spared, 1e-4) == pytest.approx(slope(plain, 1e-4), rel=0.01)
    assert slope(spared, 0.9) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize(("order", "free"), [(1, lambda k: 0 * k + 3.0), (2, lambda k: 2 * k - 3.0)])
def test_smoothness_costs_nothing_on_what_it_pulls_towards(xp, order, free):
    made = Smoothness(parameter="probe_positions", weight=1.0, order=order)
    rows = free(np.arange(9.0))[:, None] * np.ones((1, 2))
    assert value(xp, made, rows) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(xp.to_numpy(made.prox(xp, xp.asarray(rows), 50.0)), rows, atol=1e-9)
    rows[4] += 1
    assert value(xp, made, rows) > 1


def test_crosstalk_counts_shared_edges_only(xp):
    made = SliceCrosstalk(weight=1.0, epsilon=1e-9)
    apart, shared = np.zeros((*OBJECT_SHAPE, 2), complex), np.zeros((*OBJECT_SHAPE, 2), complex)
    apart[10:, :, 0] = apart[20:, :, 1] = 0.3
    shared[10:, :, 0] = shared[10:, :, 1] = 0.3
    assert value(xp, made, apart) == pytest.approx(0, abs=1e-6)
    assert value(xp, made, shared) == pytest.approx(0.3**2 * (OBJECT_SHAPE[1] - 1), rel=1e-4)
    assert value(xp, made, shared[..., 0]) == 0  # one slice


def test_slices_that_are_alike_cost_nothing(xp):
    made = SliceSmoothness(weight=1.0)
    same = np.repeat(noise(np.random.default_rng(3), OBJECT_SHAPE, True)[..., None], 4, axis=2)
    assert value(xp, made, same) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(xp.to_numpy(made.prox(xp, xp.asarray(same), 50.0)), same, rtol=1e-5)
    same[3, 4, 1] += 0.5j
    assert value(xp, made, same) == pytest.approx(2 * 0.25)
    assert value(xp, made, same[..., 0]) == 0  # one slice
