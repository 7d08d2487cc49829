"""JAX on the CPU, whose arrays never change; its gradient is the conjugate of ours and conjugated here.

Nothing is compiled as a whole: operations run one by one, so that those with a NumPy-level core are ordinary calls and
a model may look at the values of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adorym.wrapper.base import Array, Backend, FusedCore, Tree
from adorym.wrapper.host_operation import HostOperation


class JaxBackend(Backend):
    """JAX as the array and gradient engine, on the CPU; ``threads`` share out the work of compiled loops."""

    name = "jax"
    library = jnp

    def __init__(
        self, device: str = "auto", precision: str = "single", threads: int | None = None, local_rank: int = 0
    ) -> None:
        super().__init__(device, precision, threads, local_rank)
        jax.config.update("jax_enable_x64", True)  # else there is no float64 at all
        jax.config.update("jax_default_device", jax.devices("cpu")[0])

    def asarray(self, a: Any, *, exact: bool = False) -> jax.Array:
        if not isinstance(a, jax.Array):
            a = jnp.array(np.asarray(a))  # a copy: the caller may change his array before the computation is done
        return a if exact else a.astype(self._own_dtype(a.dtype))

    def to_numpy(self, a: Array) -> np.ndarray:
        return np.asarray(self.stop_gradient(a))

    def copy(self, a: Array) -> jax.Array:
        return self.stop_gradient(a)

    def unstack(self, a: Array, axis: int = 0) -> tuple[jax.Array, ...]:
        return tuple(jnp.squeeze(part, axis) for part in jnp.split(a, a.shape[axis], axis))

    def take(self, a: Array, index: Any, axis: int = 0) -> jax.Array:
        return jnp.take(a, np.asarray(index), axis=axis)

    def pad(self, a: Array, widths: Any, value: float = 0.0) -> jax.Array:
        return jnp.pad(a, widths, constant_values=value)

    def put_rows(self, a: Array, index: np.ndarray | slice, rows: Array) -> jax.Array:
        return a.at[index].set(rows.astype(a.dtype))

    def gather_windows(self, a: Array, corners: np.ndarray, window: tuple[int, int]) -> jax.Array:
        return a[_pixels(corners, window)]

    def scatter_windows(self, a: Array, corners: np.ndarray, windows: Array) -> jax.Array:
        return a.at[_pixels(corners, windows.shape[1:3])].add(windows)

    def value_and_grad(self, f: Callable[[Tree], tuple[Array, Any]]) -> Callable[[Tree], tuple[Any, Any, Tree]]:
        def call(tree: Tree) -> tuple[Any, Any, Tree]:
            (value, aux), gradients = jax.value_and_grad(lambda t: _real_value(*f(t)), has_aux=True)(dict(tree))
            return float(value), aux, {name: jnp.conj(g) for name, g in gradients.items()}

        return call

    def jvp(self, f: Callable[[Tree], Array], tree: Tree, tangent: Tree) -> tuple[jax.Array, jax.Array]:
        along = {name: tangent[name].astype(a.dtype) for name, a in tree.items()}
        self._forward = True
        try:
            return jax.jvp(f, (dict(tree),), (along,))
        finally:
            self._forward = False

    def stop_gradient(self, a: Array) -> jax.Array:
        return jax.lax.stop_gradient(a)

    def fused(self, core: FusedCore, *arrays: Array) -> tuple[jax.Array, Any]:
        box: list = []
        return _fused((core, box), *arrays), box[-1]

    def checkpoint(self, f: Callable[..., Array], *arrays: Array) -> jax.Array:
        return f(*arrays) if self._forward else _checkpoint(f, *arrays)

    def host_operation(self, operation: HostOperation, *arrays: Array) -> jax.Array:
        # JAX takes either a rule for the way forward or one for the way back.
        return (_host_operation_along if self._forward else _host_operation)(operation, *arrays)


def _pixels(corners: np.ndarray, window: Any) -> tuple[np.ndarray, np.ndarray]:
    """Index ``(n, wy, 1)`` and ``(n, 1, wx)`` of the pixels of windows."""
    y, x = (corners[:, axis, None] + np.arange(window[axis]) for axis in (0, 1))
    return y[:, :, None], x[:, None, :]


def _real_value(value: Array, aux: Any) -> tuple[Array, Any]:
    return jnp.real(value), aux


# Derivatives of what JAX does not know, for functions that are made once; what differs from call to call comes first.
def _host(arrays: tuple[Array, ...]) -> tuple[np.ndarray, ...]:
    """Copies: compiled loops take arrays that may be written to."""
    return tuple(np.array(a, order="C") for a in arrays)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(call: tuple[FusedCore, list], *arrays: Array) -> Array:
    return _fused_forward(call, *arrays)[0]


def _fused_forward(call: tuple[FusedCore, list], *arrays: Array) -> tuple[Array, tuple]:
    core, box = call
    value, gradients, aux = core(*_host(arrays))
    box.append(aux)
    ours = zip(gradients, arrays, strict=True)
    theirs = tuple(jnp.zeros_like(a) if g is None else jnp.array(np.conj(g), a.dtype) for g, a in ours)
    return jnp.array(value, jnp.result_type(*(a.real.dtype for a in arrays))), theirs


def _fused_backward(call: Any, theirs: tuple, upstream: Array) -> tuple:
    return tuple(g * upstream.astype(g.dtype) for g in theirs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _checkpoint(f: Callable[..., Array], *arrays: Array) -> Array:
    return f(*arrays)


def _checkpoint_forward(f: Callable[..., Array], *arrays: Array) -> tuple[Array, tuple]:
    return f(*arrays), arrays


def _checkpoint_backward(f: Callable[..., Array], arrays: tuple, upstream: Array) -> tuple:
    return jax.vjp(f, *arrays)[1](upstream)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _host_operation(operation: HostOperation, *arrays: Array) -> Array:
    return jnp.array(operation.forward(*_host(arrays)))


def _host_operation_forward(operation: HostOperation, *given: Any) -> tuple[Array, tuple]:
    arrays, wanted = tuple(g.value for g in given), tuple(g.perturbed for g in given)
    return _host_operation(operation, *arrays), (arrays, wanted)


def _host_operation_backward(operation: HostOperation, kept: tuple, upstream: Array) -> tuple:
    arrays, wanted = kept
    found = operation.adjoint(_host((jnp.conj(upstream),))[0], _host(arrays), wanted)
    return tuple(None if g is None else jnp.array(np.conj(g), a.dtype) for g, a in zip(found, arrays, strict=True))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _host_operation_along(operation: HostOperation, *arrays: Array) -> Array:
    return jnp.array(operation.forward(*_host(arrays)))


@_host_operation_along.defjvp
def _host_operation_jvp(operation: HostOperation, arrays: tuple, along: tuple) -> tuple[Array, Array]:
    return _host_operation_along(operation, *arrays), jnp.array(operation.tangent(_host(arrays), _host(along)))


_fused.defvjp(_fused_forward, _fused_backward)
_checkpoint.defvjp(_checkpoint_forward, _checkpoint_backward)
_host_operation.defvjp(_host_operation_forward, _host_operation_backward, symbolic_zeros=True)
