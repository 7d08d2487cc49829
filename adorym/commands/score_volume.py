"""Compare a volume with the truth that a simulation stored beside its data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adorym.commands.figures import Figure
from adorym.data.dataset import Dataset
from adorym.data.result import Result
from adorym.errors import DataError

TRUTHS = {"attenuation": "attenuation", "delta_beta": "delta_beta"}


def has_volume_truth(result: Result, data: Dataset) -> bool:
    """Whether the truth is a volume of what the result is."""
    return result.representation in TRUTHS and TRUTHS[result.representation] in data.truth


def volume_figures(result: Result, data: Dataset) -> Iterator[Figure]:
    """Errors of the volume, and of how it stands in the beam.

    Raises:
        DataError: The result does not cover the truth.
    """
    true = np.asarray(data.truth[TRUTHS[result.representation]], np.float64)
    found = _in_frame(result, true.shape)
    if true.ndim == 4:
        yield from _channel("delta", found[..., 0], true[..., 0])
        yield from _channel("beta", found[..., 1], true[..., 1])
    else:
        yield from _channel("attenuation", found, true)
    yield from _pose_figures(result, data)


def _channel(name: str, found: np.ndarray, true: np.ndarray) -> Iterator[Figure]:
    error = float(np.linalg.norm(found - true) / np.linalg.norm(true))
    correlation = float(np.corrcoef(found.ravel(), true.ravel())[0, 1])
    yield Figure(f"{name}_nrmse", f"{name} error (NRMSE)", error)
    yield Figure(f"{name}_correlation", f"{name} correlation", correlation, note="1 is identical")


def _in_frame(result: Result, shape: tuple[int, ...]) -> np.ndarray:
    """The part of the result that the truth is of; the axes x and z share their middles."""
    first = (*result.origin_px, (result.object.shape[2] - shape[2]) // 2)
    stop = tuple(f + n for f, n in zip(first, shape[:3], strict=True))
    if min(first) < 0 or any(s > n for s, n in zip(stop, result.object.shape[:3], strict=True)):
        raise DataError(
            "object", "the result does not cover the true volume", expected=shape, found=result.object.shape
        )
    return result.object[tuple(slice(f, s) for f, s in zip(first, stop, strict=True))].astype(np.float64)


def _pose_figures(result: Result, data: Dataset) -> Iterator[Figure]:
    if "rotation_center" in result.parameters and "rotation_center_px" in data.truth:
        error = abs(float(result.parameters["rotation_center"].value[0]) - float(data.truth["rotation_center_px"][0]))
        yield Figure("rotation_center_error_px", "error of the rotation center", error, "px")
    if "tilt" in result.parameters and "tilt_rad" in data.truth:
        error, note = tilt_error_rad(result.parameters["tilt"].value, data.truth["tilt_rad"], data.theta_rad), "rms"
        yield Figure("tilt_rms_rad", "tilt error", error, "rad", f"{note}, a turn of the whole object removed")
    if "object_shift" in result.parameters and "object_shift_px" in data.truth:
        error = shift_error_px(result.parameters["object_shift"].value, data.truth["object_shift_px"], data.theta_rad)
        yield Figure("shift_rms_px", "shift error", error, "px", "rms, a shift of the whole object and axis removed")


def shift_error_px(found: np.ndarray, true: np.ndarray, theta_rad: np.ndarray) -> float:
    """Root mean square error of shifts ``(a, 2)`` (y, x) after that of the object and of the axis is removed.

    A shift of the object is seen as a constant along y, and along x as its (x, z) turned by each angle.
    """
    one, error = 1 + 0 * theta_rad, found - true
    across = np.stack([one, np.cos(theta_rad), np.sin(theta_rad)], axis=1)
    rest = error[:, 1] - across @ np.linalg.lstsq(across, error[:, 1], rcond=None)[0]
    return float(np.sqrt(np.mean((error[:, 0] - error[:, 0].mean()) ** 2 + rest**2)))


def tilt_error_rad(found: np.ndarray, true: np.ndarray, theta_rad: np.ndarray) -> float:
    """Root mean square error of tilts ``(a, 3)`` about (y, x, z) after a small turn of the object is removed.

    A turn q of the object is a tilt ``R_y(theta) q`` at each angle, which no measurement tells from it.
    """
    c, s, zero, one = np.cos(theta_rad), np.sin(theta_rad), 0 * theta_rad, 1 + 0 * theta_rad
    turns = np.stack([one, zero, zero, zero, c, s, zero, -s, c], axis=-1).reshape(-1, 3)
    error = (found - true).reshape(-1)
    rest = error - turns @ np.linalg.lstsq(turns, error, rcond=None)[0]
    return float(np.sqrt(np.mean(rest**2)))
