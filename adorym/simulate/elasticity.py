r"""How a strained free crystal relaxes: cubic linear elasticity on voxels, a few steps of conjugate gradients.

.. math:: E = \tfrac12 \sum_r s(r) \left[ c_{12} (\operatorname{tr} \epsilon)^2 + (c_{11} - c_{12})
          \sum_i \epsilon_{ii}^2 + 4 c_{44} \sum_{i<j} \epsilon_{ij}^2 \right]

with the strain :math:`\epsilon` in the crystal's axes and the filling s of the voxels; a free surface needs nothing
more. Converged, the crystal is free of stress and only a rigid rotation is left; stopped early, its surface has relaxed
and its core has not, which is what a real crystal with defects looks like.
"""

from __future__ import annotations

import numpy as np

from adorym.wrapper.base import Array, Backend, Tree

GOLD = (183.0, 154.0, 45.0)  # c11, c12, c44 in GPa
# Empty voxels are a little stiff, so that nothing floats.
EMPTY = 1e-3


def affine(xp: Backend, gradient: np.ndarray, shape: tuple[int, int, int]) -> Array:
    """Displacement ``(n, 3, z, y, x)`` in voxels of the displacement gradients ``(n, 3, 3)`` about the middle."""
    axes = np.meshgrid(*(np.arange(m) - (m - 1) / 2 for m in shape), indexing="ij")
    return xp.einsum("nij,jzyx->nizyx", xp.asarray(gradient), xp.asarray(np.stack(axes)))


def relaxed(xp: Backend, start: Array, filling: Array, rotations: np.ndarray, steps: int) -> Array:
    """Displacement ``(n, 3, z, y, x)`` after ``steps`` steps of conjugate gradients from ``start``.

    Args:
        xp: Backend.
        start: Displacement in voxels.
        filling: ``(n, z, y, x)``, between 0 and 1.
        rotations: ``(n, 3, 3)`` from crystal axes to (z, y, x).
        steps: How far to go.
    """
    # Differences of the last layers would reach round the array.
    inner = np.zeros(filling.shape[1:])
    inner[:-1, :-1, :-1] = 1.0
    weight, turn = (filling + EMPTY) * xp.asarray(inner), xp.asarray(rotations)

    def energy(tree: Tree) -> tuple[Array, None]:
        return xp.sum(weight * _density(xp, tree["u"], turn)), None

    slope = xp.value_and_grad(energy)
    here = start
    residual = -slope({"u": here})[2]["u"]
    direction = residual
    square = _dot(xp, residual, residual)
    for _ in range(steps):
        image = slope({"u": direction})[2]["u"]  # the energy is quadratic: its gradient is linear
        length = square / (_dot(xp, direction, image) + 1e-30)
        here, residual = here + length * direction, residual - length * image
        before, square = square, _dot(xp, residual, residual)
        direction = residual + (square / (before + 1e-30)) * direction
    return here


def _dot(xp: Backend, a: Array, b: Array) -> Array:
    return xp.sum(a * b, axis=(1, 2, 3, 4), keepdims=True)


def _density(xp: Backend, u: Array, turn: Array) -> Array:
    """Energy density ``(n, z, y, x)``."""
    c11, c12, c44 = GOLD
    rows = [xp.stack([_difference(xp, u[:, i], j) for j in range(3)], axis=1) for i in range(3)]
    gradient = xp.stack(rows, axis=1)
    strain = 0.5 * (gradient + xp.permute_dims(gradient, (0, 2, 1, 3, 4, 5)))
    inside = xp.einsum("nia,nijzyx,njb->nabzyx", turn, strain, turn)
    normal = [inside[:, i, i] for i in range(3)]
    trace = normal[0] + normal[1] + normal[2]
    shear = sum(xp.square(inside[:, i, j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    return 0.5 * (c12 * xp.square(trace) + (c11 - c12) * sum(map(xp.square, normal)) + 4 * c44 * shear)


def _difference(xp: Backend, a: Array, axis: int) -> Array:
    """Forward difference along a spatial axis of ``(n, z, y, x)``."""
    return xp.roll(a, -1, axis + 1) - a
