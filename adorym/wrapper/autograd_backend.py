"""HIPS autograd on NumPy, the transparent reference; its gradient is the conjugate of ours and conjugated here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import scipy.fft
from autograd.builtins import tuple as traced_tuple
from autograd.core import make_vjp
from autograd.extend import defvjp, defvjp_argnums, primitive
from autograd.tracer import getval

from adorym.errors import BackendError
from adorym.wrapper import windows as host_windows
from adorym.wrapper.base import Array, Axis, Backend, FusedCore, HostOperation, Tree


class AutogradBackend(Backend):
    """HIPS autograd as the array and gradient engine, on the CPU.

    Args:
        device: ``"auto"`` or ``"cpu"``.
        precision: ``"single"`` or ``"double"``.
        threads: Threads of the Fourier transforms.

    Raises:
        BackendError: A device other than the CPU is asked for.
    """

    name = "autograd"
    library = anp
    on_host = True

    def __init__(
        self, device: str = "auto", precision: str = "single", threads: int | None = None, local_rank: int = 0
    ) -> None:
        super().__init__(precision)
        if device not in ("auto", "cpu"):
            raise BackendError(
                "run.device", "autograd computes on the CPU only", found=device, remedy="use backend 'torch'"
            )
        self.device = "cpu"
        self._threads = threads or 1

    def asarray(self, a: Any, *, exact: bool = False) -> np.ndarray:
        a = np.asarray(a)
        if exact or a.dtype.kind not in "fc":
            return a
        return a.astype(self.complex_dtype if a.dtype.kind == "c" else self.float_dtype, copy=False)

    def to_numpy(self, a: Array) -> np.ndarray:
        return np.asarray(getval(a))

    def zeros(self, shape: Sequence[int], *, complex_values: bool = False) -> np.ndarray:
        return np.zeros(tuple(shape), self.complex_dtype if complex_values else self.float_dtype)

    def zeros_like(self, a: Array) -> np.ndarray:
        return np.zeros(a.shape, a.dtype)

    def clear(self, a: Array) -> None:
        a[...] = 0

    def copy(self, a: Array) -> np.ndarray:
        return np.array(getval(a))

    def complex(self, re: Array, im: Array) -> Array:
        return re + 1j * im

    def is_complex(self, a: Array) -> bool:
        return bool(getval(a).dtype.kind == "c")

    def abs2(self, a: Array) -> Array:
        if not self.is_complex(a):
            return a * a
        return anp.real(a) ** 2 + anp.imag(a) ** 2

    def real(self, a: Array) -> Array:
        return anp.real(a)

    def imag(self, a: Array) -> Array:
        return anp.imag(a)

    def sum(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return anp.sum(a, axis=axis, keepdims=keepdims)

    def mean(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return anp.mean(a, axis=axis, keepdims=keepdims)

    def max(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return anp.max(a, axis=axis, keepdims=keepdims)

    def min(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return anp.min(a, axis=axis, keepdims=keepdims)

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        return anp.where(condition, a, b)

    def maximum(self, a: Array, b: Array | float) -> Array:
        return anp.maximum(a, b)

    def minimum(self, a: Array, b: Array | float) -> Array:
        return anp.minimum(a, b)

    def clip(self, a: Array, low: float | None, high: float | None) -> Array:
        return anp.clip(a, -np.inf if low is None else low, np.inf if high is None else high)

    def reshape(self, a: Array, shape: Sequence[int]) -> Array:
        return anp.reshape(a, tuple(shape))

    def permute_dims(self, a: Array, axes: Sequence[int]) -> Array:
        return anp.transpose(a, tuple(axes))

    def stack(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return anp.stack(list(arrays), axis=axis)

    def unstack(self, a: Array, axis: int = 0) -> tuple[Array, ...]:
        return _unstack(anp.moveaxis(a, axis, 0))

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return anp.concatenate(list(arrays), axis=axis)

    def broadcast_to(self, a: Array, shape: Sequence[int]) -> Array:
        return anp.broadcast_to(a, tuple(shape))

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

    def matmul(self, a: Array, b: Array) -> Array:
        return anp.matmul(a, b)

    def einsum(self, subscripts: str, *operands: Array) -> Array:
        return anp.einsum(subscripts, *operands)

    def fft(self, a: Array, axis: int = -1, norm: str = "ortho") -> Array:
        return anp.fft.fft(a, axis=axis, norm=norm)

    def ifft(self, a: Array, axis: int = -1, norm: str = "ortho") -> Array:
        return anp.fft.ifft(a, axis=axis, norm=norm)

    def fft2(self, a: Array, norm: str = "ortho") -> Array:
        return anp.fft.fft2(a, axes=(-2, -1), norm=norm)

    def ifft2(self, a: Array, norm: str = "ortho") -> Array:
        return anp.fft.ifft2(a, axes=(-2, -1), norm=norm)

    def fftn(self, a: Array, axes: tuple[int, ...], norm: str = "ortho") -> Array:
        return anp.fft.fftn(a, axes=axes, norm=norm)

    def ifftn(self, a: Array, axes: tuple[int, ...], norm: str = "ortho") -> Array:
        return anp.fft.ifftn(a, axes=axes, norm=norm)

    def put_rows(self, a: Array, index: np.ndarray, rows: Array) -> np.ndarray:
        a[index] = rows
        return a

    def gather_windows(self, a: Array, corners: np.ndarray, window: tuple[int, int]) -> np.ndarray:
        return host_windows.gather(a, corners, window)

    def scatter_windows(self, a: Array, corners: np.ndarray, windows: Array) -> None:
        host_windows.scatter_add(a, corners, np.ascontiguousarray(windows))

    def value_and_grad(self, f: Callable[[Tree], tuple[Array, Any]]) -> Callable[[Tree], tuple[float, Any, Tree]]:
        def call(tree: Tree) -> tuple[float, Any, Tree]:
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
        result, gradients, aux = core(*(np.ascontiguousarray(getval(a)) for a in arrays))

        @primitive
        def scalar(*_: Array) -> np.float64:
            return np.float64(result)

        # One primitive a call: its gradients belong to this call alone, so nested calls cannot mix them up.
        defvjp(scalar, *(_adjoint(g, a) for g, a in zip(gradients, arrays, strict=True)))
        return scalar(*arrays), aux

    def checkpoint(self, f: Callable[..., Array], *arrays: Array) -> Array:
        once = primitive(lambda *a: getval(f(*a)))

        def vjps(argnums: Sequence[int], ans: Array, args: tuple, kwargs: dict) -> Callable:
            def again(chosen: Any) -> Array:
                given = list(args)
                for i, number in enumerate(argnums):
                    given[number] = chosen[i]
                return f(*given)

            def backward(upstream: Array) -> Sequence[Array]:
                return make_vjp(again, traced_tuple(tuple(args[i] for i in argnums)))[0](upstream)

            return backward

        defvjp_argnums(once, vjps)
        return once(*arrays)

    def host_operation(self, operation: HostOperation, *arrays: Array) -> Array:
        @primitive
        def run(*a: Array) -> np.ndarray:
            return operation.forward(*map(np.ascontiguousarray, a))

        def vjps(argnums: Sequence[int], ans: Array, args: tuple, kwargs: dict) -> Callable:
            wanted = tuple(i in argnums for i in range(len(args)))

            def backward(upstream: Array) -> list[np.ndarray]:
                # Autograd hands on conjugated gradients of complex arrays.
                found = operation.adjoint(
                    np.ascontiguousarray(np.conj(upstream), dtype=ans.dtype),
                    tuple(map(np.ascontiguousarray, args)),
                    wanted,
                )
                return [np.conj(np.asarray(found[i])) for i in argnums]

            return backward

        defvjp_argnums(run, vjps)
        return run(*arrays)

    def host_fft2(self, a: np.ndarray) -> np.ndarray:
        return scipy.fft.fft2(a, workers=self._threads)

    def host_ifft2(self, a: np.ndarray) -> np.ndarray:
        return scipy.fft.ifft2(a, workers=self._threads)


@primitive
def _split(a: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(part) for part in a)


defvjp(_split, lambda ans, a: lambda upstream: np.stack([np.asarray(g) for g in upstream]))


def _unstack(a: Array) -> tuple[Array, ...]:
    parts = _split(a)
    return tuple(parts[i] for i in range(a.shape[0]))


def _adjoint(gradient: np.ndarray | None, a: Array) -> Callable:
    value = getval(a)
    g = np.zeros(value.shape, value.dtype) if gradient is None else np.conj(gradient).astype(value.dtype, copy=False)
    return lambda ans, *arrays: lambda upstream: g * value.dtype.type(upstream)
