"""Build a problem from data and recipe, for a run and for `adorym check`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adorym.comm import Communicator, SerialCommunicator, communicator, connect, threads_per_rank
from adorym.data.batches import Measurements
from adorym.data.dataset import Dataset
from adorym.data.near_field import in_near_field
from adorym.engine.budget import Budget, keeps_as_usual
from adorym.engine.checks import (
    at_start,
    bound_errors,
    check_inside,
    check_room,
    collected,
    need_numbers,
    order_errors,
    recipe_errors,
    start_value,
    together,
)
from adorym.engine.earlier import Earlier
from adorym.engine.foreign import try_backend, try_components, try_loss
from adorym.engine.likelihood import loss_of
from adorym.engine.problem import Problem
from adorym.engine.recipe import Recipe
from adorym.engine.search import with_search
from adorym.engine.settings import RunSettings
from adorym.engine.step import apply_update
from adorym.errors import DataError, InputError
from adorym.extension import check_kind
from adorym.forward.base import BoundModel, Counts
from adorym.forward.object import FirstObject
from adorym.losses.base import Loss
from adorym.optimizers.base import Optimizer
from adorym.parameters import OBJECT, Searched, Value, make_value
from adorym.storage.base import ObjectStore, blocks
from adorym.storage.device_slabs import DeviceSlabStore
from adorym.storage.distributed import DistributedStore
from adorym.storage.dry import DryStore
from adorym.storage.hdf5 import FileSettings, Hdf5Store
from adorym.storage.layout import Slabs
from adorym.storage.replicated import ReplicatedStore
from adorym.storage.slabs import Start
from adorym.updates.base import State
from adorym.wrapper import get_backend
from adorym.wrapper.base import Backend


def default_batch_size(bound: BoundModel[Any]) -> int:
    """All patterns at once if each needs the whole object; otherwise five batches per epoch.

    There are fewer if a batch would have less than twenty patterns: a batch should cover the object, since momentum
    continues where it does not.
    """
    n = bound.dataset.n_patterns
    return n if bound.view.all_at_once else -(-n // min(5, max(1, n // 20)))


def bind(dataset: Dataset, recipe: Recipe, run: RunSettings) -> BoundModel[Any]:
    """Bind the model to the data, after all checks that need no computation.

    Raises:
        InputError: The errors found; several together as `adorym.errors.ConfigErrors`.
    """
    settings, dataset = recipe.settings, _as_seen(dataset, recipe)
    errors: list[InputError] = [*recipe_errors(recipe, settings, run), *order_errors(run, dataset)]
    bound = None
    if all(name in recipe.model.refinable for name in recipe.parameters):
        with collected(errors):
            bound = recipe.model.bind(dataset, settings)
            check_kind(bound, BoundModel, recipe.model, "bind")
            errors += bound_errors(recipe, bound, run)
    if errors or bound is None:
        raise together(errors)
    return bound


def _as_seen(dataset: Dataset, recipe: Recipe) -> Dataset:
    """``dataset`` in the field of the model."""
    return in_near_field(dataset) if getattr(recipe.model, "regime", None) == "near_field" else dataset


def build(
    dataset: Dataset,
    recipe: Recipe,
    run: RunSettings,
    rng: np.random.Generator,
    *,
    dry: bool = False,
    folder: Path | None = None,
) -> Problem:
    """The problem with all start values, on the run's backend.

    Args:
        dataset: The measured data.
        recipe: Model, loss, parameters, regularizers and constraints.
        run: Settings of the run.
        rng: Random generator for start values.
        dry: Leave out what takes long or much memory: an expensive start object, and the object's store.
        folder: Folder of the run's output, in which what was searched is kept.

    Raises:
        InputError: Data, configuration or geometry contradict each other; all errors at once.
    """
    dataset = placed = recipe.model.placed(_as_seen(dataset, recipe))
    earlier = None if recipe.start_from is None else Earlier.read(recipe.start_from, dataset, recipe)
    if earlier is not None:
        dataset, recipe = earlier.continued(dataset, recipe)
    bound = bind(dataset, recipe, run) if earlier is None else earlier.framed(bind(dataset, recipe, run))
    comm = SerialCommunicator() if dry else communicator()  # the other ranks do not wait for a dry problem
    xp = backend(run, comm)
    (loss, why), budget = loss_of(recipe, bound, comm), Budget.of(run, xp)
    measurements, bound = _measured(xp, bound, loss, comm, _keeps(budget, xp, bound, run, comm))
    bound, searched = search_starts(bound, comm, folder, earlier)
    check_room(bound.shape, "h5" if dry and run.store == "do" else run.store, comm)  # more ranks will share it
    found, start, obj, values = _first_values(xp, bound, rng, comm, earlier, dry=dry)
    problem = Problem(
        xp=xp,
        bound=bound,
        loss=loss,
        measurements=measurements,
        store=DryStore(xp, start, comm),  # measured with, before there is another one
        obj=obj,
        values=values,
        regularizers=recipe.regularizers,
        constraints=recipe.constraints,
        solver=recipe.solver,
        comm=comm,
        start_diagnostics={**found.diagnostics, **searched.diagnostics},
        remarks=(*bound.remarks, *searched.words, *filter(None, (why,))),
        epochs_before=0 if earlier is None else earlier.epochs_before,
        history_before={} if earlier is None else earlier.history,
        recorded_px=placed.probe_positions_px,
        checkpoint_slices={"auto": None, "off": 0}.get(run.checkpoint_slices, run.checkpoint_slices),  # type: ignore[arg-type]
    )
    try_components(problem, start)
    of_object = budget.fit(problem, start, run, _largest_batch(bound, recipe, run))
    if not dry:
        problem.store = make_store(xp, start, obj.optimizer, comm, run, of_object)
    with_search(problem, run.epochs, run.seed)
    return problem if dry else _with_first_updates(problem, run)


def _largest_batch(bound: BoundModel[Any], recipe: Recipe, run: RunSettings) -> int:
    """Patterns of a batch, over all ranks."""
    return bound.dataset.n_patterns if recipe.solver else run.batch_size or default_batch_size(bound)


def _with_first_updates(problem: Problem, run: RunSettings) -> Problem:
    state = State(0, run.epochs, problem.present(), {}, problem.store.values)
    for update in problem.bound.updates:
        if update.when == "start" and update.due(0, run.epochs):
            state = apply_update(problem, update, state)
    return problem


def _keeps(
    budget: Budget, xp: Backend, bound: BoundModel[Any], run: RunSettings, comm: Communicator
) -> Callable[[int], bool]:
    if run.memory is None:
        return functools.partial(keeps_as_usual, local_size=comm.local_size)
    return functools.partial(budget.keeps, xp, bound, run)


def _measured(
    xp: Backend, bound: BoundModel[Any], loss: Loss, comm: Communicator, keeps: Callable[[int], bool]
) -> tuple[Measurements, BoundModel[Any]]:
    """The measured values in the form that the loss needs, and the bound model with its mean counts."""
    try_loss(xp, loss, bound.dataset.window_px)
    made = Measurements(xp, bound.dataset, bound.to_model_frame, loss.target, loss.floor_counts, comm, keeps)
    if made.valid_counts <= 0:
        raise DataError(bound.dataset.path, "no counts in any valid pixel", remedy="check the patterns and the mask")
    per_pixel = made.mean_counts * bound.dataset.upsampling**2 / math.prod(bound.dataset.window_px)
    return made, bound.with_(counts=Counts(made.mean_counts, per_pixel))


def backend(run: RunSettings, comm: Communicator) -> Backend:
    """The run's backend on this rank, with its share of the machine's cores and one of its GPUs."""
    threads = run.threads or threads_per_rank(comm)
    xp = get_backend(
        run.backend, device=run.device, precision=run.precision, threads=threads, local_rank=comm.local_rank
    )
    try_backend(xp)
    connect(comm, *xp.exchange_device)
    return xp


# -- start values ------------------------------------------------------------------------------------------------------
def _first_values(
    xp: Backend,
    bound: BoundModel[Any],
    rng: np.random.Generator,
    comm: Communicator,
    earlier: Earlier | None,
    *,
    dry: bool,
) -> tuple[FirstObject, Start, Value, dict[str, Value]]:
    """The start object, the unknown made from it, its declaration, and the other parameters; all errors at once."""
    errors: list[InputError] = []
    values: dict[str, Value] = {}
    made = None
    with collected(errors):
        start = None if earlier is None else earlier.unknown(bound)
        found = first_object(bound, rng, comm, dry=dry) if start is None else FirstObject.vacuum(bound.shape)
        start = unknown_of(bound, found) if start is None else start
        made = found, start, _object_value(xp, bound, start, comm)
    for name in bound.settings:
        if name != OBJECT:
            with collected(errors):
                values[name] = _value(xp, name, bound, rng, earlier)
    if errors or made is None:
        raise together(errors)
    return *made, values


@dataclass(frozen=True, eq=False)
class Found:
    """What searches for start values found: diagnostics by name, and a line about each."""

    diagnostics: Mapping[str, np.ndarray]
    words: tuple[str, ...]


def search_starts(
    bound: BoundModel[Any], comm: Communicator, folder: Path | None, earlier: Earlier | None
) -> tuple[BoundModel[Any], Found]:
    """The model with settings whose start values have been searched, by one rank for all; not those of ``earlier``.

    Raises:
        InputError: The data cannot be searched.
    """
    settings, searched = dict(bound.settings), []
    for name in bound.settings:
        search = bound.model.refinable[name].search
        if search is None or (earlier is not None and earlier.gives(name, bound.settings[name])):
            continue
        made: Searched | InputError | None = None
        if comm.is_root:
            try:
                made = search(bound, bound.settings[name], folder)
            except InputError as error:
                made = at_start(name, bound.settings[name], error)
        made = comm.broadcast(made, f"search the start of the {name}")
        if isinstance(made, InputError):
            raise made
        settings[name] = made.settings
        searched.append(made)
    diagnostics = {name: array for each in searched for name, array in each.diagnostics.items()}
    return bound.with_(settings=settings), Found(diagnostics, tuple(each.words for each in searched if each.words))


def first_object(
    bound: BoundModel[Any], rng: np.random.Generator, comm: Communicator, *, dry: bool = False
) -> FirstObject:
    """The start object of the settings or of the model; vacuum in place of an expensive one if ``dry``.

    Raises:
        InputError: It cannot be made; making rows of it may also raise this.
    """
    bound = bound.with_(shape=bound.space.start_shape(bound.shape))
    initial = bound.settings[OBJECT].initial
    own = bound.first_object is not None
    if (initial is None and (dry or not own)) or (dry and getattr(initial, "expensive", False)):
        return FirstObject.vacuum(bound.shape)
    if initial is None:
        assert bound.first_object is not None  # checked above
        found = bound.first_object(rng)
    else:
        found = initial.start_of(bound, rng)  # type: ignore[union-attr]
    if found.whole is not None and comm.size > 1:  # ranks may differ by rounding
        found = FirstObject.of(comm.broadcast(found.whole, "share the first object"), found.diagnostics)

    def rows(start: int, stop: int) -> np.ndarray:
        made = found.rows(start, stop)
        need_numbers(f"parameters.{OBJECT}.initial", made, f" in the rows from {start} to {stop - 1}")
        return made

    return replace(found, rows=rows)


def unknown_of(bound: BoundModel[Any], first: FirstObject) -> Start:
    """The unknown that the store holds, from the start object."""
    space = bound.space
    if space.needs_whole_start:
        whole = space.from_start(first.rows(0, bound.shape[0]))
        return Start(bound.shape, lambda a, b: whole[a:b])
    return Start(bound.shape, lambda a, b: space.from_start(first.rows(a, b)))


def _object_value(xp: Backend, bound: BoundModel[Any], start: Start, comm: Communicator) -> Value:
    """The object's declaration with one row of it; the store holds the object."""
    spec = bound.model.refinable[OBJECT]
    scale = _largest(start, comm) if spec.relative else None
    scale = scale if spec.scale is None else spec.scale(bound)
    value = make_value(xp, OBJECT, spec, bound.settings[OBJECT], start.rows(0, 1), scale)
    value.state = ()
    return value


