"""Are the measured values counts of photons? Their noise is then known, and with it how well a model can fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.data.dataset import Dataset

# Patterns and values that are looked at.
PATTERNS, VALUES = 24, 200_000
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
        background: Largest share of all counts that a background may have which is the same in all pixels: that of the
            mean pattern's dimmest tenth.
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
    index = np.unique(np.linspace(0, dataset.n_patterns - 1, PATTERNS).astype(int))
    frames = np.asarray(dataset.patterns.read(index), np.float64)
    frames = frames**2 if dataset.measured == "amplitude" else frames
    valid = np.isfinite(frames)
    if dataset.mask is not None:
        valid &= dataset.mask if dataset.mask.ndim == 2 else dataset.mask[index]
    values = frames[valid & (frames > 0)]
    values = values[:: max(1, len(values) // VALUES)]
    quantum = quantum_of(values)
    if quantum is None:
        return Counting(None, "the values are no counts")
    about = "photon counts" if abs(quantum - 1) < 1e-3 else f"photon counts times {quantum:.4g}"
    quantum = 1.0 if about == "photon counts" else quantum
    return Counting(quantum, about, *_brightness(np.where(valid, frames, 0) / quantum, valid))


def _brightness(photons: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """Mean photons in a valid pixel, and the share of them that a uniform background may have."""
    seen = valid.sum(0)
    mean = np.sort(photons.sum(0)[seen > 0] / seen[seen > 0])
    dimmest = mean[: max(1, len(mean) // 10)].mean()
    return float(mean.mean()), float(dimmest / max(mean.mean(), 1e-300))


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
