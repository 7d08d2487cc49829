r"""Voxels of a Bragg peak and of its crystal in the laboratory frame.

The laboratory has x to the right, y down like the rows of an image, z along the beam. In the simplest case the detector
arm rotates by gamma about y and out of that plane by delta; the exit beam is
:math:`\mathbf k_f = k\,(\sin\gamma\cos\delta, \sin\delta, \cos\gamma\cos\delta)` and
:math:`\mathbf Q = \mathbf k_f - \mathbf k_i`; `adorym.optics.goniometer` has the circles of others. The middle pixel
need not be where the arm points. One pixel is a step :math:`k p / D` across the exit beam; one step
:math:`\Delta\theta` about the rocking axis :math:`\mathbf a` turns the crystal, and so moves the detector in its
reciprocal space by :math:`-\Delta\theta\, \mathbf a \times \mathbf Q`. With these three steps as columns of
:math:`B_q`, and N samples along each, the discrete Fourier transform has the crystal on the lattice

.. math:: B_r = 2\pi \left(B_q\, \mathrm{diag}(N)\right)^{-T},

which is not orthogonal (Maddali et al., J. Appl. Cryst. 53, 393 (2020)). Vectors are (x, y, z); lattices have their
columns in the order of the frames, (rocking, y, x).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.errors import ConfigError, GeometryError, suggestion
from adorym.optics.geometry import Geometry, Measured
from adorym.optics.goniometer import BEAMLINES, Axis, AxisName, Beamline, BeamlineName, Circle, direction, together
from adorym.registry import component
from adorym.units import Angle, Energy, wavelength_m

Pair = tuple[float, float]


class Rocked(Measured, Protocol):
    """The metadata that a crystal's voxels follow from (`adorym.data.dataset.Dataset` has them)."""

    @property
    def theta_rad(self) -> np.ndarray: ...
    @property
    def arm_px(self) -> Pair | None: ...


