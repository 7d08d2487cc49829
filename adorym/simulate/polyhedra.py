"""Crystals as faceted solids: planes of high symmetry and random cuts, with partly filled voxels at the surface.

Everything is batched, ``(n, z, y, x)``, and runs on the backend's device.
"""

from __future__ import annotations

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.registry import component
from adorym.wrapper.base import Array, Backend

_FAMILIES = {"111": (1, 1, 1), "100": (1, 0, 0), "110": (1, 1, 0)}


def family(name: str) -> np.ndarray:
    """``(k, 3)`` unit normals of a family of cubic planes, both senses."""
    given = np.array(_FAMILIES[name])
    signs = np.array(np.meshgrid([1, -1], [1, -1], [1, -1], indexing="ij")).reshape(3, -1).T
    permuted = {tuple(given[list(p)]) for p in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))}
    every = {tuple(np.array(p) * s) for p in permuted for s in signs}
    normals = np.array(sorted(every), float)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


NORMALS = np.concatenate([family(name) for name in _FAMILIES])
_FAMILY_OF = np.repeat(np.arange(3), [len(family(name)) for name in _FAMILIES])


@component
class Shape:
    """How faceted solids are drawn.

    Attributes:
        oversampling: (smallest, largest) ratio of the array to the solid along its longest axis.
        aspect: (smallest, largest) ratio of every other axis to the longest one, in voxels.
        spread: Relative spread of the distances of the faces from the center, within a family and between families.
        cuts: Largest number of random planes that cut off a piece.
    """

    oversampling: tuple[float, float] = (1.4, 2.1)
    aspect: tuple[float, float] = (0.55, 1.0)
    spread: float = Field(0.15, ge=0, lt=0.5)
    cuts: int = Field(4, ge=0)


def orientations(rng: np.random.Generator, n: int) -> np.ndarray:
    """``(n, 3, 3)`` random rotations from crystal axes to (z, y, x)."""
    return scipy.spatial.transform.Rotation.random(n, random_state=rng).as_matrix()


def polyhedra(
    xp: Backend, rng: np.random.Generator, rotations: np.ndarray, shape: tuple[int, int, int], settings: Shape
) -> Array:
    """Filling ``(n, z, y, x)`` between 0 and 1 of random crystals in the middle of the array.

    Args:
        xp: Backend.
        rng: Random numbers.
        rotations: ``(n, 3, 3)`` from crystal axes to (z, y, x), see `orientations`.
        shape: Of the array.
        settings: Which solids.
    """
    n = len(rotations)
    distances = 1 + settings.spread * rng.standard_normal((n, 3))[:, _FAMILY_OF]
    # Some families are far out and leave no face: truncated octahedra, cubes, and everything between.
    distances *= np.where(rng.random((n, 3)) < 0.3, 3.0, 1.0)[:, _FAMILY_OF]
    distances *= 1 + settings.spread * rng.standard_normal(distances.shape)
    normals = np.einsum("nij,kj->nki", rotations, NORMALS)
    if settings.cuts:
        extra = rng.standard_normal((n, settings.cuts, 3))
        extra /= np.linalg.norm(extra, axis=-1, keepdims=True)
        far = np.where(rng.random((n, settings.cuts)) < 0.5, 3.0, rng.uniform(0.6, 1.0, (n, settings.cuts)))
        normals, distances = np.concatenate([normals, extra], 1), np.concatenate([distances, far], 1)
    extent = _extents(normals, distances)
    ratio = rng.uniform(*settings.aspect, (n, 3))
    ratio[np.arange(n), rng.integers(0, 3, n)] = 1.0
    wanted = ratio * np.array(shape) / rng.uniform(*settings.oversampling, (n, 1))
    stretch = wanted / (extent[:, 1] - extent[:, 0])
    # A point r of the array is at (r + shift) / stretch of the solid; a plane there is a plane here.
    center = 0.5 * (extent[:, 1] + extent[:, 0])
    here = normals / stretch[:, None, :]
    length = np.linalg.norm(here, axis=-1)
    offsets = (distances - np.einsum("nki,ni->nk", normals, center)) / length
    return _filled(xp, here / length[..., None], offsets, shape)


def _extents(normals: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """``(n, 2, 3)`` lowest and highest coordinate of each solid, from points on a coarse grid."""
    axis = np.linspace(-2.2, 2.2, 33)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    found = np.zeros((len(normals), 2, 3))
    for i, (plane, distance) in enumerate(zip(normals, distances, strict=True)):
        inside = points[(points @ plane.T <= distance).all(axis=1)]
        found[i] = (inside.min(0) - 0.06, inside.max(0) + 0.06) if len(inside) else ((-1, -1, -1), (1, 1, 1))
    return found


def _filled(xp: Backend, normals: np.ndarray, offsets: np.ndarray, shape: tuple[int, int, int]) -> Array:
    axes = np.meshgrid(*(np.arange(m) - (m - 1) / 2.0 for m in shape), indexing="ij", sparse=True)
    places = [xp.asarray(axis[None]) for axis in axes]
    n, planes = offsets.shape
    filled = xp.ones((n, *shape))
    widths = np.abs(normals).sum(-1)
    for k in range(planes):
        z, y, x = (xp.reshape(xp.asarray(normals[:, k, i]), (n, 1, 1, 1)) * place for i, place in enumerate(places))
        distance = xp.reshape(xp.asarray(offsets[:, k]), (n, 1, 1, 1)) - (z + y + x)
        # The part of a voxel under an oblique plane, to first order in its distance.
        filled = filled * xp.clip(0.5 + distance / xp.reshape(xp.asarray(widths[:, k]), (n, 1, 1, 1)), 0.0, 1.0)
    return filled
