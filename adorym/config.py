"""The configuration of a reconstruction; its class is also the schema of the file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from adorym import config_file
from adorym import initializers as _initializers  # registers them
from adorym.constraints import Constraint
from adorym.data.dataset import Dataset
from adorym.data.open import IN_MEMORY
from adorym.data.overrides import DataFile, Overrides
from adorym.engine.checks import notices
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigErrors, InputError
from adorym.forward import ForwardModel
from adorym.losses import Loss
from adorym.parameters import ParameterSettings
from adorym.paths import InputPath
from adorym.registry import component
from adorym.regularizers import Regularizer
from adorym.schema import ComponentOf, DeclaredBy, build, dump
from adorym.schema.build import Folder
from adorym.schema.fields import fields_of
from adorym.solvers import Solver

REGISTERED = (_initializers,)
QUICK_EPOCHS = 4
# What may be given as an array, and as a list of numbers, in Python.
ARRAYS = ("positions", "mask", "white", "dark", "weights")
# Part of ``run.memory`` that patterns as they are read may take, beside those in the form of the loss.
TWICE = 16
FILE_STORE = ("memory", "object_memory", "driver", "scratch")


@component
class DataSettings(Overrides):
    """The data file, with missing or corrected metadata.

    Attributes:
        path: The file; several files, as a list or a pattern such as ``scan_*.tif``, in natural order; a folder; or the
            output folder or ``result.h5`` of a run, whose data and settings are then meant; in Python also an array of
            patterns ``(n, y, x)``. Files of a list hold parts of a scan, scans of one object in common coordinates, or
            patterns and what belongs to them; an entry with ``path`` and any of the other keys is a scan with settings
            of its own. This and all other relative paths start at the configuration file's
            folder, or at the working directory if typed on the command line.
    """

    path: InputPath | tuple[InputPath | DataFile, ...] | np.ndarray

    @property
    def name(self) -> str:
        """The file's name, or that of the first of several."""
        if isinstance(self.path, np.ndarray):
            return IN_MEMORY
        first: Any = self.path
        while not isinstance(first, str):
            first = first.path if isinstance(first, DataFile) else first[0]
        return Path(first).name + ("" if isinstance(self.path, str) else f" and {len(self.path) - 1} more")


@component
class OutputSettings:
    """The output of a run.

    Attributes:
        directory: Folder for result, checkpoint, log and report; a relative path starts at the working directory.
        progress: ``live`` bar, ``plain`` lines, ``quiet``, or ``auto``: live on a terminal.
        report: Write ``report.html`` at the end.
        snapshots_every: Epochs between pictures of the object; none if absent.
        profile: Time the stages of the run: a table in the log, and ``trace.json`` for ``chrome://tracing``. Waiting
            for a device after each stage makes a run on a GPU slower.
        live: Keep a small snapshot of the present state in ``live``, for ``adorym watch``; it takes at most 2 % of the
            run's time.
        spare: Folder for the result if it cannot be written to ``directory``, whose disk may be full.
    """

    directory: str = "out"
    progress: Literal["auto", "live", "plain", "quiet"] = "auto"
    report: bool = True
    snapshots_every: int | None = Field(None, ge=1)
    profile: bool = False
    live: bool = True
    spare: str | None = None


def _parameter_classes(model: type[ForwardModel]) -> Mapping[str, type[ParameterSettings]]:
    return {name: parameter.settings for name, parameter in model.refinable.items()}


