"""Which part of a reconstructed object the data saw, and how to look at it.

The margins of an object array that the beam hardly touched hold whatever the optimizer left there. Pictures crop
them, take their color range from the inside only, and remove what a ptychographic measurement does not determine:
a constant phase, and a linear phase that the probe compensates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy  # its slow parts load at their first use


class Parameter(Protocol):
    """A refined parameter: its value, and the one that it started with."""

    @property
    def value(self) -> np.ndarray: ...
    @property
    def start(self) -> np.ndarray | None: ...


class Scanned(Protocol):
    """What a result says of object, probe and positions (`adorym.data.result.Result` has it)."""

    @property
    def object(self) -> np.ndarray: ...
    @property
    def origin_px(self) -> tuple[int, int]: ...
    @property
    def probe(self) -> np.ndarray | None: ...
    @property
    def parameters(self) -> Mapping[str, Parameter]: ...


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """The seen part of an object.

    Attributes:
        crop: Slices (y, x) of the object array: the box around what was lit.
        seen: ``(y, x)`` bool within that box, True where the data determine the object: a tenth of the typical
            illumination, sum I^2 / sum I, or more.
        bright: ``(y, x)`` bool, True where they determine it well: half of the typical illumination or more.
        scanned: Whether a localised probe was moved over the object (else everything counts as seen).
    """

    crop: tuple[slice, slice]
    seen: np.ndarray
    bright: np.ndarray
    scanned: bool


def illumination(result: Scanned, positions_px: np.ndarray | None = None) -> np.ndarray | None:
    """Photons that fell on every object pixel, ``(y, x)`` float64: sum_jm |P_m(r - r_j)|^2.

    Args:
        result: Needs a probe, and ``probe_positions`` unless they are given.
        positions_px: ``(n, 2)`` corners of the windows, in place of the refined ones.

    Returns:
        None where nothing was scanned.
    """
    if positions_px is None and "probe_positions" in result.parameters:
        positions_px = result.parameters["probe_positions"].value
    if result.probe is None or positions_px is None or np.ndim(positions_px) != 2 or len(positions_px) == 0:
        return None
    intensity = np.sum(np.abs(result.probe.astype(np.complex128)) ** 2, axis=-3)
    intensity = intensity if intensity.ndim == 2 else intensity.mean(0)  # of several scans
    shape = result.object.shape[:2]
    positions_px = np.asarray(positions_px, float)
    corners = np.rint(positions_px[np.isfinite(positions_px).all(axis=1)][:, :2] + result.origin_px).astype(int)
    # A window that hangs over the edge still lights what lies inside: count corners on a grid with room around it.
    height, width = intensity.shape
    corners += (height, width)
    inside = np.all((corners >= 0) & (corners < (shape[0] + height, shape[1] + width)), axis=1)
    counts = np.zeros((shape[0] + height, shape[1] + width))
    np.add.at(counts, tuple(corners[inside].T), 1.0)
    lit = scipy.signal.fftconvolve(counts, intensity)[height : height + shape[0], width : width + shape[1]]
    return np.maximum(lit, 0.0)  # rounding of the Fourier transforms


def field_of_view(result: Scanned, positions_px: np.ndarray | None = None) -> FieldOfView:
    """The part of ``result.object`` that the data saw; everything where no localised probe was scanned."""
    shape = result.object.shape[:2]
    lit = illumination(result, positions_px)
    if lit is None or not np.any(lit > 0) or not np.isfinite(lit).all():
        everything = (slice(0, shape[0]), slice(0, shape[1]))
        return FieldOfView(everything, np.ones(shape, bool), np.ones(shape, bool), scanned=False)
    typical = np.sum(lit**2) / np.sum(lit)
    seen = lit >= 0.1 * typical
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    crop = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return FieldOfView(crop, seen[crop], lit[crop] >= 0.5 * typical, scanned=True)


def without_ramp(image: np.ndarray, inside: np.ndarray, *, ramp: bool = True) -> np.ndarray:
    """``image`` ``(y, x)`` complex without its mean phase and, with ``ramp``, without its linear phase.

    The gradient is first the phase of sum O(r + 1) O*(r) over ``inside``, which phase wraps do not disturb; where none
    are left, a plane fitted to the phase makes it exact. Amplitudes above the median count as the median: a few wild
    pixels have no say.
    """
    inside = inside & np.isfinite(image)
    amplitude = np.abs(image)
    top = np.median(amplitude[inside]) if inside.any() else 0.0
    shrink = np.divide(top, amplitude, out=np.ones(image.shape), where=inside & (amplitude > top))
    weighted = np.where(inside, image * shrink, 0).astype(np.complex128)
    correction = np.ones(image.shape, np.complex128)
    if ramp:
        for axis in (0, 1):
            ahead, behind = np.delete(weighted, 0, axis), np.delete(weighted, -1, axis)
            correction *= np.exp(-1j * np.angle(np.sum(ahead * behind.conj())) * np.indices(image.shape)[axis])
    correction *= np.exp(-1j * np.angle(np.sum(weighted * correction)))
    if ramp and inside.any():
        phase = np.angle(weighted * correction)
        if np.ptp(np.percentile(phase[inside], (1, 99))) < 1.8 * np.pi:
            correction *= np.exp(-1j * _plane(phase, inside))
    return image * correction


def _plane(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The plane ``(y, x)`` that is nearest to ``values`` in the mean square over ``inside``."""
    y, x = np.indices(values.shape, float)
    center = y[inside].mean(), x[inside].mean()
    terms = np.stack([np.ones(values.shape), y - center[0], x - center[1]])
    chosen = terms[:, inside]
    solution = np.linalg.lstsq(chosen @ chosen.T, chosen @ values[inside], rcond=None)[0]
    return np.tensordot(solution, terms, 1)


def solid(amplitude: np.ndarray) -> np.ndarray:
    """Where an isolated object is: its phase means nothing in the empty space around it. Everywhere in a full field."""
    finite = amplitude[np.isfinite(amplitude)]
    level = 0.1 * (np.percentile(finite, 99.9) if finite.size else 0.0)
    inside = amplitude > level
    return inside if 0 < np.count_nonzero(inside) < 0.7 * inside.size else np.ones_like(inside)


def robust_range(values: np.ndarray, inside: np.ndarray, percent: float = 0.3) -> tuple[float, float]:
    """Smallest and largest of ``values`` ``inside``, outliers left out; (0, 1) where nothing is finite."""
    chosen = values[inside & np.isfinite(values)]
    if chosen.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(chosen, (percent, 100 - percent)))
    if high - low <= 1e-6 * max(abs(low), abs(high), 1e-30):
        margin = 0.5 * abs(low) or 0.5  # a constant image is shown mid-range, not as amplified rounding noise
        return low - margin, high + margin
    return low, high
