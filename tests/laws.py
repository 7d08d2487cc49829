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
    jacobian: np.ndarray, curvature: np.ndarray, tight: np.ndarray | None, loosest: float = 1.0, rtol=1e-6
):
    """``diag(curvature) >= J^T J``, and not by more than it may be.

    Args:
        jacobian: ``(pixels, unknowns)`` slopes of what the loss squares, weights included.
        curvature: ``(unknowns,)``.
        tight: ``(unknowns,)`` direction along which the two agree, up to ``rtol``; ``None`` if there is none.
        loosest: The largest eigenvalue of ``J^T J`` relative to the curvature is at least this.
        rtol: Relative error of the finite differences, or of what the bound leaves out.
    """
    assert jacobian.shape[1] == len(curvature) and (curvature >= 0).all()
    seen = curvature > 0
    assert np.abs(jacobian[:, ~seen]).max(initial=0.0) <= rtol * np.abs(jacobian).max(), "no curvature where it matters"
    scaled = jacobian[:, seen] / np.sqrt(curvature[seen])
    largest = float(np.linalg.norm(scaled, 2)) ** 2
    assert loosest - rtol <= largest <= 1 + rtol, f"largest eigenvalue {largest!r} of the curvature's, at most 1"
    if tight is not None:
        exact, found = float(np.sum((jacobian @ tight) ** 2)), float(np.sum(curvature * tight**2))
        assert abs(found - exact) <= rtol * exact, f"along the tight direction {found!r}, exactly {exact!r}"
