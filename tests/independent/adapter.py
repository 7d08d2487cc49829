"""All that the independent tests know of the package's insides: building a problem, and asking it for numbers.

Everything comes and goes as NumPy arrays, patterns in the frame of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from cases import ModelCase, insert
from laws import arrays_of
from tiny_scan import Exact

from adorym.data.dataset import Dataset
from adorym.engine.gradients import batch_gradients
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, predict_patterns
from adorym.engine.problem import Problem
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.engine.whole import FullBatchObjective
from adorym.forward.base import ForwardModel, Request
from adorym.losses.base import Loss
from adorym.losses.counting import LeastSquares
from adorym.parameters import ParameterSettings
from adorym.solvers.newton import LevenbergMarquardt

# Step of the differences that stand for slopes of predictions, as a part of an unknown's natural size.
STEP = 1e-4


def ready(
    model: ForwardModel,
    dataset: Dataset,
    settings: Mapping[str, ParameterSettings] | None = None,
    loss: Loss | None = None,
    **run: Any,
) -> Reconstruction:
    """A run in double precision on the CPU, all parameters at their start values."""
    base: dict[str, Any] = {"precision": "double", "backend": "autograd", "device": "cpu"}
    return Reconstruction(dataset, Recipe(model, settings or {}, loss or LeastSquares()), RunSettings(**(base | run)))


def of_case(case: ModelCase, loss: Loss | None = None, dataset: Dataset | None = None, **run: Any) -> Reconstruction:
    """The run of a model case, on other data if given."""
    return ready(case.model, dataset or case.dataset, case.settings, loss, **run)


def all_patterns(problem: Problem) -> np.ndarray:
    return np.arange(problem.dataset.n_patterns)


def prediction(problem: Problem) -> np.ndarray:
    """``(n, y, x)`` predicted counts, as a file holds them."""
    return problem.bound.from_model_frame(problem.xp.to_numpy(predict_patterns(problem, all_patterns(problem))))


def inserted(problem: Problem, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The prediction with these values of object (as it is stored) and parameters."""
    insert(problem, values)
    return prediction(problem)


def present(problem: Problem, name: str) -> np.ndarray:
    """Copy of the object as it is stored, or of a parameter."""
    return problem.store.values() if name == "object" else np.array(problem.xp.to_numpy(problem.values[name].array))


def loss_of(problem: Problem) -> float:
    """The loss of all patterns, by the way that a run takes."""
    obj, params, batch = problem.inputs(all_patterns(problem))
    request = Request(frozenset(), {}, problem.weight)
    return float(problem.model.objective(problem.xp, obj, params, batch, problem.loss, request)[0])


def loss_of_valid_pixels(problem: Problem) -> float:
    """The same from predictions and targets of the valid pixels alone, the others not there."""
    xp, batch = problem.xp, problem.batch(all_patterns(problem))
    mask = np.broadcast_to(xp.to_numpy(batch.mask), xp.to_numpy(batch.target).shape) > 0
    predicted = xp.to_numpy(predict_patterns(problem, all_patterns(problem)))[mask][None, None]
    target = xp.to_numpy(batch.target)[mask][None, None]
    return problem.weight * float(problem.loss.value(xp, xp.asarray(predicted), xp.asarray(target), None, batch.floor))


