"""Errors and options without effect that can be found before anything is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from adorym.comm import Communicator
from adorym.constraints.base import Constraint
from adorym.data.dataset import Dataset
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, ConfigErrors, InputError, suggestion
from adorym.extension import check_returned, user_code
from adorym.forward.base import BoundModel, ForwardModel
from adorym.optics.windows import inside
from adorym.parameters import OBJECT, Parameter, ParameterSettings
from adorym.regularizers.base import ProximalRegularizer
from adorym.regularizers.sparsity import Smoothness
from adorym.schema.fields import fields_of
from adorym.schema.messages import prefixed
from adorym.wrapper import get_backend
from adorym.wrapper.base import Array, Backend

# Magnitudes of the values on which constraints are tried.
DECADES = 6
REFINEMENT = ("start", "stop", "every", "optimizer", "schedule")


def flat(error: InputError) -> list[InputError]:
    """The single errors in ``error``."""
    return list(error.errors) if isinstance(error, ConfigErrors) else [error]


def together(errors: Iterable[InputError]) -> InputError:
    """The only one of ``errors``, or all of them in one."""
    every = [single for error in errors for single in flat(error)]
    return every[0] if len(every) == 1 else ConfigErrors(every)


@contextmanager
def collected(errors: list[InputError]) -> Iterator[None]:
    """Append an `InputError` raised inside to ``errors``, and continue after the block."""
    try:
        yield
    except InputError as error:
        errors += flat(error)


# -- errors ------------------------------------------------------------------------------------------------------------
def recipe_errors(recipe: Recipe, settings: Mapping[str, ParameterSettings], run: RunSettings) -> Iterator[InputError]:
    """Errors that do not depend on the data; ``settings`` are those of every parameter in use."""
    for name in recipe.parameters:
        if name not in recipe.model.refinable:
            yield ConfigError(f"parameters.{name}", f"unknown parameter for forward model '{recipe.model.kind}'")
    if not any(s.refine for s in settings.values()):
        yield ConfigError("parameters", "nothing is refined", remedy=f"set 'refine: true' for the {OBJECT} at least")
    for name, each in settings.items():
        # Epochs of a run that goes on count from those before, which are not known here.
        epochs = run.epochs if recipe.start_from is None else 0
        yield from _parameter_errors(f"parameters.{name}", recipe.model.refinable[name], each, epochs)
    if recipe.solver is not None:
        yield from _solver_errors(recipe.solver.kind, settings, run)
    for section in ("regularizers", "constraints"):
        for i, each in enumerate(getattr(recipe, section)):
            yield from _term_errors(f"{section}[{i}]", each, recipe.model, settings)
    errors: list[InputError] = []
    with collected(errors):
        get_backend(run.backend, device=run.device, precision=run.precision)
    yield from errors


def _solver_errors(solver: str, settings: Mapping[str, ParameterSettings], run: RunSettings) -> Iterator[InputError]:
    """Settings of batches and of single parameters, which have no effect with a solver."""
    idle = [
        f"parameters.{name}.{key}"
        for name, each in settings.items()
        for key in ("optimizer", "schedule")
        if each.refine and getattr(each, key) is not None
    ]
    known = fields_of(type(run))
    idle += [
        f"run.{key}" for key in ("batch_size", "batch_order", "backoff") if getattr(run, key) != known[key].default
    ]
    for where in idle:
        what = f"has no effect: solver '{solver}' updates all parameters together, on all patterns at once"
        yield ConfigError(where, what, remedy="leave it out, or leave out 'solver'")


def _term_errors(
    where: str, term: Any, model: ForwardModel, settings: Mapping[str, ParameterSettings]
) -> Iterator[InputError]:
    name = term.parameter
    if name not in model.refinable:
        what = f"forward model '{model.kind}' has no '{name}'"
        yield ConfigError(f"{where}.parameter", what, remedy=suggestion(name, model.refinable))
    elif name not in settings or not settings[name].refine:
        yield ConfigError(
            where,
            f"'{term.kind}' acts on the {name}, which is not refined: it has no effect",
            remedy="leave it out, or refine the parameter",
        )
    elif isinstance(term, Smoothness) and model.refinable[name].per == "run":
        remedy = "choose a parameter with one row per pattern or angle"
        yield ConfigError(f"{where}.parameter", f"'{name}' is not a series over patterns or angles", remedy=remedy)


def bound_errors(recipe: Recipe, bound: BoundModel[Any], run: RunSettings) -> Iterator[InputError]:
    """Terms that do not apply to the unknown of the object, or need more of it than a rank holds."""
    for i, constraint in enumerate(recipe.constraints):
        reason = bound.space.refuses(constraint) if constraint.parameter == OBJECT else None
        if reason is not None:
            what, _, remedy = reason.rpartition("; ")
            yield ConfigError(f"constraints[{i}]", what, remedy=remedy)
    if run.store == "dp":
        return
    for where, kind in _needs_whole(recipe, bound):
        what = f"'{kind}' needs the whole object, but a rank holds only a part of it in the store '{run.store}'"
        yield ConfigError(where, what, remedy="choose another, or the store 'dp'")


def _needs_whole(recipe: Recipe, bound: BoundModel[Any]) -> Iterator[tuple[str, str]]:
    """Configuration key and kind of every component that needs the whole object at once."""
    optimizer = bound.settings[OBJECT].optimizer or bound.model.refinable[OBJECT].default_optimizer()
    if not optimizer.by_rows:
        yield f"parameters.{OBJECT}.optimizer", optimizer.kind
    if recipe.solver is not None and recipe.solver.whole:
        yield "solver", recipe.solver.kind
    # The operator of the first proximal term acts on the whole object, unless it acts on each pixel alone.
    splits = recipe.solver is not None and recipe.solver.splits
    if optimizer.needs_curvature and bound.preconditioner(OBJECT).needs_whole:
        yield "forward_model.balance", "balance"
    for i, regularizer in enumerate(recipe.regularizers):
        if regularizer.parameter != OBJECT:
            continue
        operator = splits and isinstance(regularizer, ProximalRegularizer)
        splits = splits and not operator
        if regularizer.halo_px is None or (operator and regularizer.halo_px > 0):
            yield f"regularizers[{i}]", regularizer.kind
    for i, constraint in enumerate(recipe.constraints):
        if constraint.parameter == OBJECT and constraint.whole:
            yield f"constraints[{i}]", constraint.kind


def _parameter_errors(where: str, spec: Parameter, each: ParameterSettings, epochs: int) -> Iterator[InputError]:
    if not each.refine:
        known = fields_of(type(each))
        for key in REFINEMENT:
            if getattr(each, key) != known[key].get_default(call_default_factory=True):
                remedy = "leave it out, or refine the parameter"
                yield ConfigError(f"{where}.{key}", "has no effect: the parameter is not refined", remedy=remedy)
        return
    if 0 < epochs <= each.start:
        yield ConfigError(
            f"{where}.start",
            "the refinement starts after the last epoch",
            expected=f"< {epochs}, the number of epochs",
            found=each.start,
            remedy="start earlier, or raise 'run.epochs'",
        )
    try:
        (each.optimizer or spec.default_optimizer()).rate(spec.unit)
    except InputError as error:
        yield error.with_(where=f"{where}.optimizer.{error.where}")


def order_errors(run: RunSettings, dataset: Dataset) -> Iterator[InputError]:
    """Orders of batches that do not apply to the data, and stages where there is one reconstruction."""
    if run.stages:
        remedy = "run it by 'adorym run' or adorym.reconstruct(..., output=FOLDER), which keeps their results"
        yield ConfigError("run.stages", "a single reconstruction has no stages", remedy=remedy)
    if run.batch_order == "angle" and dataset.n_angles == 1:
        remedy = "choose 'random' or 'compact'"
        yield ConfigError("run.batch_order", "'angle' has no effect: the data hold one angle", remedy=remedy)
    if run.batch_order == "compact" and dataset.probe_positions_px is None:
        remedy = "choose 'random' or 'angle'"
        yield ConfigError("run.batch_order", "'compact' has no effect: the data hold no positions", remedy=remedy)


def start_value(name: str, bound: BoundModel[Any], rng: np.random.Generator) -> np.ndarray:
    """Start value of the parameter ``name``.

    Raises:
        InputError: It cannot be made; the error names the configuration key.
    """
    where, settings = f"parameters.{name}.initial", bound.settings[name]
    spec, of = bound.model.refinable[name], bound.dataset
    try:
        with user_code(spec.start if callable(spec.start) else bound.model, method="start"):
            value = spec.start_value(name, bound, settings, rng)
    except InputError as error:
        raise at_start(name, settings, error) from None
    rows = {"pattern": (of.n_patterns,), "angle": (of.n_angles,), "run": ()}[spec.per]
    if callable(spec.start):
        check_returned(None, value, (*rows, *np.shape(value)[len(rows) :]), spec.start)
    need_numbers(where, value)
    return value


def at_start(name: str, settings: ParameterSettings, error: InputError) -> InputError:
    """``error`` of the start value of ``name``, with the configuration key that it is about."""
    if error.where.startswith(("parameters", "data")) or not error.where:
        return error
    return together(_at_initial(error, f"parameters.{name}.initial", settings))


def _at_initial(error: InputError, where: str, settings: ParameterSettings) -> list[InputError]:
    """Errors of a start value, with the configuration key of the field or file that ``error`` names."""
    first = error.where.partition(".")[0].partition("[")[0]
    if is_dataclass(settings.initial) and first not in {each.name for each in fields(settings.initial)}:
        what = f"{error.where}: {error.what}"
        return [type(error)(where, what, expected=error.expected, found=error.found, remedy=error.remedy)]
    return prefixed(error, where)


def need_numbers(where: str, value: np.ndarray, place: str = "") -> None:
    """Refuse a start value that is not finite."""
    bad = int(np.size(value) - np.count_nonzero(np.isfinite(value)))
    if bad:
        found = f"{bad} of {np.size(value)} values{place}"
        raise ConfigError(where, "a start value is not a finite number", found=found, remedy="correct the values")


def check_room(shape: tuple[int, ...], store: str = "dp", comm: Communicator | None = None) -> None:
    """Refuse an object that, with its gradient, exceeds this machine's memory; files are checked elsewhere.

    Raises:
        ConfigError: It is too large, usually because positions have the wrong unit.
    """
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not available on this system
        return
    ranks, of = (1, 1) if comm is None or store == "dp" else (comm.local_size, comm.size)
    needed = 2 * 8 * math.prod(shape) * ranks / of
    if store != "h5" and needed > available:
        raise ConfigError(
            f"parameters.{OBJECT}",
            f"an object of {' x '.join(map(str, shape))} px does not fit into memory",
            expected=f"at most {available / 2**30:.3g} GiB with its gradient",
            found=f"{needed / 2**30:.3g} GiB",
            remedy=f"check 'parameters.{OBJECT}.margin_px', and the unit of the positions with 'adorym inspect'",
        )


def try_constraint(
    xp: Backend, number: int, constraint: Constraint, values: Array, object_shape: tuple[int, ...]
) -> Array:
    """``values`` projected by constraint ``number`` of the configuration: a parameter, or the object's first rows.

    Raises:
        InputError: It cannot act on such values; the error names the configuration key.
    """
    try:
        if constraint.parameter == OBJECT:
            return constraint.of_rows(0, len(values), object_shape).project(xp, values)
        return constraint.project(xp, values)
    except InputError as error:
        raise together(prefixed(error, f"constraints[{number}]")) from None


def check_inside(
    name: str, positions_px: np.ndarray, dataset: Dataset, frame: tuple[tuple[int, ...], tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest (y, x) position whose window is inside the object; ``frame`` is its shape and origin.

    Raises:
        ConfigError: A position ``(n, 2)`` lies outside.
    """
    shape, origin = frame
    low = -np.asarray(origin, np.float64)
    high = np.asarray(shape[:2], np.float64) - np.asarray(dataset.window_px) + low
    outside = ~inside(positions_px - low, (shape[0], shape[1]), dataset.window_px)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise ConfigError(
            f"parameters.{name}",
            f"{int(outside.sum())} of {len(outside)} windows lie outside the object",
            expected=f"positions from {low.tolist()} to {high.tolist()} px",
            found=f"position {first} at {np.round(positions_px[first], 3).tolist()} px",
            remedy=f"correct the positions, or raise 'parameters.{OBJECT}.margin_px'",
        )
    return low, high


