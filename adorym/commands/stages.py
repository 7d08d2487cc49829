"""A run in stages: the configuration with one set of changes after the other, each from where the last one ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from adorym.config import Config, config_from
from adorym.errors import ConfigError, ConfigErrors, InputError, suggestion
from adorym.schema import dump
from adorym.schema.messages import prefixed

# What a stage may change.
SECTIONS = ("data", "parameters", "loss", "regularizers", "constraints", "solver", "run")


def stages_of(config: Config) -> tuple[Config, ...]:
    """The configuration of each stage; none if the run has no stages.

    Raises:
        ConfigErrors: All errors in the stages.
    """
    errors: list[InputError] = []
    made = []
    base = dump(config)
    base["run"] = {name: value for name, value in base["run"].items() if name != "stages"}
    for number, changes in enumerate(config.run.stages):
        where = f"run.stages[{number}]"
        unknown = [key for key in changes if key not in SECTIONS]
        errors += [
            ConfigError(f"{where}.{key}", "not for a stage to change", expected=", ".join(SECTIONS),
                        remedy=suggestion(key, SECTIONS)) for key in unknown]  # fmt: skip
        data = changes.get("data") or {}
        if "crop" in data and "pixel_size" not in data and config.data.pixel_size is not None:
            what = "changes the object's pixel, but 'data.pixel_size' is that of another part of the detector"
            remedy = "give the 'pixel_size' of this stage, too, or 'distance' and 'detector_pixel_size' in its place"
            errors.append(ConfigError(f"{where}.data.crop", what, remedy=remedy))
        if "stages" in (changes.get("run") or {}):
            errors.append(ConfigError(f"{where}.run.stages", "a stage has no stages", remedy="list them one by one"))
        elif not unknown:
            try:
                made.append(_with_arrays(config_from(_merged(base, changes)), config, changes))
            except InputError as error:
                errors += prefixed(error, where)
    if errors:
        raise ConfigErrors(errors)
    return tuple(made)


def _with_arrays(stage: Config, whole: Config, changes: Mapping[str, Any]) -> Config:
    """``stage`` with the arrays in memory that the data of ``whole`` are or have."""
    known: dict[str, Any] = {name: value for name, value in vars(whole.data).items() if isinstance(value, np.ndarray)}
    kept = {name: value for name, value in known.items() if name not in (changes.get("data") or {})}
    return replace(stage, data=replace(stage.data, **kept)) if kept else stage


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``: mappings entry by entry, unless they are of another kind; all else is replaced."""
    found = dict(base)
    for key, value in changes.items():
        old = found.get(key)
        alike = isinstance(old, Mapping) and isinstance(value, Mapping)
        if alike and value.get("kind", old.get("kind")) == old.get("kind"):  # type: ignore[union-attr]
            found[key] = _merged(old, value)  # type: ignore[arg-type]
        else:
            found[key] = value
    return found
