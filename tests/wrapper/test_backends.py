"""Every function of the backend interface against NumPy, and the laws of gradients, on every backend and precision."""

from __future__ import annotations

import sys

import autograd
import numpy as np
import pytest
import torch
from backends import DOUBLE, NAMES, NEEDS_JAX, PRECISIONS, make_backend
from laws import assert_adjoint, assert_gradients, inner, noise, numeric_gradient, relative_error

from adorym.comm import SerialCommunicator
from adorym.errors import BackendError
from adorym.wrapper import get_backend
from adorym.wrapper.base import Backend
from adorym.wrapper.host_operation import HostOperation
from adorym.wrapper.memory import keep_freed_memory
from adorym.wrapper.ranks import exchanged, gathered, summed

ALL = [(name, precision) for name in NAMES for precision in PRECISIONS]
RNG = np.random.default_rng(1)
R, R2 = noise(RNG, (3, 4, 6)), noise(RNG, (3, 4, 6))
C, C2 = noise(RNG, (3, 4, 6), True), noise(RNG, (3, 4, 6), True)
POSITIVE = np.abs(R) + 0.3
APART = np.round(R, 1) + 0.03  # from 0.2 and other tenths, where maximum and clip have a kink
WIDTHS = [(1, 0), (0, 2), (3, 1)]

