r"""A microscope that lights the sample from many directions: what each of its pictures holds of the object's spectrum.

A picture of n pixels of size :math:`\Delta` in the plane of the sample has a spectrum with pixels of
:math:`1/(n\Delta)`. Light from a lamp at the place r, at the distance h before the sample, moves the spectrum: the
objective, whose pupil has the radius :math:`\mathrm{NA}/\lambda`, lets the part through that lies around

.. math:: q = \frac{1}{\lambda} \frac{r}{\sqrt{r^2 + h^2}}.
"""

from __future__ import annotations

import math

import numpy as np

from adorym.optics.geometry import Grid

EDGE_PX = 1.0  # from the middle of the pupil's edge to where it lets nothing through


def spectrum_places(leds_m: np.ndarray, distance_m: float, grid: Grid) -> np.ndarray:
    """``(n, 2)`` q in pixels of the spectrum of a picture, from places ``(n, 2)`` of lamps, (y, x)."""
    sines = leds_m / np.sqrt((leds_m**2).sum(1, keepdims=True) + distance_m**2)
    return sines * np.array(grid.extent_m) / grid.wavelength_m


def pupil_radius_px(numerical_aperture: float, grid: Grid) -> np.ndarray:
    """(y, x) radius of the pupil in those pixels."""
    return numerical_aperture * np.array(grid.extent_m) / grid.wavelength_m


def aperture(shape: tuple[int, int], radius_px: np.ndarray) -> np.ndarray:
    """``(y, x)``: the open pupil, 1 inside, with a soft edge; zero frequency in the middle, ``n // 2``."""
    y, x = ((np.arange(n) - n // 2) / r for n, r in zip(shape, radius_px, strict=True))
    inside = (1 - np.hypot(y[:, None], x)) * min(radius_px)
    return np.clip(0.5 + inside / (2 * EDGE_PX), 0, 1)


def subdivision(places_px: np.ndarray, window_px: tuple[int, int], margin_px: int) -> int:
    """Object pixels along a pixel of the pictures: as few as hold all parts of the spectrum, and a margin."""
    reach = 2 * (np.abs(places_px).max(0) + margin_px) + window_px
    return math.ceil(float(np.max(reach / window_px)))
