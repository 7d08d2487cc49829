"""Gauss-Newton matrix of small blocks of unknowns, such as the coordinates of a position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adorym.preconditioners.base import Point, Preconditioner
from adorym.wrapper.base import Array


@dataclass(frozen=True)
class Blocks(Preconditioner):
    r"""Blocks :math:`J^T J` of a parameter with k numbers per pattern or angle ``(n, k, k)``, or in total ``(k, k)``.

    J is a finite difference of predictions, available for any model, or an exact forward derivative.

    Attributes:
        step: Step of the differences in the parameter's unit, or a function that finds it: far above rounding errors
            and far below the finest structure. Forward derivatives if ``None``.
        central: Whether the differences are those to both sides, which cost more and may have a longer step.
    """

    step: float | Callable[[Point], float] | None = None
    central: bool = False

    def curvature(self, name: str, point: Point) -> Array:
        xp, values = point.xp, point.params[name]
        over = None if len(values.shape) == 1 else (-2, -1)
        slopes = self._slopes(name, point)
        rows = [xp.stack([xp.sum(a * b, axis=over) for b in slopes], axis=-1) for a in slopes]
        return point.weight * xp.stack(rows, axis=-2)

    def _slopes(self, name: str, point: Point) -> list[Array]:
        """``(n, y, x)`` derivative of the amplitudes by each of the k numbers."""
        xp, values = point.xp, point.params[name]
        here = None if self.step is None or self.central else point.amplitudes()
        step = self.step(point) if callable(self.step) else self.step
        slopes = []
        for way in np.eye(values.shape[-1]):
            along = xp.asarray(np.broadcast_to(way, tuple(values.shape)).copy(), exact=True)
            if step is None:
                slopes.append(xp.jvp(lambda tree: point.amplitudes(**tree), {name: values}, {name: along})[1])
                continue
            before = point.amplitudes(**{name: values - step * along}) if self.central else here
            slope = point.amplitudes(**{name: values + step * along}) - before
            slopes.append(slope / (2 * step if self.central else step))
        return slopes
