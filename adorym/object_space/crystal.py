"""The complex amplitude of a crystal in its support."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from adorym.constraints.base import Constraint
from adorym.object_space.base import ObjectSpace, Values
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.scaled import scaled

# Constraints that set the outside to vacuum, 1.
OF_TRANSMISSION = ("support", "shrink_wrap")


class CrystalAmplitude(ObjectSpace):
    """The unknown is the complex amplitude; it is multiplied by ``support``, which is zero outside the crystal."""

    representation: ClassVar[str] = "real_imag"

    def to_object(self, xp: Backend, unknown: Array, params: Mapping[str, Array]) -> Array:
        return scaled(xp, unknown, params["support"]) if "support" in params else unknown

    def pull_back(self, xp: Backend, curvature: Array, obj: Array, params: Mapping[str, Array]) -> Array:
        return curvature * params["support"] ** 2 if "support" in params else curvature

    def refuses(self, constraint: Constraint) -> str | None:
        if constraint.kind not in OF_TRANSMISSION:
            return None
        return (
            f"'{constraint.kind}' sets the outside to vacuum, 1, but a crystal has 0 there; "
            "set 'parameters.support', which follows the crystal"
        )

    def project(self, xp: Backend, constraint: Constraint, tile: Array, values: Values) -> Array:
        return constraint.project(xp, tile)

    def export(self, rows: np.ndarray, first: int, values: Values) -> np.ndarray:
        support = values.get("support")
        inside = rows if support is None else rows * support[first : first + len(rows)]
        return inside.astype(np.complex64, copy=False)
