"""What looks wrong in full-field projections: zingers, a beam that changes, angles that cannot be right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from adorym.data.air import beam_of_projections
from adorym.data.dataset import Dataset
from adorym.data.line_integrals import line_integrals
from adorym.data.projections import neighbors, zingers
from adorym.data.readers.base import choose

FEW = 8  # with fewer projections there is nothing to compare
MOST_PIXELS = 2**24  # that are read
ZINGER = 0.2
LEAST_ZINGERS = 3
DRIFT = 0.02  # of the beam, between its weakest and its strongest percentiles
ALIKE, MIRRORED = 0.98, 0.01  # correlations
# Of sinograms: fewest rows, largest values of air beside the sample, largest and smallest relative differences of sums.
FEWEST_ROWS, AIR, EVEN, UNEVEN = 24, 0.05, 0.05, 0.2


def projection_hints(dataset: Dataset) -> Iterator[str]:
    """Suspicious findings about projections without a scan, one a line; a part of them is read."""
    several = len(np.unique(dataset.angle_index)) >= FEW
    if not several or dataset.open_beam_counts is None or dataset.propagation_distance_m is not None:
        return
    if dataset.measured != "intensity" or dataset.n_patterns != dataset.n_angles:
        return
    number = int(np.clip(MOST_PIXELS // np.prod(dataset.window_px), FEW, dataset.n_patterns))
    order = np.argsort(dataset.theta_rad[dataset.angle_index], kind="stable")
    near = choose(dataset, order[:number], "")  # neighbors in angle
    if (hit := _zingers(near)) >= LEAST_ZINGERS:
        yield (
            f"counts: {hit} zingers, single counts far above those around them, in {number} projections; remove them "
            "with 'data.zingers: 0.2', or let 'loss: huber' bear them"
        )
    apart = choose(dataset, np.unique(np.linspace(0, dataset.n_patterns - 1, number).astype(int)), "")
    beam = beam_of_projections(apart)
    if beam is not None:
        low, high = np.percentile(beam, (2, 98))
        if high - low > DRIFT * high:
            yield (
                f"beam: the air beside the sample changes between {low:.3g} and {high:.3g} of the flat field; set "
                "'data.air: auto', or refine 'parameters.intensity_scale'"
            )
    yield from _turn(dataset, order)


@dataclass(frozen=True)
class Sinogram:
    """What a picture is that has a row for each angle.

    Attributes:
        level: Value without sample; 1 of line integrals.
        line_integrals: Whether the values are -log(I/I0).
    """

    level: float
    line_integrals: bool


def sinogram(picture: np.ndarray) -> Sinogram | None:
    """The picture ``(y, x)`` as a sinogram: air at both sides, and as much sample in every row; ``None`` otherwise."""
    values = np.asarray(picture, np.float64)
    if min(values.shape) < FEWEST_ROWS or not np.isfinite(values).all():
        return None
    margin = max(2, values.shape[1] // 32)
    sides = np.median(np.concatenate([values[:, :margin], values[:, -margin:]], axis=1), axis=1)
    level, strongest = float(np.median(sides)), float(np.percentile(values, 99))
    if values.dtype.kind == "f" and abs(level) < AIR * strongest < 100 * AIR:
        return Sinogram(1.0, True) if _equal_rows(values) else None
    if level <= 0 or sides.std() > AIR * level:
        return None
    integrals = -np.log(np.maximum(values / sides[:, None], 1e-4))
    return Sinogram(level, False) if _equal_rows(integrals) else None


def _equal_rows(integrals: np.ndarray) -> bool:
    """Whether rows hold equally much, columns do not, and rows are not all alike."""
    rows, columns = integrals.sum(axis=1), integrals.sum(axis=0)
    if rows.mean() <= 0 or rows.std() > EVEN * rows.mean() or columns.std() < UNEVEN * columns.mean():
        return False
    return bool((integrals - integrals.mean(axis=0)).std() > EVEN * integrals.std())


def _zingers(dataset: Dataset) -> int:
    """Number of values that zingers hit; projections in the order of their angles."""
    frames = dataset.patterns.read(np.arange(dataset.n_patterns))
    before, after = neighbors(np.arange(dataset.n_patterns))
    hit, _ = zingers(frames, frames[before], frames[after], ZINGER)
    if dataset.mask is not None:
        hit &= dataset.mask
    # A pixel that is always hit is hot, or its flat field is wrong.
    return int((hit & (hit.mean(axis=0) < 0.5)).sum())


def _turn(dataset: Dataset, order: np.ndarray) -> Iterator[str]:
    """Half a turn mirrors the projection; where the last one is the first again it was a whole turn."""
    span = float(np.ptp(dataset.theta_rad))
    if abs(span - np.pi) > 0.03 * np.pi:
        return
    first, last = line_integrals(choose(dataset, order[[0, -1]], "")).mean(axis=1)
    same, mirrored = _correlation(first, last, shifts=1), _correlation(first, last[::-1], shifts=len(first) // 2)
    if same > ALIKE and mirrored < same - MIRRORED:
        yield (
            "theta: the angles cover half a turn, but the last projection is the first one again, not its mirror "
            "image: is it a whole turn? Then set 'data.theta_range: [0 deg, 360 deg]'"
        )


def _correlation(one: np.ndarray, other: np.ndarray, shifts: int) -> float:
    """Largest correlation coefficient of two profiles over shifts by up to so many pixels."""
    best, n = -1.0, len(one)
    for shift in range(-shifts, shifts + 1):
        a, b = one[max(0, shift) : n + min(0, shift)], other[max(0, -shift) : n + min(0, -shift)]
        if len(a) > n // 2 - 1 and a.std() > 0 and b.std() > 0:
            best = max(best, float(np.corrcoef(a, b)[0, 1]))
    return best