# name -> (function of backend and arrays, the same with NumPy, arguments)
DIFFERENTIABLE = {
    "abs": (lambda xp, a: xp.abs(a), np.abs, [(R,), (C,)]),
    "exp": (lambda xp, a: xp.exp(a), np.exp, [(R,), (C,)]),
    "log": (lambda xp, a: xp.log(a), np.log, [(POSITIVE,), (C,)]),
    "sqrt": (lambda xp, a: xp.sqrt(a), np.sqrt, [(POSITIVE,), (C,)]),
    "sin": (lambda xp, a: xp.sin(a), np.sin, [(R,), (C,)]),
    "cos": (lambda xp, a: xp.cos(a), np.cos, [(R,), (C,)]),
    "square": (lambda xp, a: xp.square(a), np.square, [(R,), (C,)]),
    "real": (lambda xp, a: xp.real(a), np.real, [(R,), (C,)]),
    "imag": (lambda xp, a: xp.imag(a), np.imag, [(C,)]),
    "conj": (lambda xp, a: xp.conj(a), np.conj, [(R,), (C,)]),
    "angle": (lambda xp, a: xp.angle(a), np.angle, [(C,)]),
    "abs2": (lambda xp, a: xp.abs2(a), lambda a: np.abs(a) ** 2, [(R,), (C,)]),
    "complex": (lambda xp, a, b: xp.complex(a, b), lambda a, b: a + 1j * b, [(R, R2), (R, R2[:1])]),
    "where": (
        lambda xp, a, b: xp.where(xp.asarray(R > 0), a, b), lambda a, b: np.where(R > 0, a, b), [(R, R2), (C, C2)]),
    "maximum": (lambda xp, a, b: xp.maximum(a, b), np.maximum, [(R, R2)]),
    "maximum of a number": (lambda xp, a: xp.maximum(a, 0.2), lambda a: np.maximum(a, 0.2), [(APART,)]),
    "minimum": (lambda xp, a, b: xp.minimum(a, b), np.minimum, [(R, R2)]),
    "minimum of a number": (lambda xp, a: xp.minimum(a, 0.2), lambda a: np.minimum(a, 0.2), [(APART,)]),
    "clip": (lambda xp, a: xp.clip(a, -0.5, 0.7), lambda a: np.clip(a, -0.5, 0.7), [(APART,)]),
    "clip below": (lambda xp, a: xp.clip(a, -0.5, None), lambda a: np.maximum(a, -0.5), [(APART,)]),
    "clip above": (lambda xp, a: xp.clip(a, None, 0.5), lambda a: np.minimum(a, 0.5), [(APART,)]),
    "sum": (lambda xp, a: xp.sum(a), np.sum, [(R,), (C,)]),
    "sum of an axis": (lambda xp, a: xp.sum(a, axis=1), lambda a: a.sum(1), [(R,), (C,)]),
    "sum of axes": (
        lambda xp, a: xp.sum(a, axis=(-1, 0), keepdims=True), lambda a: a.sum((-1, 0), keepdims=True), [(R,), (C,)]),
    "mean": (lambda xp, a: xp.mean(a, axis=(0, 2)), lambda a: a.mean((0, 2)), [(R,), (C,)]),
    "mean of all": (lambda xp, a: xp.mean(a), np.mean, [(R,)]),
    "max": (lambda xp, a: xp.max(a), np.max, [(R,)]),
    "max of an axis": (lambda xp, a: xp.max(a, axis=-1, keepdims=True), lambda a: a.max(-1, keepdims=True), [(R,)]),
    "min": (lambda xp, a: xp.min(a, axis=(0, 1)), lambda a: a.min((0, 1)), [(R,)]),
    "reshape": (lambda xp, a: xp.reshape(a, (4, -1)), lambda a: a.reshape(4, -1), [(R,), (C,)]),
    "permute_dims": (lambda xp, a: xp.permute_dims(a, (2, 0, 1)), lambda a: a.transpose(2, 0, 1), [(R,), (C,)]),
    "stack": (lambda xp, a, b: xp.stack([a, b], axis=1), lambda a, b: np.stack([a, b], 1), [(R, R2), (C, C2)]),
    "unstack": (
        lambda xp, a: sum((i + 1) * part for i, part in enumerate(xp.unstack(a, -1))),
        lambda a: a @ np.arange(1.0, 7.0), [(R,), (C,)]),
    "concat": (lambda xp, a, b: xp.concat([a, b], axis=2), lambda a, b: np.concatenate([a, b], 2), [(R, R2), (C, C2)]),
    "broadcast_to": (
        lambda xp, a: xp.broadcast_to(a[:1], (5, 4, 6)), lambda a: np.broadcast_to(a[:1], (5, 4, 6)), [(R,), (C,)]),
    "take": (lambda xp, a: xp.take(a, np.array([2, 0, 2])), lambda a: a[[2, 0, 2]], [(R,), (C,)]),
    "take along the last axis": (
        lambda xp, a: xp.take(a, np.array([5, 1, 1, 0]), axis=-1), lambda a: a[..., [5, 1, 1, 0]], [(R,), (C,)]),
    "roll": (lambda xp, a: xp.roll(a, (1, -2), (0, 2)), lambda a: np.roll(a, (1, -2), (0, 2)), [(R,), (C,)]),
    "roll one axis": (lambda xp, a: xp.roll(a, 2, 1), lambda a: np.roll(a, 2, 1), [(C,)]),
    "pad": (lambda xp, a: xp.pad(a, WIDTHS), lambda a: np.pad(a, WIDTHS), [(R,), (C,)]),
    "pad with a value": (
        lambda xp, a: xp.pad(a, WIDTHS, 0.5), lambda a: np.pad(a, WIDTHS, constant_values=0.5), [(R,), (C,)]),
    "matmul": (
        lambda xp, a, b: xp.matmul(a, xp.permute_dims(b, (0, 2, 1))), lambda a, b: a @ b.transpose(0, 2, 1),
        [(R, R2), (C, C2)]),
    "einsum": (
        lambda xp, a, b: xp.einsum("nyx,nkx->nyk", a, b), lambda a, b: np.einsum("nyx,nkx->nyk", a, b),
        [(R, R2), (C, C2)]),
    "fft": (lambda xp, a: xp.fft(a, axis=1), lambda a: np.fft.fft(a, axis=1, norm="ortho"), [(R,), (C,)]),
    "ifft": (lambda xp, a: xp.ifft(a), lambda a: np.fft.ifft(a, norm="ortho"), [(R,), (C,)]),
    "fft backward": (lambda xp, a: xp.fft(a, norm="backward"), np.fft.fft, [(C,)]),
    "fft2": (lambda xp, a: xp.fft2(a), lambda a: np.fft.fft2(a, norm="ortho"), [(R,), (C,)]),
    "ifft2": (lambda xp, a: xp.ifft2(a), lambda a: np.fft.ifft2(a, norm="ortho"), [(R,), (C,)]),
    "fftn": (lambda xp, a: xp.fftn(a, (0, 1)), lambda a: np.fft.fftn(a, axes=(0, 1), norm="ortho"), [(R,), (C,)]),
    "ifftn": (lambda xp, a: xp.ifftn(a, (0, 1)), lambda a: np.fft.ifftn(a, axes=(0, 1), norm="ortho"), [(R,), (C,)]),
    "ifft2 backward": (lambda xp, a: xp.ifft2(a, norm="backward"), np.fft.ifft2, [(C,)]),
    "operators": (
        lambda xp, a, b: (2 - a) * b / (3 + a**2) - b, lambda a, b: (2 - a) * b / (3 + a**2) - b, [(R, R2), (C, C2)]),
    "slicing": (lambda xp, a: a[1:, :, None, ::2], lambda a: a[1:, :, None, ::2], [(R,), (C,)]),
}  # fmt: skip
# What needs no gradient has a test of its own below.
OTHERS = {
    "asarray", "to_numpy", "zeros", "zeros_like", "ones", "clear", "copy", "is_complex", "isfinite", "put_rows",
    "gather_windows", "scatter_windows", "value_and_grad", "stop_gradient", "fused", "host_operation", "checkpoint",
    "jvp", "vjp", "wait", "floor", "rint", "as_index", "sum_rows", "solve", "scalar",
    "add_rows", "staged", "fetched", "exchange_device", "workers",
}  # fmt: skip
ROWS = [(name, i) for name, (_, _, inputs) in DIFFERENTIABLE.items() for i in range(len(inputs))]


