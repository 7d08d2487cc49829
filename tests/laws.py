"""Laws that components obey, as checkers that any test may call: those of `adorym.testing`, and two more."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


# -- masked pixels -----------------------------------------------------------------------------------------------------
def assert_mask_law(everything: Callable[[np.ndarray], Mapping[str, np.ndarray]], counts: np.ndarray, mask: np.ndarray):
    """What stands in masked pixels changes nothing, not the last digit.

    Args:
        everything: From counts ``(n, y, x)`` to all that a run makes of them, by name.
        counts: As measured.
        mask: ``(y, x)`` or ``(n, y, x)`` bool, True where a pixel is good.
    """
    good = np.broadcast_to(mask, counts.shape)
    assert 0 < good.sum() < good.size, "the law needs masked and valid pixels"
    junk = np.resize([1e7, np.nan, -1.0, np.inf, 0.0], counts.shape)
    clean, dirty = everything(np.where(good, counts, 0)), everything(np.where(good, counts, junk))
    assert clean.keys() == dirty.keys() and clean
    for name, array in clean.items():
        np.testing.assert_array_equal(dirty[name], array, err_msg=name)


# -- curvatures --------------------------------------------------------------------------------------------------------
def assert_bound(
    slope: Callable[[np.ndarray], np.ndarray], curvature: np.ndarray, tight: np.ndarray, loosest: float, rtol: float
) -> None:
    """``diag(curvature) >= J^T J``, and not by more than it may be along one direction.

    Args:
        slope: ``v -> J v``: change of what the loss squares, weights included, along ``v``, of the curvature's shape.
        curvature: One value an unknown; real.
        tight: Direction along which the curvature is at most ``1 / loosest`` too large.
        loosest: 1 where the curvature is exact along it.
        rtol: Relative error of the finite differences, or of what the bound leaves out.
    """
    rng, shape = np.random.default_rng(13), curvature.shape
    single = [np.zeros(shape, tight.dtype) for _ in range(8)]
    for each in single:
        each[tuple(int(rng.integers(n)) for n in shape)] = (
            (1, 1j)[int(rng.integers(2))] if tight.dtype.kind == "c" else 1
        )
    wide = [noise(rng, shape, tight.dtype.kind == "c") for _ in range(4)]
    parts = [tight * noise(rng, shape) for _ in range(2)]
    for i, direction in enumerate((tight, *wide, *parts, *single)):
        exact, bound = float(np.sum(slope(direction) ** 2)), float(np.sum(curvature * np.abs(direction) ** 2))
        least = loosest * bound if i == 0 else 0.0
        slack = rtol * max(bound, 1e-9 * float(curvature.max()))
        assert least - slack <= exact <= bound + slack, f"direction {i}: exactly {exact!r}, by the curvature {bound!r}"
