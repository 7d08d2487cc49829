"""A run as far as it can be known without computing anything: its start values, or everything that is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adorym import config_file
from adorym.config import Config, DataSettings, config_from, load_config, path_starts
from adorym.data.dataset import Dataset
from adorym.data.open import open_dataset
from adorym.engine.checks import (
    check_inside,
    check_room,
    data_errors,
    first_object,
    flat,
    recipe_errors,
    start_value,
    together,
    try_constraint,
)
from adorym.engine.setup import object_margin_px, used_settings
from adorym.errors import BackendError, InputError
from adorym.optimizers.base import Optimizer
from adorym.parameters import ParameterSettings
from adorym.storage.base import blocks
from adorym.wrapper import get_backend

# Constraints are tried on values of all magnitudes that may occur.
DECADES = 6


@dataclass(frozen=True)
class Draft:
    """A run before its first batch.

    Attributes:
        settings: Of every parameter that takes part.
        starts: Start values but for the object's; those of the probe are not scaled to the counts yet.
        object_shape: (y, x, ...).
        origin_px: (y, x) index in the object of the data's position (0, 0).
        margin_px: Pixels around the scanned area.
        on_host: Whether the run computes on the CPU.
        warnings: What is suspicious, or has no effect.
    """

    config: Config
    dataset: Dataset
    settings: Mapping[str, ParameterSettings]
    starts: Mapping[str, np.ndarray]
    object_shape: tuple[int, ...]
    origin_px: tuple[int, int]
    margin_px: int
    on_host: bool
    warnings: tuple[str, ...]

    def optimizer(self, name: str) -> Optimizer:
        """The optimizer of parameter ``name``, the default one if none is named."""
        return self.settings[name].optimizer or self.config.forward_model.refinable[name].default_optimizer()


@dataclass
class _Findings:
    """Errors and warnings, gathered one after the other."""

    lines: Mapping[str, int]
    errors: list[InputError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, error: InputError) -> None:
        self.errors += [config_file.at_lines(single, self.lines) for single in flat(error)]

    @contextmanager
    def collected(self) -> Iterator[None]:
        """An `InputError` raised inside is kept, and what comes after goes on."""
        try:
            yield
        except InputError as error:
            self.add(error)


def draft(path: str | Path, overrides: Sequence[str] = ()) -> Draft:
    """The run that the configuration file ``path`` describes, with ``key.path=value`` assignments.

    Raises:
        InputError: What is wrong; of several errors all, as `adorym.errors.ConfigErrors`: first what contradicts the
            schema, then the data, then what does not go together.
    """
    mapping, lines = config_file.load(path, overrides)
    findings = _Findings(lines)
    config, dataset = None, None
    data: DataSettings | None
    try:
        config = load_config(path, overrides)
        data = config.data
    except InputError as error:
        findings.errors += flat(error)  # with lines already
        data = _data_settings(mapping, path_starts(Path(path), lines))
    if data is not None:
        with findings.collected():
            dataset = open_dataset(data.path, data)
    made = None if config is None else _drafted(config, dataset, findings)
    if findings.errors or made is None:
        raise together(findings.errors)
    return made


def _data_settings(mapping: Mapping[str, Any], folder: Callable[[str], Path]) -> DataSettings | None:
    """The section ``data`` of a configuration that is wrong elsewhere."""
    try:
        return config_from({"data": mapping.get("data"), "forward_model": "ptychography"}, folder=folder).data
    except InputError:  # reported with everything else
        return None


def _drafted(config: Config, dataset: Dataset | None, findings: _Findings) -> Draft | None:
    """The draft, or ``None`` and what is wrong in ``findings``."""
    recipe, run = config.recipe, config.run
    settings = used_settings(recipe)
    for error in recipe_errors(recipe, settings, run):
        findings.add(error)
    on_host = _on_host(config, findings)
    if dataset is None:
        return None
    unfit = list(data_errors(recipe.model, settings, run, dataset))
    for error in unfit:
        findings.add(error)
    if unfit:
        return None
    margin = object_margin_px(recipe.model, settings)
    shape, origin = recipe.model.object_frame(dataset, margin)
    rng, starts = np.random.default_rng(run.seed), {}
    with findings.collected():
        check_room(shape, run.store)
        rows = first_object(recipe.model, settings["object"], dataset, shape, rng).rows
        for start, stop in blocks(0, shape[0], 16 * math.prod(shape[1:])):
            rows(start, stop)
    for name in settings:
        if name != "object":
            with findings.collected():
                starts[name] = start_value(name, recipe.model, settings[name], dataset, rng)
                if recipe.model.refinable[name].window_relative:
                    check_inside(name, starts[name], dataset, (shape, origin))
    findings.warnings += config.notices(dataset)
    if not findings.errors:
        _try_constraints(config, starts, shape, findings)
    warnings = tuple(findings.warnings)
    return Draft(config, dataset, settings, starts, shape, origin, margin, on_host, warnings)


def _on_host(config: Config, findings: _Findings) -> bool:
    """Whether the run computes on the CPU; a GPU that only this machine lacks is worth a warning, not an error."""
    run = config.run
    try:
        return get_backend(run.backend, device=run.device, precision=run.precision, threads=run.threads).on_host
    except BackendError as error:
        elsewhere = run.backend == "torch" and run.device.startswith("cuda") and error.where == "run.device"
        if elsewhere:
            findings.warnings.append(error.message())
        else:
            findings.add(error)
        return not elsewhere


def _try_constraints(
    config: Config, starts: Mapping[str, np.ndarray], shape: tuple[int, ...], findings: _Findings
) -> None:
    """Apply each constraint to random values: it may refuse their shape, and where it changes none it has no effect."""
    xp, rng = get_backend("autograd", precision="double"), np.random.default_rng(0)
    for i, constraint in enumerate(config.constraints):
        of = shape if constraint.parameter == "object" else starts[constraint.parameter].shape
        values = 10 ** rng.uniform(-DECADES, DECADES, of) * np.exp(1j * rng.uniform(-np.pi, np.pi, of))
        if constraint.parameter != "object" and not np.iscomplexobj(starts[constraint.parameter]):
            values = values.real
        with findings.collected():
            projected = try_constraint(xp, i, constraint, values.copy(), shape)
            if np.allclose(projected, values, rtol=1e-6, atol=0):
                findings.warnings.append(f"constraints[{i}]: '{constraint.kind}' has no effect here")