@pytest.fixture(params=ALL, ids="-".join)
def xp(request):
    return make_backend(*request.param)


@pytest.fixture(params=NAMES)
def xp64(request):
    return make_backend(request.param, "double")


@pytest.fixture
def tolerance(xp):
    return 3e-6 if xp.precision == "single" else 1e-14


def of_kind(xp, a):
    return xp.complex_dtype if np.iscomplexobj(a) else xp.float_dtype


def test_the_tables_cover_the_interface():
    methods = {name for name in vars(Backend) if not name.startswith("_")}
    assert {name.split()[0] for name in DIFFERENTIABLE} - {"operators", "slicing"} | OTHERS == methods


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda v: str(v))
def test_value_is_numpys(xp, tolerance, name, row):
    function, reference, inputs = DIFFERENTIABLE[name]
    arrays = [a.astype(of_kind(xp, a)) for a in inputs[row]]
    found = xp.to_numpy(function(xp, *(xp.asarray(a) for a in arrays)))
    expected = reference(*arrays)
    assert found.dtype == of_kind(xp, expected)
    assert relative_error(found, expected) < 3 * tolerance


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda v: str(v))
def test_gradient_is_dre_plus_i_dim(xp64, name, row):
    """The real loss ``Re sum conj(w) f(a, ...)`` by every argument, against finite differences."""
    function, reference, inputs = DIFFERENTIABLE[name]
    weight = xp64.asarray(noise(np.random.default_rng(2), np.shape(reference(*inputs[row])), True))

    def loss(tree):
        made = function(xp64, *(tree[key] for key in sorted(tree)))
        return xp64.sum(xp64.real(xp64.conj(weight) * made)), None

    assert_gradients(xp64, loss, {f"argument {i}": a for i, a in enumerate(inputs[row])})


def test_gradient_element_by_element(xp64):
    """All of the convention in one formula: ascent of ``|a^2 b - 1|^2`` with complex a and real b."""
    a, b = noise(RNG, (2, 3), True), noise(RNG, (2, 3))

    def loss(tree):
        return xp64.sum(xp64.abs2(tree["a"] * tree["a"] * tree["b"] - 1)), None

    value_and_grad = xp64.value_and_grad(loss)
    _, _, gradient = value_and_grad({"a": xp64.asarray(a), "b": xp64.asarray(b)})
    for name, x in (("a", a), ("b", b)):
        others = {k: xp64.asarray(v) for k, v in (("a", a), ("b", b)) if k != name}
        numeric = numeric_gradient(
            lambda v, n=name, others=others: value_and_grad(others | {n: xp64.asarray(v)})[0], x, 1e-4
        )
        assert relative_error(xp64.to_numpy(gradient[name]), numeric) < 1e-9
    residual = a**2 * b - 1
    np.testing.assert_allclose(xp64.to_numpy(gradient["a"]), 2 * np.conj(2 * a * b) * residual, rtol=1e-12)


def test_squared_modulus_has_a_slope_at_zero(xp):
    _, _, gradient = xp.value_and_grad(lambda t: (xp.sum(xp.abs2(t["a"])), None))(
        {"a": xp.zeros((2, 3), complex_values=True)}
    )
    np.testing.assert_array_equal(xp.to_numpy(gradient["a"]), 0)


# -- arrays ------------------------------------------------------------------------------------------------------------
def test_asarray_brings_floats_and_complex_numbers_to_the_precision(xp):
    for dtype in ("float32", "float64", "complex64", "complex128"):
        a = RNG.integers(0, 9, (2, 3)).astype(dtype)
        made = xp.to_numpy(xp.asarray(a))
        assert made.dtype == of_kind(xp, a)
        np.testing.assert_array_equal(made, a)
        assert xp.to_numpy(xp.asarray(a, exact=True)).dtype == dtype
    for a in (np.arange(3), np.array([True, False])):
        assert xp.to_numpy(xp.asarray(a)).dtype == a.dtype
    assert xp.to_numpy(xp.asarray(2.5)).shape == ()
    assert xp.to_numpy(xp.asarray(xp.asarray(a))).dtype == a.dtype


