"""Laws that components obey, for tests of one's own: checkers, and contracts to derive a test class from.

A checker raises `AssertionError`. A contract is a class whose methods pytest finds in a subclass that names what is to
be tested::

    class TestMyModel(adorym.testing.ForwardModelContract):
        model = MyModel()
        dataset = adorym.open_dataset("small.h5")

pytest itself is not needed to import this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from adorym.constraints.base import Constraint
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.open import open_dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.extension import check_returned
from adorym.forward.base import ForwardModel
from adorym.losses.base import Loss
from adorym.losses.counting import LeastSquares
from adorym.optimizers.base import Gradient, Optimizer
from adorym.parameters import ParameterSettings
from adorym.regularizers.base import ProximalRegularizer, Regularizer
from adorym.wrapper import BACKENDS, get_backend
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
        point = {n: xp.asarray(a if n == name else b) for n, b in arrays.items()}
        return xp.value_and_grad(lambda nothing: f(point))({})[0]

    gradients = call({name: xp.asarray(a) for name, a in arrays.items()})[2]
    assert gradients.keys() == arrays.keys()
    for name, a in arrays.items():
        g = xp.to_numpy(gradients[name])
        assert g.shape == a.shape and np.iscomplexobj(g) == np.iscomplexobj(a), name
        direction = noise(rng, a.shape, np.iscomplexobj(a))
        numeric = derivative_along(partial(value, name), a, direction, 1e-3 * (scales or {}).get(name, 1.0))
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
    arrays["progress"] = np.array([progress.epoch, progress.batch, float(progress.partial_loss)])
    return arrays


def assert_same_trajectory(runs: Iterable[Reconstruction], rtol: float) -> None:
    """Runs have seen the same losses and end with the same object and parameters, up to rounding."""
    first, *others = (arrays_of(run) for run in runs)
    assert len(first["loss"]) and others
    for other in others:
        for name, array in first.items():
            if ".state_" not in name:
                error = relative_error(other[name], array)
                assert error <= rtol, f"{name}: relative error {error:.2e}"


# -- contracts ---------------------------------------------------------------------------------------------------------
def backends() -> list[Backend]:
    """Every backend of the package, on the CPU in double precision."""
    return [get_backend(name, device="cpu", precision="double") for name in BACKENDS]


class ForwardModelContract:
    """Laws of a forward model.

    Attributes:
        model: The model.
        dataset: A few small patterns that it can describe.
        parameters: Settings of its parameters; a test of one that is not refined by default names it here.
        scales: Change of a parameter that bends the loss noticeably; 1, and 5 % of complex arrays, if absent.
        rtol: Error allowed for gradients.
    """

    model: ClassVar[ForwardModel]
    dataset: ClassVar[Dataset]
    parameters: ClassVar[Mapping[str, ParameterSettings]] = {}
    scales: ClassVar[Mapping[str, float]] = {}
    rtol: ClassVar[float] = 1e-6

    def _inputs(self, backend: str, dataset: Dataset, patterns: Sequence[int]) -> tuple[Backend, dict[str, Any], Any]:
        """``(backend, object and parameters near their start, batch)``."""
        recipe, run = Recipe(self.model, self.parameters, LeastSquares()), {"precision": "double", "device": "cpu"}
        problem = Reconstruction(dataset, recipe, RunSettings(backend=backend, **run)).problem  # type: ignore[arg-type]
        xp, rng = problem.xp, np.random.default_rng(5)
        problem.store.restore(self._near("object", problem.store.values(), rng), problem.store.state())
        for name, value in problem.values.items():
            value.array = xp.asarray(self._near(name, xp.to_numpy(value.array), rng), exact=True)
        obj, params, batch = problem.inputs(np.asarray(patterns))
        return xp, {"object": obj, **params}, batch

    def _near(self, name: str, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``value``, a little changed: at the start, many gradients vanish."""
        complex_values = np.iscomplexobj(value)
        size = float(np.abs(value).max()) if complex_values else self.scales.get(name, 1.0)
        return (value + 0.05 * size * noise(rng, value.shape, complex_values)).astype(value.dtype)

    def _predict(self, xp: Backend, tree: Mapping[str, Any], batch: Any) -> Any:
        params = dict(tree)
        return self.model.predict(xp, params.pop("object"), params, batch)

    def _loss(self, xp: Backend, batch: Any, tree: Mapping[str, Any]) -> tuple[Any, None]:
        predicted = self._predict(xp, tree, batch)
        return LeastSquares().value(xp, predicted, batch.target, batch.mask, batch.floor), None

    def test_prediction_has_the_shape_of_the_patterns_and_is_real_and_finite(self) -> None:
        for backend in BACKENDS:
            xp, tree, batch = self._inputs(backend, self.dataset, (0, 1))
            predicted = self._predict(xp, tree, batch)
            check_returned(xp, predicted, (2, *self.dataset.window_px), self.model, "predict", real=True, finite=True)
            assert float(xp.min(predicted)) >= 0

    def test_gradients_are_those_of_finite_differences(self) -> None:
        for backend in BACKENDS:
            xp, tree, batch = self._inputs(backend, self.dataset, (0, 1))
            assert_gradients(xp, partial(self._loss, xp, batch), tree, self.scales, self.rtol)

    def test_patterns_do_not_depend_on_their_batch(self) -> None:
        xp, tree, batch = self._inputs("autograd", self.dataset, (0, 1))
        together = xp.to_numpy(self._predict(xp, tree, batch))
        for i in (0, 1):
            xp, tree, batch = self._inputs("autograd", self.dataset, (i,))
            assert relative_error(xp.to_numpy(self._predict(xp, tree, batch))[0], together[i]) < 1e-9

    def test_backends_agree(self) -> None:
        found = []
        for backend in BACKENDS:
            xp, tree, batch = self._inputs(backend, self.dataset, (0, 1))
            found.append(xp.to_numpy(self._predict(xp, tree, batch)))
        assert all(relative_error(each, found[0]) < 1e-9 for each in found)

    def test_masked_pixels_change_nothing(self) -> None:
        counts = self.dataset.patterns.read(np.arange(self.dataset.n_patterns))
        mask, losses = np.random.default_rng(3).random(self.dataset.window_px) < 0.9, []
        _, tree, _ = self._inputs("autograd", self.dataset, (0, 1))
        for factor in (1, 50):
            changed = replace(self.dataset, patterns=ArrayPatterns(np.where(mask, counts, factor * counts)), mask=mask)
            xp, _, batch = self._inputs("autograd", changed, (0, 1))
            losses.append(float(self._loss(xp, batch, tree)[0]))
        assert losses[0] == losses[1]


