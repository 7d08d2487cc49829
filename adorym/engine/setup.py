"""From the parts of a configuration to a problem that can be solved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adorym.comm import Communicator, communicator, threads_per_rank
from adorym.constraints.base import Constraint
from adorym.data.batches import Measurements
from adorym.data.dataset import Dataset
from adorym.engine.checks import (
    check_inside,
    check_room,
    data_errors,
    first_object,
    recipe_errors,
    start_value,
    together,
    try_constraint,
)
from adorym.engine.follow import follow
from adorym.engine.problem import Problem
from adorym.engine.settings import RunSettings
from adorym.errors import DataError
from adorym.forward.base import FirstObject, ForwardModel
from adorym.losses.base import Loss
from adorym.optics.representation import Representation, exponent_of
from adorym.optimizers.base import Optimizer
from adorym.parameters import Parameter, ParameterSettings, Value, make_value
from adorym.regularizers.base import Regularizer
from adorym.solvers.base import Solver
from adorym.storage.base import ObjectStore, blocks
from adorym.storage.distributed import DistributedStore
from adorym.storage.hdf5 import FileSettings, Hdf5Store
from adorym.storage.layout import Slabs
from adorym.storage.replicated import ReplicatedStore
from adorym.storage.slabs import RowsOf, Start
from adorym.wrapper import get_backend
from adorym.wrapper.base import Backend

# Parameters that move the object or its window, as they are refined.
MOVING = ("probe_positions", "probe_offset", "object_shift", "tilt", "axis_tilt")


@dataclass(frozen=True)
class Recipe:
    """The parts of a reconstruction, data set excepted.

    Attributes:
        parameters: Settings of the parameters that the user names; the others follow the model's declaration.
        solver: Moves all refined parameters together, instead of their optimizers.
    """

    model: ForwardModel
    parameters: Mapping[str, ParameterSettings]
    loss: Loss
    regularizers: tuple[Regularizer, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    solver: Solver | None = None


def default_batch_size(n_patterns: int, whole_object: bool = False) -> int:
    """All patterns at once where each of them sees the whole object; otherwise five batches an epoch.

    There are fewer where a batch would have less than twenty patterns.

    A batch has to cover the object: momentum carries on where a batch says nothing.
    """
    if whole_object:
        return n_patterns
    return -(-n_patterns // min(5, max(1, n_patterns // 20)))


def used_settings(recipe: Recipe) -> dict[str, ParameterSettings]:
    """Settings of every parameter that takes part: named by the user, or refined or needed by the model."""
    settings: dict[str, ParameterSettings] = {}
    for name, spec in recipe.model.refinable.items():
        if name in recipe.parameters:
            settings[name] = recipe.parameters[name]
        elif not spec.optional:
            settings[name] = spec.settings(refine=spec.refined)
    return settings


def check_recipe(recipe: Recipe, dataset: Dataset, run: RunSettings) -> None:
    """Look for all that can be seen to be wrong before anything is computed.

    Raises:
        InputError: What is wrong; several errors together as `adorym.errors.ConfigErrors`.
    """
    settings = used_settings(recipe)
    errors = [*recipe_errors(recipe, settings, run), *data_errors(recipe.model, settings, run, dataset)]
    if errors:
        raise together(errors)


def build_problem(dataset: Dataset, recipe: Recipe, run: RunSettings, rng: np.random.Generator) -> Problem:
    """The problem with all first values, on the run's backend.

    Raises:
        InputError: Data, configuration or geometry do not go together.
    """
    check_recipe(recipe, dataset, run)
    dataset = recipe.model.prepare(dataset)
    comm = communicator()
    xp = backend(run, comm)
    model, settings = recipe.model, used_settings(recipe)
    measurements = Measurements(xp, dataset, model.to_model_frame, recipe.loss.target, recipe.loss.floor_counts, comm)
    if measurements.valid_counts <= 0:
        raise DataError(dataset.path, "no counts in any valid pixel", remedy="check the patterns and the mask")
    shape, origin = model.object_frame(dataset, object_margin_px(model, settings))
    check_room(shape, run.store, comm)
    obj, start, curves = _object(xp, model, settings["object"], dataset, (shape, rng, comm))
    values = {
        name: _value(xp, name, model, settings[name], dataset, (measurements, rng))
        for name in settings
        if name != "object"
    }
    for value in values.values():
        if value.spec.window_relative:
            value.bounds = check_inside(value.name, value.first, dataset, (shape, origin))
    for i, constraint in enumerate(recipe.constraints):
        first = values[constraint.parameter].first if constraint.parameter != "object" else obj.first
        if constraint.parameter == "object" and constraint.whole:
            first = start.rows(0, shape[0])
        try_constraint(xp, i, constraint, xp.asarray(first.copy()), shape)
    problem = Problem(
        xp=xp,
        dataset=dataset,
        geometry=model.geometry(dataset),
        model=model,
        loss=recipe.loss,
        measurements=measurements,
        store=make_store(xp, start, obj.optimizer, comm, run),
        obj=obj,
        values=values,
        origin_px=origin,
        regularizers=recipe.regularizers,
        constraints=recipe.constraints,
        representation=_representation(settings),
        slice_thickness_m=slice_thickness_m(model, settings, dataset),
        comm=comm,
        start_curves=curves,
        checkpoint_slices={"auto": None, "off": 0}.get(run.checkpoint_slices, run.checkpoint_slices),  # type: ignore[arg-type]
    )
    follow(problem, 0)
    return problem


def backend(run: RunSettings, comm: Communicator) -> Backend:
    """The run's backend on this rank: with its share of the machine's cores, on one of the machine's GPUs."""
    threads = run.threads or threads_per_rank(comm)
    return get_backend(
        run.backend, device=run.device, precision=run.precision, threads=threads, local_rank=comm.local_rank
    )


