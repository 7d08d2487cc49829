"""One interface over the automatic-differentiation engines.

A `Backend` is passed as the argument ``xp`` to everything that computes. It offers about forty array functions under
their Array API names, orthonormal FFTs, and `value_and_grad`. Rules that every backend keeps:

* arrays are real (``float_dtype``) or complex (``complex_dtype``), 32/64 bit in ``precision="single"`` and 64/128 bit
  in ``"double"``;
* the gradient of a real loss by a complex array is ``dL/dRe + i dL/dIm``, the direction of steepest ascent;
* a *fused operation* has one NumPy-level core that returns a value together with its adjoints (`fused`), so that the
  hot path is written once by hand and serves every backend;
* nothing else in the package asks which backend is in use.

Adding a backend is one file that subclasses `Backend` and one line in ``wrapper/__init__.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = Any
Axis = int | tuple[int, ...] | None
Tree = dict[str, Array]
FusedCore = Callable[..., tuple[float, tuple[Any, ...], Any]]


class HostOperation(ABC):
    """An operation on NumPy arrays that brings its own adjoint, written once for all backends."""

    @abstractmethod
    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        """The result, a new array."""

    @abstractmethod
    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        """Gradients by the ``wanted`` arrays, ``None`` for the others, from that by the result.

        All in the convention ``dL/dRe + i dL/dIm``, each of the shape and type of its array.
        """


class Backend(ABC):
    """Array functions and gradients of one automatic-differentiation engine.

    Attributes:
        name: Registered name.
        device: Where arrays live, such as ``"cpu"`` or ``"cuda:0"``.
        precision: ``"single"`` or ``"double"``.
        library: The module that has the elementwise functions under their usual names.
        on_host: Whether arrays share memory with NumPy, so that fused operations with a NumPy-level core apply.
    """

    name: str
    device: str
    library: Any
    on_host: bool

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.float_dtype = np.dtype("float32" if precision == "single" else "float64")
        self.complex_dtype = np.dtype("complex64" if precision == "single" else "complex128")

    # -- making and leaving arrays ----------------------------------------------------------------------------------
    @abstractmethod
    def asarray(self, a: Any, *, exact: bool = False) -> Array:
        """``a`` on the device in the backend's precision; ``exact`` keeps the data type it has.

        Integers keep their type. Memory may be shared with ``a``.
        """

    @abstractmethod
    def to_numpy(self, a: Array) -> np.ndarray:
        """``a`` as a NumPy array, detached from any gradient; memory may be shared."""

    @abstractmethod
    def zeros(self, shape: Sequence[int], *, complex_values: bool = False) -> Array:
        """Zeros in the backend's real or complex type."""

    @abstractmethod
    def zeros_like(self, a: Array) -> Array:
        """Zeros of the shape, type and device of ``a``."""

    @abstractmethod
    def clear(self, a: Array) -> None:
        """Set every element of ``a`` to zero, in place."""

    @abstractmethod
    def copy(self, a: Array) -> Array:
        """A copy that shares no memory with ``a``."""

    def ones(self, shape: Sequence[int]) -> Array:
        """Ones in the backend's real type."""
        return self.zeros(shape) + 1

    @abstractmethod
    def complex(self, re: Array, im: Array) -> Array:
        """``re + i im``."""

    @abstractmethod
    def is_complex(self, a: Array) -> bool:
        """Whether ``a`` is of complex type."""

    # -- elementwise (named alike in every library) --------------------------------------------------------------------
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

    @abstractmethod
    def real(self, a: Array) -> Array: ...

    @abstractmethod
    def imag(self, a: Array) -> Array: ...

    def conj(self, a: Array) -> Array:
        return self.library.conj(a)

    def angle(self, a: Array) -> Array:
        return self.library.angle(a)

    def square(self, a: Array) -> Array:
        return self.library.square(a)

    def isfinite(self, a: Array) -> Array:
        return self.library.isfinite(a)

    @abstractmethod
    def abs2(self, a: Array) -> Array:
        """``|a|^2`` as a real array, with a gradient that is finite at zero."""

    @abstractmethod
    def where(self, condition: Array, a: Array, b: Array) -> Array: ...
    @abstractmethod
    def maximum(self, a: Array, b: Array | float) -> Array: ...
    @abstractmethod
    def minimum(self, a: Array, b: Array | float) -> Array: ...
    @abstractmethod
    def clip(self, a: Array, low: float | None, high: float | None) -> Array: ...

    # -- reductions -------------------------------------------------------------------------------------------------
    @abstractmethod
    def sum(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array: ...
    @abstractmethod
    def mean(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array: ...
    @abstractmethod
    def max(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array: ...
    @abstractmethod
    def min(self, a: Array, axis: Axis = None, keepdims: bool = False) -> Array: ...

    # -- shapes -----------------------------------------------------------------------------------------------------
    @abstractmethod
    def reshape(self, a: Array, shape: Sequence[int]) -> Array: ...
    @abstractmethod
    def permute_dims(self, a: Array, axes: Sequence[int]) -> Array: ...
    @abstractmethod
    def stack(self, arrays: Sequence[Array], axis: int = 0) -> Array: ...
    @abstractmethod
    def unstack(self, a: Array, axis: int = 0) -> tuple[Array, ...]:
        """Slices of ``a`` along ``axis``, each contiguous; the gradient of all of them costs one pass over ``a``."""

    @abstractmethod
    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array: ...
    @abstractmethod
    def broadcast_to(self, a: Array, shape: Sequence[int]) -> Array: ...
    @abstractmethod
    def take(self, a: Array, index: Any, axis: int = 0) -> Array: ...
    @abstractmethod
    def roll(self, a: Array, shift: int | tuple[int, ...], axis: int | tuple[int, ...]) -> Array: ...
    @abstractmethod
    def pad(self, a: Array, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
        """``a`` with ``widths[i] = (before, after)`` constant elements added along axis ``i``."""

    # -- linear algebra and Fourier transforms ----------------------------------------------------------------------
    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array: ...
    @abstractmethod
    def einsum(self, subscripts: str, *operands: Array) -> Array: ...
    @abstractmethod
    def fft(self, a: Array, axis: int = -1, norm: str = "ortho") -> Array: ...
    @abstractmethod
    def ifft(self, a: Array, axis: int = -1, norm: str = "ortho") -> Array: ...
    @abstractmethod
    def fft2(self, a: Array, norm: str = "ortho") -> Array:
        """Discrete Fourier transform over the last two axes, zero frequency at the corner."""

    @abstractmethod
    def ifft2(self, a: Array, norm: str = "ortho") -> Array:
        """Inverse of `fft2`."""

    @abstractmethod
    def fftn(self, a: Array, axes: tuple[int, ...], norm: str = "ortho") -> Array:
        """Discrete Fourier transform over ``axes``, zero frequency at the corner."""

    @abstractmethod
    def ifftn(self, a: Array, axes: tuple[int, ...], norm: str = "ortho") -> Array:
        """Inverse of `fftn`."""

    # -- rows and windows (not differentiated: their adjoints are each other) -----------------------------------------
    @abstractmethod
    def put_rows(self, a: Array, index: np.ndarray, rows: Array) -> Array:
        """``a`` with ``a[index] = rows``; may overwrite ``a``."""

    @abstractmethod
    def gather_windows(self, a: Array, corners: np.ndarray, window: tuple[int, int]) -> Array:
        """``(n, wy, wx, ...)`` copies of ``a`` ``(y, x, ...)`` with corners ``(n, 2)`` int64."""

    @abstractmethod
    def scatter_windows(self, a: Array, corners: np.ndarray, windows: Array) -> None:
        """Add ``windows`` ``(n or 1, wy, wx, ...)`` into ``a`` in place: the adjoint of `gather_windows`."""

    # -- gradients --------------------------------------------------------------------------------------------------
    @abstractmethod
    def value_and_grad(self, f: Callable[[Tree], tuple[Array, Any]]) -> Callable[[Tree], tuple[float, Any, Tree]]:
        """``tree -> (value, aux, gradient tree)`` of ``f``, which returns ``(real scalar, aux)``.

        The gradient of an entry that ``f`` does not use is zero.
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

    @abstractmethod
    def host_fft2(self, a: np.ndarray) -> np.ndarray:
        """Unnormalized 2-D transform of a NumPy array by the backend's fastest library, for cores of `fused`."""

    @abstractmethod
    def host_ifft2(self, a: np.ndarray) -> np.ndarray:
        """Inverse of `host_fft2` (carries the factor 1/N)."""