def _largest(start: Start, comm: Communicator) -> float:
    """Largest modulus of the start object; each rank computes its part."""
    rows = blocks(*Slabs(start.shape[0], comm.size).of(comm.rank), 16 * math.prod(start.shape[1:]))
    found = max((float(np.abs(start.rows(a, b)).max(initial=0)) for a, b in rows), default=0.0)
    return comm.max(found, "largest value of the first object")


def _value(xp: Backend, name: str, bound: BoundModel[Any], rng: np.random.Generator, earlier: Earlier | None) -> Value:
    spec = bound.model.refinable[name]
    first = (
        start_value(name, bound, rng)
        if earlier is None
        else earlier.value(name, bound, lambda: start_value(name, bound, rng), rng)
    )
    scale = None if spec.scale is None else spec.scale(bound)
    value = make_value(xp, name, spec, bound.settings[name], first, scale)
    if spec.window_relative:
        value.bounds = check_inside(name, value.first, bound.dataset, (bound.shape, bound.origin_px))
    return value


def make_store(
    xp: Backend,
    start: Start,
    optimizer: Optimizer,
    comm: Communicator,
    run: RunSettings,
    of_object: float | None = None,
) -> ObjectStore:
    """The store of the run; in a file, with ``of_object`` bytes for its blocks.

    Raises:
        ConfigError: It does not fit into memory or on the disk.
    """
    if run.store == "do":
        return (DistributedStore if xp.on_host else DeviceSlabStore)(xp, start, optimizer, comm)
    if run.store == "h5":
        folder = Path(run.scratch or ".").expanduser()
        return Hdf5Store(xp, start, optimizer, comm, FileSettings(folder, of_object, run.driver))
    return ReplicatedStore(xp, start.rows(0, start.shape[0]), optimizer, comm)
