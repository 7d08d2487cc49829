r"""Errors of refined probe positions, with and without what diffraction data determine poorly.

A common shift of all positions moves the object's frame and is never an error. A common scale, shear or rotation is
one, but a soft one: it stretches the object and bends the probe a little, the loss hardly changes, and in an experiment
it means a wrong photon energy, distance or stage calibration rather than a wrong position. So both are reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adorym.errors import DataError

_WHERE = "probe positions"


@dataclass(frozen=True)
class AffinePart:
    r"""The affine map from true to refined positions, :math:`\mathbf r' = M\mathbf r + \mathbf t`.

    :math:`M` acts on (y, x) and is taken apart as a rotation after a shear after a scaling,

    .. math:: M = \begin{pmatrix}\cos\theta & -\sin\theta\\ \sin\theta & \cos\theta\end{pmatrix}
                  \begin{pmatrix}1 & g\\ 0 & 1\end{pmatrix}
                  \begin{pmatrix}s_y & 0\\ 0 & s_x\end{pmatrix}.

    Attributes:
        matrix: ``(2, 2)`` :math:`M`.
        translation_px: (y, x) :math:`\mathbf t`.
        scale: (y, x) :math:`s_y, s_x`; 1.01 means that the refined positions span 1 % too much.
        shear: :math:`g`, how far y changes with x.
        rotation_rad: :math:`\theta`, positive from y towards x.
        scale_error: (y, x) standard errors of the scales, the remaining errors taken as independent of each other.
    """

    matrix: np.ndarray
    translation_px: np.ndarray
    scale: tuple[float, float]
    shear: float
    rotation_rad: float
    scale_error: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class PositionErrors:
    """Errors of refined probe positions.

    Attributes:
        rms_px: Root mean square length of the error vectors, their mean removed.
        rms_affine_px: The same after removing the best affine map instead of the mean.
        affine: That map.
        residual_px: ``(n, 2)`` error vectors (y, x), mean removed.
        residual_affine_px: ``(n, 2)`` error vectors (y, x), affine map removed.
    """

    rms_px: float
    rms_affine_px: float
    affine: AffinePart
    residual_px: np.ndarray
    residual_affine_px: np.ndarray


def position_errors(refined_px: np.ndarray, true_px: np.ndarray) -> PositionErrors:
    r"""Compare refined with true probe positions.

    .. math:: \epsilon = \left[\tfrac1n\sum_j (\Delta y_j^2 + \Delta x_j^2)\right]^{1/2}, \qquad
              \Delta = \mathbf r' - \mathbf r - \langle\mathbf r' - \mathbf r\rangle
              \quad\text{or}\quad \mathbf r' - M\mathbf r - \mathbf t,

    with :math:`M, \mathbf t` by linear least squares. (An error of 1 px rms along either axis is thus 1.41 px rms.)

    Args:
        refined_px: ``(n, 2)`` float, (y, x) px.
        true_px: ``(n, 2)`` float, (y, x) px.

    Raises:
        DataError: Different or wrong shapes, values that are not finite, or true positions on one line (then no affine
            map is determined).
    """
    refined, true = np.asarray(refined_px, float), np.asarray(true_px, float)
    if refined.shape != true.shape or true.ndim != 2 or true.shape[-1] != 2:
        raise DataError(_WHERE, "do not compare", expected=f"(n, 2) as the truth, {true.shape}", found=refined.shape)
    if not (np.isfinite(refined).all() and np.isfinite(true).all()):
        raise DataError(_WHERE, "are not all finite numbers")
    center = true.mean(0)
    design = np.column_stack([true - center, np.ones(len(true))])
    solution, _, rank, _ = np.linalg.lstsq(design, refined, rcond=1e-9)
    if rank < 3:
        raise DataError(_WHERE, "lie on one line: no affine map is determined", expected="positions that span an area")
    matrix = solution[:2].T
    offset = refined - true
    residual = offset - offset.mean(0)
    residual_affine = refined - design @ solution
    # An axis's scale is a slope: its variance is that of the residuals over the sum of squares of the coordinate.
    free = max(len(true) - 3, 1)
    variance = (residual_affine**2).sum(0) / free / ((true - center) ** 2).sum(0)
    affine = _decompose(matrix, solution[2] - matrix @ center, np.sqrt(variance))
    return PositionErrors(_rms_length(residual), _rms_length(residual_affine), affine, residual, residual_affine)


def shift_error_px(found: np.ndarray, true: np.ndarray, theta_rad: np.ndarray) -> float:
    """Root mean square error of shifts ``(a, 2)`` (y, x) after that of the object and of the axis is removed.

    A shift of the object is seen as a constant along y, and along x as its (x, z) turned by each angle.
    """
    one, error = 1 + 0 * theta_rad, found - true
    across = np.stack([one, np.cos(theta_rad), np.sin(theta_rad)], axis=1)
    return math.hypot(_rms_beside(error[:, 0], one[:, None]), _rms_beside(error[:, 1], across))


def tilt_error_rad(found: np.ndarray, true: np.ndarray, theta_rad: np.ndarray) -> float:
    """Root mean square error of tilts ``(a, 3)`` about (y, x, z) after a small turn of the object is removed.

    A turn q of the object is a tilt ``R_y(theta) q`` at each angle, which no measurement tells from it.
    """
    c, s, zero, one = np.cos(theta_rad), np.sin(theta_rad), 0 * theta_rad, 1 + 0 * theta_rad
    turns = np.stack([one, zero, zero, zero, c, s, zero, -s, c], axis=-1).reshape(-1, 3)
    return _rms_beside((found - true).reshape(-1), turns)


def rocking_error_px(found: np.ndarray, true: np.ndarray) -> float:
    """Root mean square error of places ``(n,)`` on a rocking curve without a common shift and stretch."""
    return _rms_beside(found.ravel(), np.stack([np.ones(len(true)), true], axis=1))


def _rms_beside(values: np.ndarray, terms: np.ndarray) -> float:
    """Root mean square of what is left of ``values`` ``(n,)`` beside the best sum of ``terms`` ``(n, k)``."""
    rest = values - terms @ np.linalg.lstsq(terms, values, rcond=None)[0]
    return float(np.sqrt(np.mean(rest**2)))


def _rms_length(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(vectors**2, axis=1))))


def _decompose(matrix: np.ndarray, translation: np.ndarray, errors: np.ndarray) -> AffinePart:
    # M = R (shear scale): the first column of M is R's first column times s_y.
    rotation = np.arctan2(matrix[1, 0], matrix[0, 0])
    c, s = np.cos(rotation), np.sin(rotation)
    upper = np.array([[c, s], [-s, c]]) @ matrix
    scale = float(upper[0, 0]), float(upper[1, 1])
    shear = float(upper[0, 1] / upper[1, 1]) if upper[1, 1] else float("inf")
    return AffinePart(matrix, translation, scale, shear, float(rotation), (float(errors[0]), float(errors[1])))
