"""Several reflections of a crystal of low symmetry, against a sum over voxels; one of them left out as a control."""

import numpy as np
import pytest
from cases import insert
from tiny_crystal import ellipsoid
from tiny_scan import Exact

import adorym
from adorym.data.dataset import Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import InputError
from adorym.forward.crystal import CrystalObject
from adorym.forward.multi_peak import MultiPeak
from adorym.initializers.simple import Constant
from adorym.losses.counting import LeastSquares
from adorym.schema import build

CELL_M = np.array([[5e-10, 0.3e-10, 0.0], [-1.6e-10, 4.2e-10, 0.2e-10], [0.4e-10, 0.0, 3.1e-10]])  # rows (z, y, x)
REFLECTIONS, SHAPE = ((1, 0, 1), (0, 1, 1), (1, -1, 0), (2, 1, -1)), (12, 14, 10)
AMPLITUDE = 8 * np.abs(ellipsoid(SHAPE))


def displacement() -> np.ndarray:
    """``(3, y, x, z)``."""
    y, x, z = (a / n for a, n in zip(np.indices(SHAPE) - 4.0, SHAPE, strict=True))
    return 9e-11 * np.stack([y * x + z**2, x**2 - y, z * y])


def counts() -> np.ndarray:
    """``(4 x frames, y, x)`` by matrices of Fourier sums; G from its products with the lattice vectors."""
    y, x, z = (np.exp(-2j * np.pi * np.outer(np.arange(n) - n // 2, np.arange(n)) / n) / np.sqrt(n) for n in SHAPE)
    found = []
    for hkl in REFLECTIONS:
        g = np.linalg.solve(CELL_M, 2 * np.pi * np.array(hkl))
        wave = AMPLITUDE * np.exp(-1j * np.einsum("i,iyxz->yxz", g, displacement()))
        found.append(np.abs(np.einsum("ay,bx,cz,yxz->cab", y, x, z, wave)) ** 2)
    return np.concatenate(found)


def at_truth(lattice, control=(2, 1, -1), patterns=None) -> Reconstruction:
    model = build(MultiPeak, {"reflections": REFLECTIONS, "lattice": lattice, "control": control})
    settings = {name: spec.settings() for name, spec in model.refinable.items() if not spec.optional}
    settings["object"] = CrystalObject(initial=Constant())
    run = RunSettings(backend="autograd", precision="double", device="cpu")
    data = Dataset(Exact(counts() if patterns is None else patterns))
    made = Reconstruction(data, Recipe(model, settings, LeastSquares()), run)
    values = {"object": AMPLITUDE.astype(complex), "support": (AMPLITUDE > 0).astype(float)}
    insert(made.problem, values | {"displacement": displacement(), "reflection_scale": np.ones(4)})
    return made


def lattice_of(cell):
    return [[f"{edge} m" for edge in row] for row in cell]


def test_the_control_tells_the_right_lattice():
    right = adorym.outcome(at_truth(lattice_of(CELL_M)), judged=False).fit
    assert right["control_misfit"] < 1e-20 and right["fitted_misfit"] < 1e-20
    wrong = adorym.outcome(at_truth("4 angstrom"), judged=False).fit
    assert wrong["control_misfit"] > 2e-3
    assert "control_misfit" not in adorym.outcome(at_truth(lattice_of(CELL_M), None), judged=False).fit


def test_the_control_has_no_say():
    changed = counts()
    changed[30:] *= 3
    losses = []
    for patterns in (counts(), changed):
        made = at_truth(lattice_of(CELL_M), patterns=patterns)
        insert(made.problem, {"displacement": 0.9 * displacement()})
        losses.append([record.loss for record in made.epochs(2)])
    np.testing.assert_allclose(*losses)
    assert losses[0][0] > 0


@pytest.mark.parametrize(
    ("lattice", "control", "message"),
    [
        ("4 angstrom", [1, 0, 1], r"control: not a reflection that can be left out; expected one of \(0, 1, 1\)"),
        (lattice_of(CELL_M[[0, 1, 1]]), None, "lattice: the vectors lie in a plane; expected three that span a cell"),
    ],
)
def test_what_is_refused(lattice, control, message):
    with pytest.raises((InputError, ValueError), match=message):
        at_truth(lattice, control)
