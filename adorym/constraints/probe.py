"""Constraints on the probe modes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from adorym.constraints.base import Constraint
from adorym.optics.modes import orthogonalise
from adorym.registry import register
from adorym.wrapper.base import Array, Backend


@register("constraint", "probe_power")
class ProbePower(Constraint):
    """All modes together carry a given number of photons.

    Attributes:
        photons: Photons in one pattern without an object.
    """

    parameter: ClassVar[str] = "probe"
    photons: float = Field(gt=0)

    def project(self, xp: Backend, tile: Array) -> Array:
        power = xp.sum(xp.abs2(tile))
        return tile * xp.sqrt(self.photons / power)


@register("constraint", "orthogonal_modes")
class OrthogonalModes(Constraint):
    """The modes as the principal components of the same mutual intensity, strongest first.

    Any unitary mixture of the modes predicts the same patterns; this picks the one whose modes are orthogonal
    (Thibault & Menzel, Nature 494, 68 (2013), methods).
    """

    parameter: ClassVar[str] = "probe"
    when: ClassVar[Literal["batch", "epoch"]] = "epoch"

    def project(self, xp: Backend, tile: Array) -> Array:
        return xp.asarray(orthogonalise(xp.to_numpy(tile)))