class LossContract:
    """Laws of a loss, `loss`."""

    loss: ClassVar[Loss]

    def _value(self, xp: Backend, intensity: np.ndarray, counts: np.ndarray, mask: np.ndarray | None = None) -> float:
        target = xp.asarray(self.loss.target(counts, 0.01))
        mask = None if mask is None else xp.asarray(mask)
        return float(self.loss.value(xp, xp.asarray(intensity), target, mask, 0.01))

    def _of_tree(self, xp: Backend, target: Any, tree: Mapping[str, Any]) -> tuple[Any, None]:
        return self.loss.value(xp, tree["i"], target, None, 0.01), None

    def test_is_a_sum_over_pixels_with_a_gradient_and_a_minimum_at_the_measurement(self) -> None:
        rng = np.random.default_rng(4)
        counts, intensity = rng.poisson(3.0, (5, 6, 8)).astype(float), rng.uniform(0.1, 8, (5, 6, 8))
        mask = (rng.random(counts.shape) < 0.7).astype(float)
        for xp in backends():
            whole = self._value(xp, intensity, counts)
            parts = [self._value(xp, intensity[p], counts[p]) for p in (slice(0, 2), slice(2, 5))]
            seen = self._value(xp, intensity[mask > 0], counts[mask > 0])
            assert abs(sum(parts) - whole) < 1e-9 * abs(whole), "not a sum over patterns"
            assert abs(self._value(xp, intensity, counts, mask) - seen) < 1e-9 * abs(whole), "masked pixels count"
            assert abs(self._value(xp, counts, counts)) < 1e-6 * abs(whole), "not 0 at a perfect fit"
            target = xp.asarray(self.loss.target(counts, 0.01))
            assert_gradients(xp, partial(self._of_tree, xp, target), {"i": intensity}, {"i": 0.01})


class RegularizerContract:
    """Laws of a regularizer: ``regularizer``, and ``array``, a deviation that it takes.

    ``sharp`` is the same term without rounding near zero, for the law of its proximal operator, if it has one.
    """

    regularizer: ClassVar[Regularizer]
    sharp: ClassVar[ProximalRegularizer | None] = None
    array: ClassVar[np.ndarray] = 0.2 * noise(np.random.default_rng(9), (12, 14), True)

    def _of_tree(self, xp: Backend, tree: Mapping[str, Any]) -> tuple[Any, None]:
        return self.regularizer.value(xp, tree["a"]), None

    def test_gradient_curvature_tiles_and_proximal_operator(self) -> None:
        term, a, rng = self.regularizer, self.array, np.random.default_rng(1)
        for xp in backends():
            value = partial(self._of_tree, xp)
            assert_gradients(xp, value, {"a": a}, {"a": 0.1})
            whole, _, gradient = xp.value_and_grad(value)({"a": xp.asarray(a)})
            h = xp.to_numpy(term.curvature(xp, xp.asarray(a)))
            assert h.shape == a.shape and h.dtype == np.float64 and (h >= 0).all()
            d = 1e-2 * noise(rng, a.shape, np.iscomplexobj(a))
            above = whole + inner(xp.to_numpy(gradient["a"]), d) + 0.5 * float(np.sum(h * np.abs(d) ** 2))
            assert float(term.value(xp, xp.asarray(a + d))) <= above + 1e-9 * abs(whole), "a step would overshoot"
            if term.halo_px is not None:
                cut = len(a) // 2
                parts = [float(term.value(xp, xp.asarray(t))) for t in (a[: cut + term.halo_px], a[cut:])]
                assert abs(sum(parts) - whole) < 1e-9 * abs(whole), "tiles do not add up to the whole"
            if self.sharp is not None:
                assert_proximal(xp, self.sharp, a, 0.5)


