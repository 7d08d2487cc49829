r"""Displacement and strain of a crystal against a sum over points in the laboratory.

.. math:: I = \Big| \sum_j e^{-i (\mathbf k_f - \mathbf k_i)\cdot R_\theta (\mathbf r_j + \mathbf u_j)} \Big|^2

Points lie on lattice planes of the nominal reflection; beams, rotations and the places of the detector's pixels are
written out by hand in meters, x to the right, y down, z along the beam. Nothing of the package makes the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
from vtk_files import read_vtk

from adorym.commands.crystal import crystal
from adorym.data.open import open_dataset
from adorym.data.result import Result, write_result
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import InputError
from adorym.forward.bragg_cdi import BraggCdi
from adorym.forward.crystal import CrystalObject
from adorym.initializers.simple import Constant
from adorym.losses.counting import LeastSquares

ENERGY_EV, WAVELENGTH_M = 9000.0, 1.239841984332e-6 / 9000.0
K = 2 * np.pi / WAVELENGTH_M
PIXEL_M, FRAMES, SIDE = 55e-6, 32, 32


X, Y, Z = np.eye(3)


def turned(axis: np.ndarray, angle_deg: float) -> np.ndarray:
    """Right-handed rotation about an axis (x, y, z), as Rodrigues writes it."""
    a, b, c = axis / np.linalg.norm(axis)
    cross, angle = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]]), np.deg2rad(angle_deg)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@dataclass(frozen=True)
class Goniometer:
    """A detector arm and a rocking axis.

    Attributes:
        arm: Turns the arm from along z to where it is.
        axis: About which the crystal turns, right-handed.
        step_rad: From frame to frame.
        settings: What the user says of it.
        sample: Turns the sample from zero of its circles to where it is in the middle frame.
        columns: From one pixel of a row to the next, the arm at zero.
        offset_px: (y, x) middle pixel from where the arm points.
    """

    arm: np.ndarray
    axis: np.ndarray
    step_rad: float
    settings: dict
    sample: np.ndarray | None = None
    columns: np.ndarray = field(default_factory=lambda: X)
    offset_px: tuple[float, float] = (0.0, 0.0)
    distance_m: float = 0.85

    def pixels_m(self) -> np.ndarray:
        """``(row x column, 3)`` places of the pixels of a flat detector that faces the crystal."""
        row, column = (np.arange(SIDE) - SIDE // 2 + off for off in self.offset_px)
        flat = row[:, None, None] * Y + column[None, :, None] * self.columns
        return (PIXEL_M * flat + self.distance_m * Z).reshape(-1, 3) @ self.arm.T

    def transfers(self) -> np.ndarray:
        """``(frame, row x column, 3)`` Q as the turned crystal sees it."""
        places = self.pixels_m()
        outgoing = K * places / np.linalg.norm(places, axis=1, keepdims=True)
        q = outgoing - np.array([0.0, 0.0, K])
        angles = np.rad2deg((np.arange(FRAMES) - FRAMES // 2) * self.step_rad)
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


# Of ID01 as public codes describe it: x outboard, y up, z along the beam, and angles left-handed about x and y.
OF_ID01, MU, ETA, PHI, NU, DELTA = np.diag([-1.0, -1.0, 1.0]), 4.0, 18.0, 33.0, 9.0, 29.0
GONIOMETERS = {
    "horizontal": Goniometer(turned(Y, 33.0), Y, 1.2e-4, {"gamma": "33 deg", "rocking_axis": "y"}),
    "vertical, turned the other way": Goniometer(
        turned(Y, 6.0) @ turned(X, 31.0), X, -1.3e-4, {"gamma": "6 deg", "delta": "-31 deg", "rocking_axis": "x"}
    ),
    "ID01, off the arm": Goniometer(
        OF_ID01 @ turned(-Y, NU) @ turned(-X, DELTA) @ OF_ID01,
        OF_ID01 @ turned(-Y, MU) @ -X,
        1.2e-4,
        {
            "beamline": "id01", "rocking": "eta",
            "angles": {"mu": "4 deg", "eta": "18 deg", "phi": "33 deg", "nu": "9 deg", "delta": "29 deg"},
        },
        sample=OF_ID01 @ turned(-Y, MU) @ turned(-X, ETA) @ turned(-Y, PHI) @ OF_ID01,
        columns=OF_ID01 @ X,
        offset_px=(55.5, -70.0),
    ),
}  # fmt: skip


def scattered(gonio: Goniometer, strength: float = 1.0) -> np.ndarray:
    """``(frame, y, x)`` complex: the sum over the points of the crystal."""
    points = lattice_points(gonio.q, SIZE_M / 9, 1.3 * SIZE_M)
    points = points[inside(points)]
    moved = points + strength * displacement_m(points)
    return np.stack([np.exp(-1j * (q @ moved.T)).sum(1).reshape(SIDE, SIDE) for q in gonio.transfers()])


def written(gonio: Goniometer, folder: Path, wave: np.ndarray) -> np.ndarray:
    """Data and result in ``folder``; returns the object ``(z, y, x)`` whose transform is the wave."""
    with h5py.File(folder / "peak.h5", "w") as file:
        file["exchange/data"] = (np.abs(wave) ** 2).astype(np.float32)[:, None]
        file["exchange/theta"] = 18 + np.rad2deg((np.arange(FRAMES) - FRAMES // 2) * gonio.step_rad)
        file["metadata/energy_ev"] = ENERGY_EV
        file["metadata/detector_pixel_size_m"] = [PIXEL_M, PIXEL_M]
        file["metadata/distance_m"] = gonio.distance_m
        file["metadata/arm_px"] = SIDE // 2 - np.array(gonio.offset_px)
    whole = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(wave), norm="ortho"))
    found = np.moveaxis(np.where(np.abs(whole) > 0.3 * np.abs(whole).max(), whole, 0), 0, 2)
    config = f"data: {{path: {folder / 'peak.h5'}}}\nforward_model: {{kind: bragg_cdi}}\n"
    write_result(Result(found, config=config), folder / "result.h5")
    return whole


@pytest.fixture(scope="module", params=GONIOMETERS)
def measured(request, tmp_path_factory):
    """Goniometer, folder with data and result, the scattered wave, and the crystal whose transform it is."""
    gonio, folder = GONIOMETERS[request.param], tmp_path_factory.mktemp("bragg")
    wave = scattered(gonio)
    return gonio, folder, wave, written(gonio, folder, wave)


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


FOUND: dict[tuple, tuple] = {}


def found_in(folder, gonio: Goniometer, twin: str = "as_is", frame: str = "laboratory"):
    """Recovered field, and the places ``(y, x, z, 3)`` of its voxels from the crystal's center of mass; made once.

    The files are in the folder ``twin`` and ``frame`` name.
    """
    if (folder, twin, frame) in FOUND:
        return FOUND[folder, twin, frame]
    view = {"geometry": gonio.settings, "twin": twin, "threshold": 0.5, "frame": frame}
    made = crystal(folder / "result.h5", folder / f"{twin}_{frame}", view)
    assert made.voxel_m is not None
    y, x, z = np.indices(made.field.inside.shape) * made.voxel_m
    places = np.stack([x, y, z], axis=-1)
    weight = made.field.amplitude * (made.field.amplitude > 0.3)
    places = places - np.tensordot(weight, places, 3) / weight.sum()
    return FOUND.setdefault((folder, twin, frame), (made, places))


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


def slopes(folder: Path, gonio: Goniometer, twin: str) -> tuple[int, float, float]:
    """Whether the twin is upright (1) or inverted (-1), and the slopes of its displacement and strain.

    The twin is inverted: u'(r) = -u(-r), and the same strain at -r. Compared two voxels below the surface.
    """
    made, places = found_in(folder, gonio, twin)
    field = made.field
    same, inverted = (np.mean(inside(center_m() + s * places)[field.inside]) for s in (1, -1))
    assert max(same, inverted) > 0.97 and min(same, inverted) < 0.9
    sign = 1 if same > inverted else -1
    core = field.inside & inside(center_m() + sign * 1.4 * places)
    assert core.sum() > 500
    here = places[core]
    u, strain = along(gonio.q, center_m() + sign * here)
    moved = slope(flat(field.displacement_m[core], here), flat(sign * u, here))
    return sign, moved, slope(field.strain[core] - field.strain[core].mean(), strain - strain.mean())


def test_both_twins_have_the_displacement_and_strain_of_the_laboratory(measured):
    gonio, folder, *_ = measured
    found = [slopes(folder, gonio, twin) for twin in ("as_is", "other")]
    assert [sign for sign, *_ in found] == [1, -1]
    np.testing.assert_allclose([numbers for _, *numbers in found], 1, atol=0.02)
    spacing = found_in(folder, gonio)[0].figures["plane_spacing_m"]
    assert spacing == pytest.approx(2 * np.pi / np.linalg.norm(gonio.q), rel=1e-9)


def tilt(q: np.ndarray, r: np.ndarray) -> np.ndarray:
    """``(..., 3)`` rotation of the planes across q, as u = w x r has it: along q, u is r (q x w)."""
    unit, step = q / np.linalg.norm(q), 1e-3 * SIZE_M
    slopes = [along(q, r + step * e)[0] - along(q, r - step * e)[0] for e in np.eye(3)]
    return -np.cross(unit, np.stack(slopes, axis=-1) / (2 * step))


def test_lattice_planes_turn_as_in_the_laboratory(measured):
    gonio, folder, *_ = measured
    made, places = found_in(folder, gonio)
    core = made.field.inside & inside(center_m() + 1.4 * places)
    true = tilt(gonio.q, center_m() + places[core])
    for axis in range(3):
        found, wanted = made.field.rotation_rad[axis][core], true[:, axis]
        if np.ptp(wanted) > 0.3 * np.ptp(true):
            assert slope(found - found.mean(), wanted - wanted.mean()) == pytest.approx(1, abs=0.03)
    unit = gonio.q / np.linalg.norm(gonio.q)
    assert np.abs(np.einsum("i,ik->k", unit, made.field.rotation_rad[:, core])).max() < 1e-9


@pytest.mark.parametrize("frame", ["sample", "crystal"])
def test_in_the_frame_of_the_sample_or_the_crystal(measured, frame):
    """The same crystal with its axes turned: by the circles of the sample, or so that z is along q."""
    gonio, folder, *_ = measured
    if frame == "sample" and gonio.sample is None:
        with pytest.raises(InputError, match="the circles of the sample are not known"):
            found_in(folder, gonio, frame=frame)
        return
    unit = gonio.q / np.linalg.norm(gonio.q)
    if frame == "sample":
        turn = gonio.sample.T
    else:
        turn = turned(np.cross(unit, Z), np.rad2deg(np.arccos(unit @ Z)))
        np.testing.assert_allclose(turn @ unit, Z, atol=1e-12)
    made, places = found_in(folder, gonio, frame=frame)
    there = center_m() + places @ turn  # by the inverse of the turn
    core = made.field.inside & inside(center_m() + 1.4 * places @ turn)
    assert np.mean(inside(there)[made.field.inside]) > 0.97
    u, strain = along(gonio.q, there[core])
    found = flat(made.field.displacement_m[core], places[core])
    assert slope(found, flat(u, places[core])) == pytest.approx(1, abs=0.02)
    assert slope(made.field.strain[core] - made.field.strain[core].mean(), strain - strain.mean()) == pytest.approx(
        1, abs=0.02
    )
    true = tilt(gonio.q, there[core]) @ turn.T
    rotation = made.field.rotation_rad[:, core].T
    assert slope((rotation - rotation.mean(0)).ravel(), (true - true.mean(0)).ravel()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("frame", ["laboratory", "crystal"])
def test_both_files_for_paraview_show_the_crystal_in_the_same_place(measured, frame):
    gonio, folder, *_ = measured
    made, _ = found_in(folder, gonio, frame=frame)
    middles = []
    for name in ("crystal.vti", "crystal_skew.vts"):
        arrays, points = read_vtk(folder / f"as_is_{frame}" / name)
        weight = np.where(arrays["amplitude"] > 0.5 * arrays["amplitude"].max(), 1.0, 0.0)
        middle = np.einsum("yxz,yxzi->i", weight, points) / weight.sum()
        spread = np.sqrt(np.einsum("yxz,yxzi->i", weight, (points - middle) ** 2) / weight.sum())
        middles.append([middle, spread])
    assert np.abs(np.subtract(*middles)).max() < 0.25 * made.voxel_m


def test_displacement_is_not_wrapped_where_the_strain_is_strong(tmp_path):
    """Five times the displacement: the phase goes over more than a turn."""
    gonio, strength = GONIOMETERS["horizontal"], 5.0
    written(gonio, tmp_path, scattered(gonio, strength))
    made, places = found_in(tmp_path, gonio)
    core = made.field.inside & inside(center_m() + 1.3 * places)
    here = places[core]
    u = strength * along(gonio.q, center_m() + here)[0]
    true, found = flat(u, here), flat(made.field.displacement_m[core], here)
    turn = 2 * np.pi / np.linalg.norm(gonio.q)
    assert np.ptp(made.field.displacement_m[made.field.inside]) > 1.2 * turn
    assert np.abs(found - true).max() < 0.3 * turn and slope(found, true) == pytest.approx(1, abs=0.03)
    jumps = (made.field.displacement_m + made.field.phase_rad / np.linalg.norm(gonio.q))[made.field.inside]
    assert np.ptp(jumps) > 0.99 * turn


def test_readings_come_from_the_file_of_the_scan(tmp_path):
    """The circle that was rocked stands where the data say; the others as the file of SPEC has them."""
    gonio = GONIOMETERS["ID01, off the arm"]
    written(gonio, tmp_path, scattered(gonio))
    spec = tmp_path / "run.spec"
    spec.write_text("#F x\n#O0 Mu  Eta  Phi\n#O1 Nu  Del\n#S 3 ascan eta 1 2 31 1\n#P0 4 17 33\n#P1 9 29\n#L Eta\n1\n")
    given, _ = found_in(tmp_path, gonio, frame="sample")
    view = {
        "geometry": {"beamline": "id01", "rocking": "eta"},
        "scan": f"{spec}:3",
        "threshold": 0.5,
        "frame": "sample",
    }
    read = crystal(tmp_path / "result.h5", tmp_path / "read", view)
    assert read.figures == pytest.approx(given.figures, nan_ok=True)
    assert read.corner_m == pytest.approx(given.corner_m)
    spec.write_text("#S 1 ascan eta 1 2 31 1\n#L Eta\n1\n")
    with pytest.raises(InputError, match="scan: holds no circle of the detector; expected nu, delta"):
        crystal(tmp_path / "result.h5", tmp_path / "read", {**view, "scan": str(spec)})
    with pytest.raises(InputError, match="scan: needs 'geometry.beamline', whose circles it reads"):
        crystal(tmp_path / "result.h5", tmp_path / "read", {"geometry": {"gamma": "30 deg"}, "scan": str(spec)})