def slopes(
    problem: Problem, names: Collection[str], curved: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Gradients and curvatures of the loss of all patterns by name; of the object as it is stored."""
    xp, kept = problem.xp, []
    _, found = batch_gradients(problem, all_patterns(problem), frozenset(names), frozenset(curved))
    if "object" in names:

        def keep(tile: Any, gradient: Any, state: Any, _: int) -> Any:
            curvature, preconditioner = gradient.curvature, problem.bound.preconditioner("object")
            if curvature is not None:
                curvature = np.array(xp.to_numpy(preconditioner.of_sum(xp, curvature, gradient.curvature_max)))
            kept.append((np.array(xp.to_numpy(gradient.values)), curvature))
            return tile, state

        problem.store.update(keep)
    gradients = {name: np.array(xp.to_numpy(each.gradient)) for name, each in found.items()}
    curvatures = {name: np.array(xp.to_numpy(found[name].curvature)) for name in curved if name in found}
    if kept:
        gradients["object"] = kept[0][0]
        if "object" in curved:
            curvatures["object"] = kept[0][1]
    return gradients, curvatures


def curved_names(problem: Problem) -> list[str]:
    """Parameters whose steps divide by a curvature, as they are by default."""
    return [name for name, each in problem.active(0).items() if each.optimizer.needs_curvature]


def gauss_newton(problem: Problem, name: str, direction: np.ndarray) -> np.ndarray:
    """The Gauss-Newton matrix of all patterns times ``direction``, both with the parameter's shape."""
    whole = FullBatchObjective(problem, [name], all_patterns(problem), LevenbergMarquardt())
    flat = np.ascontiguousarray(direction).reshape(-1).view(np.float64)
    return whole.raw_product(whole.vector(flat)).host(name)


def slope(problem: Problem, name: str, size: float) -> Callable[[np.ndarray], np.ndarray]:
    """``v -> J v`` by brute force, J the slopes of the weighted amplitudes ``(pixels,)`` by a parameter.

    ``J^T J`` is then the Gauss-Newton matrix of the loss. ``size``: change that bends the prediction noticeably.
    """
    xp, batch, values = problem.xp, problem.batch(all_patterns(problem)), present(problem, name)
    weight = problem.weight * float(problem.loss.amplitude_curvature or 0.0)
    mask = 1.0 if batch.mask is None else xp.to_numpy(batch.mask)

    def amplitude(changed: np.ndarray) -> np.ndarray:
        insert(problem, {name: changed})
        predicted = xp.to_numpy(predict_patterns(problem, all_patterns(problem)))
        return (np.sqrt(weight * mask) * np.sqrt(predicted + batch.floor)).ravel()

    def along(direction: np.ndarray) -> np.ndarray:
        step = STEP * size / float(np.abs(direction).max())
        try:
            return (amplitude(values + step * direction) - amplitude(values - step * direction)) / (2 * step)
        finally:
            insert(problem, {name: values})

    return along


def blocks(problem: Problem, name: str, size: float) -> np.ndarray:
    """``(rows, k, k)`` of the Gauss-Newton matrix of a parameter ``(rows, k)`` whose rows share no pattern."""
    values, along = present(problem, name), slope(problem, name, size)
    index = all_patterns(problem) if values.shape[0] == problem.dataset.n_patterns else problem.dataset.angle_index
    made = np.zeros((*values.shape, values.shape[1]))
    columns = [along(np.eye(values.shape[1])[k] + np.zeros(values.shape)) for k in range(values.shape[1])]
    by_pattern = [c.reshape(problem.dataset.n_patterns, -1) for c in columns]
    for i, a in enumerate(by_pattern):
        for j, b in enumerate(by_pattern):
            np.add.at(made[:, i, j], index, (a * b).sum(1))
    return made


def fix_gauge(problem: Problem, name: str) -> None:
    """What an epoch does to a parameter for its gauge alone."""
    problem.values[name].fix_gauge(problem.xp)


def has_gauge(problem: Problem, name: str) -> bool:
    return name != "object" and problem.values[name].spec.gauge is not None


def object_state(reconstruction: Reconstruction) -> list[np.ndarray]:
    """What the object's optimizer remembers."""
    return [np.array(a) for a in reconstruction.problem.store.state()]


def after(reconstruction: Reconstruction, epochs: int) -> dict[str, np.ndarray]:
    """Everything that a run has found after so many epochs, and the fit that a result keeps."""
    for _ in reconstruction.epochs(epochs):
        pass
    fit = {f"fit.{name}": np.asarray(a) for name, a in outcome(reconstruction).fit.items()}
    return arrays_of(reconstruction) | fit


def firsts(problem: Problem) -> dict[str, np.ndarray]:
    """First guesses of object and parameters."""
    return {f"first.{name}": present(problem, name) for name in ("object", *problem.values)}


def masked(dataset: Dataset, mask: np.ndarray) -> Callable[[np.ndarray], Dataset]:
    """``counts -> data set`` with these counts and this mask."""
    return lambda counts: replace(dataset, patterns=Exact(counts), mask=mask)
