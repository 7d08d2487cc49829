"""The constraint: a projection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from adorym.wrapper.base import Array, Backend


class Constraint(ABC):
    r"""A pure, idempotent projection of one parameter, applied after its steps.

    Attributes:
        parameter: Name of the parameter that it acts on.
        when: After every ``batch`` or every ``epoch``.
        logarithmic: Whether `project` of the object takes :math:`b + i d = -\log O`, the absorption and the phase shift
            of a slice, :math:`k t (\beta + i \delta)`, instead of its transmission :math:`O = e^{-(b + i d)}`. The
            engine converts if the run's representation differs.
        of_one_material: Whether `project_phase` applies it to an object of one material.
        relative: Whether `project` takes the deviation from the start value.
        scale_free: Whether it leaves open a factor that object and probe share (`adorym.engine.convention`).
    """

    kind: ClassVar[str]
    parameter: str
    when: ClassVar[Literal["batch", "epoch"]] = "batch"
    logarithmic: ClassVar[bool] = False
    relative: ClassVar[bool] = False
    of_one_material: ClassVar[bool] = False
    scale_free: ClassVar[bool] = False

    @property
    def whole(self) -> bool:
        """Whether it needs the whole array at once instead of tiles."""
        return False

    @abstractmethod
    def project(self, xp: Backend, tile: Array) -> Array:
        """The nearest array that satisfies the constraint; may reuse the memory of ``tile``."""

    def project_phase(self, xp: Backend, phase: Array, kappa: float) -> Array:
        r"""The same for the real phase :math:`\varphi = k t \delta` of a homogeneous object.

        The transmission is :math:`e^{-(1/\kappa + i)\varphi}`. Only called for constraints with ``of_one_material``.
        """
        return phase

    def active(self, epoch: int) -> bool:
        """Whether it is applied in ``epoch``, counted from 0."""
        return True

    def of_rows(self, start: int, stop: int, shape: tuple[int, ...]) -> Constraint:
        """The same constraint for a tile that holds the rows from ``start`` to ``stop`` of an array of ``shape``."""
        return self