def test_asarray_takes_arrays_of_any_layout(xp):
    a = np.arange(24.0).reshape(4, 6)
    fixed = a.copy()
    fixed.flags.writeable = False
    for view in (a[::-1], a[:, ::2], a.T, np.broadcast_to(a[0], (3, 6)), fixed):
        np.testing.assert_array_equal(xp.to_numpy(xp.asarray(view)), view)


def test_made_arrays(xp):
    assert xp.to_numpy(xp.zeros((2, 3))).dtype == xp.float_dtype
    assert xp.to_numpy(xp.zeros((2, 3), complex_values=True)).dtype == xp.complex_dtype
    np.testing.assert_array_equal(xp.to_numpy(xp.ones((2, 3))), np.ones((2, 3)))
    assert xp.to_numpy(xp.ones((2, 3))).dtype == xp.float_dtype
    for a in (R, C):
        like = xp.to_numpy(xp.zeros_like(xp.asarray(a)))
        assert like.shape == a.shape and like.dtype == of_kind(xp, a) and not like.any()
        assert xp.is_complex(xp.asarray(a)) == np.iscomplexobj(a)
    finite = xp.isfinite(xp.asarray(np.array([1.0, np.inf, -np.inf, np.nan])))
    assert xp.to_numpy(finite).tolist() == [True, False, False, False]


def test_copy_shares_no_memory(xp):
    a = xp.asarray(R.copy())
    xp.put_rows(xp.copy(a), np.array([0]), xp.asarray(R[1:2]))
    np.testing.assert_array_equal(xp.to_numpy(a), R.astype(xp.float_dtype))


def test_cleared_is_zero(xp):
    for a in (R, C):
        cleared = xp.to_numpy(xp.clear(xp.asarray(a.copy())))
        assert not cleared.any() and cleared.shape == a.shape and cleared.dtype == of_kind(xp, a)


def test_put_rows(xp):
    for a in (R, C):
        rows = xp.to_numpy(xp.put_rows(xp.asarray(a.copy()), np.array([2, 0]), xp.asarray(a[:2] * 3)))
        np.testing.assert_allclose(rows, np.stack([a[1] * 3, a[1], a[0] * 3]), rtol=1e-6)
        rows = xp.to_numpy(xp.put_rows(xp.asarray(a.copy()), slice(1, 3), xp.asarray(a[:2] * 3)))
        np.testing.assert_allclose(rows, np.stack([a[0], a[0] * 3, a[1] * 3]), rtol=1e-6)


def test_whole_numbers_are_constants(xp):
    a = np.array([-1.5, -0.5, 0.5, 1.2, 2.5])
    for name, expected in (("floor", np.floor(a)), ("rint", np.rint(a))):
        found = getattr(xp, name)(xp.asarray(a))
        assert np.array_equal(xp.to_numpy(found), expected) and not xp.is_complex(found)
    index = xp.as_index(xp.asarray(np.array([2.0, 0.0])))
    assert np.array_equal(xp.to_numpy(xp.take(xp.asarray(a), index)), np.array([0.5, -1.5]))


@pytest.mark.parametrize("rows", [R, C], ids=["real", "complex"])
def test_rows_with_one_number_are_summed(xp, tolerance, rows):
    found = xp.to_numpy(xp.sum_rows(xp.asarray(rows), np.array([3, 0, 3]), 5))
    assert found.dtype == of_kind(xp, rows) and found.shape == (5, *rows.shape[1:])
    assert relative_error(found[3], rows[0] + rows[2]) < tolerance and relative_error(found[0], rows[1]) < tolerance
    assert not found[[1, 2, 4]].any()


