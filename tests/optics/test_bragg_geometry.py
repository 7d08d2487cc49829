"""The lattice of a Bragg measurement, and crystals turned into the laboratory."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.errors import GeometryError
from adorym.metrics.crystal import match, twin_of
from adorym.metrics.strain import chosen_twin, flattened, strain_field
from adorym.optics.bragg_geometry import Beam, BraggGeometry, lattice_m, orthogonal
from adorym.units import wavelength_m

GEOMETRY = BraggGeometry(gamma=np.deg2rad(31.0), delta=np.deg2rad(12.0), rocking_axis="y")
BEAM = Beam(energy_ev=9000.0, distance_m=0.9, pixel_m=(55e-6, 75e-6), rocking_step_rad=2e-4)
SHAPE = (40, 36, 44)


def test_momentum_transfer_obeys_braggs_law():
    q = GEOMETRY.momentum_transfer_per_m(9000.0)
    two_theta = np.arccos(GEOMETRY.exit_beam()[2])
    assert np.linalg.norm(q) == pytest.approx(4 * np.pi / wavelength_m(9000.0) * np.sin(two_theta / 2))


def test_steps_are_differences_of_exit_beams():
    """A pixel is a step of k_f on the Ewald sphere; a frame turns the crystal, and with it Q backwards."""
    steps = GEOMETRY.steps_per_m(BEAM)
    k = 2 * np.pi / wavelength_m(9000.0)
    for column, pitch in ((1, BEAM.pixel_m[0]), (2, BEAM.pixel_m[1])):
        assert np.linalg.norm(steps[:, column]) == pytest.approx(k * pitch / BEAM.distance_m)
        assert abs(steps[:, column] @ GEOMETRY.exit_beam()) < 1e-9 * k
    higher = BraggGeometry(gamma=GEOMETRY.gamma, delta=GEOMETRY.delta + 1e-6).exit_beam()
    along = (higher - GEOMETRY.exit_beam()) / 1e-6
    np.testing.assert_allclose(steps[:, 1] / np.linalg.norm(steps[:, 1]), along, atol=1e-5)
    q, t = GEOMETRY.momentum_transfer_per_m(9000.0), BEAM.rocking_step_rad
    back = np.array([[np.cos(-t), 0, np.sin(-t)], [0, 1, 0], [-np.sin(-t), 0, np.cos(-t)]]) @ q - q
    np.testing.assert_allclose(steps[:, 0], back, rtol=1e-3, atol=1e-4 * np.linalg.norm(back))


def test_lattice_is_conjugate_to_the_steps():
    steps = GEOMETRY.steps_per_m(BEAM)
    product = steps.T @ lattice_m(steps, SHAPE)
    np.testing.assert_allclose(product, 2 * np.pi * np.diag(1 / np.array(SHAPE)), atol=1e-12)


def test_axis_along_q_is_refused():
    with pytest.raises(GeometryError, match="the rocking curve does not cut through the peak"):
        BraggGeometry(gamma=0.0, delta=0.0).steps_per_m(BEAM)


def on_lattice(lattice: np.ndarray, f) -> np.ndarray:
    """``f(r)``, r ``(3, ...)`` (x, y, z) in meters, on the voxels ``(z, y, x)`` of a skew lattice."""
    index = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij"))
    return f(np.einsum("ij,jzyx->izyx", lattice, index))


def test_ball_on_skew_voxels_is_a_ball_in_the_laboratory():
    lattice = lattice_m(GEOMETRY.steps_per_m(BEAM), SHAPE)
    edge = np.linalg.norm(lattice, axis=0).min()
    radius = 7 * edge
    obj = on_lattice(lattice, lambda r: np.clip((radius - np.linalg.norm(r, axis=0)) / edge + 0.5, 0, 1) + 0j)
    made = orthogonal(obj, lattice)
    found, voxel = made.object, made.voxel_m
    inside = np.abs(found) > 0.5
    places = (np.argwhere(inside) - np.array(found.shape) // 2) * voxel
    assert inside.sum() * voxel**3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.05)
    assert np.linalg.norm(places, axis=1).max() == pytest.approx(radius, rel=0.15)
    assert np.abs(places.mean(0)).max() < 0.3 * voxel


def test_strain_along_q_of_a_known_displacement():
    """u = e (r.q)^2 q / 2 has the strain e (r.q), whatever the lattice and whatever ramp is left."""
    lattice = lattice_m(GEOMETRY.steps_per_m(BEAM), SHAPE)
    q = GEOMETRY.momentum_transfer_per_m(9000.0)
    size, unit = np.linalg.norm(q), q / np.linalg.norm(q)
    radius = 8 * np.linalg.norm(lattice, axis=0).min()
    curvature = 2e-3 / radius

    def crystal(r: np.ndarray) -> np.ndarray:
        along = np.einsum("i,izyx->zyx", unit, r)
        phase = -size * 0.5 * curvature * along**2 + 0.7
        return np.where(np.linalg.norm(r, axis=0) < radius, np.exp(1j * phase), 0)

    made = orthogonal(on_lattice(lattice, crystal), lattice)
    turned, voxel = made.object, made.voxel_m
    field = strain_field(turned, voxel, q, threshold=0.6)
    y, x, z = ((a - n // 2) * voxel for a, n in zip(np.indices(turned.shape), turned.shape, strict=True))
    expected = curvature * (unit[0] * x + unit[1] * y + unit[2] * z)
    core = field.inside & (x**2 + y**2 + z**2 < (0.7 * radius) ** 2)
    difference = (field.strain - expected)[core]
    assert np.std(difference) < 0.15 * np.std(expected[core])
    assert np.isnan(field.strain[~field.inside]).all() and set(field.fields()) >= {"amplitude", "strain"}


def test_ramp_and_offset_are_taken_out():
    y, x, z = (a - 10.0 for a in np.indices((21, 21, 21)))
    inside = y**2 + x**2 + z**2 < 49
    plain = np.where(inside, np.exp(0.02j * (x**2 - y**2)), 0)
    tilted = plain * np.exp(1j * (0.9 * x - 1.4 * y + 0.3 * z + 2.0))
    np.testing.assert_allclose(flattened(tilted)[inside], flattened(plain)[inside], atol=1e-6)


def test_choice_of_the_twin():
    y, x, z = (a - 10.0 for a in np.indices((21, 21, 21)))
    inside = y**2 + x**2 + z**2 + 3 * x * (z > 0) < 49
    obj = np.where(inside, np.exp(-0.02j * (x**2 + y**2 + z**2)), 0)
    assert chosen_twin(obj, "as_is") is obj
    np.testing.assert_array_equal(chosen_twin(obj, "other"), twin_of(obj))
    for given in (obj, twin_of(obj)):
        np.testing.assert_allclose(chosen_twin(given, "core_high"), obj)
    assert match(twin_of(obj), obj).twin


def test_a_crystal_beside_the_middle_keeps_its_place():
    lattice = lattice_m(GEOMETRY.steps_per_m(BEAM), SHAPE)
    edge = np.linalg.norm(lattice, axis=0).min()
    middle = lattice @ np.array([2.0, -4.0, 3.0])  # x, y, z
    ball = on_lattice(
        lattice, lambda r: np.clip(4.5 - np.linalg.norm(r - middle[:, None, None, None], axis=0) / edge, 0, 1) + 0j
    )
    made = orthogonal(ball, lattice)
    weight = np.abs(made.object)
    center = [np.average(index, weights=weight) for index in np.indices(weight.shape)]
    found = np.array(made.corner_m) + np.array(center) * made.voxel_m
    np.testing.assert_allclose(found, middle[[1, 0, 2]], atol=0.1 * edge)
    rim = [weight.take(at, axis) for axis in range(3) for at in (0, -1)]
    assert all((each == 0).all() for each in rim)  # the whole of it is there, with a margin