# -- options without effect --------------------------------------------------------------------------------------------
def notices(recipe: Recipe, settings: Mapping[str, ParameterSettings], run: RunSettings, dataset: Dataset) -> list[str]:
    """Messages about options with no effect, or probably not the intended one, in this run."""
    moved = {n: each for n, each in settings.items() if each.refine and not recipe.model.refinable[n].by_update}
    found = [n for name, each in moved.items() for n in _parameter_notices(name, each, run.epochs)]
    for name, each in settings.items():
        found += each.notices(f"parameters.{name}", dataset)
    n = dataset.n_patterns
    if run.batch_size is not None and run.batch_size > n:
        found.append(f"run.batch_size: {run.batch_size}, but the data hold only {n} patterns, which form one batch")
    if run.batch_order == "compact" and (run.batch_size or n) >= n:
        found.append("run.batch_order: 'compact' has no effect: all patterns are in one batch")
    if run.plateau is not None and run.plateau.patience >= run.epochs:
        found.append(f"run.plateau: has no effect: its patience is not exceeded within {run.epochs} epochs")
    return found


def _parameter_notices(name: str, each: ParameterSettings, epochs: int) -> Iterator[str]:
    where = f"parameters.{name}"
    active = [epoch for epoch in range(epochs) if each.active(epoch)]
    if epochs and each.stop is not None and each.stop >= epochs:
        yield f"{where}.stop: has no effect: the run has {epochs} epochs"
    if each.every > 1 and len(active) == 1:
        yield f"{where}.every: is refined only once, in epoch {active[0]} (counted from 0)"
    schedule = each.schedule
    if schedule is None or schedule.kind == "constant":
        return
    if active and all(schedule.factor(epoch, epochs) == 1 for epoch in active):
        yield f"{where}.schedule: '{schedule.kind}' does not change the learning rate in this run"


def idle_constraints(
    constraints: Iterable[Constraint], starts: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> Iterator[str]:
    """Constraints that leave random values of all magnitudes unchanged; for the object, 8 rows are tried."""
    xp, rng = get_backend("autograd", precision="double"), np.random.default_rng(0)
    for i, constraint in enumerate(constraints):
        of_object = constraint.parameter == OBJECT
        of = (
            (min(8, shape[0]) if not constraint.whole else shape[0], *shape[1:])
            if of_object
            else starts[constraint.parameter].shape
        )
        values = 10 ** rng.uniform(-DECADES, DECADES, of) * np.exp(1j * rng.uniform(-np.pi, np.pi, of))
        if not of_object and not np.iscomplexobj(starts[constraint.parameter]):
            values = values.real
        projected = try_constraint(xp, i, constraint, values.copy(), shape)
        if np.allclose(projected, values, rtol=1e-6, atol=0):
            yield f"constraints[{i}]: '{constraint.kind}' has no effect here"