@component
class BraggGeometry:
    """Angles of a Bragg experiment at the middle of the rocking curve.

    A simple experiment has ``gamma``, ``delta`` and ``rocking_axis``. Otherwise name the ``beamline`` and give the
    ``angles`` of its circles, or list the circles of ``sample`` and ``detector`` from the outermost to the innermost;
    ``rocking`` is then the circle that was turned.

    Attributes:
        gamma: Detector arm, about the vertical axis y.
        delta: Detector arm, out of the horizontal plane, positive along +y.
        rocking_axis: Axis that the crystal turns about.
        rocking_step: Angle from one frame to the next; from the data's rotation angles if absent.
        energy_step: Photon energy from one frame to the next, where that was scanned instead of an angle.
        beamline: Circles and orientation of the detector by the name of a beamline.
        angles: Readings of the beamline's circles; 0, or what the beamline calls zero, if absent.
        sample: Circles of the sample, by name.
        detector: Circles of the detector's arm, by name.
        rocking: Name of the circle that was turned.
        rows: Direction from one detector row to the next, with the arm at zero.
        columns: Direction from one pixel of a row to the next, likewise.
    """

    gamma: Angle = 0.0
    delta: Angle = 0.0
    rocking_axis: Axis = "y"
    rocking_step: Angle | None = Field(None)
    energy_step: Energy | None = None
    beamline: BeamlineName | None = None
    angles: dict[str, Angle] = Field(default_factory=dict)
    sample: dict[str, Circle] = Field(default_factory=dict)
    detector: dict[str, Circle] = Field(default_factory=dict)
    rocking: str | None = None
    rows: Axis | None = None
    columns: Axis | None = None

    def __post_init__(self) -> None:
        named = self.beamline is not None or bool(self.sample or self.detector)
        simple = {"gamma": self.gamma != 0, "delta": self.delta != 0, "rocking_axis": self.rocking_axis != "y"}
        own = {"sample": bool(self.sample), "detector": bool(self.detector)}
        idle = simple if named else {"rocking": self.rocking is not None, "angles": bool(self.angles)}
        idle = {**idle, **own} if self.beamline else {**idle, "angles": bool(self.angles)}
        for key, given in idle.items():
            if given:
                beside = "'beamline'" if self.beamline else "circles by name" if named else "'gamma' and 'rocking_axis'"
                raise ConfigError(key, f"has no effect beside {beside}", remedy="leave one of them out")
        arm = {**self.arm_circles(), **self.sample_circles()}
        for name in self.angles:
            if name not in arm:
                expected = ", ".join(arm)
                remedy = suggestion(name, arm)
                raise ConfigError(f"angles.{name}", "no such circle", expected=expected, found=name, remedy=remedy)
        if named and self.energy_step is None and self.rocking not in self.sample_circles():
            expected = f"one of {', '.join(self.sample_circles())}"
            raise ConfigError("rocking", "the circle that was turned", expected=expected, found=self.rocking)
        direction(self.rocking_axis)

    def sample_circles(self) -> dict[str, Circle]:
        """Circles of the sample by name, the outermost first; none in a simple experiment."""
        known = None if self.beamline is None else BEAMLINES[self.beamline]
        return self.sample if known is None else self._turned(known, known.sample)

    def arm_circles(self) -> dict[str, Circle]:
        """Circles of the detector's arm by name, the outermost first."""
        if self.beamline is not None:
            return self._turned(BEAMLINES[self.beamline], BEAMLINES[self.beamline].detector)
        return self.detector or {
            "gamma": Circle(axis="y+", angle=self.gamma),
            "delta": Circle(axis="x-", angle=self.delta),
        }

    def _turned(self, known: Beamline, axes: Mapping[str, AxisName]) -> dict[str, Circle]:
        zero = {name: float(np.deg2rad(known.zero_deg.get(name, 0.0))) for name in axes}
        return {n: Circle(axis=axis, angle=self.angles.get(n, zero[n]) - zero[n]) for n, axis in axes.items()}

    def sample_rotation(self) -> np.ndarray:
        """``(3, 3)`` from the frame of the sample, all circles at zero, to the laboratory."""
        return together(self.sample_circles().values())

    def rocking_direction(self) -> np.ndarray:
        """Unit vector (x, y, z) in the laboratory that the crystal turns about."""
        circles = self.sample_circles()
        if self.rocking is None or not circles:
            return direction(self.rocking_axis)
        outer = [circles[name] for name in list(circles)[: list(circles).index(self.rocking)]]
        return np.asarray(together(outer) @ direction(circles[self.rocking].axis))

    def axes(self) -> np.ndarray:
        """``(3, 3)``: columns are the directions of rows, pixels and the beam of the arm in the laboratory."""
        known = None if self.beamline is None else BEAMLINES[self.beamline]
        rows, columns = (known.rows, known.columns) if known else ("y+", "x+")
        flat = np.stack([direction(self.rows or rows), direction(self.columns or columns), direction("z")], axis=1)
        return np.asarray(together(self.arm_circles().values()) @ flat)

    def exit_beam(self, offset: Pair = (0.0, 0.0)) -> np.ndarray:
        """Unit vector (x, y, z) to the middle pixel.

        Args:
            offset: (y, x) of that pixel from where the arm points, over the distance of the detector.
        """
        place = self.axes() @ np.array([*offset, 1.0])
        return np.asarray(place / np.linalg.norm(place))

    def momentum_transfer_per_m(self, energy_ev: float, offset: Pair = (0.0, 0.0)) -> np.ndarray:
        """Q, (x, y, z), in rad/m, of the middle pixel; ``offset`` as `exit_beam` has it."""
        return 2 * np.pi / wavelength_m(energy_ev) * (self.exit_beam(offset) - direction("z"))

    def steps_per_m(self, beam: Beam) -> np.ndarray:
        """``(3, 3)``: columns are the steps in reciprocal space of a frame, a row and a pixel, rad/m.

        Raises:
            GeometryError: The three do not span space: the rocking axis is along Q.
        """
        k, offset = 2 * np.pi / wavelength_m(beam.energy_ev), beam.offset
        q, along = self.momentum_transfer_per_m(beam.energy_ev, offset), self.exit_beam(offset)
        if self.energy_step is None:
            rocking = -beam.rocking_step_rad * np.cross(self.rocking_direction(), q)
        else:
            rocking = q * self.energy_step / beam.energy_ev
        pitch = np.asarray(beam.pixel_m) / beam.distance_m / np.hypot(1.0, np.hypot(*offset))
        across = self.axes()[:, :2] * k * pitch
        steps = np.column_stack([rocking, across - np.outer(along, along @ across)])
        if abs(np.linalg.det(steps)) <= 1e-6 * np.prod(np.linalg.norm(steps, axis=0)) or not rocking.any():
            raise GeometryError(
                "forward_model.geometry", "the rocking curve does not cut through the peak",
                expected="a rocking axis across Q, a step that is not 0, and two detector angles that are not both 0",
                found=f"rocking about {self.rocking or self.rocking_axis} in steps of {beam.rocking_step_rad:g} rad",
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
        offset_px: (y, x) middle pixel minus the place that the arm points at.
    """

    energy_ev: float
    distance_m: float
    pixel_m: tuple[float, float]
    rocking_step_rad: float
    offset_px: Pair = (0.0, 0.0)

    @property
    def offset(self) -> Pair:
        """(y, x) middle pixel minus the place that the arm points at, over the distance."""
        return tuple(n * p / self.distance_m for n, p in zip(self.offset_px, self.pixel_m, strict=True))  # type: ignore[return-value]


Shape3 = Annotated[tuple[int, int, int], "(z, y, x)"]


def lattice_m(steps_per_m: np.ndarray, shape: Shape3) -> np.ndarray:
    """``(3, 3)``: columns are the edges (x, y, z) in meters of a voxel along the frame, row and pixel axes."""
    return 2 * np.pi * np.linalg.inv(steps_per_m * np.asarray(shape, float)).T


def beam_of(geometry: BraggGeometry, dataset: Rocked) -> Beam:
    """Beam and detector of ``dataset``.

    Raises:
        GeometryError: A length, the photon energy, or the step of the rocking angle is not known.
    """
    wanted = {
        "data.energy": dataset.energy_ev,
        "data.distance": dataset.distance_m,
        "data.detector_pixel_size": dataset.detector_pixel_size_m,
    }
    for key, value in wanted.items():
        if value is None:
            raise GeometryError(key, "is needed to turn the crystal into the laboratory", remedy=f"give it to '{key}'")
    step = 0.0 if geometry.energy_step is not None else geometry.rocking_step
    if step is None:
        theta = np.asarray(dataset.theta_rad, float)
        if len(theta) < 2:
            raise GeometryError(
                "geometry.rocking_step", "the data hold no rocking angles", remedy="give the angle from frame to frame"
            )
        step = float(np.polyfit(np.arange(len(theta)), theta, 1)[0])
    assert dataset.energy_ev is not None and dataset.distance_m is not None  # looked at above
    assert dataset.detector_pixel_size_m is not None
    middle = tuple(n // 2 for n in dataset.window_px)
    arm = middle if dataset.arm_px is None else dataset.arm_px
    offset = (middle[0] - arm[0], middle[1] - arm[1])
    return Beam(dataset.energy_ev, dataset.distance_m, dataset.detector_pixel_size_m, step, offset)


def across_beam(geometry: BraggGeometry, dataset: Rocked) -> tuple[np.ndarray, np.ndarray]:
    """``(2, 2)`` and ``(2,)``: steps (y, x) across the incoming beam of a voxel along (y, x), and along z.

    In pixels of the far field; of a scan at every rocking angle.
    """
    shape = (len(dataset.theta_rad), *dataset.window_px)
    steps = lattice_m(geometry.steps_per_m(beam_of(geometry, dataset)), shape)[[1, 0]]
    steps = steps / np.array(Geometry.of(dataset).pixel_size_m("far_field"))[:, None]
    return steps[:, 1:], steps[:, 0]


def places_m(lattice: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``(y, x, z, 3)`` place (x, y, z) of each voxel of an object of ``shape`` (y, x, z), the middle at the origin.

    Args:
        lattice: From `lattice_m`.
        shape: Of the object: rows, pixels, frames.
    """
    y, x, z = (np.arange(n) - (n - 1) / 2 for n in shape)
    steps = np.stack(np.broadcast_arrays(z, y[:, None, None], x[:, None]), axis=-1)
    return np.asarray(steps @ lattice.T)


@dataclass(frozen=True, eq=False)
class Upright:
    """An object on cubic voxels along x, y and z.

    Attributes:
        object: Complex ``(y, x, z)``.
        voxel_m: Edge of a voxel.
        corner_m: (y, x, z) place of the first voxel, the middle of the skew array at the origin.
    """

    object: np.ndarray
    voxel_m: float
    corner_m: tuple[float, float, float]


def orthogonal(obj: np.ndarray, lattice: np.ndarray, voxel_m: float | None = None) -> Upright:
    """``obj`` ``(z, y, x)`` from a skew lattice onto cubic voxels.

    Real and imaginary part are interpolated, never the phase, which wraps. The result is cropped to the non-zero part
    with a margin.

    Args:
        obj: Complex.
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
    made = scipy.ndimage.map_coordinates(obj, places, order=1, mode="constant")
    first = lattice @ (middle - (np.array(obj.shape) - 1) / 2) - (counts // 2) * size
    return Upright(made, size, (float(first[1]), float(first[0]), float(first[2])))
