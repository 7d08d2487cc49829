"""Small blocks of unknowns, such as the coordinates of a position: their Gauss-Newton matrix by differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.preconditioners.base import Point, Preconditioner
from adorym.wrapper.base import Array


@dataclass(frozen=True)
class Blocks(Preconditioner):
    r"""Blocks :math:`J^T J` of a parameter with k numbers a pattern or angle, or in all: ``(n, k, k)`` or ``(k, k)``.

    J is the difference of two predictions, so that any model has them.

    Attributes:
        step: Of the differences, in the parameter's unit: far above rounding, far below the finest structure.
    """

    step: float

    def curvature(self, name: str, point: Point) -> Array:
        xp, values = point.xp, point.params[name]
        here, of_run = point.amplitudes(), len(values.shape) == 1
        slopes = []
        for way in np.eye(values.shape[-1]):
            moved = values + xp.asarray(self.step * (way if of_run else way[None]), exact=True)
            slopes.append((point.amplitudes(**{name: moved}) - here) / self.step)
        over = None if of_run else (-2, -1)
        rows = [xp.stack([xp.sum(a * b, axis=over) for b in slopes], axis=-1) for a in slopes]
        return point.weight * xp.stack(rows, axis=-2)