@pytest.mark.parametrize("complex_values", [False, True])
def test_rows_are_added_where_several_have_one_place(xp, complex_values):
    rng = np.random.default_rng(6)
    a, rows = (noise(rng, shape, complex_values) for shape in ((5, 2), (4, 2)))
    expected = a.copy()
    for place, row in zip((3, 0, 3, 4), rows, strict=True):
        expected[place] += row
    found = xp.to_numpy(xp.add_rows(xp.asarray(a), xp.asarray(np.array([3, 0, 3, 4]), exact=True), xp.asarray(rows)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_fetched_is_what_was_staged(xp):
    given = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(xp.float_dtype)
    np.testing.assert_array_equal(xp.to_numpy(xp.fetched(xp.staged(given))), given)


def test_one_process_exchanges_nothing(xp):
    alone, given = SerialCommunicator(), xp.asarray(np.arange(6.0).reshape(3, 2))
    assert summed(xp, given, alone, "x") is given and exchanged(xp, given, [3], [3], alone, "x") is given
    assert [each is given for each in gathered(xp, given, [3], alone, "x")] == [True]


@pytest.mark.parametrize("complex_values", [False, True])
def test_ranks_without_devices_of_their_own_exchange_through_the_host(xp, complex_values):
    class Mirror(SerialCommunicator):
        """Two ranks that do the same."""

        size = 2

        def sum(self, array, name="sum"):
            return 2 * array

        def gather(self, array, name="gather"):
            return [array, array]

        def exchange(self, send, send_counts, receive_counts, name="exchange"):
            half = send[: send_counts[0]]
            assert send_counts[0] == receive_counts[0]
            return np.concatenate([half, half])

    values = np.random.default_rng(3).normal(size=(4, 3, 2)).astype(xp.float_dtype)
    given = xp.asarray(values + 2j * values if complex_values else values)
    host, ranks = xp.to_numpy(given).copy(), Mirror()
    np.testing.assert_array_equal(xp.to_numpy(summed(xp, given, ranks, "x")), 2 * host)
    for each in gathered(xp, given, [4, 4], ranks, "x"):
        np.testing.assert_array_equal(xp.to_numpy(each), host)
    found = xp.to_numpy(exchanged(xp, given, [2, 2], [2, 2], ranks, "x"))
    np.testing.assert_array_equal(found, np.concatenate([host[:2], host[:2]]))


def test_small_systems_are_solved(xp, tolerance):
    a, b = R[:, :, :4] + 4 * np.eye(4), R2[:, :, :1]
    found = xp.to_numpy(xp.solve(xp.asarray(a), xp.asarray(b)))
    assert relative_error(found, np.linalg.solve(a, b)) < 30 * tolerance


def test_a_device_is_not_waited_for_a_scalar(xp):
    number = xp.scalar(xp.sum(xp.asarray(np.array([0.25, 0.5]))))
    assert isinstance(number, float) == xp.on_host and float(number) == 0.75


def test_keeping_freed_memory_is_possible_on_linux():
    assert keep_freed_memory() == sys.platform.startswith("linux")


# -- windows -----------------------------------------------------------------------------------------------------------
CORNERS = np.array([[0, 0], [2, 3], [2, 3], [6, 11], [5, 0], [1, 4]])  # overlapping, one twice, to the very edge
WINDOW = (5, 6)


@pytest.mark.parametrize("tail", [(), (2,), (3, 2)])
@pytest.mark.parametrize("complex_values", [False, True])
def test_windows_are_cut_out_and_added_back(xp, tolerance, tail, complex_values):
    a, w = noise(RNG, (11, 17, *tail), complex_values), noise(RNG, (6, *WINDOW, *tail), complex_values)

    def gather(x):
        return xp.to_numpy(xp.gather_windows(xp.asarray(x), CORNERS, WINDOW))

    def scatter(windows):
        total = xp.asarray(np.zeros_like(a))
        total = xp.scatter_windows(total, CORNERS, xp.asarray(windows))
        return xp.to_numpy(total)

    expected = np.stack([a[y : y + 5, x : x + 6] for y, x in CORNERS])
    assert relative_error(gather(a), expected) < tolerance
    assert gather(a).dtype == of_kind(xp, a)
    assert_adjoint(gather, scatter, a, w, 10 * tolerance)
    every = scatter(np.ones((1, *WINDOW, *tail), a.dtype))
    assert relative_error(every, scatter(np.ones_like(w))) < tolerance  # one window may stand for all


def test_scattering_adds_to_what_is_there(xp):
    total = xp.asarray(np.full((7, 9), 2.0))
    total = xp.scatter_windows(total, np.array([[1, 2]]), xp.ones((1, 3, 4)))
    assert xp.to_numpy(total).sum() == 7 * 9 * 2 + 12
    assert (xp.to_numpy(total)[1:4, 2:6] == 3).all()


# -- value_and_grad ----------------------------------------------------------------------------------------------------
def test_tree_of_gradients_with_auxiliary_output(xp):
    tree = {"z": xp.asarray(C), "x": xp.asarray(R), "unused": xp.asarray(C2), "unused too": xp.asarray(R2)}

    def loss(t):
        part = xp.sum(xp.abs2(t["z"]))
        return part + 3 * xp.sum(t["x"]), {"part": part, "note": "kept"}

    value, aux, gradients = xp.value_and_grad(loss)(tree)
    assert isinstance(value, float) == xp.on_host
    assert float(xp.to_numpy(value)) == pytest.approx(np.sum(np.abs(C) ** 2) + 3 * R.sum(), rel=1e-5)
    assert aux["note"] == "kept" and float(xp.to_numpy(aux["part"])) == pytest.approx(np.sum(np.abs(C) ** 2), rel=1e-5)
    assert gradients.keys() == tree.keys()
    for name, expected in {"z": 2 * C, "x": np.full(R.shape, 3), "unused": 0 * C, "unused too": 0 * R}.items():
        g = xp.to_numpy(gradients[name])
        assert g.dtype == xp.to_numpy(tree[name]).dtype
        np.testing.assert_allclose(g, expected, rtol=1e-5, err_msg=name)


def test_nothing_to_differentiate(xp):
    value, aux, gradients = xp.value_and_grad(lambda t: (xp.sum(xp.asarray(R) * 2), "aux"))({})
    value = float(xp.to_numpy(value))
    assert (value, aux, gradients) == (pytest.approx(2 * R.sum(), rel=1e-4, abs=1e-4), "aux", {})
    value, _, gradients = xp.value_and_grad(lambda t: (xp.sum(xp.asarray(POSITIVE)), None))({"x": xp.asarray(R)})
    assert float(xp.to_numpy(value)) == pytest.approx(POSITIVE.sum(), rel=1e-5)
    np.testing.assert_array_equal(xp.to_numpy(gradients["x"]), 0)


def test_tree_is_a_plain_mapping(xp):
    """What ``f`` receives can be merged with constants, listed and looked into."""

    def loss(tree):
        full = {"b": xp.asarray(R2)} | tree
        assert sorted(full) == ["a", "b"] and "a" in tree and len(list(tree.items())) == 1
        return xp.sum(full["a"] * full["b"]), None

    _, _, gradients = xp.value_and_grad(loss)({"a": xp.asarray(R)})
    np.testing.assert_allclose(xp.to_numpy(gradients["a"]), R2, rtol=1e-6)


def test_arguments_are_left_alone_and_calls_repeat(xp):
    a = xp.asarray(R.copy())
    call = xp.value_and_grad(lambda t: (xp.sum(t["a"] ** 3), None))
    first, second = call({"a": a}), call({"a": a})
    assert first[0] == second[0]
    np.testing.assert_array_equal(xp.to_numpy(first[2]["a"]), xp.to_numpy(second[2]["a"]))
    np.testing.assert_array_equal(xp.to_numpy(a), R.astype(xp.float_dtype))
    assert xp.to_numpy(a * 1).shape == R.shape  # no gradient is attached to it


def test_constants_have_no_gradient(xp):
    call = xp.value_and_grad(lambda t: (xp.sum(xp.stop_gradient(t["a"]) * t["a"]), None))
    np.testing.assert_allclose(xp.to_numpy(call({"a": xp.asarray(R)})[2]["a"]), R, rtol=1e-6)


# -- fused operations --------------------------------------------------------------------------------------------------
def core(a, b):
    """``sum b |a|^2`` of complex a and real b, with its adjoints, and the intensities besides."""
    assert isinstance(a, np.ndarray) and a.flags.c_contiguous
    power = np.abs(a) ** 2
    return float((b * power).sum()), (2 * b * a, power), {"power": power}


def constant_in_b(a, b):
    value, (g, _), aux = core(a, b)
    return value, (g, None), aux


@pytest.mark.parametrize("made", [core, constant_in_b])
def test_fused_operation_equals_automatic_differentiation(xp, made, tolerance):
    if not xp.on_host:
        pytest.skip("fused operations have a NumPy-level core")
    tree = {"a": xp.asarray(C), "b": xp.asarray(R)}
    (value, aux, fused), (expected, _, plain) = (
        xp.value_and_grad(lambda t: xp.fused(made, t["a"], t["b"]))(tree),
        xp.value_and_grad(lambda t: (xp.sum(t["b"] * xp.abs2(t["a"])), None))(tree),
    )
    assert value == pytest.approx(expected, rel=10 * tolerance, abs=10 * tolerance)
    np.testing.assert_allclose(aux["power"], np.abs(C) ** 2, rtol=1e-5)
    assert relative_error(xp.to_numpy(fused["a"]), xp.to_numpy(plain["a"])) < 10 * tolerance
    want = 0 * R if made is constant_in_b else xp.to_numpy(plain["b"])
    assert relative_error(xp.to_numpy(fused["b"]), want) < 10 * tolerance
    for name in tree:
        assert xp.to_numpy(fused[name]).dtype == xp.to_numpy(tree[name]).dtype


def on_host(xp):
    if not xp.on_host:
        pytest.skip("fused operations have a NumPy-level core")


def test_fused_operation_inside_a_graph_and_beside_another(xp64):
    """Its inputs depend on the unknown, its value is processed further, a second call does not disturb the first."""
    on_host(xp64)

    def loss(tree):
        a, b = xp64.fft2(tree["a"]), xp64.sin(tree["b"])
        first, _ = xp64.fused(core, a, b)
        second, _ = xp64.fused(core, tree["a"] * 2, tree["b"])
        return first**2 * 1e-3 + 0.5 * second * first, None

    assert_gradients(xp64, loss, {"a": C, "b": R})


@pytest.mark.parametrize("way", ["alone", "twice", "doubled", "of a product", "beside", "constant"])
def test_fused_operation_however_its_value_is_used(xp64, way):
    """Alone it needs no graph; whatever is done with its value, gradients are those of the whole function."""
    on_host(xp64)

    def loss(tree):
        first, aux = xp64.fused(core, tree["a"], 2 * tree["b"] if way == "of a product" else tree["b"])
        if way == "twice":
            return first + xp64.fused(core, tree["a"], tree["b"])[0], aux
        if way == "doubled":
            return 2 * first, aux
        if way == "beside":
            return first + xp64.sum(tree["b"] * tree["b"]), aux
        return first, aux

    if way == "constant":
        call = xp64.value_and_grad(lambda t: xp64.fused(core, t["a"], xp64.asarray(R)))
        value, _, gradient = call({"a": xp64.asarray(C), "unused": xp64.asarray(R)})
        assert value == pytest.approx(core(C, R)[0], rel=1e-12)
        np.testing.assert_allclose(xp64.to_numpy(gradient["a"]), 2 * R * C, rtol=1e-12)
        assert not xp64.to_numpy(gradient["unused"]).any()
    else:
        assert_gradients(xp64, loss, {"a": C, "b": R})


def test_nested_differentiation_with_fused_operations(xp64):
    on_host(xp64)
    inner_call = xp64.value_and_grad(lambda t: xp64.fused(core, t["a"], xp64.asarray(POSITIVE)))

    def outer(tree):
        value, _, gradient = inner_call({"a": xp64.asarray(C2)})
        fused, _ = xp64.fused(core, tree["a"], tree["b"])
        return fused * value + xp64.sum(xp64.abs2(tree["a"] - gradient["a"])), None

    assert_gradients(xp64, outer, {"a": C, "b": R})


def test_fused_operation_takes_views_and_conjugates(xp64):
    on_host(xp64)

    def loss(tree):
        turned = xp64.conj(xp64.permute_dims(tree["a"], (1, 2, 0)))
        return xp64.fused(core, turned, xp64.permute_dims(tree["b"], (1, 2, 0)))[0], None

    assert_gradients(xp64, loss, {"a": C, "b": R})


def test_fused_operation_without_gradient(xp):
    on_host(xp)
    value, aux = xp.fused(core, xp.asarray(C), xp.asarray(R))
    assert float(value) == pytest.approx(inner(R * C, C), rel=1e-4, abs=1e-4)
    assert aux["power"].shape == C.shape


def test_autograd_keeps_nothing_of_a_call():
    """Its table of derivatives, which is never emptied, does not grow with the calls."""
    xp = make_backend("autograd")

    class Twice(HostOperation):
        def forward(self, *arrays):
            return 2 * arrays[0]

        def adjoint(self, upstream, arrays, wanted):
            return (2 * upstream,)

    def loss(tree):
        value, _ = xp.fused(core, xp.checkpoint(lambda a: a * a, tree["a"]), xp.host_operation(Twice(), tree["b"]))
        return value, None

    before = len(autograd.core.primitive_vjps)
    assert_gradients(xp, loss, {"a": C, "b": R})
    assert len(autograd.core.primitive_vjps) == before


# -- the device double -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_numpy_may_not_touch_what_the_device_makes(name):
    xp, (function, _, inputs) = make_backend(DOUBLE), DIFFERENTIABLE[name]
    made = function(xp, *map(xp.asarray, inputs[0]))
    _, _, gradients = xp.value_and_grad(lambda t: (xp.sum(xp.abs2(function(xp, *t.values()))), None))(
        {str(i): xp.asarray(a) for i, a in enumerate(inputs[0])}
    )
    for array in (made, *gradients.values()):
        for touch in (np.asarray, np.array, np.abs, lambda a: a.numpy(), lambda a: a * np.ones(2)):
            with pytest.raises(TypeError, match=r"array of the (device|host)"):
                touch(array)
    assert xp.crossings == 0
    assert xp.to_numpy(made).size and xp.crossings == 1


# -- choosing a backend ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("torhc", {}, r"run\.backend: no backend named 'torhc'; did you mean 'torch'\?"),
        ("numpy", {}, r"no backend named 'numpy'; known: autograd, .*jax, torch"),
        ("torch", {"precision": "half"}, r"run\.precision: unknown precision; expected single or double; found 'half'"),
        (
            "torch",
            {"device": "abacus"},
            r"run\.device: no such device; expected auto, cpu or cuda; found 'abacus'; use 'auto'",
        ),
        ("torch", {"device": "mps"}, r"run\.device: no such device"),
        (
            "autograd",
            {"device": "cuda"},
            r"run\.device: autograd computes on the CPU only; found cuda; use backend 'torch'",
        ),
        pytest.param(
            "jax",
            {"device": "cuda"},
            r"run\.device: jax computes on the CPU only; found cuda; use backend 'torch'",
            marks=NEEDS_JAX,
        ),
    ],
)
def test_what_is_not_there_is_refused(name, options, message):
    with pytest.raises(BackendError, match=message):
        get_backend(name, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_absent_cuda_is_named():
    with pytest.raises(BackendError, match=r"no such device.*found no CUDA device on this machine; use 'auto'"):
        get_backend("torch", device="cuda:0")
    assert get_backend("torch", device="auto").device == "cpu"


def test_threads_are_set():
    before = torch.get_num_threads()
    try:
        get_backend("torch", device="cpu", threads=1)
        assert torch.get_num_threads() == 1
        get_backend("torch", device="cpu")
        assert torch.get_num_threads() == 1  # left as it is
    finally:
        torch.set_num_threads(before)
    assert get_backend("autograd", threads=2).workers == 2


def test_attributes_name_the_backend(xp):
    assert xp.name in NAMES and xp.device and xp.precision in ("single", "double")
    assert xp.float_dtype.itemsize * 2 == xp.complex_dtype.itemsize == (8 if xp.precision == "single" else 16)


def test_jacobian_products(xp64):
    """``J t`` is a finite difference, ``J^T c`` its adjoint, for an intensity through a Fourier transform."""
    rng = np.random.default_rng(8)
    tree = {"wave": noise(rng, (3, 4, 6), True), "offset": noise(rng, (4, 6))}
    tangent = {name: noise(rng, a.shape, np.iscomplexobj(a)) for name, a in tree.items()}

    def f(t):
        wave = xp64.fft2(t["wave"]) * xp64.complex(xp64.cos(t["offset"]), xp64.sin(t["offset"]))
        return xp64.abs2(wave + xp64.fft2(wave)) * t["offset"]

    def on(values):
        return {name: xp64.asarray(a) for name, a in values.items()}

    value, change = (xp64.to_numpy(a) for a in xp64.jvp(f, on(tree), on(tangent)))
    np.testing.assert_allclose(value, xp64.to_numpy(f(on(tree))), rtol=1e-12)
    ends = [xp64.to_numpy(f(on({n: a + s * tangent[n] for n, a in tree.items()}))) for s in (1e-6, -1e-6)]
    np.testing.assert_allclose(change, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-6 * np.abs(change).max())
    cotangent = noise(rng, change.shape)
    back = xp64.vjp(f, on(tree), xp64.asarray(cotangent))
    adjoint = sum(np.sum(np.conj(xp64.to_numpy(back[name])) * tangent[name]).real for name in tree)
    assert adjoint == pytest.approx(float(np.sum(cotangent * change)), rel=1e-10)


def test_a_checkpoint_changes_neither_value_nor_gradient(xp64):
    tree = {"a": xp64.asarray(C), "b": xp64.asarray(C2)}

    def product(a, b):
        return xp64.sin(a) * b * xp64.conj(a)

    def kept(t):
        return xp64.sum(xp64.abs2(product(t["a"], t["b"]))), None

    def again(t):
        return xp64.sum(xp64.abs2(xp64.checkpoint(product, t["a"], t["b"]))), None

    (value, _, expected), (other, _, found) = xp64.value_and_grad(kept)(tree), xp64.value_and_grad(again)(tree)
    assert float(other) == pytest.approx(float(value), rel=1e-14)
    for name in tree:
        np.testing.assert_allclose(xp64.to_numpy(found[name]), xp64.to_numpy(expected[name]), rtol=1e-12)
