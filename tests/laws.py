"""Laws that components obey, as checkers that any test may call: those of `adorym.testing`, and two more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adorym.engine.loop import Reconstruction
from adorym.testing import (
    arrays_of,
    assert_adjoint,
    assert_gradients,
    assert_idempotent,
    assert_proximal,
    assert_same_trajectory,
    derivative_along,
    inner,
    noise,
    relative_error,
)

__all__ = [
    "arrays_of",
    "assert_adjoint",
    "assert_gradients",
    "assert_idempotent",
    "assert_proximal",
    "assert_same_state",
    "assert_same_trajectory",
    "derivative_along",
    "inner",
    "noise",
    "numeric_gradient",
    "relative_error",
]


def numeric_gradient(f: Callable[[np.ndarray], float], x: np.ndarray, step: float) -> np.ndarray:
    """``dL/dRe + i dL/dIm`` (or the real gradient) of the real function ``f``, element by element."""
    gradient = np.zeros(x.shape, np.complex128 if np.iscomplexobj(x) else np.float64)
    for index in np.ndindex(x.shape):
        for part in (1, 1j) if np.iscomplexobj(x) else (1,):
            direction = np.zeros(x.shape, gradient.dtype)
            direction[index] = part
            gradient[index] += part * derivative_along(f, x, direction, step)
    return gradient


def assert_same_state(a: Reconstruction, b: Reconstruction) -> None:
    """Two runs stand at the same point, bit for bit, random numbers included."""
    left, right = arrays_of(a), arrays_of(b)
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
        assert array.dtype == right[name].dtype, name
    assert a.progress.epoch_rng == b.progress.epoch_rng
