"""The contract of an object store, held by each of them in one process; `tests/mpi` has several."""

from __future__ import annotations

import numpy as np
import pytest
from backends import NAMES, PRECISIONS, make_backend
from laws import assert_adjoint, noise, relative_error

from adorym.comm import SerialCommunicator
from adorym.optimizers.first_order import Adam, GradientDescent
from adorym.optimizers.preconditioned import Preconditioned
from adorym.regularizers.sparsity import L1
from adorym.regularizers.variation import TotalVariation
from adorym.storage.base import Windows
from adorym.storage.device_slabs import DeviceSlabStore
from adorym.storage.distributed import DistributedStore
from adorym.storage.hdf5 import FileSettings, Hdf5Store
from adorym.storage.replicated import ReplicatedStore
from adorym.storage.slabs import Start
from adorym.storage.vector import StoreVector

SHAPE, WINDOWS = (15, 21), Windows(np.array([[0, 0], [3, 4], [3, 4], [9, 13], [8, 0]]), (6, 8))
SMALL = 500  # bytes: an object of several blocks


@pytest.fixture(params=[(b, p) for b in NAMES for p in PRECISIONS], ids="-".join)
def xp(request):
    return make_backend(*request.param)


@pytest.fixture(params=["dp", "do", "do-device", "h5-memmap", "h5-mpio"])
def make(request, tmp_path):
    """``f(xp, first, optimizer) -> store``."""

    def made(xp, first, optimizer):
        start, comm = Start(first.shape, lambda a, b: first[a:b]), SerialCommunicator()
        if request.param == "dp":
            return ReplicatedStore(xp, first, optimizer)
        if request.param == "do":
            return DistributedStore(xp, start, optimizer, comm, SMALL)
        if request.param == "do-device":
            return DeviceSlabStore(xp, start, optimizer, comm)
        settings = FileSettings(tmp_path, memory_bytes=16 * SMALL, driver=request.param[3:])
        store = Hdf5Store(xp, start, optimizer, comm, settings)
        assert not list(tmp_path.iterdir())  # whatever ends the run, nothing is left
        return store

    return made


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def accumulated(store):
    """The gradient and curvature that steps see, tile by tile."""
    seen = {"gradient": [], "curvature": [], "largest": set(), "rows": []}

    def step(tile, gradient, state, row):
        seen["gradient"].append(np.array(store._xp.to_numpy(gradient.values)))
        seen["rows"].append(row)
        seen["largest"].add(float(gradient.curvature_max))
        if gradient.curvature is not None:
            seen["curvature"].append(np.array(store._xp.to_numpy(gradient.curvature)))
        return tile, state

    store.update(step)
    assert seen["rows"] == np.cumsum([0, *map(len, seen["gradient"])])[:-1].tolist()
    curvature = np.concatenate(seen["curvature"]) if seen["curvature"] else None
    (largest,) = seen["largest"]
    return {"gradient": np.concatenate(seen["gradient"]), "curvature": curvature, "largest": largest}


@pytest.mark.parametrize("depth", [(), (3,)])
def test_gather_and_scatter_are_adjoint(xp, make, rng, depth):
    obj, g = noise(rng, SHAPE + depth, True), noise(rng, (5, 6, 8, *depth), True)
    rtol = 1e-5 if xp.precision == "single" else 1e-13

    def gather(x):
        return xp.to_numpy(make(xp, x, GradientDescent()).gather(WINDOWS))

    def scatter(y):
        store = make(xp, obj, GradientDescent())
        store.scatter_add(WINDOWS, xp.asarray(y))
        return accumulated(store)["gradient"]

    assert_adjoint(gather, scatter, obj, g, rtol)
    for (y, x), window in zip(WINDOWS.corners_px, gather(obj), strict=True):
        assert relative_error(window, obj[y : y + 6, x : x + 8]) < 1e-6


def test_no_window_is_no_error(xp, make, rng):
    store = make(xp, noise(rng, SHAPE, True), Preconditioned())
    none = Windows(np.zeros((0, 2), np.int64), (6, 8))
    assert xp.to_numpy(store.gather(none)).shape == (0, 6, 8)
    store.scatter_add(none, store.gather(none), xp.ones((1, 6, 8)))
    assert not accumulated(store)["gradient"].any()


