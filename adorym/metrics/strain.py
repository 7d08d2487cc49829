r"""From the phase of a crystal to its displacement and strain along Q.

Lattice planes at r + u scatter :math:`e^{-i\mathbf Q\cdot(\mathbf r + \mathbf u)}` in a wave
:math:`e^{+i\mathbf k\cdot\mathbf r}`, so the phase of a reflection is :math:`\varphi = -\mathbf Q\cdot\mathbf u`. A
constant is a choice of origin and a linear phase a choice of the mean lattice constant; both are taken out. What is
left gives the displacement along Q, :math:`u_Q = -\varphi / |Q|`, and the strain

.. math:: \epsilon_{QQ} = -\frac{1}{|Q|}\,\hat{\mathbf Q}\cdot\nabla\varphi ,

with the gradient from products of neighbors, :math:`\arg O(r + 1) O^*(r)`, which wraps and dislocations do not
disturb. The gradient of :math:`u_Q` across Q turns the lattice planes: with :math:`\mathbf u = \boldsymbol\omega
\times \mathbf r` it is :math:`\hat{\mathbf Q} \times \boldsymbol\omega`, so that the part of the rotation across Q is
:math:`-\hat{\mathbf Q} \times \nabla u_Q`; that about Q leaves the planes as they are, and no trace in the phase.

The pattern does not tell a crystal from its twin, :math:`O^*(-\mathbf r)`. This one is inverted, with the
displacement :math:`-\mathbf u(-\mathbf r)` and the strain :math:`\epsilon(-\mathbf r)`: expansion remains expansion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from skimage.restoration import unwrap_phase

from adorym.metrics.crystal import ramp, twin_of

TwinChoice = Literal["as_is", "other", "core_high"]


@dataclass(frozen=True, eq=False)
class StrainField:
    """A crystal in the laboratory, ``(y, x, z)`` each; not a number outside the crystal.

    Attributes:
        amplitude: Divided by its maximum; a number everywhere.
        phase_rad: Linear part and mean taken out, wrapped.
        displacement_m: Along Q, positive in its direction, from the unwrapped phase.
        strain: Along Q, positive where the planes are farther apart.
        rotation_rad: ``(3, y, x, z)`` components along x, y and z of the rotation of the lattice planes.
        inside: Bool.
    """

    amplitude: np.ndarray
    phase_rad: np.ndarray
    displacement_m: np.ndarray
    strain: np.ndarray
    rotation_rad: np.ndarray
    inside: np.ndarray

    def fields(self) -> dict[str, np.ndarray]:
        """By name, for files: 0 outside the crystal, where ParaView's thresholds expect numbers."""
        named = {"phase_rad": self.phase_rad, "displacement_m": self.displacement_m, "strain": self.strain}
        named |= {f"rotation_{axis}_rad": part for axis, part in zip("xyz", self.rotation_rad, strict=True)}
        return {"amplitude": self.amplitude, **{n: np.nan_to_num(a) for n, a in named.items()}}


def inside_of(obj: np.ndarray, threshold: float) -> np.ndarray:
    """Bool: amplitude above a part of a robust maximum."""
    amplitude = np.abs(obj)
    return np.asarray(amplitude > threshold * np.percentile(amplitude[amplitude > 0], 99))


def flattened(obj: np.ndarray, threshold: float = 0.3) -> np.ndarray:
    """``obj`` without the linear phase and the mean phase of its inside."""
    inside = inside_of(obj, threshold)
    flat = obj * ramp(np.where(inside, obj, 0)).conj()
    return flat * np.exp(-1j * np.angle(flat[inside].sum()))


def chosen_twin(obj: np.ndarray, choice: TwinChoice, threshold: float = 0.3) -> np.ndarray:
    """One of the twins: as reconstructed, the other, or the one whose phase is higher in the core."""
    if choice == "as_is":
        return obj
    if choice == "other":
        return twin_of(obj)
    inside = inside_of(obj, threshold)
    places = np.argwhere(inside).astype(float)
    square = ((places - places.mean(0)) ** 2).sum(1)
    phase = np.angle(flattened(obj, threshold)[inside])
    return twin_of(obj) if float(((square - square.mean()) * phase).sum()) > 0 else obj


def strain_field(obj: np.ndarray, voxel_m: float, q_per_m: np.ndarray, threshold: float = 0.3) -> StrainField:
    """Displacement and strain along Q of ``obj`` ``(y, x, z)`` on cubic voxels.

    Args:
        obj: Complex, one crystal.
        voxel_m: Edge of a voxel.
        q_per_m: Q, (x, y, z).
        threshold: Part of the largest amplitude above which there is crystal.
    """
    inside = inside_of(obj, threshold)
    flat = flattened(obj, threshold)
    size = float(np.linalg.norm(q_per_m))
    along = q_per_m / size
    slopes = np.stack([_slope(flat, inside, axis) for axis in (1, 0, 2)])  # along x, y and z
    gradient = np.where(inside, -slopes / (size * voxel_m), np.nan)
    phase = np.where(inside, np.angle(flat), np.nan)
    return StrainField(
        amplitude=np.abs(obj) / np.abs(obj).max(),
        phase_rad=phase,
        displacement_m=-_unwrapped(phase, inside) / size,
        strain=np.einsum("i,i...->...", along, gradient),
        rotation_rad=-np.cross(along, gradient, axisb=0, axisc=0),
        inside=inside,
    )


def _unwrapped(phase: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """``phase`` without its jumps by two pi inside the crystal, its mean nearest to zero."""
    found = np.ma.filled(unwrap_phase(np.ma.array(np.nan_to_num(phase), mask=~inside), rng=0), np.nan)
    return np.asarray(found - 2 * np.pi * np.round(found[inside].mean() / (2 * np.pi)))


def _slope(obj: np.ndarray, inside: np.ndarray, axis: int) -> np.ndarray:
    """Phase per voxel along ``axis``: mean of the steps to the neighbors that are inside."""
    o, i = np.moveaxis(obj, axis, 0), np.moveaxis(inside, axis, 0)
    step = np.angle(o[1:] * o[:-1].conj())
    both = i[1:] & i[:-1]
    total, count = np.zeros(o.shape), np.zeros(o.shape)
    total[:-1] += np.where(both, step, 0)
    total[1:] += np.where(both, step, 0)
    count[:-1] += both
    count[1:] += both
    return np.moveaxis(np.divide(total, count, out=np.zeros(o.shape), where=count > 0), 0, axis)
