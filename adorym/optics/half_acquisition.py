r"""Scans over a whole turn: the axis from opposite projections, and an axis near the edge of the detector.

Rays in opposite directions see the same, :math:`p_{\theta + \pi}(x) = p_\theta(2c - x)` with the axis at c. If the
sample is wider than the detector and the axis stands near one edge (half acquisition, extended field of view), both
halves of the turn together are the projections of a detector of nearly twice the width. Rays that were measured twice
are weighted, so that both weights make up 1 and nothing jumps where one half ends.
"""

from __future__ import annotations

import numpy as np

FULL_TURN = 0.98  # of a turn, the last step included
VISIBLE = 0.05  # of the sample's thickest column: what an edge column may hold and still count as air
LEAST_OVERLAP = 4


def is_whole_turn(theta_rad: np.ndarray) -> bool:
    """Whether the angles, the step behind the last one included, cover a turn."""
    distinct = np.unique(theta_rad)
    if len(distinct) < 2:
        return False
    span = float(distinct[-1] - distinct[0])
    return span + span / (len(distinct) - 1) >= FULL_TURN * 2 * np.pi


def cut_edges(integrals: np.ndarray) -> tuple[bool, bool]:
    """Whether the sample reaches beyond the first, and beyond the last column of a sinogram ``(a, x)``."""
    column = integrals.mean(axis=0)
    edge, top = max(2, len(column) // 64), float(np.percentile(column, 95))
    left, right = float(column[:edge].mean()), float(column[-edge:].mean())
    return left > VISIBLE * top > 0, right > VISIBLE * top > 0


def is_half_acquisition(integrals: np.ndarray, center_px: float) -> bool:
    """Whether the sample is cut at the edge near the axis, so that only both halves of a turn see all of it.

    A sample that is cut at both edges about an axis near the middle is wider than any part of the scan shows.
    """
    cut = cut_edges(integrals)
    near, far = cut if center_px < 0 else cut[::-1]
    return near and abs(center_px) >= 1 and (not far or abs(center_px) > integrals.shape[1] / 8)


def opposite(integrals: np.ndarray, theta_rad: np.ndarray) -> np.ndarray:
    """Sinogram ``(a, x)`` half a turn later at each angle, interpolated linearly between the angles."""
    turn = np.mod(theta_rad, 2 * np.pi)
    order = np.argsort(turn, kind="stable")
    around = np.concatenate([turn[order], [turn[order[0]] + 2 * np.pi]])
    rows = np.concatenate([integrals[order], integrals[order[:1]]])
    wanted = np.mod(turn + np.pi - around[0], 2 * np.pi) + around[0]
    after = np.clip(np.searchsorted(around, wanted, side="right"), 1, len(around) - 1)
    gap = around[after] - around[after - 1]
    part = ((wanted - around[after - 1]) / np.where(gap > 0, gap, 1.0))[:, None]
    return (1 - part) * rows[after - 1] + part * rows[after]


def disagreement(integrals: np.ndarray, theta_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centers ``(k,)`` in px from the middle, half a pixel apart, and how badly opposite projections fit for each.

    The mean square difference where both see the sample, over their variances along the angles: 0 if they agree, 1 if
    they have nothing in common. What a column has in all angles is left out, since stripes do not turn.
    """
    here = integrals - integrals.mean(axis=0)
    there = opposite(integrals, theta_rad)[:, ::-1]
    there = there - there.mean(axis=0)
    width = here.shape[1]
    size = 1 << int(np.ceil(np.log2(2 * width)))
    spectra = np.fft.rfft(here, size) * np.conj(np.fft.rfft(there, size))
    product = np.fft.irfft(spectra.sum(axis=0), size)
    reach = width - max(LEAST_OVERLAP, width // 32)
    shifts = np.arange(-reach, reach + 1)
    squares = [np.concatenate([[0.0], np.cumsum(np.square(each).sum(axis=0))]) for each in (here, there)]
    first, last = np.maximum(shifts, 0), width + np.minimum(shifts, 0)
    power = squares[0][last] - squares[0][first] + squares[1][last - shifts] - squares[1][first - shifts]
    return shifts / 2, 1 - 2 * product[shifts % size] / np.maximum(power, 1e-12 * max(float(power.max()), 1e-300))


def axis_of_turn(integrals: np.ndarray, theta_rad: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The axis for which opposite projections agree best, with the centers and the `disagreement` of each."""
    centers, apart = disagreement(integrals, theta_rad)
    best = int(np.argmin(apart))
    if not 0 < best < len(centers) - 1:
        return float(centers[best]), centers, apart
    low, here, high = apart[best - 1 : best + 2]
    bend = low - 2 * here + high
    return float(centers[best] + (0.25 * (low - high) / bend if bend > 0 else 0.0)), centers, apart


def seen_width_px(width_px: int, center_px: float) -> int:
    """Diameter about the axis that a whole turn sees, as even or odd as the detector's width."""
    return width_px + 2 * int(np.floor(abs(center_px)))


def overlap_weights(width_px: int, center_px: float) -> np.ndarray:
    """``(x,)`` weights of the detector's columns; those of a ray and of its opposite make up 1."""
    from_edge = width_px / 2 - np.sign(center_px) * (np.arange(width_px) - (width_px - 1) / 2)
    return np.clip(from_edge / max(width_px - 2 * abs(center_px), 1.0), 0.0, 1.0)


def widened(integrals: np.ndarray, center_px: float) -> np.ndarray:
    """Weighted projections ``(..., x)`` on a detector wide enough for the sample on the other side of the axis.

    The side that the other half of the turn sees is 0; a sample that is cut at the far edge is continued.
    """
    width = integrals.shape[-1]
    weighted = integrals * overlap_weights(width, center_px)
    room = int(np.ceil(2 * abs(center_px)))
    empty = [(0, 0)] * (integrals.ndim - 1)
    near, far = ((0, room), (room, 0)) if center_px > 0 else ((room, 0), (0, room))
    return np.pad(np.pad(weighted, [*empty, near]), [*empty, far], mode="edge")
