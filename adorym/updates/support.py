"""The support of a crystal, updated by shrink-wrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError
from adorym.optics.support import LARGEST, shrink_wrap
from adorym.parameters import ParameterSettings
from adorym.registry import component
from adorym.units import Pixels
from adorym.updates.base import State, Update
from adorym.wrapper import get_backend


@component
class SupportSettings(ParameterSettings):
    """How the support follows the object.

    Attributes:
        every: Epochs between updates.
        threshold: A voxel belongs to the support if its blurred amplitude is at least this fraction of the largest.
        sigma: Standard deviation of the blur.
        dilate: Voxels by which the support is dilated after each update.
    """

    every: int = Field(50, ge=1)
    threshold: float = Field(0.1, gt=0, lt=1)
    sigma: Pixels = Field(1.0, gt=0)
    dilate: int = Field(0, ge=0)

    def __post_init__(self) -> None:
        for key in ("optimizer", "schedule"):
            if getattr(self, key) is not None:
                raise ConfigError(key, "has no effect: the support follows the object", remedy="leave it out")

    def active(self, epoch: int) -> bool:
        # In the first epoch the support is that of the start object.
        return epoch > 0 and super().active(epoch)


@dataclass(frozen=True)
class SupportUpdate(Update):
    """Sets the support to the region of strong blurred amplitude, and the object to zero outside.

    Before the first epoch the support is the region where the start object is not zero; if that is most of the array,
    shrink-wrap finds it. A later update that would enlarge it to most of the array leaves it as it is: a pattern does
    not determine so large a crystal.

    Attributes:
        parameter: Name of the support, ``(y, x, z)``, 0 or 1.
        rule: When and how it is updated.
    """

    parameter: str
    rule: SupportSettings
    when: ClassVar[Literal["start", "batch", "end"]] = "start"

    def due(self, epoch: int, epochs: int) -> bool:
        return epoch == 0 or self.rule.active(epoch)

    def apply(self, state: State) -> State:
        present, rule = state.values[self.parameter], self.rule
        amplitude = np.abs(state.read_object()) * (present > 0)
        inside = amplitude > 0
        if state.epoch > 0 or inside.mean() > LARGEST:
            xp = get_backend("autograd", precision="double")
            found = shrink_wrap(xp, amplitude, rule.sigma, rule.threshold, (0, 1, 2), dilate=rule.dilate)
            small = state.epoch == 0 or found.mean() <= max(LARGEST, float((present > 0).mean()))
            inside = found if small else present > 0
        inside = inside.astype(present.dtype)
        return state.with_values(**{self.parameter: inside}).with_(factor=inside, new_problem=state.epoch > 0)
