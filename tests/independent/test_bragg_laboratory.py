r"""Displacement and strain of a crystal against a sum over points in the laboratory.

.. math:: I = \Big| \sum_j e^{-i (\mathbf k_f - \mathbf k_i)\cdot R_\theta (\mathbf r_j + \mathbf u_j)} \Big|^2

Points lie on lattice planes of the nominal reflection; beams, rotations and the places of the detector's pixels are
written out by hand in meters, x to the right, y down, z along the beam. Nothing of the package makes the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np
import pytest

from adorym.commands.crystal import crystal
from adorym.data.open import open_dataset
from adorym.data.result import Result, write_result
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.bragg_cdi import BraggCdi
from adorym.forward.crystal import CrystalObject
from adorym.initializers.simple import Constant
from adorym.losses.counting import LeastSquares

ENERGY_EV, WAVELENGTH_M = 9000.0, 1.239841984332e-6 / 9000.0
K = 2 * np.pi / WAVELENGTH_M
PIXEL_M, FRAMES, SIDE = 55e-6, 32, 32


def turned(axis: str, angle: float) -> np.ndarray:
    """Right-handed rotation about an axis of (x, y, z)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array({"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}[axis])


@dataclass(frozen=True)
class Goniometer:
    """A detector arm and a rocking axis.

    Attributes:
        arm_deg: (gamma about y, delta towards +y).
        axis: About which the crystal turns, right-handed.
        step_rad: From frame to frame.
    """

    arm_deg: tuple[float, float]
    axis: str
    step_rad: float
    distance_m: float = 0.85

    def pixels_m(self) -> np.ndarray:
        """``(row, column, 3)`` places of the pixels of a flat detector that faces the crystal."""
        gamma, delta = np.deg2rad(self.arm_deg)
        arm = turned("y", gamma) @ turned("x", -delta)
        row, column = np.meshgrid(np.arange(SIDE) - SIDE // 2, np.arange(SIDE) - SIDE // 2, indexing="ij")
        flat = np.stack([PIXEL_M * column, PIXEL_M * row, np.full(row.shape, self.distance_m)], axis=-1)
        return flat.reshape(-1, 3) @ arm.T

    def transfers(self) -> np.ndarray:
        """``(frame, row x column, 3)`` Q as the turned crystal sees it."""
        places = self.pixels_m()
        outgoing = K * places / np.linalg.norm(places, axis=1, keepdims=True)
        q = outgoing - np.array([0.0, 0.0, K])
        angles = (np.arange(FRAMES) - FRAMES // 2) * self.step_rad
        return np.stack([q @ turned(self.axis, angle) for angle in angles])  # by the inverse of the turn

    @property
    def q(self) -> np.ndarray:
        """Of the middle pixel in the middle frame."""
        return self.transfers()[FRAMES // 2, SIDE // 2 * SIDE + SIDE // 2]


def lattice_points(q: np.ndarray, spacing_m: float, reach_m: float) -> np.ndarray:
    """``(n, 3)`` points with ``q r`` a multiple of two pi: a grid on planes across q, about ``spacing_m`` apart."""
    along, size = q / np.linalg.norm(q), np.linalg.norm(q)
    across = np.linalg.svd(along[None])[2][1:]
    planes = np.rint(np.arange(-reach_m, reach_m, spacing_m) * size / (2 * np.pi)) * 2 * np.pi / size
    grid = np.arange(-reach_m, reach_m, spacing_m)
    a, b, c = np.meshgrid(planes, grid, grid, indexing="ij")
    return a.reshape(-1, 1) * along + b.reshape(-1, 1) * across[0] + c.reshape(-1, 1) * across[1]


SIZE_M = 550e-9


def inside(r: np.ndarray) -> np.ndarray:
    """A cut solid without a center of symmetry."""
    x, y, z = np.moveaxis(r / SIZE_M, -1, 0)
    solid = (x > -0.9) & (y > -0.75) & (z > -0.8) & (x + 0.8 * y + 0.5 * z < 0.9) & (-x + y + 0.3 * z < 1.0)
    return solid & (0.4 * x - 0.6 * y + z < 0.85)


def displacement_m(r: np.ndarray) -> np.ndarray:
    """``(..., 3)``: bent, stretched on one side, about 60 pm from end to end."""
    x, y, z = np.moveaxis(r / SIZE_M, -1, 0)
    return 4e-11 * np.stack([0.5 * x**2 - y * z + 0.3 * x**3, 0.6 * y**2 + 0.4 * x * z, z**2 * 0.5 - x * y], axis=-1)


def along(q: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacement along q, and its derivative along q."""
    unit, step = q / np.linalg.norm(q), 1e-3 * SIZE_M
    ahead, behind = (displacement_m(r + sign * step * unit) @ unit for sign in (1, -1))
    return displacement_m(r) @ unit, (ahead - behind) / (2 * step)


GONIOMETERS = {
    "horizontal": Goniometer((33.0, 0.0), "y", 1.2e-4),
    "vertical, turned the other way": Goniometer((6.0, -31.0), "x", -1.3e-4),
}


@pytest.fixture(scope="module", params=GONIOMETERS)
def measured(request, tmp_path_factory):
    """Goniometer, folder with data and result, the scattered wave, and the crystal whose transform it is."""
    gonio, folder = GONIOMETERS[request.param], tmp_path_factory.mktemp("bragg")
    points = lattice_points(gonio.q, SIZE_M / 9, 1.3 * SIZE_M)
    points = points[inside(points)]
    moved = points + displacement_m(points)
    wave = np.stack([np.exp(-1j * (q @ moved.T)).sum(1).reshape(SIDE, SIDE) for q in gonio.transfers()])
    with h5py.File(folder / "peak.h5", "w") as file:
        file["exchange/data"] = (np.abs(wave) ** 2).astype(np.float32)[:, None]
        file["exchange/theta"] = np.rad2deg((np.arange(FRAMES) - FRAMES // 2) * gonio.step_rad)
        file["metadata/energy_ev"] = ENERGY_EV
        file["metadata/detector_pixel_size_m"] = [PIXEL_M, PIXEL_M]
        file["metadata/distance_m"] = gonio.distance_m
    whole = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(wave), norm="ortho"))
    found = np.moveaxis(np.where(np.abs(whole) > 0.3 * np.abs(whole).max(), whole, 0), 0, 2)
    config = f"data: {{path: {folder / 'peak.h5'}}}\nforward_model: {{kind: bragg_cdi}}\n"
    write_result(Result(found, config=config), folder / "result.h5")
    return gonio, folder, wave, whole


def test_the_model_has_the_phase_of_the_lattice_planes(measured):
    """Its pattern of the inverse transform of the scattered wave is the measured one; of the conjugate it is not."""
    _, folder, wave, whole = measured
    settings = {"object": CrystalObject(initial=Constant())}
    recipe = Recipe(BraggCdi(), settings, LeastSquares())
    data = open_dataset(folder / "peak.h5")
    run = Reconstruction(data, recipe, RunSettings(backend="autograd", precision="double", device="cpu"))
    measured_counts = np.abs(wave) ** 2

    def error(obj: np.ndarray) -> float:
        run.problem.store.restore(np.moveaxis(obj, 0, 2).astype(complex), run.problem.store.state())
        made = run.problem.bound.from_model_frame(predict_patterns(run.problem, np.arange(FRAMES)))
        return float(np.abs(made - measured_counts).max() / measured_counts.max())

    assert error(whole) < 1e-9 and error(whole.conj()) > 0.05


def found_in(folder, gonio: Goniometer, twin: str):
    """Recovered field, and the places ``(y, x, z, 3)`` of its voxels from the crystal's center of mass."""
    gamma, delta = gonio.arm_deg
    geometry = {"gamma": f"{gamma} deg", "delta": f"{delta} deg", "rocking_axis": gonio.axis}
    made = crystal(folder / "result.h5", folder / twin, {"geometry": geometry, "twin": twin, "threshold": 0.5})
    assert made.voxel_m is not None
    y, x, z = np.indices(made.field.inside.shape) * made.voxel_m
    places = np.stack([x, y, z], axis=-1)
    weight = made.field.amplitude * (made.field.amplitude > 0.3)
    return made.field, places - np.tensordot(weight, places, 3) / weight.sum()


def center_m() -> np.ndarray:
    """Center of mass of the crystal."""
    axis = np.linspace(-1.2, 1.2, 61) * SIZE_M
    r = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return r[inside(r)].mean(0)


def flat(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Without mean and linear part."""
    terms = np.column_stack([np.ones(len(places)), places / SIZE_M])
    return values - terms @ np.linalg.lstsq(terms, values, rcond=None)[0]


def slope(found: np.ndarray, true: np.ndarray) -> float:
    """Of found against true values, both of mean zero."""
    return float(found @ true / (true @ true))


def test_both_twins_have_the_displacement_and_strain_of_the_laboratory(measured):
    """The twin is inverted: u'(r) = -u(-r), and the same strain at -r. Compared two voxels below the surface."""
    gonio, folder, *_ = measured
    signs = []
    for twin in ("as_is", "other"):
        field, places = found_in(folder, gonio, twin)
        same, inverted = (np.mean(inside(center_m() + s * places)[field.inside]) for s in (1, -1))
        assert max(same, inverted) > 0.97 and min(same, inverted) < 0.9
        sign = 1 if same > inverted else -1
        signs.append(sign)
        core = field.inside & inside(center_m() + sign * 1.4 * places)
        assert core.sum() > 500
        here = places[core]
        u, strain = along(gonio.q, center_m() + sign * here)
        found = flat(field.displacement_m[core], here)
        assert slope(found, flat(sign * u, here)) == pytest.approx(1, abs=0.02)
        assert slope(field.strain[core] - field.strain[core].mean(), strain - strain.mean()) == pytest.approx(
            1, abs=0.02
        )
    assert signs == [1, -1]