@component
class Config:
    """A reconstruction: data, forward model, parameters, and the run.

    Attributes:
        data: The measured data and their metadata.
        forward_model: Predicts the detector's signal from the object.
        parameters: Refinement of each parameter; those that are not named have the model's defaults.
        loss: How prediction and measurement are compared. If absent, by Poisson's likelihood for a scan that counts
            fewer than 50 photons a pixel on average, with hardly any background, unless its positions are refined or a
            solver is used; else by least squares on amplitudes.
        regularizers: Terms of single parameters added to the loss.
        constraints: Projections applied to parameters after their steps.
        start_from: A ``result.h5``, or the folder of a run: object, probe, positions and all other parameters start
            with its values, for the patterns that both use; ``parameters.X.initial`` wins over it. Epochs at which
            refinements start and stop count from the first one of that run. Optimizers begin anew.
        solver: Updates all refined parameters together, from the loss of the whole data set, one iteration per epoch;
            if absent, each parameter has its own optimizer, which steps after every batch.
        run: How the run is carried out.
        output: Files that the run writes, and progress on the screen.
    """

    data: DataSettings
    forward_model: Annotated[ForwardModel, ComponentOf("forward_model")]
    parameters: Annotated[
        dict[str, ParameterSettings], DeclaredBy("forward_model", _parameter_classes, "parameter", {"refine": False})
    ] = Field(default_factory=dict)
    loss: Annotated[Loss | None, ComponentOf("loss")] = None
    regularizers: tuple[Annotated[Regularizer, ComponentOf("regularizer")], ...] = ()
    constraints: tuple[Annotated[Constraint, ComponentOf("constraint")], ...] = ()
    start_from: InputPath | Path | None = None
    solver: Annotated[Solver | None, ComponentOf("solver")] = None
    run: RunSettings = Field(default_factory=RunSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)

    def __repr__(self) -> str:
        refined = f"; parameters {', '.join(self.parameters)}" if self.parameters else ""
        run = f"{self.run.epochs} epochs, {self.run.backend}, store {self.run.store}"
        path = self.data.name if isinstance(self.data.path, np.ndarray) else self.data.path
        return f"Config({self.forward_model.kind} of {path}; {run}{refined})"

    @property
    def recipe(self) -> Recipe:
        """Everything except data, run and output."""
        names = ("parameters", "loss", "regularizers", "constraints", "solver", "start_from")
        return Recipe(self.forward_model, **{name: getattr(self, name) for name in names})

    def identity(self) -> dict[str, Any]:
        """The settings that a resumed run is compared with, defaults of the model included.

        What may differ is in `adorym.engine.resumption`.

        Number of epochs, time limit, store, threads and output may change without a word.
        """
        plain = dump(self) | {"parameters": {name: dump(each) for name, each in self.recipe.resolved.items()}}
        plain.pop("output")
        for name in ("epochs", "threads", "checkpoint_every", "plateau", "max_time", "store", *FILE_STORE):
            plain["run"].pop(name)
        return plain

    @property
    def source(self) -> DataSettings:
        """The section ``data`` with which its file is read: under ``run.memory`` few patterns are in memory twice."""
        if self.run.memory is None:
            return self.data
        return replace(self.data, memory_limit_gib=min(self.data.memory_limit_gib, self.run.memory / 2**30 / TWICE))

    def notices(self, dataset: Dataset) -> list[str]:
        """Messages about options that have no effect in this run."""
        found = [*_data_notices(self.data, dataset)]
        if self.loss is not None and self.loss.saturation is not None and isinstance(self.data.saturation, float):
            found.append("data.saturation: has no effect beside 'loss.saturation'")
        found += notices(self.recipe, self.recipe.settings, self.run, dataset)
        every = self.output.snapshots_every
        if every is not None and every > self.run.epochs:
            found.append(f"output.snapshots_every: no picture is taken in {self.run.epochs} epochs")
        return found

    def to_yaml(self) -> str:
        """The resolved configuration, defaults included."""
        return config_file.dump_yaml(dump(self))


def _data_notices(data: Overrides, dataset: Dataset) -> Iterator[str]:
    if data.invert_mask and dataset.mask is None:
        yield "data.invert_mask: has no effect: there is no mask"
    if data.theta is not None and data.theta_range is not None:
        yield "data.theta_range: has no effect beside 'data.theta'"
    if data.map and data.format is not None:
        yield "data.format: has no effect beside 'data.map'"
    if data.rotation is not None and data.scan.rotation:
        yield "data.scan.rotation: has no effect beside 'data.rotation'"
    if dataset.probe_positions_px is None:
        for key in ("positions_unit", "positions_order", "positions_sign", "rotation"):
            if getattr(data, key) is not None:
                yield f"data.{key}: has no effect: there are no positions"
    for key in ("shape", "snake"):
        if getattr(data.scan, key) and data.scan.step is None:
            yield f"data.scan.{key}: has no effect without 'data.scan.step'"
    if data.source_distance is not None and dataset.propagation_distance_m is None:
        yield "data.source_distance: has no effect in the far field"


