"""The support of a crystal, which follows it by shrink-wrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from adorym.updates.base import State, Update


class SupportRule(Protocol):
    """How a support follows its object (fulfilled by `adorym.forward.crystal.SupportSettings`)."""

    threshold: float
    sigma: float
    dilate: int

    def active(self, epoch: int) -> bool:
        """Whether it is updated before ``epoch``, from 0."""
        ...


@dataclass(frozen=True)
class SupportUpdate(Update):
    """A support becomes the region where the object's blurred amplitude is strong, and the object zero outside.

    Before the first epoch it is where the first object is not zero.

    Attributes:
        parameter: Name of the support, ``(y, x, z)``, 0 or 1.
        rule: When it is updated, and how.
    """

    parameter: str
    rule: SupportRule
    when: ClassVar[Literal["start", "batch", "end"]] = "start"

    def due(self, epoch: int, epochs: int) -> bool:
        return epoch == 0 or self.rule.active(epoch)

    def apply(self, state: State) -> State:
        present, amplitude = state.values[self.parameter], np.abs(state.read_object())
        if state.epoch == 0:
            inside = np.where(amplitude > 0, present, 0)
        else:
            inside = self._shrunk(amplitude * (present > 0))
        inside = inside.astype(present.dtype)
        return state.with_values(**{self.parameter: inside}).with_(factor=inside, new_problem=state.epoch > 0)

    def _shrunk(self, amplitude: np.ndarray) -> np.ndarray:
        from scipy.ndimage import binary_dilation, gaussian_filter  # slow to import

        blurred = gaussian_filter(amplitude, self.rule.sigma, mode="wrap")
        inside = blurred >= self.rule.threshold * blurred.max()
        return binary_dilation(inside, iterations=self.rule.dilate) if self.rule.dilate else inside
