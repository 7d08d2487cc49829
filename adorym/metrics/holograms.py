r"""Scores of holography: what a distance series does not determine is left out.

The mean phase and the slow changes of the phase leave hardly a fringe, so phases are compared after a high-pass filter
(Du et al., Opt. Express 29, 10000 (2021), section 3.2, who do not state its width). Here it is
:math:`1 - e^{-\chi}` with :math:`\chi = \pi\lambda z f^2` at the longest distance z: it passes what that distance turns
into contrast, :math:`2\sin\chi` of it. That is the complement of a Gaussian of width
:math:`\sqrt{\lambda z/2\pi}`. A common shift of all distances is a change of focus, so distances are compared with
and without their mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use
from skimage.restoration import unwrap_phase

from adorym.errors import DataError
from adorym.metrics.similarity import picture_similarity, same_shape
from adorym.optics.affine import apply, corners_px, half_side_px, to_pixels
from adorym.optics.geometry import Grid


@dataclass(frozen=True)
class MapError:
    """How far refined affine maps are from the true ones.

    Attributes:
        distance: Largest Frobenius norm, over the holograms, of the difference of the two 2 x 3 matrices, with
            coordinates from -1 to 1 over the larger side.
        corner_rms_px: Largest root mean square, over the four corners, of how far a corner is from its place.
    """

    distance: float
    corner_rms_px: float


def map_error(found: np.ndarray, true: np.ndarray, window_px: tuple[int, int]) -> MapError:
    """Error of maps ``(n, 6)`` as the parameter ``affine`` holds them.

    Raises:
        DataError: They differ in number.
    """
    found, true = np.asarray(found, np.float64), np.asarray(true, np.float64)
    if found.shape != true.shape:
        raise DataError("affine maps", "their number differs from the truth's", expected=true.shape, found=found.shape)
    half, corners = half_side_px(window_px), corners_px(window_px)
    moved = [
        apply(to_pixels(f, half), corners) - apply(to_pixels(t, half), corners)
        for f, t in zip(found, true, strict=True)
    ]
    rms = np.sqrt((np.square(moved).sum(-1)).mean(-1))
    return MapError(float(np.linalg.norm(found - true, axis=1).max()), float(rms.max()))


def filter_width_px(distance_m: float, grid: Grid) -> tuple[float, float]:
    """(y, x) width ``sqrt(lambda z / 2 pi)`` of the Gaussian whose complement is the high-pass filter."""
    width = math.sqrt(grid.wavelength_m * abs(distance_m) / (2 * math.pi))
    return width / grid.pixel_size_m[0], width / grid.pixel_size_m[1]


def high_passed_phase(obj: np.ndarray, width_px: tuple[float, float]) -> np.ndarray:
    """Unwrapped phase ``(y, x)`` without what a Gaussian of ``width_px`` passes."""
    phase = unwrap_phase(np.angle(obj))
    return phase - scipy.ndimage.gaussian_filter(phase, width_px, mode="nearest")


def hologram_similarities(found: np.ndarray, true: np.ndarray, width_px: tuple[float, float]) -> tuple[float, float]:
    """Structural similarity of the magnitudes and of the high-passed phases of objects ``(y, x)``.

    Gaussian weights of 1.5 px (Wang et al., IEEE Trans. Image Process. 13, 600 (2004)); the data range is that of the
    true picture, counted from its smallest value: the measure is for intensities, and of pictures around zero it would
    call the negative alike.

    Args:
        found: ``(y, x)`` complex.
        true: ``(y, x)`` complex.
        width_px: Of the high-pass filter, see `filter_width_px`.

    Raises:
        DataError: The shapes differ.
    """
    same_shape("structural similarity", found, true)
    pairs = (np.abs(found), np.abs(true)), (high_passed_phase(found, width_px), high_passed_phase(true, width_px))
    magnitude, phase = (picture_similarity(picture - wanted.min(), wanted - wanted.min()) for picture, wanted in pairs)
    return magnitude, phase
