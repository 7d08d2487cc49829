r"""Crystals from Bragg coherent diffraction, compared without what a pattern does not determine.

A modulus leaves open where the crystal lies, a constant phase, and which of the twins :math:`O(r)` and
:math:`O^*(-r)` it is; where the peak's place is not known, a linear phase, too. All arrays are ``(a, b, c)`` volumes
in any order of axes, the crystal somewhere in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

# Starts whose median overlap with the best is lower have not found the same crystal.
DISAGREEING = 0.7


@dataclass(frozen=True, eq=False)
class CrystalMatch:
    """A crystal laid upon another.

    Attributes:
        aligned: Complex volume after shift, ramp, offset, scale and, if it was nearer, exchange for the twin.
        twin: Whether the twin was nearer.
        overlap: ``|<a, b>| / (|a| |b|)`` of the two complex volumes, 1 when they are equal.
        shape_error: Difference of the amplitudes over the sum of the wanted ones, voxel by voxel.
        phase_rms_rad: Root mean square difference of phases where both have at least half of their amplitude.
    """

    aligned: np.ndarray
    twin: bool
    overlap: float
    shape_error: float
    phase_rms_rad: float


def twin_of(obj: np.ndarray) -> np.ndarray:
    """The other object with the same pattern: conjugate, and inverted through the middle of the array."""
    return np.conj(obj[::-1, ::-1, ::-1])


def chi_square(predicted: np.ndarray, measured: np.ndarray, good: np.ndarray | None = None) -> float:
    r"""Misfit of moduli, :math:`\sum (s |F| - M)^2 / \sum M^2` with the best scale s, over the ``good`` voxels."""
    a, b = (np.asarray(v, np.float64) for v in (predicted, measured))
    if good is not None:
        a, b = a[good], b[good]
    power = float((a * a).sum())
    scale = float((a * b).sum()) / power if power > 0 else 0.0
    return float(((scale * a - b) ** 2).sum() / (b * b).sum())


def shifted(obj: np.ndarray, by: np.ndarray) -> np.ndarray:
    """``obj`` moved by ``by`` voxels along each axis, fractions by Fourier interpolation; it wraps around."""
    whole = np.rint(by).astype(int)
    obj, rest = np.roll(obj, tuple(whole), range(obj.ndim)), by - whole
    return scipy.fft.ifftn(scipy.ndimage.fourier_shift(scipy.fft.fftn(obj), rest)) if rest.any() else obj


def ramp(obj: np.ndarray) -> np.ndarray:
    """``exp(i g r)`` of the linear phase in ``obj``, from the phase of neighbors' products; wraps do not disturb
    it.
    """
    rest, made = obj, np.ones(obj.shape, complex)
    for _ in range(3):
        step = np.ones(obj.shape, complex)
        for axis, n in enumerate(obj.shape):
            a, b = np.delete(rest, 0, axis), np.delete(rest, -1, axis)
            slope = np.angle(np.sum(a * b.conj()))
            position = (np.arange(n) - (n - 1) / 2).reshape([-1 if i == axis else 1 for i in range(obj.ndim)])
            step = step * np.exp(1j * slope * position)
        made, rest = made * step, rest * step.conj()
    return made


def match(found: np.ndarray, true: np.ndarray) -> CrystalMatch:
    """``found`` laid upon ``true``: the nearer of it and its twin, best shift, phase offset, linear phase and scale."""
    candidates = [_laid(candidate, true) for candidate in (found, twin_of(found))]
    overlaps = [_overlap(candidate, true) for candidate in candidates]
    best = int(overlaps[1] > overlaps[0])
    aligned = candidates[best]
    amplitude, wanted = np.abs(aligned), np.abs(true)
    power = float((amplitude**2).sum())
    aligned = aligned * (float((amplitude * wanted).sum()) / power if power > 0 else 0.0)
    amplitude = np.abs(aligned)
    both = (amplitude >= 0.5 * _top(amplitude)) & (wanted >= 0.5 * _top(wanted))
    difference = np.angle(aligned * true.conj())[both]
    return CrystalMatch(
        aligned=aligned,
        twin=bool(best),
        overlap=overlaps[best],
        shape_error=float(np.abs(amplitude - wanted).sum() / wanted.sum()),
        phase_rms_rad=float(np.sqrt(np.mean(difference**2))) if both.any() else float("nan"),
    )


def _top(amplitude: np.ndarray) -> float:
    """A typical amplitude inside: a few bright voxels have no say."""
    strong = amplitude[amplitude > 0.2 * amplitude.max()]
    return float(np.median(strong)) if strong.size else 1.0


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.abs(np.vdot(b, a))) / size if size > 0 else 0.0


def _laid(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    moved = shifted(found, displacement(np.abs(found), np.abs(true)))
    moved = moved * ramp(moved * true.conj()).conj()
    return moved * np.exp(-1j * np.angle((moved * true.conj()).sum()))


def displacement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far to move ``a`` to lie upon ``b``: the peak of their correlation, between voxels by a parabola."""
    correlation = scipy.fft.ifftn(np.conj(scipy.fft.fftn(a)) * scipy.fft.fftn(b)).real
    peak = np.array(np.unravel_index(int(correlation.argmax()), correlation.shape))
    by = peak.astype(float)
    for axis, n in enumerate(a.shape):
        step = np.eye(a.ndim, dtype=int)[axis]
        before, after = (correlation[tuple((peak + s * step) % a.shape)] for s in (-1, 1))
        bend = before - 2 * correlation[tuple(peak)] + after
        by[axis] += 0.5 * (before - after) / bend if bend < 0 else 0.0
        by[axis] -= n * round(by[axis] / n)
    return by
