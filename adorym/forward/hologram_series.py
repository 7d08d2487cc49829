"""The holograms of a series on the object's grid, and linear phase retrieval from them.

Holograms are assumed to be aligned. Several magnifications are resampled to the finest pixel. Outside the field of view
the edge values are continued.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.data.tiles import whole
from adorym.errors import ConfigError
from adorym.forward.hologram_geometry import hologram_geometry
from adorym.optics.geometry import Grid
from adorym.optics.propagation import fresnel_rate_rad_per_m

WHERE = "parameters.object.initial"


@dataclass(frozen=True)
class Series:
    """Holograms divided by the incident intensity, all on one grid.

    Attributes:
        pictures: ``(d, Y, X)`` float64.
        chi: ``(d, Y, X)`` phase ``pi lambda z f^2``, zero frequency at the corner.
        distances_m: ``(d,)``.
        grid: The grid.
        measured: ``(d, y, x)`` the same holograms on the detector's pixels.
        pixel_ratios: ``(d,)`` detector pixel divided by that of the grid.
    """

    pictures: np.ndarray
    chi: np.ndarray
    distances_m: np.ndarray
    grid: Grid
    measured: np.ndarray
    pixel_ratios: np.ndarray


def series_of(dataset: Dataset, shape: tuple[int, ...]) -> Series:
    """The holograms of ``dataset`` on the object's grid of ``shape``.

    Raises:
        ConfigError: Several angles, or an object of several slices.
    """
    if dataset.n_angles != 1 or len(shape) != 2:
        found = f"{dataset.n_angles} angles" if dataset.n_angles != 1 else f"an object of shape {shape}"
        raise ConfigError(
            WHERE, "needs one angle and a thin object", found=found, remedy="choose one angle with 'data.angles'"
        )
    dataset = whole(dataset)
    geometry = hologram_geometry(dataset, 0)
    base = geometry.grid("near_field")
    grid = Grid((shape[0], shape[1]), base.pixel_size_m, base.wavelength_m)
    counts = dataset.patterns.read(np.arange(dataset.n_patterns)).astype(np.float64)
    counts = counts**2 if dataset.measured == "amplitude" else counts
    relative = without_bad(counts / geometry.open_beam_counts, dataset.mask)
    pictures = [
        _on_grid(picture, ratio, grid.window_px) for picture, ratio in zip(relative, geometry.pixel_ratios, strict=True)
    ]
    chi = geometry.distances_m[:, None, None] * fresnel_rate_rad_per_m(grid)
    return Series(np.stack(pictures), chi, geometry.distances_m, grid, relative, geometry.pixel_ratios)


def without_bad(pictures: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Replace masked pixels by the median of their neighbors."""
    good = np.isfinite(pictures)
    if mask is not None:
        good &= mask
    if good.all():
        return pictures
    filled = np.where(good, pictures, 1.0)
    return np.where(good, filled, np.stack([scipy.ndimage.median_filter(p, 5, mode="nearest") for p in filled]))


def _on_grid(picture: np.ndarray, ratio: float, shape: tuple[int, int]) -> np.ndarray:
    """``picture``, of pixels ``ratio`` times the grid's, resampled to the middle of ``shape``, edges continued."""
    rows, columns = (
        (np.arange(n) - (n - 1) / 2) / ratio + (m - 1) / 2 for n, m in zip(shape, picture.shape, strict=True)
    )
    at = np.meshgrid(rows, columns, indexing="ij")
    return scipy.ndimage.map_coordinates(picture, at, order=1 if ratio == 1 else 3, mode="nearest")


def solve(series: Series, transfers: list[np.ndarray], signal: np.ndarray, strength: float) -> list[np.ndarray]:
    """Real images whose spectra ``x_i`` minimize ``sum_k |sum_i transfers[i][k] x_i - signal_k|^2 + strength |x|^2``.

    Args:
        series: Defines the grid.
        transfers: One or two arrays ``(d, Y, X)``.
        signal: ``(d, Y, X)`` spectra.
        strength: Tikhonov regularization, times the number of distances.
    """
    strength = strength * len(signal)
    rows = [(t * signal).sum(0) for t in transfers]
    if len(transfers) == 1:
        return [scipy.fft.ifft2(rows[0] / ((transfers[0] ** 2).sum(0) + strength)).real]
    a, c = ((t**2).sum(0) + strength for t in transfers)
    b = (transfers[0] * transfers[1]).sum(0)
    determinant = a * c - b**2
    return [
        scipy.fft.ifft2(x).real
        for x in ((c * rows[0] - b * rows[1]) / determinant, (a * rows[1] - b * rows[0]) / determinant)
    ]