def test_curvature_is_kept_where_the_optimizer_wants_it(xp, make, rng):
    obj, g, h = noise(rng, SHAPE, True), xp.asarray(noise(rng, (5, 6, 8), True)), rng.uniform(1, 2, (5, 6, 8))
    plain, curved = (make(xp, obj, made) for made in (Adam(), Preconditioned()))
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


def test_an_update_clears_gradient_and_curvature(xp, make, rng):
    store = make(xp, noise(rng, SHAPE, True), Preconditioned())
    store.scatter_add(WINDOWS, xp.asarray(noise(rng, (5, 6, 8), True)), xp.ones((1, 6, 8)))
    assert accumulated(store)["gradient"].any()
    seen = accumulated(store)
    assert not seen["gradient"].any() and not seen["curvature"].any() and seen["largest"] == 0


@pytest.mark.parametrize("halo_px", [0, 2])
def test_a_term_of_the_whole_object_adds_its_slope(xp, make, rng, halo_px):
    """The term sum_y conj(o_y) o_(y + halo), of which each tile knows its own rows."""
    obj = noise(rng, SHAPE, True)
    store = make(xp, obj, Preconditioned())
    store.scatter_add(WINDOWS, xp.asarray(np.ones((5, 6, 8), complex)), xp.ones((1, 6, 8)))

    def term(tile):
        rows = tile.shape[0] - halo_px
        before, after = xp.zeros_like(tile[:halo_px]), xp.zeros_like(tile[rows:])
        gradient = xp.concat([tile[halo_px:], after]) + xp.concat([before, tile[:rows]])
        return float(xp.sum(xp.real(xp.conj(tile[:rows]) * tile[halo_px:]))), gradient, xp.zeros(tile.shape)

    value, expected, _ = term(xp.asarray(obj))
    assert store.add_gradient(term, halo_px) == pytest.approx(value, rel=1e-5)
    both = accumulated(store)
    seen = both["gradient"]
    counts = np.zeros(SHAPE)
    for y, x in WINDOWS.corners_px:
        counts[y : y + 6, x : x + 8] += 1
    assert relative_error(seen, counts + xp.to_numpy(expected)) < 1e-6
    assert both["largest"] == counts.max()  # of the data alone


@pytest.mark.parametrize("halo_px", [0, 1])
def test_the_curvature_of_a_term_is_the_same_tile_by_tile(xp, make, rng, halo_px):
    obj = noise(rng, SHAPE, True)
    term = TotalVariation(weight=1.0) if halo_px else L1(weight=1.0)

    def slope(tile):
        return 0.0, xp.zeros_like(tile), term.curvature(xp, tile)

    store = make(xp, obj, Preconditioned())
    store.add_gradient(slope, term.halo_px)
    assert relative_error(accumulated(store)["curvature"], xp.to_numpy(slope(xp.asarray(obj))[2])) < 1e-6


def test_values_are_copies_and_the_start_value_is_left_alone(xp, make, rng):
    first = noise(rng, SHAPE, True).astype(xp.complex_dtype)
    before = first.copy()
    store = make(xp, first, Preconditioned())
    values, windows = store.values(), xp.to_numpy(store.gather(WINDOWS)).copy()
    store.scatter_add(WINDOWS, xp.asarray(noise(rng, (5, 6, 8), True)), xp.ones((1, 6, 8)))
    optimizer = Preconditioned()
    store.update(lambda tile, gradient, state, row: optimizer.step(xp, tile, gradient, state, 0.5))
    assert (store.values() != before).any()
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(first, before)
    np.testing.assert_array_equal(windows[0], before[:6, :8])


