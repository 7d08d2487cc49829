r"""Voxels of a Bragg peak and of its crystal in the laboratory frame.

The laboratory has x to the right, y down like the rows of an image, z along the beam. The detector arm rotates by gamma
about y and out of that plane by delta; the exit beam is
:math:`\mathbf k_f = k\,(\sin\gamma\cos\delta, \sin\delta, \cos\gamma\cos\delta)` and
:math:`\mathbf Q = \mathbf k_f - \mathbf k_i`. One pixel is a step :math:`k p / D` across the exit beam; one step
:math:`\Delta\theta` about the rocking axis :math:`\mathbf a` turns the crystal, and so moves the detector in its
reciprocal space by :math:`-\Delta\theta\, \mathbf a \times \mathbf Q`. With these three steps as columns of
:math:`B_q`, and N samples along each, the discrete Fourier transform has the crystal on the lattice

.. math:: B_r = 2\pi \left(B_q\, \mathrm{diag}(N)\right)^{-T},

which is not orthogonal (Maddali et al., J. Appl. Cryst. 53, 393 (2020)). Vectors are (x, y, z); lattices have their
columns in the order of the frames, (rocking, y, x).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from adorym.errors import GeometryError
from adorym.registry import component
from adorym.units import Angle, wavelength_m

AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@component
class BraggGeometry:
    """Angles of a Bragg experiment at the middle of the rocking curve.

    Attributes:
        gamma: Detector arm, about the vertical axis y.
        delta: Detector arm, out of the horizontal plane, positive along +y.
        rocking_axis: Axis that the crystal turns about.
        rocking_step: Angle from one frame to the next; from the data's rotation angles if absent.
    """

    gamma: Angle
    delta: Angle = 0.0
    rocking_axis: Literal["x", "y", "z"] = "y"
    rocking_step: Angle | None = Field(None)

    def exit_beam(self) -> np.ndarray:
        """Unit vector (x, y, z)."""
        g, d = self.gamma, self.delta
        return np.array([np.sin(g) * np.cos(d), np.sin(d), np.cos(g) * np.cos(d)])

    def momentum_transfer_per_m(self, energy_ev: float) -> np.ndarray:
        """Q, (x, y, z), in rad/m."""
        return 2 * np.pi / wavelength_m(energy_ev) * (self.exit_beam() - np.array(AXES["z"]))

    def steps_per_m(self, beam: Beam) -> np.ndarray:
        """``(3, 3)``: columns are the steps in reciprocal space of a frame, a row and a pixel, rad/m.

        Raises:
            GeometryError: The three do not span space: the rocking axis is along Q.
        """
        k = 2 * np.pi / wavelength_m(beam.energy_ev)
        g, d = self.gamma, self.delta
        along_x = np.array([np.cos(g), 0.0, -np.sin(g)])
        along_y = np.array([-np.sin(g) * np.sin(d), np.cos(d), -np.cos(g) * np.sin(d)])
        q = self.momentum_transfer_per_m(beam.energy_ev)
        rocking = -beam.rocking_step_rad * np.cross(AXES[self.rocking_axis], q)
        pitch = k * np.asarray(beam.pixel_m) / beam.distance_m
        steps = np.stack([rocking, pitch[0] * along_y, pitch[1] * along_x], axis=1)
        if abs(np.linalg.det(steps)) <= 1e-6 * np.prod(np.linalg.norm(steps, axis=0)) or not beam.rocking_step_rad:
            raise GeometryError(
                "forward_model.geometry", "the rocking curve does not cut through the peak",
                expected="a rocking axis across Q, a step that is not 0, and two detector angles that are not both 0",
                found=f"rocking about {self.rocking_axis} in steps of {beam.rocking_step_rad:g} rad",
            )  # fmt: skip
        return steps


@dataclass(frozen=True)
class Beam:
    """Beam and detector of a Bragg experiment.

    Attributes:
        energy_ev: Photon energy.
        distance_m: Crystal to detector.
        pixel_m: (y, x) pitch of the detector's pixels, after binning.
        rocking_step_rad: Angle from one frame to the next.
    """

    energy_ev: float
    distance_m: float
    pixel_m: tuple[float, float]
    rocking_step_rad: float


Shape3 = Annotated[tuple[int, int, int], "(z, y, x)"]


def lattice_m(steps_per_m: np.ndarray, shape: Shape3) -> np.ndarray:
    """``(3, 3)``: columns are the edges (x, y, z) in meters of a voxel along the frame, row and pixel axes."""
    return 2 * np.pi * np.linalg.inv(steps_per_m * np.asarray(shape, float)).T


def places_m(lattice: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``(y, x, z, 3)`` place (x, y, z) of each voxel of an object of ``shape`` (y, x, z), the middle at the origin.

    Args:
        lattice: From `lattice_m`.
        shape: Of the object: rows, pixels, frames.
    """
    y, x, z = (np.arange(n) - (n - 1) / 2 for n in shape)
    steps = np.stack(np.broadcast_arrays(z, y[:, None, None], x[:, None]), axis=-1)
    return np.asarray(steps @ lattice.T)


def orthogonal(obj: np.ndarray, lattice: np.ndarray, voxel_m: float | None = None) -> tuple[np.ndarray, float]:
    """``(object (y, x, z) in the laboratory, voxel size in meters)`` of ``obj`` ``(z, y, x)`` on a skew lattice.

    Real and imaginary part are interpolated, never the phase, which wraps. The result is cropped to the non-zero part
    with a margin.

    Args:
        obj: Complex; its middle comes to the middle.
        lattice: From `lattice_m`.
        voxel_m: Edge of the cubic voxels; the shortest edge of the skew ones if absent.
    """
    size = float(voxel_m or np.linalg.norm(lattice, axis=0).min())
    inside = np.argwhere(np.abs(obj) > 1e-3 * np.abs(obj).max())
    low, high = inside.min(0), inside.max(0)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1)
    middle = 0.5 * (low + high)
    reach = np.abs(lattice @ (corners - middle[:, None])).max(axis=1)
    counts = 2 * np.ceil(reach / size + 2).astype(int) + 1
    axes = [(np.arange(n) - n // 2) * size for n in counts]
    y, x, z = np.meshgrid(axes[1], axes[0], axes[2], indexing="ij")
    back = np.linalg.inv(lattice)
    places = [back[i, 0] * x + back[i, 1] * y + back[i, 2] * z + middle[i] for i in range(3)]
    return ndimage.map_coordinates(obj, places, order=1, mode="constant"), size
