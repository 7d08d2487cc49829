r"""What corrections of positions have in common: an affine map, and a drift that is smooth in time.

Corrections of the positions r about the middle of their scan are a sum of fields,

.. math:: \mathbf u_j = \mathbf t + \sum_k c_k\,\mathbf f_k(\mathbf r_j) + \sum_m \mathbf d_m \cos(\pi m\,\tau_j),
          \qquad 0 < \tau_j < 1 \text{ in the order of the patterns},

with the fields (y, x) of a scale, (y, -x) of unequal scales, (x, y) of a shear and (x, -y) of a rotation from x towards
y. All patterns then decide on a few numbers, where each pattern alone would only find its own shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.updates.base import State, Update

# Matrices that take (y, x) to the field.
FIELDS = {
    "scale": ((1.0, 0.0), (0.0, 1.0)),
    "unequal_scales": ((1.0, 0.0), (0.0, -1.0)),
    "shear": ((0.0, 1.0), (1.0, 0.0)),
    "rotation": ((0.0, 1.0), (-1.0, 0.0)),
}


def fields(positions_px: np.ndarray, components: tuple[str, ...], drift: int) -> np.ndarray:
    """``(k + 2 + 2 drift, n, 2)`` fields at the positions ``(n, 2)`` of one scan: map, shift and drift."""
    n = len(positions_px)
    away = positions_px - positions_px.mean(0)
    time = (np.arange(n) + 0.5) / n
    found = [away @ np.array(FIELDS[name]).T for name in components]
    for m in range(drift + 1):
        wave = np.cos(np.pi * m * time)[:, None]
        found += [wave * [1.0, 0.0], wave * [0.0, 1.0]]
    return np.array(found)


@dataclass(frozen=True, eq=False)
class PositionTrend(Update):
    """Brings the corrections of positions towards their trend, after every epoch.

    Attributes:
        first: ``(n, 2)`` positions that are corrected.
        scans: The patterns of each scan; each has its own trend.
        components: Names of the fields of the affine map.
        drift: Number of smooth waves.
        flexibility: Part of a single correction beside the trend that is left.
        parameter: Name of what is corrected, ``(n, 2)``.
    """

    first: np.ndarray
    scans: tuple[np.ndarray, ...]
    components: tuple[str, ...]
    drift: int = 0
    flexibility: float = 0.0
    parameter: str = "probe_positions"

    def apply(self, state: State) -> State:
        if self.parameter not in state.rates:
            return state
        positions = np.array(state.values[self.parameter])
        for rows in self.scans:
            moved = positions[rows] - self.first[rows]
            made = fields(self.first[rows], self.components, self.drift).reshape(-1, moved.size)
            trend = (np.linalg.lstsq(made.T, moved.ravel(), rcond=None)[0] @ made).reshape(moved.shape)
            positions[rows] = self.first[rows] + trend + self.flexibility * (moved - trend)
        return state.with_values(**{self.parameter: positions})
