"""Geometry of holograms: the distance of each image, and the grid of the object."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from adorym.data.dataset import Dataset
from adorym.errors import DataError, GeometryError
from adorym.optics import propagation
from adorym.optics.buffer import buffer_px
from adorym.optics.geometry import Geometry, Grid

Propagation = Literal["auto", "fresnel", "angular_spectrum"]
# Margin beyond the reach of diffraction, for shifted, rotated or scaled holograms, as a fraction of their width.
ROOM = 0.025
# Width in pixels of the rim where the field of view fades out.
RIM_PX = 4
# Number of patterns from which an unknown beam intensity is estimated.
SAMPLE = 8


@dataclass(frozen=True)
class HologramGeometry(Geometry):
    """The geometry of a distance series.

    Attributes:
        distances_m: ``(d,)`` effective distances, as given with the data.
        pixel_ratios: ``(d,)`` pixel size at each distance, in the object plane, divided by that of the object's grid.
        distance_index: ``(holograms,)`` distance of each hologram.
        picture_index: ``(n,)`` hologram of each pattern, which may be a tile of it.
        picture_px: (y, x) size of a hologram.
        open_beam_counts: Counts per pixel without the sample.
        open_beam_known: Whether the data give them; otherwise they are estimated.
        propagator: ``fresnel`` or ``angular_spectrum``.
        extra_px: (y, x) pixels by which the object array exceeds a hologram on each side.
        buffer_px: (y, x) the part of ``extra_px`` outside every field of view; shorter than wanted if `cut` is set.
        prior: ``(Y, X)`` weight of the squared spectrum of the phase in the loss; ``None`` if it is not limited.
    """

    distances_m: np.ndarray = field(default_factory=lambda: np.zeros(0))
    pixel_ratios: np.ndarray = field(default_factory=lambda: np.ones(0))
    distance_index: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    picture_index: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    picture_px: tuple[int, int] = (0, 0)
    open_beam_counts: float = 1.0
    open_beam_known: bool = True
    propagator: str = "fresnel"
    extra_px: tuple[int, int] = (0, 0)
    buffer_px: tuple[int, int] = (0, 0)
    cut: tuple[bool, bool] = (False, False)
    prior: np.ndarray | None = None

    @property
    def effective_distance_m(self) -> float:
        """The longest distance."""
        return float(self.distances_m[np.argmax(np.abs(self.distances_m))])

    @property
    def object_grid(self) -> Grid:
        """The grid of the whole object, buffer included, without a margin."""
        return self.grid_of(self.frame(0)[0])

    def grid_of(self, window_px: tuple[int, int]) -> Grid:
        """The grid of a window of that size."""
        grid = self.grid("near_field")
        return Grid(window_px, grid.pixel_size_m, grid.wavelength_m)

    def frame(self, margin_px: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(y, x) size of an object with a margin, and the index in it of the first pixel of a picture."""
        y, x = (extra + margin_px for extra in self.extra_px)
        return (self.picture_px[0] + 2 * y, self.picture_px[1] + 2 * x), (y, x)

    def in_frame(self, window_px: tuple[int, int]) -> tuple[int, int]:
        """(y, x) size of the whole object, of which a pattern needs a window of that size."""
        y, x = (n + p - w for n, p, w in zip(window_px, self.picture_px, self.window_px, strict=True))
        return y, x

    def with_rim(self, window_px: tuple[int, int]) -> tuple[int, int]:
        """(y, x) size of the object window, without a margin, that a pattern of that size needs."""
        return window_px[0] + 2 * self.extra_px[0], window_px[1] + 2 * self.extra_px[1]

    def counted(self, corner_px: tuple[int, int], size: tuple[int, int]) -> tuple[slice, slice]:
        """The pixels of an object window of that ``size`` that count for a pattern: its own, and the rim at an edge.

        Args:
            corner_px: (y, x) first pixel of the pattern in its hologram.
            size: (y, x) size of the window, as large as the pattern and a rim on each side.
        """
        part: list[slice] = []
        for first, n, w, p in zip(corner_px, size, self.window_px, self.picture_px, strict=True):
            edge = (n - w) // 2
            part.append(slice(0 if first == 0 else edge, n if first + w == p else edge + w))
        return part[0], part[1]


