"""Two sparse slices ten micrometers apart: a forward model in one file, its data, and a measure of crosstalk.

The slices lie within the depth of focus of the reconstruction, so each shows a ghost of the other. The data are made
with the angular-spectrum propagator on waves sampled twice as finely as the reconstruction samples them, which uses the
Fresnel transfer function.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from adorym.data.batches import Batch
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.forward.base import BoundModel, ForwardModel
from adorym.forward.thin import by_probe, probe_intensity
from adorym.optics.propagation import propagate, transfer_function_fresnel
from adorym.parameters import ParameterSettings
from adorym.preconditioners import Diagonal, Point
from adorym.registry import component
from adorym.units import Length, energy_ev
from adorym.wrapper.base import Array, Backend

WAVELENGTH_M, PIXEL_M, SPACING_M = 1.4e-10, 16e-9, 10e-6
WINDOW, OBJECT, STEP_PX, SIDE = 48, 112, 4.6, 13


@component
class TwoSlices(ForwardModel):
    """Far field behind two slices, ``I = |F[O_2 D[O_1 P]]|^2`` with a Fresnel propagator D between them.

    Attributes:
        spacing: Distance between the slices.
    """

    spacing: Length = SPACING_M

    def bind(self, dataset: Dataset, settings: Mapping[str, ParameterSettings]) -> BoundModel:
        bound, own = super().bind(dataset, settings), {"object": Diagonal(_by_slices), "probe": Diagonal(_by_probe)}
        return bound.with_(shape=(*bound.shape, 2), preconditioners=own)

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """Intensities ``(n, y, x)`` from windows ``(n, y, x, 2)``."""
        transfer = transfer_function_fresnel(xp, batch.geometry.grid("far_field"), self.spacing)
        behind_first = params["probe"] * obj[:, None, :, :, 0]
        wave = propagate(xp, behind_first, transfer) * obj[:, None, :, :, 1]
        return xp.sum(xp.abs2(xp.fft2(wave)), axis=1)


def _by_slices(point: Point) -> Array:
    """Both slices see nearly the same beam, and share the curvature."""
    return 2 * point.xp.stack([probe_intensity(point)] * 2, axis=-1)


def _by_probe(point: Point) -> Array:
    return by_probe(point, point.xp.abs2(point.obj[..., 0]))


def slices(rng: np.random.Generator, fine: int = 1) -> np.ndarray:
    """``(y, x, 2)`` transmissions: disks in the first slice, bars in the second, each of a tenth of the area."""
    y, x = (np.indices((OBJECT * fine, OBJECT * fine)) + 0.5) / fine - 0.5
    lag = np.zeros((*y.shape, 2))
    for _ in range(26):
        cy, cx = rng.uniform(20, OBJECT - 20, 2)
        lag[np.hypot(y - cy, x - cx) < rng.uniform(2, 4), 0] = rng.uniform(0.3, 0.6)
        cy, cx, angle = *rng.uniform(20, OBJECT - 20, 2), rng.uniform(0, np.pi)
        along, across = (
            np.cos(angle) * (y - cy) + np.sin(angle) * (x - cx),
            np.cos(angle) * (x - cx) - np.sin(angle) * (y - cy),
        )
        lag[(np.abs(along) < 7) & (np.abs(across) < 1.5), 1] = rng.uniform(0.3, 0.6)
    return np.exp(-(0.1 + 1j) * lag)


def _coarse(fine: np.ndarray) -> np.ndarray:
    """Means over blocks of two by two pixels."""
    return fine.reshape(fine.shape[0] // 2, 2, fine.shape[1] // 2, 2, *fine.shape[2:]).mean(axis=(1, 3))


def make(seed: int = 0, photons: float = 1e6) -> tuple[Dataset, np.ndarray]:
    """The data set and the true slices ``(y, x, 2)``, index (0, 0) at position (0, 0)."""
    fine = slices(np.random.default_rng(seed), 2)
    rng = np.random.default_rng(seed + 1000)
    y, x = ((np.arange(2 * WINDOW) + 0.5) / 2 - WINDOW / 2 for _ in range(2))
    radius2 = y[:, None] ** 2 + x**2
    probe = np.exp(-radius2 / (2 * 6.5**2) + 0.012j * radius2)
    probe *= np.sqrt(photons / np.sum(np.abs(probe) ** 2))
    f2 = np.add.outer(*[np.fft.fftfreq(2 * WINDOW, PIXEL_M / 2) ** 2] * 2)
    transfer = np.exp(2j * np.pi * SPACING_M * (np.sqrt(WAVELENGTH_M**-2 - f2) - 1 / WAVELENGTH_M))
    grid = np.rint(STEP_PX * np.stack(np.meshgrid(*[np.arange(SIDE)] * 2, indexing="ij"), -1).reshape(-1, 2) + 4)
    positions = grid + rng.integers(-1, 2, grid.shape)
    patterns = np.empty((len(positions), WINDOW, WINDOW))
    for pattern, (py, px) in zip(patterns, (2 * positions).astype(int), strict=True):
        window = fine[py : py + 2 * WINDOW, px : px + 2 * WINDOW]
        wave = np.fft.ifft2(np.fft.fft2(probe * window[..., 0]) * transfer) * window[..., 1]
        spectrum = np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))
        pattern[:] = np.abs(spectrum[WINDOW // 2 : -WINDOW // 2, WINDOW // 2 : -WINDOW // 2]) ** 2
    dataset = Dataset(
        patterns=ArrayPatterns(rng.poisson(patterns).astype(np.float32)),
        probe_positions_px=positions,
        energy_ev=energy_ev(WAVELENGTH_M),
        pixel_size_m=(PIXEL_M, PIXEL_M),
        start_probe=2 * _coarse(probe)[None],
    )
    return dataset, _coarse(fine)


def crosstalk(found: np.ndarray, true: np.ndarray, lit: tuple[slice, slice]) -> float:
    """Mean over both slices of the correlation of what a slice shows where it is empty with what the other one holds.

    Args:
        found: ``(y, x, 2)`` in the frame of ``true``.
        true: ``(y, x, 2)``.
        lit: Where the scan went.
    """
    values = []
    for own, other in ((0, 1), (1, 0)):
        empty = np.abs(true[lit][..., own] - 1) < 1e-3
        ghost = np.angle(found[lit][..., own])
        ghost = (ghost - np.median(ghost))[empty]
        source = np.angle(true[lit][..., other])[empty]
        if ghost.std() == 0:
            values.append(0.0)
        else:
            values.append(abs(float(np.corrcoef(ghost, source)[0, 1])))
    return float(np.mean(values))
