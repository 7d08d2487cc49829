"""From the parts of a configuration to a problem that can be solved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adorym.constraints.base import Constraint
from adorym.data.batches import Measurements
from adorym.data.dataset import Dataset
from adorym.engine.settings import RunSettings
from adorym.engine.step import Problem
from adorym.errors import ConfigError, DataError, InputError
from adorym.forward.base import ForwardModel
from adorym.losses.base import Loss
from adorym.optics.windows import inside
from adorym.parameters import Parameter, ParameterSettings, Value, make_value
from adorym.regularizers.base import Regularizer
from adorym.storage.replicated import ReplicatedStore
from adorym.wrapper import get_backend
from adorym.wrapper.base import Backend

# Room for refined positions: larger corrections than this are cut off at the object's edge.
REFINED_MARGIN_PX, FIXED_MARGIN_PX = 12, 2


@dataclass(frozen=True)
class Recipe:
    """The parts of a reconstruction, data set excepted.

    Attributes:
        parameters: Settings of the parameters that the user names; the others follow the model's declaration.
    """

    model: ForwardModel
    parameters: Mapping[str, ParameterSettings]
    loss: Loss
    regularizers: tuple[Regularizer, ...] = ()
    constraints: tuple[Constraint, ...] = ()


def default_batch_size(n_patterns: int) -> int:
    """About sixteen batches an epoch, of at least 10 and at most 200 patterns."""
    return int(min(n_patterns, max(10, min(200, round(n_patterns / 16)))))


def used_settings(recipe: Recipe) -> dict[str, ParameterSettings]:
    """Settings of every parameter that takes part: named by the user, or refined or needed by the model."""
    settings: dict[str, ParameterSettings] = {}
    for name, spec in recipe.model.refinable.items():
        if name in recipe.parameters:
            settings[name] = recipe.parameters[name]
        elif not spec.optional:
            settings[name] = spec.settings(refine=spec.refined)
    return settings


def check_recipe(recipe: Recipe, dataset: Dataset) -> None:
    """Raise an `InputError` for what can be seen to be wrong before anything is computed."""
    for name in recipe.parameters:
        if name not in recipe.model.refinable:
            raise ConfigError(f"parameters.{name}", f"unknown parameter for forward model '{recipe.model.kind}'")
    settings = used_settings(recipe)
    if not any(s.refine for s in settings.values()):
        raise ConfigError("parameters", "nothing is refined", remedy="set 'refine: true' for the object at least")
    for i, constraint in enumerate(recipe.constraints):
        if constraint.parameter not in settings or not settings[constraint.parameter].refine:
            raise ConfigError(
                f"constraints[{i}]",
                f"'{constraint.kind}' acts on the {constraint.parameter}, which is not refined: it has no effect",
                remedy="leave it out, or refine the parameter",
            )
    if recipe.regularizers and not settings["object"].refine:
        raise ConfigError("regularizers", "the object is not refined: they have no effect", remedy="leave them out")
    recipe.model.check(dataset, recipe.model.geometry(dataset), settings)


def build_problem(dataset: Dataset, recipe: Recipe, run: RunSettings, rng: np.random.Generator) -> Problem:
    """The problem with all first values, on the run's backend.

    Raises:
        InputError: Data, configuration or geometry do not go together.
    """
    check_recipe(recipe, dataset)
    xp = get_backend(run.backend, device=run.device, precision=run.precision, threads=run.threads)
    model, settings = recipe.model, used_settings(recipe)
    measurements = Measurements(xp, dataset, model.arrange, recipe.loss.target)
    if measurements.valid_counts <= 0:
        raise DataError(dataset.path, "no counts in any valid pixel", remedy="check the patterns and the mask")
    margin = _margin(settings)
    shape, origin = model.object_frame(dataset, margin)
    obj = _object(xp, model, settings["object"], dataset, (shape, rng))
    values = {
        name: _value(xp, name, model, settings[name], dataset, (measurements.mean_counts, rng))
        for name in settings
        if name != "object"
    }
    for value in values.values():
        if value.spec.window_relative:
            _bound_positions(value, dataset, shape, origin)
    return Problem(
        xp=xp,
        dataset=dataset,
        geometry=model.geometry(dataset),
        model=model,
        loss=recipe.loss,
        measurements=measurements,
        store=ReplicatedStore(xp, obj.first, obj.optimizer),
        obj=obj,
        values=values,
        origin_px=origin,
        regularizers=recipe.regularizers,
        constraints=recipe.constraints,
    )


def _margin(settings: Mapping[str, ParameterSettings]) -> int:
    given = getattr(settings["object"], "margin_px", None)
    if given is not None:
        return int(given)
    moving = any(settings[name].refine for name in ("probe_positions", "probe_offset") if name in settings)
    return REFINED_MARGIN_PX if moving else FIXED_MARGIN_PX


def _object(
    xp: Backend,
    model: ForwardModel,
    settings: ParameterSettings,
    dataset: Dataset,
    frame: tuple[tuple[int, ...], np.random.Generator],
) -> Value:
    shape, rng = frame
    initial = settings.initial
    first = np.ones(shape, np.complex128) if initial is None else initial.make(dataset, shape, rng)  # type: ignore[union-attr]
    value = make_value(xp, "object", model.refinable["object"], settings, first)
    value.state = ()  # the store keeps it
    return value


def _value(
    xp: Backend,
    name: str,
    model: ForwardModel,
    settings: ParameterSettings,
    dataset: Dataset,
    context: tuple[float, np.random.Generator],
) -> Value:
    mean_counts, rng = context
    spec: Parameter = model.refinable[name]
    try:
        first = spec.start_value(name, model, dataset, settings, rng)
    except InputError as error:
        if error.where.startswith(("parameters", "data")) or not error.where:
            raise
        where = f"parameters.{name}.initial.{error.where}"
        raise type(error)(
            where, error.what, expected=error.expected, found=error.found, remedy=error.remedy
        ) from None
    if name == "probe" and getattr(settings, "power", None) is None:
        first = first * math.sqrt(mean_counts)
    return make_value(xp, name, spec, settings, first)


def _bound_positions(value: Value, dataset: Dataset, shape: tuple[int, ...], origin: tuple[int, int]) -> None:
    window = np.asarray(dataset.window_px)
    low = -np.asarray(origin, np.float64)
    high = np.asarray(shape[:2]) - window - np.asarray(origin)
    outside = ~inside(value.first + np.asarray(origin), (shape[0], shape[1]), dataset.window_px)
    if outside.any():
        raise ConfigError(
            "parameters.probe_positions",
            f"{int(outside.sum())} windows lie outside the object",
            expected=f"positions from {low.tolist()} to {high.tolist()} px",
            found=f"position {int(np.flatnonzero(outside)[0])} at {value.first[outside][0].tolist()}",
            remedy="correct the positions, or leave out 'parameters.object.margin_px'",
        )
    value.bounds = (low, high.astype(np.float64))
