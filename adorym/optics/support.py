"""Shrink-wrap: the support of an object from the object itself (Marchesini et al., Phys. Rev. B 68, 140101 (2003))."""

from __future__ import annotations

import numpy as np

from adorym.wrapper.base import Array, Backend

# Part of the array that a support may take: a pattern does not determine a larger object.
LARGEST = 0.5


def shrink_wrap(
    xp: Backend,
    amplitude: Array,
    sigma_px: float,
    threshold: float,
    axes: tuple[int, ...],
    *,
    dilate: int = 0,
    wraps: bool = True,
) -> Array:
    """Where the blurred ``amplitude`` is at least a fraction of its largest value: bool of its shape.

    Args:
        xp: Backend.
        amplitude: Real, not negative, of any shape.
        sigma_px: Standard deviation of the blur.
        threshold: A voxel belongs to the support if its blurred amplitude is at least this fraction of the largest.
        axes: Axes of one object; the others count objects (or slices), each with its own support.
        dilate: Voxels by which the support is dilated along each axis.
        wraps: Whether the blur is periodic; otherwise it is mirrored at the edges.
    """
    given = amplitude if wraps else _mirrored(xp, amplitude, axes)
    spectrum = xp.fftn(given, axes)
    for axis in axes:
        shape = tuple(-1 if a == axis else 1 for a in range(len(given.shape)))
        damping = np.exp(-2 * (np.pi * sigma_px * np.fft.fftfreq(given.shape[axis])) ** 2)
        spectrum = spectrum * xp.asarray(damping.reshape(shape))
    blurred = xp.real(xp.ifftn(spectrum, axes))
    if not wraps:
        blurred = blurred[tuple(slice(n) for n in amplitude.shape)]
    support = blurred >= threshold * xp.max(blurred, axis=axes, keepdims=True)
    for _ in range(dilate):
        for axis in axes:
            support = support | xp.roll(support, 1, axis) | xp.roll(support, -1, axis)
    return support


def _mirrored(xp: Backend, a: Array, axes: tuple[int, ...]) -> Array:
    """``a`` and its mirror image behind it, along each of ``axes``."""
    for axis in axes:
        a = xp.concat([a, xp.take(a, np.arange(a.shape[axis])[::-1].copy(), axis)], axis)
    return a
