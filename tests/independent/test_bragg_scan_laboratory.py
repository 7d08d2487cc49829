r"""Bragg ptychography against a sum over points in the laboratory.

.. math:: I = \Big| \sum_j P(R_\theta \mathbf r_j - \mathbf d)\,
              e^{-i (\mathbf k_f - \mathbf k_i)\cdot R_\theta (\mathbf r_j + \mathbf u_j)} \Big|^2

Points of a film lie on lattice planes; the film turns, the beam stands at d across its way, and the places of the
detector's pixels are written out in meters. Nothing of the package makes the data.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_bragg_laboratory import ENERGY_EV, FRAMES, PIXEL_M, SIDE, WAVELENGTH_M, Goniometer, lattice_points, turned

from adorym.data.dataset import Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.bragg_ptychography import BraggPtychography
from adorym.forward.crystal import CrystalObject
from adorym.forward.probe import ProbeSettings
from adorym.losses.counting import LeastSquares
from adorym.schema import build

X, Y, Z = np.eye(3)
ANGLES, DEPTH, SPOT_M = 6, 10, 2.2e-7
PIXEL = WAVELENGTH_M * 0.85 / (SIDE * PIXEL_M)  # across the beam
GONIOMETERS = {
    "horizontal": Goniometer(turned(Y, 33.0), Y, 7e-4, {"gamma": "33 deg", "rocking_axis": "y"}),
    "out of the plane": Goniometer(
        turned(Y, 14.0) @ turned(X, 27.0), X, -7e-4, {"gamma": "14 deg", "delta": "-27 deg", "rocking_axis": "x"}
    ),
}
# (y, x) of the beam.
BEAMS_M = 1e-7 * np.array([[0.0, 0], [1.3, 0.4], [-0.8, 1.7], [0.6, -1.5]])


def beam(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Out of focus, and of no symmetry."""
    y, x = y / SPOT_M, x / SPOT_M
    return np.exp(-(y**2) - 0.7 * x**2 - 0.3 * x * y + 0.8j * y**2 + 0.5j * x**2 + 0.4j * x * y) * (1 + 0.3 * x)


def displacement_m(r: np.ndarray) -> np.ndarray:
    """``(..., 3)``."""
    x, y, z = np.moveaxis(r / 5e-7, -1, 0)
    return 5e-11 * np.stack([np.sin(2 * x - y) + z, x * y - 0.5 * z**2, np.cos(1.7 * y + x) - 0.6 * x * z], axis=-1)


def density(r: np.ndarray, across: np.ndarray) -> np.ndarray:
    """A film with soft surfaces; thicker on one side."""
    return np.exp(-((r @ across) ** 2) / (2 * (1.1e-7 * (1 + 0.3 * np.tanh(r[..., 1] / 3e-7))) ** 2))


def transfers(gonio: Goniometer) -> np.ndarray:
    """Of as many frames in the middle as there are angles: ``(angle, row x column, 3)``."""
    first = FRAMES // 2 - ANGLES // 2
    return gonio.transfers()[first : first + ANGLES]


def normal(gonio: Goniometer) -> np.ndarray:
    middle = gonio.q * WAVELENGTH_M / (2 * np.pi) + 2 * Z
    return middle / np.linalg.norm(middle)


