"""Are the measured values counts of photons? Their noise is then known, and with it how well a model can fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adorym.data.dataset import Dataset

# Patterns that are looked at, as many as have so many pixels, and values.
FEWEST, MOST, PIXELS, VALUES = 24, 96, 1 << 22, 200_000
# Largest value, in units of one photon, that single precision holds exactly enough.
LARGEST = 2e4
# Largest distance of a value from a multiple of the quantum, and the share of the values that may be farther away.
TOLERANCE, OUTLIERS = 0.02, 1e-3


@dataclass(frozen=True)
class Counting:
    """The unit in which the data count.

    Attributes:
        quantum: Units of the data per photon; ``None`` if the values are no counts.
        about: The same in words.
        photons_a_pixel: Mean of the valid pixels; ``None`` if the values are no counts.
        background: Share of all counts that a background may have which is the same in all pixels: that of the dimmest
            tenth of them.
    """

    quantum: float | None
    about: str
    photons_a_pixel: float | None = None
    background: float = 1.0


def counting(dataset: Dataset) -> Counting:
    """Find the unit of the measured values from some of the patterns.

    Counts are whole numbers, or multiples of one number if somebody has normalized them. Values that are neither, such
    as those divided by a flat field, averages, and simulations without noise, have a noise that they do not tell.
    """
    patterns = min(MOST, max(FEWEST, PIXELS // math.prod(dataset.window_px)))
    index = np.unique(np.linspace(0, dataset.n_patterns - 1, patterns).astype(int))
    sums, seen = np.zeros((2, 2, *dataset.window_px))
    values = []
    for number, i in enumerate(index):  # one after the other: frames may be large
        frame = np.asarray(dataset.patterns.read(np.array([i]))[0], np.float64)
        frame = frame**2 if dataset.measured == "amplitude" else frame
        valid = np.isfinite(frame)
        if dataset.mask is not None:
            valid &= dataset.mask if dataset.mask.ndim == 2 else dataset.mask[i]
        sums[number % 2] += np.where(valid, frame, 0)
        seen[number % 2] += valid
        found = frame[valid & (frame > 0)]
        values.append(found[:: max(1, len(found) * len(index) // VALUES)])
    quantum = quantum_of(np.concatenate(values))
    if quantum is None:
        return Counting(None, "the values are no counts")
    about = "photon counts" if abs(quantum - 1) < 1e-3 else f"photon counts times {quantum:.4g}"
    quantum = 1.0 if about == "photon counts" else quantum
    return Counting(quantum, about, *_brightness(sums / quantum, seen))


def _brightness(photons: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """Mean photons in a valid pixel, and the share of them that a uniform background may have.

    The sums ``(2, y, x)`` are those of two halves of the patterns: which pixels are dim is seen in one of them, and how
    dim they are in the other, in which they are not dim by chance.
    """
    good = (seen > 0).all(0)
    if not good.any():
        return float(photons.sum() / max(seen.sum(), 1)), 1.0
    first, second = photons[:, good] / seen[:, good]
    dimmest = np.argsort(first, kind="stable")[: max(1, len(first) // 10)]
    mean = float((first.mean() + second.mean()) / 2)
    return mean, float(second[dimmest].mean() / max(mean, 1e-300))


def quantum_of(values: np.ndarray) -> float | None:
    """The number whose multiples all positive ``values`` are; ``None`` if there is none."""
    distinct = np.unique(values)
    if distinct.size == 0:
        return None
    steps = np.diff(distinct)
    steps = steps[steps > 1e-5 * distinct[1:]] if steps.size else steps
    quantum = min(float(distinct[0]), float(steps.min()) if steps.size else np.inf)
    small = values[values <= LARGEST * quantum]
    if small.size < 0.9 * values.size:
        return None
    # A step between neighbors carries the rounding of two values: it is made exact on ever larger multiples.
    multiples = np.concatenate([distinct, distinct - distinct[0]])
    for limit in (4.0, 30.0, 300.0, LARGEST):
        near = multiples[(multiples > 0.5 * quantum) & (multiples <= limit * quantum)]
        if near.size:
            quantum = float(near.sum() / np.rint(near / quantum).sum())
    off = np.abs(small / quantum - np.rint(small / quantum))
    return quantum if np.mean(off > TOLERANCE) <= OUTLIERS else None
