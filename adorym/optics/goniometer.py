r"""Circles of goniometers and detector arms, and those of some beamlines.

The laboratory has x to the right, y down like the rows of an image, z along the beam. A circle turns right-handed about
its axis; circles are listed from the outermost, which carries all others, to the innermost.

Axes and senses of the beamlines are those that public analysis codes use: 34-ID-C as in cohere and bcdi, ID01 and P10
as in bcdi and cdiutils (both in a frame with x outboard and y up), I16 as H. You, J. Appl. Cryst. 32, 614 (1999), eqs.
(12) and (13), with x up and y along the beam. Here they are written in the frame above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.errors import ConfigError
from adorym.registry import component
from adorym.units import Angle

AxisName = Literal["x", "y", "z", "x+", "y+", "z+", "x-", "y-", "z-"]
Axis = AxisName | tuple[float, float, float]
BeamlineName = Literal["34-id-c", "id01", "p10", "i16"]


@component
class Circle:
    """A circle of a goniometer or of a detector arm.

    Attributes:
        axis: Axis at zero of all circles: ``x+``, ``y-``, ..., or a vector (x, y, z), such as that of a tilted circle.
        angle: Right-handed about the axis.
    """

    axis: Axis
    angle: Angle = 0.0

    def __post_init__(self) -> None:
        direction(self.axis)


def direction(axis: Axis) -> np.ndarray:
    """Unit vector (x, y, z) of an axis.

    Raises:
        ConfigError: It has no length.
    """
    if isinstance(axis, str):
        return (-1.0 if axis.endswith("-") else 1.0) * np.eye(3)["xyz".index(axis[0])]
    vector = np.asarray(axis, float)
    if not (np.isfinite(vector).all() and np.linalg.norm(vector) > 0):
        raise ConfigError("axis", "has no direction", expected="x+, x-, ..., or (x, y, z), not all 0", found=axis)
    return np.asarray(vector / np.linalg.norm(vector))


def turned(axis: np.ndarray, angle_rad: float) -> np.ndarray:
    """``(3, 3)`` right-handed rotation about a unit vector."""
    return np.asarray(scipy.spatial.transform.Rotation.from_rotvec(angle_rad * axis).as_matrix())


def together(circles: Iterable[Circle]) -> np.ndarray:
    """``(3, 3)`` rotation of what the innermost of ``circles`` carries."""
    made = np.eye(3)
    for circle in circles:
        made = made @ turned(direction(circle.axis), circle.angle)
    return made


@dataclass(frozen=True)
class Beamline:
    """Circles of a beamline by name, and how its detector lies on the arm.

    Attributes:
        sample: Axis of each circle of the sample.
        detector: Of each circle of the detector's arm.
        rows: Direction, with the arm at zero, from one row of a frame to the next.
        columns: From one pixel of a row to the next.
        zero_deg: Readings of circles at which they are at zero, other than 0.
        motors: Other names of circles in the files of the beamline.
    """

    sample: Mapping[str, AxisName]
    detector: Mapping[str, AxisName]
    rows: AxisName = "y+"
    columns: AxisName = "x-"
    zero_deg: Mapping[str, float] = field(default_factory=dict)
    motors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def reading(self, circle: str, motors: Mapping[str, float]) -> float | None:
        """Of a circle, in degrees, among ``motors`` by name; ``None`` if it is not there."""
        lower = {name.lower(): value for name, value in motors.items()}
        return next((lower[n] for n in (circle, *self.motors.get(circle, ())) if n in lower), None)


BEAMLINES: dict[str, Beamline] = {
    "34-id-c": Beamline(
        sample={"theta": "y-", "chi": "z-", "phi": "y-"},
        detector={"delta": "y-", "gamma": "x+"},
        motors={"theta": ("th",)},
    ),
    "id01": Beamline(
        sample={"mu": "y+", "eta": "x+", "phi": "y+"}, detector={"nu": "y+", "delta": "x+"}, motors={"delta": ("del",)}
    ),
    "p10": Beamline(
        sample={"mu": "y-", "om": "x+", "chi": "z+", "phi": "y+"},
        detector={"gamma": "y-", "delta": "x+"},
        zero_deg={"chi": 90.0},
        motors={"om": ("samth",), "phi": ("samphi",), "gamma": ("gam",), "delta": ("del", "e2_t02")},
    ),
    "i16": Beamline(
        sample={"mu": "y-", "eta": "x+", "chi": "z+", "phi": "x+"},
        detector={"gamma": "y-", "delta": "x+"},
        columns="x+",
        motors={"gamma": ("gam", "nu")},
    ),
}
assert tuple(BEAMLINES) == get_args(BeamlineName)
