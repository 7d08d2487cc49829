"""Laws that components obey, as checkers that any test may call. A checker raises `AssertionError`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from adorym.engine.loop import Reconstruction
from adorym.wrapper.base import Backend, Tree

# Fourth-order central difference: coefficient of f(x + k h d), times 1 / h.
STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}


def inner(a: np.ndarray, b: np.ndarray) -> float:
    """Real inner product ``Re sum conj(a) b``: of arrays as vectors of real and imaginary parts."""
    return float(np.sum(np.conj(a) * b).real)


def noise(rng: np.random.Generator, shape: tuple[int, ...], complex_values: bool = False) -> np.ndarray:
    """Normal deviates."""
    a = rng.standard_normal(shape)
    return a + 1j * rng.standard_normal(shape) if complex_values else a


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation as a fraction of the largest expected magnitude."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"shape {found.shape}, expected {expected.shape}"
    scale = np.abs(expected).max(initial=0.0)
    worst = np.abs(found - expected).max(initial=0.0)
    return float(worst / scale) if scale > 0 else float(worst)


# -- adjoints ----------------------------------------------------------------------------------------------------------
def assert_adjoint(
    forward: Callable[[np.ndarray], np.ndarray],
    adjoint: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    rtol: float,
) -> None:
    """``<y, A x> = <A* y, x>`` for the linear operator ``forward`` and its ``adjoint``."""
    there, back = forward(x), adjoint(y)
    assert there.shape == y.shape and back.shape == x.shape
    left, right = inner(y, there), inner(back, x)
    size = float(np.linalg.norm(y) * np.linalg.norm(there))
    assert size > 0, "the dot test needs an operator that does something"
    assert abs(left - right) <= rtol * size, f"<y, Ax> = {left!r}, <A*y, x> = {right!r}"


# -- gradients ---------------------------------------------------------------------------------------------------------
def derivative_along(f: Callable[[np.ndarray], float], x: np.ndarray, direction: np.ndarray, step: float) -> float:
    """Derivative of ``f(x + t direction)`` at t = 0 by finite differences."""
    return sum(c * f(x + k * step * direction) for k, c in STENCIL.items()) / step


def numeric_gradient(f: Callable[[np.ndarray], float], x: np.ndarray, step: float) -> np.ndarray:
    """``dL/dRe + i dL/dIm`` (or the real gradient) of the real function ``f``, element by element."""
    gradient = np.zeros(x.shape, np.complex128 if np.iscomplexobj(x) else np.float64)
    for index in np.ndindex(x.shape):
        for part in (1, 1j) if np.iscomplexobj(x) else (1,):
            direction = np.zeros(x.shape, gradient.dtype)
            direction[index] = part
            gradient[index] += part * derivative_along(f, x, direction, step)
    return gradient


def assert_gradients(
    xp: Backend,
    f: Callable[[Tree], tuple[Any, Any]],
    tree: Mapping[str, np.ndarray],
    scales: Mapping[str, float] | None = None,
    rtol: float = 1e-6,
) -> None:
    """The backend's gradient of every entry of ``tree`` equals finite differences along random directions.

    Args:
        xp: A backend in double precision.
        f: ``tree -> (real scalar, anything)``; must depend on every entry.
        tree: Where to differentiate.
        scales: Change of an entry that bends ``f`` noticeably; 1 if absent.
        rtol: Error allowed, as a part of the gradient's root mean square.
    """
    rng, call = np.random.default_rng(11), xp.value_and_grad(f)
    arrays = {name: np.array(xp.to_numpy(a)) for name, a in tree.items()}

    def value(name: str, a: np.ndarray) -> float:
        return call({n: xp.asarray(a if n == name else b) for n, b in arrays.items()})[0]

    gradients = call({name: xp.asarray(a) for name, a in arrays.items()})[2]
    assert gradients.keys() == arrays.keys()
    for name, a in arrays.items():
        g = xp.to_numpy(gradients[name])
        assert g.shape == a.shape and np.iscomplexobj(g) == np.iscomplexobj(a), name
        direction = noise(rng, a.shape, np.iscomplexobj(a))
        numeric = derivative_along(lambda x, n=name: value(n, x), a, direction, 1e-3 * (scales or {}).get(name, 1.0))
        size = float(np.linalg.norm(g))
        assert size > 0, f"{name}: the gradient is zero"
        assert abs(numeric - inner(g, direction)) <= rtol * size, (
            f"{name}: {inner(g, direction)!r}, numeric {numeric!r}"
        )


# -- proximal operators ------------------------------------------------------------------------------------------------
def assert_proximal(xp: Backend, term: Any, start: np.ndarray, step: float, tries: int = 400) -> None:
    """``term.prox`` is the minimum of ``|u - start|^2 / 2 + step term.value(u)``: found by trying.

    Steps of many sizes along random directions, towards the start, towards rest, and one element at a time, must not
    lead downhill.
    """
    rng, shape = np.random.default_rng(12), start.shape

    def cost(u: np.ndarray) -> float:
        distance = float(np.sum(np.abs(u - start) ** 2)) / 2
        return distance + step * float(term.value(xp, xp.asarray(u)))

    found = np.array(xp.to_numpy(term.prox(xp, xp.asarray(start.copy()), step)))
    assert found.shape == shape and found.dtype == start.dtype
    least = cost(found)
    assert least < cost(start) and relative_error(found, start) > 1e-3
    for i in range(tries):
        direction = noise(rng, shape, np.iscomplexobj(start))
        if i % 2:
            direction = direction * (rng.random(shape) < 1.5 / start.size)
        elif i % 10 == 0:
            direction = (start, np.zeros(shape), np.full(shape, start.mean()))[i // 10 % 3] - found
        trial = found + 10.0 ** rng.uniform(-3, 0) * direction
        assert cost(trial) >= least - 1e-5 * abs(least), f"a lower point was found after {i} tries"


# -- projections -------------------------------------------------------------------------------------------------------
def assert_idempotent(project: Callable[[np.ndarray], np.ndarray], x: np.ndarray, rtol: float) -> None:
    """``P(P(x)) = P(x)``, shape and type kept."""
    once = np.array(project(x.copy()))
    assert once.shape == x.shape and once.dtype == x.dtype
    assert relative_error(project(once.copy()), once) <= rtol


# -- runs --------------------------------------------------------------------------------------------------------------
def arrays_of(reconstruction: Reconstruction) -> dict[str, np.ndarray]:
    """Everything that a run has changed, the time it took excepted."""
    problem, progress = reconstruction.problem, reconstruction.progress
    arrays = {"object": problem.store.values()}
    arrays |= {f"object.state_{i}": a for i, a in enumerate(problem.store.state())}
    for name, value in problem.values.items():
        arrays[name] = np.array(problem.xp.to_numpy(value.array))
        arrays |= {f"{name}.state_{i}": np.array(problem.xp.to_numpy(a)) for i, a in enumerate(value.state)}
    arrays["loss"] = np.array(progress.history["loss"])
    arrays["progress"] = np.array([progress.epoch, progress.batch, progress.partial_loss])
    return arrays


def assert_same_state(a: Reconstruction, b: Reconstruction) -> None:
    """Two runs stand at the same point, bit for bit, random numbers included."""
    left, right = arrays_of(a), arrays_of(b)
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
        assert array.dtype == right[name].dtype, name
    assert a.progress.epoch_rng == b.progress.epoch_rng


def assert_same_trajectory(runs: Iterable[Reconstruction], rtol: float) -> None:
    """Runs have seen the same losses and end with the same object and parameters, up to rounding."""
    first, *others = (arrays_of(run) for run in runs)
    assert len(first["loss"]) and others
    for other in others:
        for name, array in first.items():
            if ".state_" not in name:
                error = relative_error(other[name], array)
                assert error <= rtol, f"{name}: relative error {error:.2e}"


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
