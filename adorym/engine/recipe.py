"""The recipe: all parts of a configuration except the data set and the run settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from adorym.constraints.base import Constraint
from adorym.forward.base import ForwardModel
from adorym.losses.base import Loss
from adorym.parameters import Parameter, ParameterSettings
from adorym.regularizers.base import Regularizer
from adorym.solvers.base import Solver


@dataclass(frozen=True)
class Recipe:
    """Model, loss, parameters and other components of a reconstruction.

    Attributes:
        parameters: Settings of the parameters that the user names; the others follow the model's declaration.
        loss: Chosen by the data if ``None`` (`adorym.engine.likelihood`).
        solver: Updates all refined parameters together; replaces their optimizers.
        start_from: Result, or folder of a run, that the run goes on from.
    """

    model: ForwardModel
    parameters: Mapping[str, ParameterSettings]
    loss: Loss | None
    regularizers: tuple[Regularizer, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    solver: Solver | None = None
    start_from: str | Path | None = None

    @property
    def settings(self) -> dict[str, ParameterSettings]:
        """Settings of every parameter in use: named by the user, or refined or needed by the model."""
        return {
            name: self.parameters[name] if name in self.parameters else spec.settings(refine=spec.refined)
            for name, spec in self.model.refinable.items()
            if name in self.parameters
            or not spec.optional
            or (spec.implied is not None and spec.implied(self.parameters))
        }

    @property
    def resolved(self) -> dict[str, ParameterSettings]:
        """The same, with the model's optimizers and schedules where none are given."""
        return {name: _resolved(self.model.refinable[name], each) for name, each in self.settings.items()}


def _resolved(spec: Parameter, settings: ParameterSettings) -> ParameterSettings:
    if spec.by_update or not settings.refine:
        return settings
    optimizer, schedule = settings.optimizer or spec.default_optimizer(), settings.schedule or spec.default_schedule()
    return replace(settings, optimizer=optimizer, schedule=schedule)
