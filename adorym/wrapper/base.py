"""One interface over the automatic-differentiation engines.

A `Backend` is passed as the argument ``xp`` to everything that computes. It offers about forty array functions under
their Array API names, orthonormal FFTs, and `value_and_grad`. Rules that every backend keeps:

* arrays are values. Only `clear`, `put_rows`, `add_rows` and `scatter_windows` may reuse the memory of their first
  argument: what they return takes its place, and whoever called them uses nothing else from then on;
* arrays are real (``float_dtype``) or complex (``complex_dtype``), 32/64 bit in ``precision="single"`` and 64/128 bit
  in ``"double"``;
* the gradient of a real loss by a complex array is ``dL/dRe + i dL/dIm``, the direction of steepest ascent;
* a *fused operation* has one NumPy-level core that returns a value together with its adjoints (`fused`), so that the
  hot path is written once by hand and serves every backend;
* nothing else in the package asks which backend is in use.

What most array libraries call by the same name is written here once; a backend replaces what its library does
otherwise. Adding a backend is one file that subclasses `Backend`, with a line in ``wrapper/__init__.py``, an entry
point in the group ``adorym.backend``, or named as ``path/to/file.py:Class``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adorym.errors import BackendError
from adorym.wrapper.host_operation import HostOperation
from adorym.wrapper.memory import HostMemory

Array = Any
Axis = int | tuple[int, ...] | None
Tree = dict[str, Array]
FusedCore = Callable[..., tuple[float, tuple[Any, ...], Any]]


class Backend(ABC):
    """Array functions and gradients of one automatic-differentiation engine.

    Args:
        device: ``"auto"``, or where arrays shall live.
        precision: ``"single"`` or ``"double"``.
        threads: CPU threads; ``None`` leaves the library's choice.
        local_rank: Number of this process among those on the same machine.

    Raises:
        BackendError: The device does not exist.

    Attributes:
        name: Registered name.
        device: Where arrays live, such as ``"cpu"`` or ``"cuda:0"``.
        precision: ``"single"`` or ``"double"``.
        library: The module that has the functions under their usual names.
        on_host: Whether arrays share memory with NumPy, so that fused operations with a NumPy-level core apply.
        memory: Tells how much of the device's memory is in use.
    """

    _forward = False  # whether `jvp` is at work

    name: str
    device: str
    library: Any
    on_host: bool

    def __init__(
        self, device: str = "auto", precision: str = "single", threads: int | None = None, local_rank: int = 0
    ) -> None:
        self.device = self._find_device(device, local_rank)
        self.on_host = self.device == "cpu"
        self.memory: HostMemory = HostMemory()
        self.precision, self._threads = precision, threads
        self.float_dtype = np.dtype("float32" if precision == "single" else "float64")
        self.complex_dtype = np.dtype("complex64" if precision == "single" else "complex128")

    def _find_device(self, device: str, local_rank: int) -> str:
        if device not in ("auto", "cpu"):
            raise BackendError(
                "run.device", f"{self.name} computes on the CPU only", found=device, remedy="use backend 'torch'"
            )
        return "cpu"

    def _own_dtype(self, dtype: np.dtype) -> np.dtype:
        """What ``dtype`` becomes in the backend's precision."""
        return {"f": self.float_dtype, "c": self.complex_dtype}.get(dtype.kind, dtype)

    # -- making and leaving arrays ----------------------------------------------------------------------------------
    @abstractmethod
    def asarray(self, a: Any, *, exact: bool = False) -> Array:
        """``a`` on the device in the backend's precision; ``exact`` keeps the data type it has.

        Integers keep their type. Memory may be shared with ``a``.
        """

    def staged(self, a: np.ndarray) -> Any:
        """``a`` where a device can fetch it by itself, for `fetched`; may be called in another thread."""
        return a

    def fetched(self, staged: Any) -> Array:
        """What was `staged`, on the device, which the host does not wait for."""
        return self.asarray(staged)

    @abstractmethod
    def to_numpy(self, a: Array) -> np.ndarray:
        """``a`` as a NumPy array, detached from any gradient; not to be written to, as memory may be shared."""

    def zeros(self, shape: Sequence[int], *, complex_values: bool = False) -> Array:
        """Zeros in the backend's real or complex type."""
        return self.library.zeros(tuple(shape), dtype=self.complex_dtype if complex_values else self.float_dtype)

    def zeros_like(self, a: Array) -> Array:
        """Zeros of the shape, type and device of ``a``."""
        return self.library.zeros(a.shape, dtype=a.dtype)

    def clear(self, a: Array) -> Array:
        """Zeros in the place of ``a``."""
        return self.zeros_like(a)

    @abstractmethod
    def copy(self, a: Array) -> Array:
        """A copy that shares no memory with ``a``."""

    def ones(self, shape: Sequence[int]) -> Array:
        """Ones in the backend's real type."""
        return self.zeros(shape) + 1

    def complex(self, re: Array, im: Array) -> Array:
        """``re + i im``."""
        return re + 1j * im

    def is_complex(self, a: Array) -> bool:
        """Whether ``a`` is of complex type."""
        return bool(a.dtype.kind == "c")

    # -- elementwise --------------------------------------------------------------------------------------------------
    def abs(self, a: Array) -> Array:
        return self.library.abs(a)

    def exp(self, a: Array) -> Array:
        return self.library.exp(a)

    def log(self, a: Array) -> Array:
        return self.library.log(a)

    def sqrt(self, a: Array) -> Array:
        return self.library.sqrt(a)

    def sin(self, a: Array) -> Array:
        return self.library.sin(a)

    def cos(self, a: Array) -> Array:
        return self.library.cos(a)

    def real(self, a: Array) -> Array:
        return self.library.real(a)

    def imag(self, a: Array) -> Array:
        return self.library.imag(a)

    def conj(self, a: Array) -> Array:
        return self.library.conj(a)

    def angle(self, a: Array) -> Array:
        return self.library.angle(a)

    def square(self, a: Array) -> Array:
        return self.library.square(a)

    def isfinite(self, a: Array) -> Array:
        return self.library.isfinite(a)

    def floor(self, a: Array) -> Array:
        """The integer part of ``a``, of its type, as a constant."""
        return self.library.floor(self.stop_gradient(a))

    def rint(self, a: Array) -> Array:
        """The nearest whole numbers, halves to the even one, of the type of ``a``, as constants."""
        return self.library.round(self.stop_gradient(a))

    def as_index(self, a: Array) -> Array:
        """``a``, whole numbers of any type, as integers that `take` accepts."""
        return self.stop_gradient(a).astype(np.int64)

    def abs2(self, a: Array) -> Array:
        """``|a|^2`` as a real array, with a gradient that is finite at zero."""
        return self.square(self.real(a)) + self.square(self.imag(a)) if self.is_complex(a) else self.square(a)

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        return self.library.where(condition, a, b)

    def maximum(self, a: Array, b: Array | float) -> Array:
        return self.library.maximum(a, b)

    def minimum(self, a: Array, b: Array | float) -> Array:
        return self.library.minimum(a, b)

    def clip(self, a: Array, low: float | None, high: float | None) -> Array:
        return self.library.clip(a, -np.inf if low is None else low, np.inf if high is None else high)

    # -- reductions -------------------------------------------------------------------------------------------------
    def sum(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return self.library.sum(a, axis=axis, keepdims=keepdims)

    def mean(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return self.library.mean(a, axis=axis, keepdims=keepdims)

    def max(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return self.library.amax(a, axis=axis, keepdims=keepdims)

    def min(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return self.library.amin(a, axis=axis, keepdims=keepdims)

    # -- shapes -----------------------------------------------------------------------------------------------------
    def reshape(self, a: Array, shape: Sequence[int]) -> Array:
        return self.library.reshape(a, tuple(shape))

    def permute_dims(self, a: Array, axes: Sequence[int]) -> Array:
        return self.library.moveaxis(a, tuple(axes), tuple(range(len(axes))))

    def stack(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return self.library.stack(list(arrays), axis=axis)

    @abstractmethod
    def unstack(self, a: Array, axis: int = 0) -> tuple[Array, ...]:
        """Slices of ``a`` along ``axis``, each contiguous; the gradient of all of them costs one pass over ``a``."""

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return self.library.concatenate(list(arrays), axis=axis)

    def broadcast_to(self, a: Array, shape: Sequence[int]) -> Array:
        return self.library.broadcast_to(a, tuple(shape))

    @abstractmethod
    def take(self, a: Array, index: Any, axis: int = 0) -> Array: ...

    def roll(self, a: Array, shift: int | tuple[int, ...], axis: int | tuple[int, ...]) -> Array:
        return self.library.roll(a, shift, axis)

    @abstractmethod
    def pad(self, a: Array, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
        """``a`` with ``widths[i] = (before, after)`` constant elements added along axis ``i``."""

    # -- linear algebra and Fourier transforms, zero frequency at the corner -------------------------------------------
    def matmul(self, a: Array, b: Array) -> Array:
        return self.library.matmul(a, b)

    def einsum(self, subscripts: str, *operands: Array) -> Array:
        return self.library.einsum(subscripts, *operands)

    def fft(self, a: Array, axis: int = -1, norm: str = "ortho") -> Array:
        return self.library.fft.fft(a, None, axis, norm)

    def ifft(self, a: Array, axis: int = -1, norm: str = "ortho") -> Array:
        return self.library.fft.ifft(a, None, axis, norm)

    def fft2(self, a: Array, norm: str = "ortho") -> Array:
        """Discrete Fourier transform over the last two axes."""
        return self.fftn(a, (-2, -1), norm)

    def ifft2(self, a: Array, norm: str = "ortho") -> Array:
        """Inverse of `fft2`."""
        return self.ifftn(a, (-2, -1), norm)

    def fftn(self, a: Array, axes: tuple[int, ...], norm: str = "ortho") -> Array:
        """Discrete Fourier transform over ``axes``."""
        return self.library.fft.fftn(a, None, axes, norm)

    def ifftn(self, a: Array, axes: tuple[int, ...], norm: str = "ortho") -> Array:
        """Inverse of `fftn`."""
        return self.library.fft.ifftn(a, None, axes, norm)

    # -- rows and windows (not differentiated: their adjoints are each other) -----------------------------------------
    @abstractmethod
    def put_rows(self, a: Array, index: np.ndarray | slice, rows: Array) -> Array:
        """``a`` with ``a[index] = rows``."""

    def add_rows(self, a: Array, place: Any, rows: Array) -> Array:
        """``a`` with each of ``rows`` added to the row of its number in ``place``, where several may be the same."""
        total = np.require(self.to_numpy(a), requirements="W")
        np.add.at(total, np.asarray(place), self.to_numpy(rows))
        return self.asarray(total, exact=True)

    def sum_rows(self, rows: Array, place: Any, n: int) -> Array:
        """``(n, ...)`` sums of those of ``rows`` that have the same number in ``place``."""
        given = self.to_numpy(rows)
        total = np.zeros((n, *given.shape[1:]), given.dtype)
        np.add.at(total, place, given)
        return self.asarray(total, exact=True)

    @abstractmethod
    def gather_windows(self, a: Array, corners: np.ndarray, window: tuple[int, int]) -> Array:
        """``(n, wy, wx, ...)`` copies of ``a`` ``(y, x, ...)`` with corners ``(n, 2)`` int64."""

    @abstractmethod
    def scatter_windows(self, a: Array, corners: np.ndarray, windows: Array) -> Array:
        """``a`` with ``windows`` ``(n or 1, wy, wx, ...)`` added: the adjoint of `gather_windows`."""

    def solve(self, a: Array, b: Array) -> Array:
        """``x`` of ``a x = b`` for matrices ``a`` ``(..., k, k)`` that can be inverted; not differentiated."""
        return self.library.linalg.solve(a, b)

    def scalar(self, a: Array) -> Array:
        """A single number for the host's arithmetic: a float, or on a device ``a`` itself, which nothing waits for."""
        return float(a)

    @property
    def exchange_device(self) -> tuple[str | None, str | None]:
        """Device whose arrays may go from rank to rank without the host, and its name, for `adorym.comm.connect`."""
        return None, None

    def wait(self) -> None:  # noqa: B027 - the host is never ahead of itself
        """Return when a device has done all that it was told."""

    # -- gradients --------------------------------------------------------------------------------------------------
    @abstractmethod
    def value_and_grad(self, f: Callable[[Tree], tuple[Array, Any]]) -> Callable[[Tree], tuple[Any, Any, Tree]]:
        """``tree -> (value, aux, gradient tree)`` of ``f``, which returns ``(real scalar, aux)``.

        The value is what `scalar` makes of it. The gradient of an entry that ``f`` does not use is zero.
        """

    @abstractmethod
    def jvp(self, f: Callable[[Tree], Array], tree: Tree, tangent: Tree) -> tuple[Array, Array]:
        """``(f(tree), J t)``: the real array ``f`` returns, and its change along ``tangent``, constants both."""

    def vjp(self, f: Callable[[Tree], Array], tree: Tree, cotangent: Array) -> Tree:
        """``J^T c`` for a real array that ``f`` returns and a ``cotangent`` of its shape, as gradients are."""
        return self.value_and_grad(lambda t: (self.sum(f(t) * cotangent), None))(tree)[2]

    @abstractmethod
    def stop_gradient(self, a: Array) -> Array:
        """``a`` as a constant."""

    @abstractmethod
    def fused(self, core: FusedCore, *arrays: Array) -> tuple[Array, Any]:
        """``(value, aux)`` of a NumPy-level operation that brings its own adjoints.

        Args:
            core: Called with the arrays as NumPy arrays; returns ``(value, gradients, aux)``, the gradients in the
                convention ``dL/dRe + i dL/dIm``, one an array (``None`` for no gradient).
            arrays: Differentiable inputs.
        """

    @abstractmethod
    def checkpoint(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """``f(*arrays)``, of which only the inputs are kept for the gradient: ``f`` is computed again on the way back.

        ``f`` must be pure, and everything it is differentiated by must be among its arguments.
        """

    @abstractmethod
    def host_operation(self, operation: HostOperation, *arrays: Array) -> Array:
        """The array that a NumPy-level operation with its own adjoint computes, as a node of the graph."""

    @property
    def workers(self) -> int:
        """Threads among which a core of `fused` shares its work out."""
        return self._threads or 1
