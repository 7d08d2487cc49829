"""A run before its first batch: built as for the run, and tried; or all its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adorym import config_file
from adorym.comm import launched
from adorym.commands.stages import stages_of
from adorym.config import Config, config_from, load_config, path_starts
from adorym.data.batches import epoch_order
from adorym.data.dataset import Dataset
from adorym.data.judgements import Judgement, judge
from adorym.data.open import open_dataset
from adorym.engine.build import build, default_batch_size
from adorym.engine.checks import flat, idle_constraints, recipe_errors, together
from adorym.engine.problem import Problem
from adorym.engine.trial import Trial, try_problem
from adorym.errors import BackendError, InputError
from adorym.extension import user_code
from adorym.optics.geometry import Geometry

PROBE = "probe"


@dataclass(frozen=True)
class Draft:
    """A run before its first batch.

    Attributes:
        problem: Built as for the run, except for an expensive start object and the store.
        judgement: Properties of the data, and what is suspicious about them.
        trial: Result of two small batches; ``None`` if this machine lacks the run's device.
    """

    config: Config
    problem: Problem
    judgement: Judgement
    trial: Trial | None
    warnings: tuple[str, ...]

    @property
    def dataset(self) -> Dataset:
        """The data, as prepared by the model."""
        return self.problem.dataset

    @property
    def geometry(self) -> Geometry:
        """The geometry, as the model uses it."""
        return self.problem.bound.geometry

    @property
    def batch_sizes(self) -> list[int]:
        """Patterns in each batch of the first epoch."""
        run = self.config.run
        if self.config.solver is not None:
            return [self.dataset.n_patterns]
        size = run.batch_size or default_batch_size(self.problem.bound)
        parts = epoch_order(self.dataset, size, run.batch_order, np.random.default_rng(run.seed))
        return [len(part) for part in parts]

    @property
    def ranks(self) -> int:
        """Number of ranks of the run."""
        start = launched()
        return 1 if start is None else start[0]


@user_code()
def draft(path: str | Path, overrides: tuple[str, ...] = ()) -> Draft:
    """The run that the configuration file ``path`` describes, built and tried.

    Raises:
        InputError: The errors found: first those of the schema and the data, then contradictions between valid
            settings.
    """
    mapping, lines = config_file.load(path, overrides)
    errors: list[InputError] = []
    config, dataset = None, None
    try:
        config = load_config(path, overrides)
    except InputError as error:
        errors += flat(error)  # already with line numbers
    try:
        data = config.source if config is not None else _data_settings(mapping, path_starts(Path(path), lines))
        dataset = None if data is None else open_dataset(data.path, data)
        if config is not None and dataset is not None:
            return _tried(config, dataset)
    except InputError as error:
        errors += [config_file.at_lines(single, lines) for single in flat(error)]
        if config is not None and dataset is None:
            wrong = recipe_errors(config.recipe, config.recipe.settings, config.run)
            errors += [config_file.at_lines(single, lines) for single in wrong]
        raise together(errors) from error.__cause__
    raise together(errors)


def _data_settings(mapping: Mapping[str, Any], folder: Any) -> Any:
    """The section ``data`` of a configuration with errors in other sections."""
    try:
        return config_from({"data": mapping.get("data"), "forward_model": "ptychography"}, folder=folder).data
    except InputError:  # reported with the other errors
        return None


def _tried(config: Config, dataset: Dataset) -> Draft:
    warnings = []
    if stages_of(config):
        warnings.append("run.stages: this is the plan of the configuration without the changes of its stages")
    recipe, run = config.recipe, replace(config.run, stages=())
    rng, folder = np.random.default_rng(run.seed), Path(config.output.directory)
    known = folder if folder.is_dir() else None  # a check makes no folder
    try:
        problem, here = build(dataset, recipe, run, rng, dry=True, folder=known), True
    except BackendError as error:
        # The run may be meant for another machine, so a missing GPU is a warning.
        if not (run.backend == "torch" and run.device.startswith("cuda") and error.where == "run.device"):
            raise
        warnings.append(error.message())
        run = replace(run, device="cpu", memory=None)  # the limit is that of the GPU
        problem, here = build(dataset, recipe, run, rng, dry=True, folder=known), False
    judgement = judge(problem.dataset, beam_of(problem), scanned=PROBE in problem.values)
    starts = {name: value.first for name, value in problem.values.items()}
    warnings += config.notices(problem.dataset)
    warnings += [*judgement.hints, *idle_constraints(recipe.constraints, starts, problem.store.shape)]
    return Draft(config, problem, judgement, try_problem(problem) if here else None, tuple(warnings))


def beam_of(problem: Problem) -> np.ndarray | None:
    """Probe modes for the beam's size: those of the data file, or the first mode of the start probe.

    Added modes are not used, since they start wider than the beam. ``None`` where the beam was searched in vain.
    """
    if problem.dataset.start_probe is not None:
        given = problem.dataset.start_probe
        return given if given.ndim == 3 else given[0]
    if PROBE not in problem.values or not getattr(problem.values[PROBE].settings.initial, "decided", True):
        return None
    first = problem.values[PROBE].first
    return (first if first.ndim == 3 else first[0])[:1]