def hologram_geometry(
    dataset: Dataset, buffer: int | None, transfer_function: Propagation = "fresnel"
) -> HologramGeometry:
    """The geometry of ``dataset``, with ``buffer`` pixels on each side, or as many as diffraction reaches.

    ``auto`` takes the Fresnel transfer function unless its phase is wrong by more than 0.1 rad.

    Raises:
        DataError: The number of holograms does not match the distances and angles.
        GeometryError: Distance, energy or pixel size is not known.
    """
    base = Geometry.of(dataset)
    distances = _distances(dataset, base)
    index = distance_index(dataset, len(distances))
    ratios = np.ones(len(distances))
    if dataset.magnification is not None:
        ratios = dataset.magnification.max() / dataset.magnification
    known = dataset.open_beam_counts is not None
    grid = base.grid("near_field")
    seen_px = [int(np.ceil(n * ratios.max())) for n in dataset.picture_px]
    seen = Grid((seen_px[0], seen_px[1]), grid.pixel_size_m, grid.wavelength_m)
    if buffer is None:
        (y, x), cut = buffer_px(seen, float(np.abs(distances).max()), ROOM)
    else:
        (y, x), cut = (buffer, buffer), (False, False)
    extra = [b + (f - n + 1) // 2 for b, f, n in zip((y, x), seen_px, dataset.picture_px, strict=True)]
    geometry = HologramGeometry(
        window_px=base.window_px,
        energy_ev=base.energy_ev,
        detector_pixel_size_m=base.detector_pixel_size_m,
        distance_m=base.distance_m,
        source_distance_m=base.source_distance_m,
        given_pixel_size_m=grid.pixel_size_m,
        stated_distance_m=base.stated_distance_m,
        distances_m=distances,
        pixel_ratios=ratios,
        distance_index=index,
        picture_index=np.arange(dataset.n_patterns) % dataset.n_pictures,
        picture_px=dataset.picture_px,
        open_beam_counts=dataset.open_beam_counts or _mean_counts(dataset),
        open_beam_known=known,
        extra_px=(extra[0], extra[1]),
        buffer_px=(y, x),
        cut=cut,
    )
    if transfer_function == "auto":
        error = propagation.paraxial_error_rad(geometry.object_grid, geometry.effective_distance_m)
        transfer_function = "fresnel" if error <= propagation.PARAXIAL_ERROR_RAD else "angular_spectrum"
    return replace(geometry, propagator=transfer_function)


def field_of_view(geometry: HologramGeometry, shape: tuple[int, int]) -> np.ndarray:
    """``shape``: 1 in the largest field of view and a rim of `RIM_PX` around it, 0 outside."""
    inside = np.zeros(shape)
    seen = [n - 2 * e for n, e in zip(geometry.object_grid.window_px, geometry.buffer_px, strict=True)]
    edges = [max((n - w) // 2 - RIM_PX, 0) for n, w in zip(shape, seen, strict=True)]
    inside[tuple(slice(e, n - e) for e, n in zip(edges, shape, strict=True))] = 1
    return inside


def phase_rates(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """``pi lambda f_y^2`` ``(Y,)`` and ``pi lambda f_x^2`` ``(X,)``: phase in rad per meter of propagation."""
    f_y, f_x = grid.frequencies_per_m()
    return np.pi * grid.wavelength_m * f_y.ravel() ** 2, np.pi * grid.wavelength_m * f_x.ravel() ** 2


def distance_index(dataset: Dataset, n_distances: int) -> np.ndarray:
    """``(n,)`` index of the distance of each hologram: every angle has one hologram per distance, in order.

    Raises:
        DataError: An angle has another number of holograms.
    """
    index = np.empty(dataset.n_pictures, int)
    for angle in range(dataset.n_angles):
        here = np.flatnonzero(dataset.angle_index[: dataset.n_pictures] == angle)
        if len(here) != n_distances:
            raise DataError(
                dataset.path,
                "the number of holograms does not fit the number of distances",
                expected=f"one hologram per distance and angle, so {n_distances} per angle",
                found=f"{len(here)} at angle {angle}",
                remedy="give one 'data.propagation_distance' per hologram, or choose holograms with 'data.frames'",
            )
        index[here] = np.arange(n_distances)
    return index


def _distances(dataset: Dataset, base: Geometry) -> np.ndarray:
    stated = dataset.propagation_distance_m
    if stated is not None:
        return np.atleast_1d(np.asarray(stated, np.float64))
    if base.distance_m is None:
        raise GeometryError(
            "data.propagation_distance",
            "absent: holography needs the distance from the sample to the detector",
            remedy="give it, one per hologram, for example 'data: {propagation_distance: [40 cm, 60 cm]}', "
            "or 'data.distance' (and 'data.source_distance' for a cone beam)",
        )
    return np.array([base.effective_distance_m])


def _mean_counts(dataset: Dataset) -> float:
    """Mean counts per valid pixel of some of the holograms."""
    index = np.unique(np.linspace(0, dataset.n_patterns - 1, SAMPLE).astype(int))
    pictures = dataset.patterns.read(index).astype(np.float64)
    pictures = pictures**2 if dataset.measured == "amplitude" else pictures
    good = np.isfinite(pictures)
    if dataset.mask is not None:
        good &= dataset.mask if dataset.mask.ndim == 2 else dataset.mask[index]
    return float(pictures[good].mean()) if good.any() else 1.0
