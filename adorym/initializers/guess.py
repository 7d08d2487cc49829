"""Fit a guess of the crystal to the data: grid, largest connected region, sub-voxel phase ramp, and scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.volume import Volume
from adorym.metrics.crystal import chi_square, displacement


@dataclass(frozen=True, eq=False)
class Guess:
    """A start crystal on the grid of the data.

    Attributes:
        object: ``(z, y, x)`` complex, zero outside the support, in square root of photons.
        support: ``(z, y, x)`` bool.
        chi2: Misfit of the moduli.
        offset: (z, y, x) voxels by which its pattern was shifted to match the measured one.
    """

    object: np.ndarray
    support: np.ndarray
    chi2: float
    offset: np.ndarray


def pattern_of(obj: np.ndarray) -> np.ndarray:
    """Modulus of the far field of ``obj`` ``(z, y, x)``, zero frequency at the middle."""
    return np.abs(scipy.fft.fftshift(scipy.fft.fftn(obj, norm="ortho")))


def on_grid(obj: np.ndarray, shape: tuple[int, ...], zoom: np.ndarray) -> np.ndarray:
    """``obj`` on an array of ``shape`` whose voxels are ``zoom`` times smaller, middle on middle.

    Real and imaginary part are interpolated, not the phase: it wraps.
    """
    axes = [(np.arange(n) - (n - 1) / 2) / z + (m - 1) / 2 for n, m, z in zip(shape, obj.shape, zoom, strict=True)]
    return scipy.ndimage.map_coordinates(obj, np.meshgrid(*axes, indexing="ij"), order=1, mode="constant")


def largest_piece(obj: np.ndarray, threshold: float) -> np.ndarray:
    """Bool: the strongest of the connected regions above a fraction of the largest amplitude."""
    amplitude = np.abs(obj)
    labels, n = scipy.ndimage.label(amplitude > threshold * amplitude.max())
    if n == 0:
        return np.ones(obj.shape, bool)
    return np.asarray(labels == 1 + int(np.argmax(scipy.ndimage.sum_labels(amplitude, labels, np.arange(1, n + 1)))))


def fitted(obj: np.ndarray, volume: Volume, threshold: float = 0.05) -> Guess:
    """Fit phase ramp and scale of ``obj`` ``(z, y, x)``, which is already on the grid of the data.

    A phase ramp shifts the peak of the guess onto that of the data, first by the correlation of the moduli, then to the
    smallest misfit.
    """
    support = largest_piece(obj, threshold)
    obj = np.where(support, obj, 0)
    modulus = volume.modulus.astype(np.float64)
    first = displacement(pattern_of(obj), modulus)

    def misfit(offset: np.ndarray) -> float:
        return chi_square(pattern_of(obj * moving(obj.shape, offset)), modulus, volume.good)

    simplex = np.vstack([first, first + 0.3 * np.eye(3)])
    options = {"initial_simplex": simplex, "maxfev": 60, "xatol": 0.01, "fatol": 1e-5}
    offset = np.asarray(scipy.optimize.minimize(misfit, first, method="Nelder-Mead", options=options).x)
    obj = obj * moving(obj.shape, offset)
    found = pattern_of(obj)
    good = np.ones(found.shape, bool) if volume.good is None else volume.good
    scale = float((found * modulus)[good].sum() / (found**2)[good].sum())
    return Guess(obj * scale, support, chi_square(found, modulus, volume.good), offset)


def moving(shape: tuple[int, ...], offset: np.ndarray) -> np.ndarray:
    """The linear phase factor that moves an object's pattern by ``offset`` voxels."""
    turns = [by * (np.arange(n) - (n - 1) / 2) / n for n, by in zip(shape, offset, strict=True)]
    z, y, x = np.meshgrid(*(np.exp(2j * np.pi * turn) for turn in turns), indexing="ij", sparse=True)
    return z * y * x
