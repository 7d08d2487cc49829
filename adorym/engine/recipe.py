"""What is reconstructed, and how: the parts of a configuration, data set and run excepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adorym.constraints.base import Constraint
from adorym.forward.base import ForwardModel
from adorym.losses.base import Loss
from adorym.parameters import ParameterSettings
from adorym.regularizers.base import Regularizer
from adorym.solvers.base import Solver


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

    @property
    def settings(self) -> dict[str, ParameterSettings]:
        """Of every parameter that takes part: named by the user, or refined or needed by the model."""
        return {
            name: self.parameters[name] if name in self.parameters else spec.settings(refine=spec.refined)
            for name, spec in self.model.refinable.items()
            if name in self.parameters or not spec.optional
        }