def test_state_goes_out_and_comes_back(xp, make, rng):
    adam, store = Adam(), make(xp, noise(rng, SHAPE, True), Adam())

    def step(each):
        each.scatter_add(WINDOWS, xp.asarray(np.ones((5, 6, 8), complex)))
        each.update(lambda tile, gradient, state, row: adam.step(xp, tile, gradient, state, 0.1))

    step(store)
    other = make(xp, noise(rng, SHAPE, True), adam)
    other.restore(store.values(), store.state())
    step(store)
    step(other)
    np.testing.assert_array_equal(other.values(), store.values())
    for a, b in zip(other.state(), store.state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_restart_forgets_all_but_the_object(xp, make, rng):
    adam = Adam()
    store = make(xp, noise(rng, SHAPE, True), adam)
    fresh = store.state()
    store.scatter_add(WINDOWS, xp.asarray(np.ones((5, 6, 8), complex)))
    store.update(lambda tile, gradient, state, row: adam.step(xp, tile, gradient, state, 0.1))
    values = store.values()
    assert any(a.any() for a in store.state())
    store.restart()
    np.testing.assert_array_equal(store.values(), values)
    for a, b in zip(store.state(), fresh, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_kept_is_read_and_written_by_rows(xp, make, rng):
    store = make(xp, noise(rng, SHAPE, True), Adam())
    kept = store.arrays()
    assert list(kept) == ["value", "state_0", "state_1", "state_2"]
    assert kept["value"].shape == SHAPE and kept["value"].dtype == xp.complex_dtype
    assert kept["state_2"].shape == (15, 1) and store.local_rows == store.owned_rows == (0, 15)
    rows = noise(rng, (4, 21), True).astype(xp.complex_dtype)
    store.write("state_1", 3, rows)
    np.testing.assert_array_equal(store.read("state_1", 4, 7), rows[1:])
    assert not store.read("state_1", 0, 3).any() and not store.read("state_1", 7, 15).any()


def test_constraints_are_applied_to_every_row(xp, make, rng):
    store = make(xp, noise(rng, SHAPE, True), GradientDescent())
    store.apply(lambda tile, row: tile * 0 + 2 + row - row)
    np.testing.assert_array_equal(store.values(), np.full(SHAPE, 2, xp.complex_dtype))


@pytest.mark.parametrize("depth", [(), (3,)])
def test_vectors_over_the_object(xp, make, rng, depth):
    """Arithmetic and numbers are those of one flat real array, whatever the tiles are."""
    store = make(xp, noise(rng, SHAPE + depth, True), GradientDescent())
    parts = [{"object": noise(rng, SHAPE + depth, True), "background": rng.normal(size=4)} for _ in range(2)]
    vectors = []
    for each in parts:
        obj = store.write(store.empty(), 0, xp.asarray(each["object"]))
        vectors.append(StoreVector(store, {"object": obj, "background": each["background"]}))
    a, b = vectors

    def flat(v):
        obj = np.ascontiguousarray(v.host("object"), np.complex128)
        return np.concatenate([obj.reshape(-1).view(float), v.host("background")])

    x, y = flat(a), flat(b)
    rtol = 1e-5 if xp.precision == "single" else 1e-13
    for found, expected in {
        a + b: x + y,
        a - b: x - y,
        -a: -x,
        np.float64(0.3) * a: 0.3 * x,
        a * b: x * y,
        a / b: x / y,
        a.map(lambda t: abs(t) ** 0.5): np.abs(x) ** 0.5,
    }.items():
        np.testing.assert_allclose(flat(found), expected, rtol=rtol)
    assert a @ b == pytest.approx(x @ y, rel=100 * rtol)
    assert a.norm() == pytest.approx(np.linalg.norm(x), rel=rtol)
    assert a.largest() == pytest.approx(x.max(), rel=rtol) and (np.nan * a).largest() == np.inf
    assert set(np.unique(flat(a.signs(3)))) == {-1.0, 1.0}
    np.testing.assert_array_equal(flat(a.signs(3)), flat(b.signs(3)))
    assert (flat(a.signs(4)) != flat(a.signs(3))).any()
    np.testing.assert_array_equal(flat(a), x)
    np.testing.assert_array_equal(flat(a.only("object") | b.only("background")), np.concatenate([x[:-4], y[-4:]]))
    windows = xp.to_numpy(store.gather(WINDOWS, a.parts["object"]))
    np.testing.assert_array_equal(windows[1], a.host("object")[3:9, 4:12])
