"""Circles of goniometers against rotations written out here, and what is said of circles that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.errors import InputError
from adorym.optics.bragg_geometry import Beam, BraggGeometry
from adorym.schema import build
from adorym.units import wavelength_m

# From the frame x outboard, y up, z along the beam, of 34-ID-C, ID01 and P10, and from that of You (1999), x up, y
# along the beam.
OUTBOARD = np.diag([-1.0, -1.0, 1.0])
YOU = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]], float)


def about(axis: str, sense: int, deg: float) -> np.ndarray:
    """Rotation about x, y or z, ``sense`` 1 right-handed, -1 left-handed."""
    c, s = np.cos(np.deg2rad(deg)), sense * np.sin(np.deg2rad(deg))
    rows = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}
    return np.array(rows.get(axis, [[c, -s, 0], [s, c, 0], [0, 0, 1]]), float)


CASES = {
    # beamline: frame, beam in it, sample circles, detector circles; (name, axis, sense, reading, zero)
    "34-id-c": (OUTBOARD, [0, 0, 1], [("theta", "y", 1, 7, 0), ("chi", "z", -1, 88, 0), ("phi", "y", 1, -5, 0)],
                [("delta", "y", 1, 31, 0), ("gamma", "x", -1, 14, 0)]),
    "id01": (OUTBOARD, [0, 0, 1], [("mu", "y", -1, 2, 0), ("eta", "x", -1, 18, 0), ("phi", "y", -1, 40, 0)],
             [("nu", "y", -1, 11, 0), ("delta", "x", -1, 33, 0)]),
    "p10": (OUTBOARD, [0, 0, 1], [("mu", "y", 1, 2, 0), ("om", "x", -1, 17, 0), ("chi", "z", 1, 93, 90),
                                  ("phi", "y", -1, 10, 0)], [("gamma", "y", 1, 21, 0), ("delta", "x", -1, 13, 0)]),
    "i16": (YOU, [0, 1, 0], [("mu", "x", 1, 3, 0), ("eta", "z", -1, 19, 0), ("chi", "y", 1, 87, 0),
                             ("phi", "z", -1, -20, 0)], [("gamma", "x", 1, 8, 0), ("delta", "z", -1, 37, 0)]),
}  # fmt: skip


def product(circles) -> np.ndarray:
    made = np.eye(3)
    for _, axis, sense, reading, zero in circles:
        made = made @ about(axis, sense, reading - zero)
    return made


@pytest.mark.parametrize("name", CASES)
def test_circles_of_beamlines(name):
    frame, beam, sample, detector = CASES[name]
    angles = {circle[0]: f"{circle[3]} deg" for circle in (*sample, *detector)}
    for i, (rocking, axis, sense, *_) in enumerate(sample):
        geometry = build(BraggGeometry, {"beamline": name, "angles": angles, "rocking": rocking})
        np.testing.assert_allclose(geometry.exit_beam(), frame @ product(detector) @ beam, atol=1e-12)
        np.testing.assert_allclose(geometry.sample_rotation(), frame @ product(sample) @ frame.T, atol=1e-12)
        turned = frame @ product(sample[:i]) @ (sense * np.eye(3)["xyz".index(axis)])
        np.testing.assert_allclose(geometry.rocking_direction(), turned, atol=1e-12)
        # Rows down and columns to the left, seen along the beam; of I16 nothing is known.
        assert np.linalg.det(geometry.axes()) == pytest.approx(-1 if name == "i16" else 1)


def test_i16_has_the_exit_beam_of_you():
    """Eq. (12): (sin delta, cos delta cos nu, cos delta sin nu), x up, y along the beam."""
    delta, nu = np.deg2rad([37, 8])
    geometry = BraggGeometry(beamline="i16", rocking="eta", angles={"delta": delta, "gamma": nu})
    wanted = YOU @ [np.sin(delta), np.cos(delta) * np.cos(nu), np.cos(delta) * np.sin(nu)]
    np.testing.assert_allclose(geometry.exit_beam(), wanted, atol=1e-12)


def test_circles_one_by_one_are_those_of_the_beamline():
    angles = {"mu": 0.05, "eta": 0.3, "phi": 0.7, "nu": 0.1, "delta": 0.5}
    known = BraggGeometry(beamline="id01", rocking="phi", angles=angles)
    axes = {"mu": "y+", "eta": "x+", "phi": [0, 2, 0], "nu": "y+", "delta": "x+"}
    circles = {name: {"axis": axis, "angle": f"{angles[name]} rad"} for name, axis in axes.items()}
    own = build(BraggGeometry, {
        "sample": {name: circles[name] for name in ("mu", "eta", "phi")},
        "detector": {name: circles[name] for name in ("nu", "delta")}, "rocking": "phi", "columns": "x-",
    })  # fmt: skip
    for method in ("exit_beam", "rocking_direction", "sample_rotation", "axes"):
        np.testing.assert_allclose(getattr(own, method)(), getattr(known, method)(), atol=1e-12)


@pytest.mark.parametrize("energy_step", [None, 2.0])
def test_steps_are_differences_of_momentum_transfers(energy_step):
    """Also for a peak far from where the arm points, and for a scan of the energy."""
    geometry = BraggGeometry(gamma=0.5, delta=0.2, energy_step=energy_step)
    pixel, distance, offset = (5e-5, 7e-5), 0.8, (300.0, -500.0)
    beam = Beam(9000.0, distance, pixel, 1e-4, offset)
    k = 2 * np.pi / wavelength_m(9000.0)
    arm = about("y", 1, np.rad2deg(0.5)) @ about("x", 1, np.rad2deg(-0.2))

    def q(y: float, x: float, energy: float = 9000.0) -> np.ndarray:
        place = arm @ [x * pixel[1], y * pixel[0], distance]
        return k * energy / 9000.0 * (place / np.linalg.norm(place) - [0, 0, 1])

    steps = geometry.steps_per_m(beam)
    y, x = offset
    np.testing.assert_allclose(geometry.momentum_transfer_per_m(9000.0, beam.offset), q(y, x), rtol=1e-12)
    np.testing.assert_allclose(steps[:, 1], (q(y + 0.5, x) - q(y - 0.5, x)), rtol=1e-5, atol=1e-6 * k)
    np.testing.assert_allclose(steps[:, 2], (q(y, x + 0.5) - q(y, x - 0.5)), rtol=1e-5, atol=1e-6 * k)
    frame = q(y, x, 9002.0) - q(y, x) if energy_step else about("y", -1, np.rad2deg(1e-4)) @ q(y, x) - q(y, x)
    np.testing.assert_allclose(steps[:, 0], frame, rtol=1e-3, atol=1e-4 * np.linalg.norm(frame))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beamline": "id01", "rocking": "eta", "gamma": "3 deg"}, "gamma: has no effect beside 'beamline'"),
        ({"beamline": "id01", "rocking": "eta", "sample": {"a": {"axis": "x"}}}, "sample: has no effect beside"),
        ({"sample": {"a": {"axis": "x"}}, "rocking": "a", "angles": {"a": "1 deg"}}, "angles: has no effect beside"),
        ({"gamma": "3 deg", "rocking": "eta"}, "rocking: has no effect beside 'gamma' and 'rocking_axis'"),
        ({"beamline": "id01", "rocking": "eta", "angles": {"etta": "1 deg"}}, "no such circle; expected .*'eta'"),
        ({"beamline": "id01"}, "rocking: the circle that was turned; expected one of mu, eta, phi"),
        ({"beamline": "id02"}, "beamline: expected one of '34-id-c', 'id01', 'p10', 'i16'"),
        ({"sample": {"a": {"axis": [0, 0, 0]}}}, "axis: has no direction; expected x[+], x-"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        build(BraggGeometry, settings)