def load_config(path: str | Path, overrides: Iterable[str] = (), *, quick: bool = False) -> Config:
    """The configuration in a YAML, TOML or JSON file.

    Args:
        path: The file.
        overrides: ``key.path=value`` assignments, applied before all checks.
        quick: Shorten the run to a few epochs, to test it.

    Raises:
        ConfigErrors: All errors, each with its line.
    """
    path = Path(path)
    mapping, lines = config_file.load(path, overrides)
    try:
        return config_from(mapping, folder=path_starts(path, lines), quick=quick)
    except InputError as error:
        raise config_file.at_lines(error, lines) from None


def path_starts(path: Path, lines: Mapping[str, int]) -> Callable[[str], Path]:
    """The folder where relative paths at a dotted key of the configuration file ``path`` start."""
    beside = Path(os.path.abspath(path)).parent  # the same file has the same name wherever it is run from

    def folder(where: str) -> Path:
        typed = lines.get(where, lines.get(where.rpartition(".")[0])) == 0
        return Path.cwd() if typed else beside

    return folder


def config_from(mapping: Mapping[str, Any], *, folder: Folder = None, quick: bool = False) -> Config:
    """The configuration in a mapping; relative paths start at ``folder``, the working directory if absent.

    Raises:
        ConfigErrors: All errors.
    """
    errors: list[InputError] = []
    config = build(Config, _with_data(mapping), errors=errors, folder=folder)
    if errors:
        raise ConfigErrors(errors)
    return _quick(config) if quick else config


def _with_data(mapping: Mapping[str, Any]) -> dict[str, Any]:
    data = mapping.get("data")
    return dict(mapping) | ({"data": {"path": data}} if isinstance(data, str | list) else {})


def with_data(config: Config, patterns: ArrayLike | None, given: Mapping[str, Any]) -> Config:
    """``config`` with patterns in memory, and values of the section ``data``; numbers without a unit are in SI units.

    Raises:
        ConfigError: A key is unknown or a value is invalid; all such errors at once as `ConfigErrors`.
    """
    if patterns is None and not given:
        return config
    values = {name: getattr(config.data, name) for name in fields_of(DataSettings)}
    values |= {
        name: np.asarray(value) if name in ARRAYS and is_array(value) else value for name, value in given.items()
    }
    if patterns is not None:
        values["path"] = np.asarray(patterns)
    return _changed(config, data=DataSettings.of(values))


def is_array(value: object) -> bool:
    """Whether ``value`` is a list of numbers, or an array of any package."""
    return not isinstance(value, (str, Path, type(None)))


def _quick(config: Config) -> Config:
    """A few epochs, with the epochs at which refinements start and stop brought forward in proportion."""
    if config.run.epochs <= QUICK_EPOCHS:
        return config
    ratio = QUICK_EPOCHS / config.run.epochs
    parameters = {}
    for name, each in config.parameters.items():
        # Delays between refinements are kept, and every refinement lasts at least one epoch.
        start = min(math.ceil(each.start * ratio), QUICK_EPOCHS - 1)
        stop = None if each.stop is None else max(math.ceil(each.stop * ratio), start + 1)
        parameters[name] = _changed(each, start=start, stop=stop)
    stages = tuple({key: _without_epochs(key, each) for key, each in stage.items()} for stage in config.run.stages)
    return _changed(config, parameters=parameters, run=_changed(config.run, epochs=QUICK_EPOCHS, stages=stages))


def _without_epochs(section: str, changes: Any) -> Any:
    return {k: v for k, v in changes.items() if k != "epochs"} if section == "run" else changes


def _changed(component: Any, **changes: Any) -> Any:
    return replace(component, **changes)
