"""Small blocks of unknowns, such as the coordinates of a position: their Gauss-Newton matrix by differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.preconditioners.base import Point, Preconditioner
from adorym.wrapper.base import Array


@dataclass(frozen=True)
class Blocks(Preconditioner):
    r"""Blocks :math:`J^T J` of a parameter with k numbers a pattern or angle, or in all: ``(n, k, k)`` or ``(k, k)``.

    J is the difference of two predictions, which any model has, or exact where forward derivatives serve.

    Attributes:
        step: Of the differences, in the parameter's unit: far above rounding, far below the finest structure; forward
            derivatives if ``None``.
    """

    step: float | None = None

    def curvature(self, name: str, point: Point) -> Array:
        xp, values = point.xp, point.params[name]
        over = None if len(values.shape) == 1 else (-2, -1)
        slopes = self._slopes(name, point)
        rows = [xp.stack([xp.sum(a * b, axis=over) for b in slopes], axis=-1) for a in slopes]
        return point.weight * xp.stack(rows, axis=-2)

    def _slopes(self, name: str, point: Point) -> list[Array]:
        """``(n, y, x)`` slope of the amplitudes along each of the k numbers."""
        xp, values = point.xp, point.params[name]
        here = None if self.step is None else point.amplitudes()
        slopes = []
        for way in np.eye(values.shape[-1]):
            along = xp.asarray(np.broadcast_to(way, tuple(values.shape)).copy(), exact=True)
            if self.step is None:
                slopes.append(xp.jvp(lambda tree: point.amplitudes(**tree), {name: values}, {name: along})[1])
            else:
                slopes.append((point.amplitudes(**{name: values + self.step * along}) - here) / self.step)
        return slopes
