"""HIPS autograd on NumPy, the transparent reference; its gradient is the conjugate of ours and conjugated here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.builtins import tuple as traced_tuple
from autograd.core import make_vjp
from autograd.extend import defvjp, defvjp_argnums, primitive
from autograd.tracer import getval

from adorym.wrapper import windows as host_windows
from adorym.wrapper.base import Array, Backend, FusedCore, Tree
from adorym.wrapper.host_operation import HostOperation


class AutogradBackend(Backend):
    """HIPS autograd as the array and gradient engine, on the CPU; ``threads`` share out compiled loops."""

    name = "autograd"
    library = anp

    def asarray(self, a: Any, *, exact: bool = False) -> np.ndarray:
        a = np.asarray(a)
        return a if exact else a.astype(self._own_dtype(a.dtype), copy=False)

    def to_numpy(self, a: Array) -> np.ndarray:
        return np.asarray(getval(a))

    def copy(self, a: Array) -> np.ndarray:
        return np.array(getval(a))

    def unstack(self, a: Array, axis: int = 0) -> tuple[Array, ...]:
        parts = _split(anp.moveaxis(a, axis, 0))
        return tuple(parts[i] for i in range(a.shape[axis]))

    def take(self, a: Array, index: Any, axis: int = 0) -> Array:
        return a[(slice(None),) * (axis % len(a.shape)) + (np.asarray(index),)]

    def roll(self, a: Array, shift: int | tuple[int, ...], axis: int | tuple[int, ...]) -> Array:
        # One axis at a time: autograd's derivative of a roll knows no more.
        axes = (axis,) if isinstance(axis, int) else axis
        for step, along in zip(np.broadcast_to(shift, len(axes)).tolist(), axes, strict=True):
            a = anp.roll(a, step, along)
        return a

    def pad(self, a: Array, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
        # Written with concatenate: autograd differentiates np.pad with zeros only.
        for axis, pair in enumerate(widths):
            sides = [np.full((*a.shape[:axis], w, *a.shape[axis + 1 :]), value, getval(a).dtype) for w in pair]
            if any(pair):
                a = anp.concatenate([sides[0], a, sides[1]], axis=axis)
        return a

    def put_rows(self, a: Array, index: np.ndarray | slice, rows: Array) -> np.ndarray:
        a[index] = rows
        return a

    def gather_windows(self, a: Array, corners: np.ndarray, window: tuple[int, int]) -> np.ndarray:
        return host_windows.gather(a, corners, window)

    def scatter_windows(self, a: Array, corners: np.ndarray, windows: Array) -> np.ndarray:
        host_windows.scatter_add(a, corners, np.ascontiguousarray(windows))
        return a

    def value_and_grad(self, f: Callable[[Tree], tuple[Array, Any]]) -> Callable[[Tree], tuple[Any, Any, Tree]]:
        def call(tree: Tree) -> tuple[Any, Any, Tree]:
            box: list = []

            def scalar(leaves: Tree) -> Array:
                value, aux = f({name: leaves[name] for name in tree})
                box.append(aux)
                return anp.real(value)

            if not tree:
                return float(getval(scalar(tree))), box[0], {}
            with warnings.catch_warnings():
                # A value that depends on nothing in the tree has the gradient zero.
                warnings.filterwarnings("ignore", "Output seems independent of input", UserWarning)
                value, gradients = autograd.value_and_grad(scalar)(dict(tree))
            # The conjugate turns autograd's convention into ours; it may also have widened the type.
            ours = {k: np.conj(g).astype(tree[k].dtype, copy=False) for k, g in gradients.items()}
            return float(value), box[0], ours

        return call

    def jvp(self, f: Callable[[Tree], Array], tree: Tree, tangent: Tree) -> tuple[Array, Array]:
        # autograd's Fourier transforms have no forward mode: J t is the gradient, by c, of <J^T c, t>, linear in c.
        def along(cotangent: Array) -> Array:
            gradients = autograd.grad(lambda t: anp.sum(f(t) * cotangent))(dict(tree))
            return sum(anp.sum(anp.real(gradients[name] * tangent[name])) for name in tree)

        value = getval(f(tree))
        return value, autograd.grad(along)(np.ones_like(value))

    def stop_gradient(self, a: Array) -> np.ndarray:
        return getval(a)

    def fused(self, core: FusedCore, *arrays: Array) -> tuple[Array, Any]:
        call = _Call(core)
        return _fused(call, *arrays), call.aux

    def checkpoint(self, f: Callable[..., Array], *arrays: Array) -> Array:
        return _checkpoint(f, *arrays)

    def host_operation(self, operation: HostOperation, *arrays: Array) -> Array:
        return _host_operation(operation, *arrays)


# Primitives are made once, as autograd keeps the derivative of each for ever; what differs from call to call is their
# first argument.
class _Call:
    """One call of a fused operation, which finds the gradients together with the value."""

    def __init__(self, core: FusedCore) -> None:
        self.core = core
        self.gradients: tuple = ()
        self.aux: Any = None


@primitive
def _fused(call: _Call, *arrays: np.ndarray) -> np.float64:
    value, call.gradients, call.aux = call.core(*map(np.ascontiguousarray, arrays))
    return np.float64(value)


def _fused_vjps(argnums: Sequence[int], ans: Array, args: tuple, kwargs: dict) -> Callable:
    values = [getval(args[i]) for i in argnums]
    found = [args[0].gradients[i - 1] for i in argnums]
    ours = [np.zeros_like(v) if g is None else np.conj(g).astype(v.dtype) for g, v in zip(found, values, strict=True)]
    return lambda upstream: [g * g.dtype.type(upstream) for g in ours]


@primitive
def _checkpoint(f: Callable[..., Array], *arrays: np.ndarray) -> np.ndarray:
    return getval(f(*arrays))


def _checkpoint_vjps(argnums: Sequence[int], ans: Array, args: tuple, kwargs: dict) -> Callable:
    f, *given = args

    def again(chosen: Any) -> Array:
        for i, number in enumerate(argnums):
            given[number - 1] = chosen[i]
        return f(*given)

    return lambda upstream: make_vjp(again, traced_tuple(tuple(args[i] for i in argnums)))[0](upstream)


@primitive
def _host_operation(operation: HostOperation, *arrays: np.ndarray) -> np.ndarray:
    return operation.forward(*map(np.ascontiguousarray, arrays))


def _host_operation_vjps(argnums: Sequence[int], ans: Array, args: tuple, kwargs: dict) -> Callable:
    operation, arrays = args[0], tuple(map(np.ascontiguousarray, args[1:]))

    def backward(upstream: Array) -> list[Array]:
        found = _host_adjoint(operation, arrays, argnums, getval(ans).dtype, upstream)
        return [found[k] for k in range(len(argnums))]

    return backward


@primitive
def _host_adjoint(
    operation: HostOperation, arrays: tuple, argnums: Sequence[int], dtype: np.dtype, upstream: np.ndarray
) -> tuple[np.ndarray, ...]:
    # Autograd hands on conjugated gradients of complex arrays.
    ours = np.ascontiguousarray(np.conj(upstream), dtype=dtype)
    found = operation.adjoint(ours, arrays, tuple(i + 1 in argnums for i in range(len(arrays))))
    return tuple(np.conj(np.asarray(found[i - 1])) for i in argnums)


def _host_adjoint_vjp(
    ans: Array, operation: HostOperation, arrays: tuple, argnums: Sequence[int], dtype: np.dtype, upstream: Array
) -> Callable:
    """The derivative of an adjoint is the operation's own; `AutogradBackend.jvp` asks for it."""

    def forward(directions: Sequence[np.ndarray]) -> np.ndarray:
        along = [np.zeros_like(a) for a in arrays]
        for i, direction in zip(argnums, directions, strict=True):
            like = arrays[i - 1]
            along[i - 1] = np.asarray(direction if like.dtype.kind == "c" else np.real(direction), like.dtype)
        return operation.tangent(arrays, tuple(along))

    return forward


@primitive
def _split(a: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(part) for part in a)


defvjp_argnums(_fused, _fused_vjps)
defvjp_argnums(_checkpoint, _checkpoint_vjps)
defvjp_argnums(_host_operation, _host_operation_vjps)
defvjp(_host_adjoint, _host_adjoint_vjp, argnums=(4,))
defvjp(_split, lambda ans, a: lambda upstream: anp.stack([upstream[k] for k in range(len(upstream))]))
