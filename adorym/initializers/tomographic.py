r"""Start volumes from full-field projections: filtered back-projection, SIRT and CGLS, after a phase retrieval.

With ``run.epochs: 0`` each of these classical methods is the whole reconstruction. They work on line integrals, the
logarithm of the transmissions, row by row, with the rotation axis of the data or of the forward model.

With ``paganin`` the projections are first filtered for phase contrast (Paganin et al., J. Microsc. 206, 33 (2002), eq.
(10)): for one material, :math:`\kappa = \delta/\beta`, at the distance z,
:math:`e^{-\mu t} = \mathcal F^{-1}\big[\mathcal F[I / I_0] / (1 + \pi\lambda z\kappa f^2)\big]`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.data.line_integrals import DARKEST, line_integrals
from adorym.data.tiles import TiledPatterns, whole
from adorym.errors import ConfigError
from adorym.forward.object import Initializer
from adorym.optics.filtered_back_projection import about_y, filtered_back_projection
from adorym.optics.geometry import Geometry
from adorym.registry import component, register
from adorym.units import Length
from adorym.wrapper import fused

TINY = float(np.finfo(np.float32).tiny)
WHERE = "parameters.object.initial"


@component
class PhaseFilter:
    """Phase retrieval from one distance, for a specimen of one material.

    Attributes:
        kappa: delta / beta of the material.
        distance: Specimen to detector; that of the data if absent. For a thick specimen the distance from its middle is
            better than that from its last slice, which multislice models use.
    """

    former: ClassVar[Mapping[str, str]] = {"delta_beta": "kappa"}

    kappa: float = Field(gt=0)
    distance: Length | None = Field(None, gt=0)

    def filtered(self, integrals: np.ndarray, dataset: Dataset) -> np.ndarray:
        """Line integrals ``(n, y, x)`` of the absorption, with phase contrast removed.

        Raises:
            GeometryError: Energy or pixel size are not known.
            ConfigError: The distance is not known.
        """
        geometry = Geometry.of(dataset)
        distance = self._distance_m(dataset, geometry)
        grid = geometry.grid("near_field")
        room = [(0, 0), *((n // 2, n // 2) for n in dataset.window_px)]
        transmission = np.pad(np.exp(-2 * integrals), room, mode="edge")
        fy, fx = (np.fft.fftfreq(n, d) for n, d in zip(transmission.shape[1:], grid.pixel_size_m, strict=True))
        low_pass = 1 + np.pi * grid.wavelength_m * distance * self.kappa * (fy[:, None] ** 2 + fx**2)
        smooth = np.fft.ifft2(np.fft.fft2(transmission) / low_pass).real
        (ty, _), (tx, _) = room[1:]
        ny, nx = dataset.window_px
        return -0.5 * np.log(np.maximum(smooth[:, ty : ty + ny, tx : tx + nx], DARKEST))

    def _distance_m(self, dataset: Dataset, geometry: Geometry) -> float:
        if self.distance is not None:
            return self.distance
        given = dataset.propagation_distance_m
        if given is None and geometry.distance_m is None:
            raise ConfigError(f"{WHERE}.paganin", "the distance of the detector is not known",
                              remedy="give 'data.propagation_distance'")  # fmt: skip
        return geometry.effective_distance_m if given is None else float(np.ravel(given)[0])


@component
class TomographicInitializer(Initializer):
    """A volume from line integrals.

    Attributes:
        paganin: Phase retrieval before it; none if absent.
    """

    expensive: ClassVar[bool] = True

    paganin: PhaseFilter | None = None

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        center = dataset.rotation_center_px or 0.0
        if isinstance(dataset.patterns, TiledPatterns):  # the axis is told from the middle of the volume: back again
            corners, window = dataset.patterns.tiling.corners_px[:, 1], dataset.window_px[1]
            dataset = whole(dataset)
            center += (int(corners.min()) + int(corners.max()) + window - dataset.window_px[1]) / 2
        if len(shape) != 3 or shape[1] < shape[2] or dataset.window_px[0] > shape[0]:
            raise ConfigError(WHERE, f"'{self.kind}' makes volumes from full-field projections",
                              expected="(y, x, x) with the rows of the detector", found=shape)  # fmt: skip
        integrals, kappa = line_integrals(dataset), 0.0
        if self.paganin is not None:
            integrals, kappa = self.paganin.filtered(integrals, dataset), self.paganin.kappa
        theta = dataset.theta_rad[dataset.angle_index]
        found = self.volume(integrals, theta, center, shape[1]).astype(np.float64)
        before = (shape[1] - shape[2]) // 2
        found = found[..., before : before + shape[2]]
        absorption = np.zeros(shape)
        first = (shape[0] - found.shape[0]) // 2
        absorption[first : first + found.shape[0]] = found
        return np.exp(-(1 + 1j * kappa) * absorption)

    @abstractmethod
    def volume(self, integrals: np.ndarray, theta_rad: np.ndarray, center_px: float, width: int) -> np.ndarray:
        """``(y, x, z)`` from line integrals ``(a, y, x)``, in units of the voxel."""


@register("initializer", "filtered_back_projection")
class FilteredBackProjection(TomographicInitializer):
    """Filtered back-projection."""

    def volume(self, integrals: np.ndarray, theta_rad: np.ndarray, center_px: float, width: int) -> np.ndarray:
        return filtered_back_projection(integrals, theta_rad, center_px, width)


class _Rays:
    """Projection and back-projection of rows that turn about y; volumes ``(x, z, y)``, sinograms ``(a, x, y)``."""

    def __init__(self, theta_rad: np.ndarray, center_px: float, width: int, detector: int) -> None:
        self.pose, self.width, self.detector = about_y(theta_rad, center_px), width, detector

    def project(self, volume: np.ndarray) -> np.ndarray:
        """Line integrals."""
        out = np.empty((len(self.pose[0]), self.detector, volume.shape[2]), np.float32)
        fused.ray_kernels.project_rows(volume, *self.pose, out)
        return out

    def back(self, sinogram: np.ndarray) -> np.ndarray:
        """The adjoint of `project`."""
        out = np.zeros((self.width, self.width, sinogram.shape[2]), np.float32)
        fused.ray_kernels.back_project_rows(np.ascontiguousarray(sinogram), *self.pose, out)
        return out


@register("initializer", "sirt")
class Sirt(TomographicInitializer):
    r"""Simultaneous iterative reconstruction, :math:`x \leftarrow x + C A^T R (p - A x)`.

    R and C hold the inverse sums of the rows and columns of A (Gilbert, J. Theor. Biol. 36, 105 (1972); van der Sluis &
    van der Vorst, Linear Algebra Appl. 130, 257 (1990)).

    Attributes:
        iterations: Steps.
        positive: Set negative values to zero after every step.
    """

    iterations: int = Field(100, ge=1)
    positive: bool = False

    def volume(self, integrals: np.ndarray, theta_rad: np.ndarray, center_px: float, width: int) -> np.ndarray:
        rays = _Rays(theta_rad, center_px, width, integrals.shape[2])
        measured = np.ascontiguousarray(np.moveaxis(integrals, 1, 2), dtype=np.float32)
        rows = rays.project(np.ones((width, width, 1), np.float32))
        columns = rays.back(np.ones((*measured.shape[:2], 1), np.float32))
        by_row, by_column = (np.where(a > 1e-3, 1 / np.maximum(a, 1e-3), 0) for a in (rows, columns))
        volume = np.zeros((width, width, measured.shape[2]), np.float32)
        for _ in range(self.iterations):
            volume += by_column * rays.back(by_row * (measured - rays.project(volume)))
            if self.positive:
                np.maximum(volume, 0, out=volume)
        return np.moveaxis(volume, -1, 0)


@register("initializer", "cgls")
class Cgls(TomographicInitializer):
    r"""Conjugate gradients on the normal equations of :math:`\|A x - p\|^2`, stopped early.

    Hestenes & Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952). The number of steps regularizes: many steps amplify
    noise.

    Attributes:
        iterations: Steps.
    """

    iterations: int = Field(20, ge=1)

    def volume(self, integrals: np.ndarray, theta_rad: np.ndarray, center_px: float, width: int) -> np.ndarray:
        rays = _Rays(theta_rad, center_px, width, integrals.shape[2])
        residual = np.ascontiguousarray(np.moveaxis(integrals, 1, 2), dtype=np.float32)
        volume = np.zeros((width, width, residual.shape[2]), np.float32)
        slope = rays.back(residual)
        direction, size = slope, float(np.vdot(slope, slope))
        for _ in range(self.iterations):
            seen = rays.project(direction)
            step = np.float32(size / max(float(np.vdot(seen, seen)), TINY))
            volume += step * direction
            residual -= step * seen
            slope = rays.back(residual)
            before, size = size, float(np.vdot(slope, slope))
            direction = slope + np.float32(size / max(before, TINY)) * direction
        return np.moveaxis(volume, -1, 0)