class ConstraintContract:
    """Laws of a constraint: `constraint`, and ``array``, which does not fulfil it."""

    constraint: ClassVar[Constraint]
    array: ClassVar[np.ndarray] = 1 + noise(np.random.default_rng(9), (12, 14), True)

    def _project(self, xp: Backend, a: np.ndarray) -> np.ndarray:
        return xp.to_numpy(self.constraint.project(xp, xp.asarray(a)))

    def test_is_a_projection(self) -> None:
        for xp in backends():
            project = partial(self._project, xp)
            assert_idempotent(project, self.array, 1e-6)
            assert relative_error(project(self.array.copy()), self.array) > 0, "it does nothing"


class OptimizerContract:
    """Laws of an optimizer, `optimizer`."""

    optimizer: ClassVar[Optimizer]

    def _steps(self, xp: Backend, start: np.ndarray, h: np.ndarray, steps: int) -> np.ndarray:
        value, largest = xp.asarray(start.copy()), float(h.max())
        state = self.optimizer.init(xp, value)
        for _ in range(steps):
            gradient = xp.asarray(h * np.array(xp.to_numpy(value)))
            found = Gradient(gradient, xp.asarray(h) if self.optimizer.needs_curvature else None, largest)
            value, state = self.optimizer.step(xp, value, found, state, self.optimizer.rate(""))
        return np.array(xp.to_numpy(value))

    def test_goes_downhill_rests_at_the_minimum_and_takes_rows_one_by_one(self) -> None:
        rng = np.random.default_rng(2)
        start, h = noise(rng, (4, 6), True), np.ones((4, 6))
        for xp in backends():
            loss = [float(np.sum(np.abs(self._steps(xp, start, h, n)) ** 2)) for n in (0, 5)]
            assert loss[1] < loss[0], "the loss of a quadratic does not fall"
            assert not self._steps(xp, 0 * start, h, 3).any(), "it moves where there is no gradient"
            if self.optimizer.by_rows:
                rows = [self._steps(xp, start[part], h[part], 5) for part in (slice(0, 1), slice(1, 4))]
                assert relative_error(np.concatenate(rows), self._steps(xp, start, h, 5)) < 1e-9, "rows depend"


class BackendContract:
    """Laws of a backend: ``backend``, in double precision."""

    backend: ClassVar[Backend]

    def test_arrays_transforms_windows_and_gradients(self) -> None:
        xp, rng = self.backend, np.random.default_rng(1)
        a, b, corners = noise(rng, (3, 6, 8), True), noise(rng, (3, 6, 8), True), np.array([[0, 1], [2, 3], [1, 1]])
        assert relative_error(xp.to_numpy(xp.fft2(xp.asarray(a))), np.fft.fft2(a, norm="ortho")) < 1e-12
        assert relative_error(xp.to_numpy(xp.ifft2(xp.fft2(xp.asarray(a)))), a) < 1e-12
        assert relative_error(xp.to_numpy(xp.abs2(xp.asarray(a))), np.abs(a) ** 2) < 1e-12
        assert_gradients(xp, lambda t: (xp.sum(xp.sqrt(1 + xp.abs2(xp.fft2(t["a"] * t["b"])))), None), {"a": a, "b": b})
        windows = xp.gather_windows(xp.asarray(a[0]), corners, (4, 5))
        assert relative_error(xp.to_numpy(windows)[1], a[0, 2:6, 3:8]) == 0
        assert xp.is_complex(windows) and not xp.is_complex(xp.abs(windows))


class ReaderContract:
    """Laws of a reader: ``path``, a file that it reads, and ``reader``, its name or ``path/to/file.py:ClassName``."""

    reader: ClassVar[str]
    path: ClassVar[str | Path]

    def test_patterns_are_read_by_number_and_overrides_win(self) -> None:
        dataset = open_dataset(self.path, {"format": self.reader})
        n = dataset.n_patterns
        every = dataset.patterns.read(np.arange(n))
        assert every.dtype == np.float32 and every.shape == (n, *dataset.window_px)
        assert np.array_equal(dataset.patterns.read(np.array([n - 1, 0])), every[[n - 1, 0]])
        chosen = open_dataset(self.path, {"format": self.reader, "frames": (0,), "energy": 1234.0})
        assert np.array_equal(chosen.patterns.read(np.array([0])), every[:1]) and chosen.energy_ev == 1234.0