def _representation(settings: Mapping[str, ParameterSettings]) -> Representation:
    return getattr(settings["object"], "representation", "real_imag")


def slice_thickness_m(model: ForwardModel, settings: Mapping[str, ParameterSettings], dataset: Dataset) -> float | None:
    """The thickness that delta and beta refer to, ``None`` where the run solves for the transmission.

    Raises:
        GeometryError: Energy or pixel size is not known.
    """
    if _representation(settings) == "real_imag" or model.absorbs_only:
        return None
    geometry = model.geometry(dataset)
    thickness = getattr(settings["object"], "slice_thickness", None)
    assert geometry.wavelength_m > 0  # raises where the energy is not known
    return float(thickness or geometry.pixel_size_m(getattr(model, "regime", "far_field"))[1])


def object_margin_px(model: ForwardModel, settings: Mapping[str, ParameterSettings]) -> int:
    """Pixels around the scanned area: as given, or room for what is refined and moves the object or its window."""
    given = getattr(settings["object"], "margin_px", None)
    if given is not None:
        return int(given)
    moving = any(settings[name].refine for name in MOVING if name in settings)
    return model.default_margin_px(moving)


def _object(
    xp: Backend,
    model: ForwardModel,
    settings: ParameterSettings,
    dataset: Dataset,
    frame: tuple[tuple[int, ...], np.random.Generator, Communicator],
) -> tuple[Value, Start, Mapping[str, np.ndarray]]:
    shape, rng, comm = frame
    found = first_object(model, settings, dataset, shape, rng)
    rows = found.rows
    if found.whole is not None and comm.size > 1:  # rounding may have led each rank elsewhere
        rows = FirstObject.of(comm.broadcast(found.whole, "share the first object")).rows
    if _representation({"object": settings}) == "delta_beta":
        rows = _exponents(rows)
    start = _encoded(model, Start(shape, rows))
    # Of the object there is only the declaration here, and a row of it: the store keeps the rest.
    spec = model.refinable["object"]
    scale = _largest(start, comm) if spec.relative else None
    scale = scale if spec.scale is None else spec.scale(model, dataset, 1.0)
    value = make_value(xp, "object", spec, settings, start.rows(0, 1), scale)
    value.state = ()
    return value, start, found.curves


def _largest(start: Start, comm: Communicator) -> float:
    """Largest modulus of the first object: each rank looks at its part."""
    rows = blocks(*Slabs(start.shape[0], comm.size).of(comm.rank), 16 * math.prod(start.shape[1:]))
    found = max((float(np.abs(start.rows(a, b)).max(initial=0)) for a, b in rows), default=0.0)
    return comm.max(found, "largest value of the first object")


def _exponents(transmission: RowsOf) -> RowsOf:
    xp = get_backend("autograd", precision="double")
    return lambda first, stop: exponent_of(xp, transmission(first, stop))


def _encoded(model: ForwardModel, start: Start) -> Start:
    if model.material({}) is None:
        return start
    # The phase shift is found from the whole object: it may be known up to multiples of 2 pi only.
    whole = model.encode(start.rows(0, start.shape[0]))
    return Start(start.shape, lambda a, b: whole[a:b])


def make_store(xp: Backend, start: Start, optimizer: Optimizer, comm: Communicator, run: RunSettings) -> ObjectStore:
    """The store that the run asks for.

    Raises:
        ConfigError: There is no room for it.
    """
    if run.store == "do":
        return DistributedStore(xp, start, optimizer, comm)
    if run.store == "h5":
        folder = Path(run.scratch or ".").expanduser()
        return Hdf5Store(xp, start, optimizer, comm, FileSettings(folder, run.memory, run.driver))
    return ReplicatedStore(xp, start.rows(0, start.shape[0]), optimizer, comm)


def _value(
    xp: Backend,
    name: str,
    model: ForwardModel,
    settings: ParameterSettings,
    dataset: Dataset,
    context: tuple[Measurements, np.random.Generator],
) -> Value:
    measurements, rng = context
    spec: Parameter = model.refinable[name]
    first = start_value(name, model, settings, dataset, rng)
    if name == "probe" and getattr(settings, "power", None) is None:
        first = first * math.sqrt(model.beam_counts(dataset, measurements.mean_counts))
    mean_in_pixel = measurements.mean_counts / math.prod(dataset.window_px)
    scale = None if spec.scale is None else spec.scale(model, dataset, mean_in_pixel)
    return make_value(xp, name, spec, settings, first, scale)
