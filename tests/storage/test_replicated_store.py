"""The contract of an object store, held by the replicated one."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_adjoint, noise, relative_error

from adorym.optimizers.first_order import Adam, GradientDescent
from adorym.optimizers.preconditioned import Preconditioned
from adorym.storage.base import Windows
from adorym.storage.replicated import ReplicatedStore
from adorym.wrapper import get_backend

SHAPE, WINDOWS = (15, 21), Windows(np.array([[0, 0], [3, 4], [3, 4], [9, 13], [8, 0]]), (6, 8))


@pytest.fixture(params=[(b, p) for b in ("torch", "autograd") for p in ("single", "double")], ids="-".join)
def xp(request):
    return get_backend(request.param[0], device="cpu", precision=request.param[1])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def accumulated(store):
    """The gradient and curvature that a step would see."""
    seen = {}

    def step(tile, gradient, state):
        seen["gradient"] = np.array(store._xp.to_numpy(gradient.values))
        seen["curvature"] = None if gradient.curvature is None else np.array(store._xp.to_numpy(gradient.curvature))
        seen["largest"] = gradient.curvature_max
        return tile, state

    store.update(step)
    return seen


def test_gather_and_scatter_are_adjoint(xp, rng):
    obj, g = noise(rng, SHAPE, True), noise(rng, (5, 6, 8), True)
    rtol = 1e-5 if xp.precision == "single" else 1e-13

    def gather(x):
        store = ReplicatedStore(xp, x, GradientDescent())
        return xp.to_numpy(store.gather(WINDOWS))

    def scatter(y):
        store = ReplicatedStore(xp, obj, GradientDescent())
        store.scatter_add(WINDOWS, xp.asarray(y))
        return accumulated(store)["gradient"]

    assert_adjoint(gather, scatter, obj, g, rtol)


def test_no_window_is_no_error(xp, rng):
    store = ReplicatedStore(xp, noise(rng, SHAPE, True), Preconditioned())
    none = Windows(np.zeros((0, 2), np.int64), (6, 8))
    assert xp.to_numpy(store.gather(none)).shape == (0, 6, 8)
    store.scatter_add(none, store.gather(none), xp.ones((1, 6, 8)))
    assert not accumulated(store)["gradient"].any()


def test_curvature_is_kept_where_the_optimizer_wants_it(xp, rng):
    obj, g, h = noise(rng, SHAPE, True), xp.asarray(noise(rng, (5, 6, 8), True)), rng.uniform(1, 2, (5, 6, 8))
    plain, curved = (ReplicatedStore(xp, obj, made) for made in (Adam(), Preconditioned()))
    for store in (plain, curved):
        store.scatter_add(WINDOWS, g, xp.asarray(h))
    assert accumulated(plain)["curvature"] is None
    seen = accumulated(curved)
    expected = np.zeros(SHAPE)
    for (y, x), each in zip(WINDOWS.corners_px, h, strict=True):
        expected[y : y + 6, x : x + 8] += each
    np.testing.assert_allclose(seen["curvature"], expected, rtol=1e-5)
    assert seen["largest"] == pytest.approx(expected.max(), rel=1e-5)
    curved.scatter_add(WINDOWS, g, xp.asarray(h[:1]))  # one window for all
    assert accumulated(curved)["curvature"].max() == pytest.approx(2 * h[0].max(), rel=0.5)


def test_an_update_clears_gradient_and_curvature(xp, rng):
    store = ReplicatedStore(xp, noise(rng, SHAPE, True), Preconditioned())
    store.scatter_add(WINDOWS, xp.asarray(noise(rng, (5, 6, 8), True)), xp.ones((1, 6, 8)))
    assert accumulated(store)["gradient"].any()
    seen = accumulated(store)
    assert not seen["gradient"].any() and not seen["curvature"].any() and seen["largest"] == 0


def test_a_term_of_the_whole_object_adds_its_gradient(xp, rng):
    obj = noise(rng, SHAPE, True)
    store = ReplicatedStore(xp, obj, GradientDescent())
    store.scatter_add(WINDOWS, xp.asarray(np.ones((5, 6, 8), complex)))
    assert store.add_gradient(lambda o: (2.5, 3 * o)) == 2.5
    seen = accumulated(store)["gradient"]
    counts = np.zeros(SHAPE)
    for y, x in WINDOWS.corners_px:
        counts[y : y + 6, x : x + 8] += 1
    assert relative_error(seen, counts + 3 * obj) < 1e-6


def test_values_are_copies_and_the_start_value_is_left_alone(xp, rng):
    first = noise(rng, SHAPE, True).astype(xp.complex_dtype)
    before = first.copy()
    store = ReplicatedStore(xp, first, Preconditioned())
    values, windows = store.values(), xp.to_numpy(store.gather(WINDOWS)).copy()
    store.scatter_add(WINDOWS, xp.asarray(noise(rng, (5, 6, 8), True)), xp.ones((1, 6, 8)))
    optimizer = Preconditioned()
    store.update(lambda tile, gradient, state: optimizer.step(xp, tile, gradient, state, 0.5))
    assert (store.values() != before).any()
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(first, before)
    np.testing.assert_array_equal(windows[0], before[:6, :8])


def test_state_goes_out_and_comes_back(xp, rng):
    adam, store = Adam(), ReplicatedStore(xp, noise(rng, SHAPE, True), Adam())

    def step(each):
        each.scatter_add(WINDOWS, xp.asarray(np.ones((5, 6, 8), complex)))
        each.update(lambda tile, gradient, state: adam.step(xp, tile, gradient, state, 0.1))

    step(store)
    other = ReplicatedStore(xp, noise(rng, SHAPE, True), adam)
    other.restore(store.values(), store.state())
    step(store)
    step(other)
    np.testing.assert_array_equal(other.values(), store.values())
    for a, b in zip(other.state(), store.state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_constraints_are_applied_to_the_whole(xp, rng):
    store = ReplicatedStore(xp, noise(rng, SHAPE, True), GradientDescent())
    store.apply(lambda tile: tile * 0 + 2)
    np.testing.assert_array_equal(store.values(), np.full(SHAPE, 2, xp.complex_dtype))