def measured(gonio: Goniometer) -> np.ndarray:
    """``(angle, beam, y, x)`` intensity."""
    points = lattice_points(gonio.q, 4.2e-8, 6.5e-7)
    points = points[np.abs(points @ normal(gonio)) < 4.5e-7]
    found = np.zeros((ANGLES, len(BEAMS_M), SIDE, SIDE))
    moved = points + displacement_m(points)
    for k, q in enumerate(transfers(gonio)):
        there = points @ turned(gonio.axis, np.rad2deg((k - ANGLES // 2) * gonio.step_rad)).T
        for j, (y, x) in enumerate(BEAMS_M):
            weight = beam(there[:, 1] - y, there[:, 0] - x) * density(points, normal(gonio))
            lit = np.abs(weight) > 3e-3 * np.abs(weight).max()
            waves = np.exp(-1j * (q @ moved[lit].T)) @ weight[lit]
            found[k, j] = np.abs(waves.reshape(SIDE, SIDE)) ** 2
    return found


def lattice_m(gonio: Goniometer) -> np.ndarray:
    """Columns are the edges of a voxel along (rocking, y, x), from differences of transfers."""
    q = transfers(gonio).reshape(ANGLES, SIDE, SIDE, 3)
    k, m = ANGLES // 2, SIDE // 2
    steps = [q[k + 1, m, m] - q[k - 1, m, m], q[k, m + 1, m] - q[k, m - 1, m], q[k, m, m + 1] - q[k, m, m - 1]]
    return 2 * np.pi * np.linalg.inv(np.stack(steps, axis=1) / 2 * np.array([ANGLES, SIDE, SIDE])).T


@pytest.fixture(scope="module", params=GONIOMETERS)
def scan(request):
    """Goniometer, a run with the true beam, and what was measured."""
    gonio = GONIOMETERS[request.param]
    intensity = measured(gonio).reshape(-1, SIDE, SIDE).astype(np.float32)
    line = (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL
    data = Dataset(
        patterns=_Stack(intensity),
        probe_positions_px=np.tile(BEAMS_M / PIXEL, (ANGLES, 1)),
        angle_index=np.repeat(np.arange(ANGLES), len(BEAMS_M)),
        theta_rad=0.3 + gonio.step_rad * np.arange(ANGLES),
        energy_ev=ENERGY_EV,
        distance_m=0.85,
        detector_pixel_size_m=(PIXEL_M, PIXEL_M),
        start_probe=beam(line[:, None], line)[None],
    )
    model = build(BraggPtychography, {"geometry": gonio.settings, "slices": DEPTH})
    settings = {"object": CrystalObject(), "probe": ProbeSettings()}
    run = RunSettings(backend="autograd", precision="double", device="cpu")
    return gonio, Reconstruction(data, Recipe(model, settings, LeastSquares()), run), intensity


class _Stack:
    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape = array, array.shape

    def read(self, index: np.ndarray) -> np.ndarray:
        return self.array[index]


def error(run: Reconstruction, obj: np.ndarray, intensity: np.ndarray) -> float:
    """Of amplitudes, relative to those measured, all patterns in one scale."""
    run.problem.store.restore(obj, run.problem.store.state())
    made = run.problem.bound.from_model_frame(predict_patterns(run.problem, np.arange(len(intensity))))
    a, b = np.sqrt(made).ravel(), np.sqrt(intensity).ravel().astype(float)
    return float(np.linalg.norm(a * (a @ b) / (a @ a) - b) / np.linalg.norm(b))


def film(gonio: Goniometer, run: Reconstruction, sign: int = 1) -> np.ndarray:
    """The film on the voxels, with the phase of the lattice planes."""
    shape, origin = run.problem.store.shape, run.problem.bound.origin_px
    y, x = (np.arange(n) - o - (SIDE - 1) / 2 for n, o in zip(shape, origin, strict=False))
    z = np.arange(DEPTH) - (DEPTH - 1) / 2
    places = np.stack(np.broadcast_arrays(z, y[:, None, None], x[:, None]), axis=-1) @ lattice_m(gonio).T
    return density(places, normal(gonio)) * np.exp(-1j * sign * (displacement_m(places) @ gonio.q))


def test_patterns_are_those_of_the_laboratory(scan):
    gonio, run, intensity = scan
    true = film(gonio, run)
    assert error(run, true, intensity) < 0.03
    wrong = {
        "the other sign of the displacement": film(gonio, run, -1),
        "turned about the exit beam": true[::-1, ::-1],
        "upside down along the exit beam": true[:, :, ::-1],
        "two voxels away": np.roll(true, 2, 1),
    }
    for name, obj in wrong.items():
        assert error(run, obj, intensity) > 0.06, name
