r"""Strained crystals by the batch: shape, phase, and the modulus of the pattern that a detector would see.

The phase of a Bragg reflection is :math:`\varphi = -\mathbf G \cdot \mathbf u`. It has up to three parts: what is
left of an affine strain after a few steps of elastic relaxation (`adorym.simulate.elasticity`), a smooth eigenstrain
of a few radians, and a screw dislocation. A linear phase is only a shift of the pattern: it is taken out, and the
pattern's brightest voxel is brought to the middle.

A pattern does not tell a crystal from its twin, :math:`O^*(-r)`. Of the two the one is kept whose phase is higher in
the core than near the surface, so that a network that learns from pictures has one answer to learn.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from adorym.networks.shards import Examples
from adorym.registry import component
from adorym.simulate.elasticity import affine, relaxed
from adorym.simulate.polyhedra import NORMALS, Shape, orientations, polyhedra
from adorym.wrapper.base import Array, Backend

Fraction = Annotated[float, Field(ge=0, le=1)]


@component
class Strain:
    """Where the phase of a crystal comes from.

    Attributes:
        eigenstrain: (smallest, largest) peak-to-valley phase of the smooth eigenstrain in radian.
        waves: Highest number of half waves of the eigenstrain across the array.
        relaxed_part: Part of the crystals with an affine strain that relaxes.
        steps: (fewest, most) steps of the relaxation.
        affine: Standard deviation of the affine strain.
        voxel_per_spacing: Voxel size over lattice-plane spacing, which turns displacement into phase.
        dislocation_part: Part of the crystals with a screw dislocation.
        unstrained_part: Part of the crystals without any phase.
    """

    eigenstrain: tuple[float, float] = (0.3, 5.0)
    waves: int = Field(4, ge=1)
    relaxed_part: Fraction = 0.15
    steps: tuple[int, int] = (4, 12)
    affine: float = Field(0.005, ge=0)
    voxel_per_spacing: float = Field(8.0, gt=0)
    dislocation_part: Fraction = 0.05
    unstrained_part: Fraction = 0.25


@component
class CrystalSettings:
    """Which crystals, and how they are measured.

    Attributes:
        size: Voxels along each axis of the array.
        shape: Which solids.
        strain: Which phases.
        photons: (fewest, most) photons in the brightest voxel, drawn evenly in the logarithm; none means no noise.
        offset: Largest distance of the peak from the middle of its voxel.
    """

    size: int = Field(32, ge=8)
    shape: Shape = Shape()
    strain: Strain = Strain()
    photons: tuple[float, float] | None = (1e4, 1e7)
    offset: float = Field(0.3, ge=0, le=0.5)


def crystals(xp: Backend, rng: np.random.Generator, n: int, settings: CrystalSettings) -> Examples:
    """``n`` random crystals and their patterns, float32, zero frequency at the center, phase 0 outside."""
    array = (settings.size,) * 3
    turns = orientations(rng, n)
    filling = polyhedra(xp, rng, turns, array, settings.shape)
    phase = phases(xp, rng, filling, turns, settings.strain)
    phase = _one_of_the_twins(xp, without_ramp(xp, phase, filling), filling)
    phase = phase + ramp_phase(xp, rng.uniform(-settings.offset, settings.offset, (n, 3)), array)
    modulus, offsets = measured(xp, rng, filling, phase, settings.photons)
    phase = phase - ramp_phase(xp, offsets, array)
    solid = xp.to_numpy(filling)
    wrapped = np.angle(np.exp(1j * xp.to_numpy(phase)))
    return Examples(modulus, solid.astype(np.float32), np.where(solid > 0, wrapped, 0).astype(np.float32))


def phases(xp: Backend, rng: np.random.Generator, filling: Array, turns: np.ndarray, strain: Strain) -> Array:
    """Phase ``(n, z, y, x)`` in radian of crystals of the given ``filling``."""
    n, *array = (int(m) for m in filling.shape)
    phase = _eigenstrain(xp, rng, (n, array), filling, strain)
    chosen = np.flatnonzero(rng.random(n) < strain.relaxed_part)
    if len(chosen):
        extra = _relaxed_phase(xp, rng, xp.take(filling, chosen), turns[chosen], strain)
        phase = xp.put_rows(phase, chosen, xp.take(phase, chosen) + extra)
    broken = np.flatnonzero(rng.random(n) < strain.dislocation_part)
    if len(broken):
        phase = xp.put_rows(phase, broken, xp.take(phase, broken) + _dislocation(xp, rng, len(broken), array))
    plain = xp.asarray((rng.random(n) >= strain.unstrained_part).astype(float))
    return phase * xp.reshape(plain, (n, 1, 1, 1))


def _eigenstrain(
    xp: Backend, rng: np.random.Generator, shape: tuple[int, list[int]], filling: Array, strain: Strain
) -> Array:
    """A random sum of cosines, weaker the finer they are, stretched to the wanted range inside the crystal."""
    n, array = shape
    order = np.arange(strain.waves + 1)
    z, y, x = np.meshgrid(order, order, order, indexing="ij")
    weights = rng.standard_normal((n, *z.shape)) / (1 + z**2 + y**2 + x**2)
    bases = [xp.asarray(np.cos(np.pi * order[:, None] * (np.arange(m) + rng.random()) / m)) for m in array]
    field = xp.einsum("nabc,az,by,cx->nzyx", xp.asarray(weights), *bases)
    inside = filling > 0.5
    high = xp.max(xp.where(inside, field, 0 * field - 1e3), axis=(1, 2, 3), keepdims=True)
    low = xp.min(xp.where(inside, field, 0 * field + 1e3), axis=(1, 2, 3), keepdims=True)
    wanted = xp.asarray(rng.uniform(*strain.eigenstrain, (n, 1, 1, 1)))
    return field * (wanted / (xp.maximum(high - low, 1e-6)))


def _relaxed_phase(xp: Backend, rng: np.random.Generator, filling: Array, turns: np.ndarray, strain: Strain) -> Array:
    n, *array = (int(m) for m in filling.shape)
    gradient = strain.affine * rng.standard_normal((n, 3, 3))
    gradient = 0.5 * (gradient + gradient.transpose(0, 2, 1))
    start = affine(xp, gradient, (array[0], array[1], array[2]))
    moved = relaxed(xp, start, filling, turns, int(rng.integers(strain.steps[0], strain.steps[1] + 1)))
    normal = np.einsum("nij,nj->ni", turns, NORMALS[rng.integers(0, len(NORMALS), n)])
    g = 2 * np.pi * strain.voxel_per_spacing * normal
    return xp.einsum("ni,nizyx->nzyx", xp.asarray(-g), moved)


def _dislocation(xp: Backend, rng: np.random.Generator, n: int, array: list[int]) -> Array:
    """The phase that winds once round a line through the crystal."""
    z, y, x = np.meshgrid(*(np.arange(m) - (m - 1) / 2 for m in array), indexing="ij")
    turned = []
    for rotation in orientations(rng, n):
        across = [rotation[i, 0] * z + rotation[i, 1] * y + rotation[i, 2] * x for i in (0, 1)]
        place = rng.uniform(-0.15, 0.15, 2) * min(array)
        turned.append(np.arctan2(across[0] - place[0], across[1] - place[1]))
    return xp.asarray(np.stack(turned))


# -- what a pattern does not determine ---------------------------------------------------------------------------------
def ramp_phase(xp: Backend, offsets: np.ndarray, array: tuple[int, ...]) -> Array:
    """Phase ``(n, z, y, x)`` that moves the pattern by ``offsets`` ``(n, 3)`` voxels."""
    terms = [xp.asarray(2 * np.pi * offsets[:, i].reshape(-1, 1, 1, 1) * _axis(m, i) / m) for i, m in enumerate(array)]
    return terms[0] + terms[1] + terms[2]


def _axis(m: int, i: int) -> np.ndarray:
    return (np.arange(m) - (m - 1) / 2).reshape(tuple(-1 if j == i + 1 else 1 for j in range(4)))


def without_ramp(xp: Backend, phase: Array, filling: Array) -> Array:
    """Without the linear phase and the offset that fit best inside the crystal, voxels weighted with their filling."""
    array = tuple(int(m) for m in phase.shape[1:])
    terms = [xp.ones((1, *array))] + [xp.asarray(_axis(m, i)) + xp.zeros((1, *array)) for i, m in enumerate(array)]
    basis = xp.concat(terms, axis=0)
    matrix = xp.to_numpy(xp.einsum("nzyx,azyx,bzyx->nab", filling, basis, basis)).astype(float)
    right = xp.to_numpy(xp.einsum("nzyx,nzyx,azyx->na", filling, phase, basis)).astype(float)
    fit = np.linalg.solve(matrix + 1e-9 * np.eye(4), right[..., None])[..., 0]
    return phase - xp.einsum("na,azyx->nzyx", xp.asarray(fit), basis)


def _one_of_the_twins(xp: Backend, phase: Array, filling: Array) -> Array:
    """The sign of the phase with which it is higher in the core.

    The twin has the opposite phase at the opposite place; changing the sign alone makes another crystal, as likely.
    """
    array = phase.shape[1:]
    square = sum(_axis(m, i) ** 2 for i, m in enumerate(array))
    radius = xp.asarray(square) * filling
    mean = xp.sum(radius, axis=(1, 2, 3), keepdims=True) / xp.sum(filling, axis=(1, 2, 3), keepdims=True)
    core = xp.sum((radius - mean * filling) * phase, axis=(1, 2, 3), keepdims=True)
    return xp.where(core > 0, -phase, phase)


def measured(
    xp: Backend, rng: np.random.Generator, filling: Array, phase: Array, photons: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Noisy modulus with its peak in the middle, and the whole voxels by which it was moved."""
    wave = filling * xp.complex(xp.cos(phase), xp.sin(phase))
    intensity = xp.to_numpy(xp.abs2(xp.fftn(wave, (1, 2, 3)))).astype(np.float64)
    n, *array = intensity.shape
    intensity /= intensity.max(axis=(1, 2, 3), keepdims=True)
    if photons is not None:
        level = np.exp(rng.uniform(np.log(photons[0]), np.log(photons[1]), (n, 1, 1, 1)))
        intensity = rng.poisson(intensity * level) / level
    peaks = np.stack(np.unravel_index(intensity.reshape(n, -1).argmax(1), array), axis=1)
    peaks = (peaks + np.array(array) // 2) % np.array(array) - np.array(array) // 2
    centered = [np.roll(a, tuple(np.array(array) // 2 - p), (0, 1, 2)) for a, p in zip(intensity, peaks, strict=True)]
    modulus = np.sqrt(np.stack(centered))
    return (modulus / modulus.max(axis=(1, 2, 3), keepdims=True)).astype(np.float32), peaks.astype(float)
