"""What a score says of holography besides the object: distances, maps, similarity after a high-pass filter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.result import Result
from adorym.metrics.holograms import filter_width_px, hologram_similarities, map_error
from adorym.optics.geometry import Grid
from adorym.units import wavelength_m

# Key, name, value, unit and remark of a figure.
Told = tuple[str, str, float, str, str]


def hologram_figures(result: Result, data: Dataset, found: np.ndarray, true: np.ndarray) -> Iterator[Told]:
    """Figures of a distance series; none for other data.

    Args:
        result: Of the reconstruction.
        data: With its truth.
        found: ``(y, x)`` complex object in the frame of ``true``.
        true: ``(y, x)`` complex, all of the field of view.
    """
    if "propagation_distances_m" not in data.truth:
        return
    distances = np.asarray(data.truth["propagation_distances_m"], np.float64)
    yield from _distance_figures(result, data, distances)
    refined, maps = result.parameters.get("affine"), data.truth.get("affine")
    if refined is not None and maps is not None and np.shape(maps) == refined.value.shape:
        error = map_error(refined.value, np.asarray(maps), data.window_px)
        yield "affine_distance", "affine maps, largest distance", error.distance, "", "Frobenius norm, sides of 2"
        yield "affine_corner_px", "affine maps, error at the corners", error.corner_rms_px, "px", "rms, worst hologram"
    kappa, true_kappa = result.parameters.get("kappa"), data.truth.get("kappa")
    if kappa is not None and true_kappa is not None:
        ratio = float(np.ravel(kappa.value)[0] / np.ravel(true_kappa)[0])
        yield "kappa_over_truth", "delta / beta over the true one", ratio, "", "of the material"
    if data.energy_ev is None or result.pixel_size_m is None:
        return
    grid = Grid((true.shape[0], true.shape[1]), _pair(result.pixel_size_m), wavelength_m(data.energy_ev))
    width = filter_width_px(float(np.abs(distances).max()), grid)
    magnitude, phase = hologram_similarities(found, true, width)
    yield "magnitude_ssim", "magnitude similarity (SSIM)", magnitude, "", "of the whole field"
    yield "high_passed_phase_ssim", "phase similarity (SSIM)", phase, "", f"high-passed, {width[1]:.2f} px"


def _distance_figures(result: Result, data: Dataset, true: np.ndarray) -> Iterator[Told]:
    refined, name = result.parameters.get("propagation_distances"), "distances"
    values = data.propagation_distance_m if refined is None else refined.value
    if values is None or np.shape(values) != true.shape:
        return
    error = values - true
    stated = "" if data.propagation_distance_m is None else data.propagation_distance_m - true
    before = "" if isinstance(stated, str) else f"{100 * stated.mean():.3f} cm as stated"
    yield "distance_mean_error_m", f"{name}, mean error", float(error.mean()), "m", before
    note = "largest error of the difference of two"
    yield "distance_difference_error_m", f"{name}, differences", float(np.ptp(error)), "m", note


def _pair(size: tuple[float, ...]) -> tuple[float, float]:
    return size[0], size[1]
