r"""Coarse alignment: affine maps of holograms into the frame of the first, from the images alone.

Fringes differ from one distance to the next, so the images are smoothed over a third of the first fringe of the
longest distance, :math:`\sqrt{\lambda z}`, which leaves the low-frequency contrast that all distances share. The
translation is the peak of the phase correlation of the images' gradients (Foroosh, Zerubia & Berthod, IEEE Trans. Image
Process. 11, 188 (2002)); the whole affine map then minimizes the squared difference of the normalized images by
Gauss-Newton steps (Baker & Matthews, Int. J. Comput. Vis. 56, 221 (2004), forward additive).
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.data.tiles import whole
from adorym.forward.hologram_geometry import HologramGeometry
from adorym.forward.hologram_series import without_bad
from adorym.optics.affine import IDENTITY, compose, from_pixels, half_side_px

STEPS = 60
# Fraction of the first fringe: a wider filter loses contrast, a narrower one compares fringes.
SMOOTHED = 0.3
# The search ends when the corners move by less than this, in pixels.
SETTLED_PX = 1e-3


def coarse_maps(dataset: Dataset, geometry: HologramGeometry) -> np.ndarray:
    """``(n, 6)`` maps of all holograms in units of the parameter ``affine``; the first per angle is the identity.

    Images in a cone beam are compared at equal magnification.
    """
    maps = np.tile(IDENTITY, (dataset.n_pictures, 1))
    fringe = math.sqrt(geometry.wavelength_m * abs(geometry.effective_distance_m))
    width = SMOOTHED * fringe / geometry.pixel_size_m("near_field")[1]
    dataset = whole(dataset)
    every = without_bad(dataset.patterns.read(np.arange(dataset.n_patterns)), dataset.mask)
    for angle in range(dataset.n_angles):
        here = np.flatnonzero(dataset.angle_index[: dataset.n_pictures] == angle)
        ratios = geometry.pixel_ratios[geometry.distance_index[here]]
        pictures = every[here].astype(np.float64)
        smooth = [_normal(scipy.ndimage.gaussian_filter(picture, width)) for picture in pictures]
        for k in range(1, len(here)):
            # From the pixels of image k to those of the first, by the magnification alone.
            scale = ratios[k] / ratios[0]
            known = IDENTITY * np.array([scale, scale, 1, scale, scale, 1])
            maps[here[k]] = align(smooth[0], smooth[k], known)
    return from_pixels(maps, half_side_px(dataset.picture_px))


def align(reference: np.ndarray, picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The map ``(6,)`` in pixels such that ``picture(u) = reference(known(map(u)))``.

    Args:
        reference: ``(y, x)``, mean 0 and variance 1.
        picture: ``(y, x)``, likewise.
        known: The known part of the map.
    """
    seen = _read(reference, known)
    shift = phase_correlation(seen, picture)
    found = IDENTITY + np.array([0, 0, shift[0], 0, 0, shift[1]])
    slopes = [np.gradient(reference, axis=axis) for axis in (0, 1)]
    r_y, r_x = _places(picture.shape)
    edge = max(4, min(picture.shape) // 8)
    inner = (slice(edge, -edge), slice(edge, -edge))
    for _ in range(STEPS):
        whole = compose(known, found)
        difference = (_normal(_read(reference, whole)) - picture)[inner].ravel()
        g = [_read(slope, whole) for slope in slopes]
        # Derivative of the position in the reference by the six entries of the map; known is a scaling.
        columns = [g[axis] * known[4 * axis] * r for axis in (0, 1) for r in (r_y, r_x, np.ones_like(r_y))]
        jacobian = np.stack([c[inner].ravel() for c in columns], axis=1)
        step = np.linalg.lstsq(jacobian, -difference, rcond=1e-6)[0]
        found = found + step
        half = max(picture.shape) / 2
        if np.abs(step * np.array([half, half, 1, half, half, 1])).max() < SETTLED_PX:
            break
    return found if _better(reference, picture, known, found, inner) else IDENTITY.copy()


def phase_correlation(reference: np.ndarray, picture: np.ndarray) -> tuple[float, float]:
    """(y, x) whole pixels d such that ``picture(u)`` best matches ``reference(u + d)``."""
    window = np.hanning(reference.shape[0])[:, None] * np.hanning(reference.shape[1])
    spectra = []
    for each in (reference, picture):
        gradient = np.gradient(each, axis=0) + 1j * np.gradient(each, axis=1)
        spectra.append(scipy.fft.fft2(gradient * window))
    cross = spectra[0] * spectra[1].conj()
    # The smallest magnitudes are noise and must not be amplified.
    size = np.abs(cross)
    peak = np.abs(scipy.fft.ifft2(cross / np.maximum(size, 1e-3 * size.max())))
    found = np.unravel_index(int(peak.argmax()), peak.shape)
    y, x = ((i + n // 2) % n - n // 2 for i, n in zip(found, peak.shape, strict=True))
    return float(y), float(x)


def _better(reference: np.ndarray, picture: np.ndarray, known: np.ndarray, found: np.ndarray, inner: tuple) -> bool:
    """Whether the images agree better with the map than without it."""
    errors = [
        np.square(_normal(_read(reference, compose(known, each))) - picture)[inner].mean() for each in (found, IDENTITY)
    ]
    return bool(np.isfinite(errors[0]) and errors[0] < errors[1])


def _places(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    r_y, r_x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    return r_y, r_x


def _read(picture: np.ndarray, map_px: np.ndarray) -> np.ndarray:
    r_y, r_x = _places(picture.shape)
    at = [a * r_y + b * r_x + t + (n - 1) / 2 for (a, b, t), n in zip(map_px.reshape(2, 3), picture.shape, strict=True)]
    return scipy.ndimage.map_coordinates(picture, at, order=1, mode="nearest")


def _normal(picture: np.ndarray) -> np.ndarray:
    spread = float(picture.std())
    return (picture - picture.mean()) / (spread if spread > 0 else 1.0)
