"""Tomography, ptychotomography and holotomography against exact rays through Gaussian blobs.

The package interpolates between voxels: its error falls with the square of the voxel, and a flipped sign does not.
"""

from __future__ import annotations

from collections.abc import Callable

import adapter
import numpy as np
import physics
import pytest
from laws import relative_error
from physics import Blobs, Pose, turn
from tiny_scan import Exact

from adorym.data.dataset import Dataset
from adorym.forward.holotomography import HoloTomography
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychotomography import PtychoTomography
from adorym.forward.tomography import Tomography
from adorym.optics.probes import GaussianProbe

THETA = np.array([0.13, 0.9, 1.7, 2.6])
AXIS_TILT, CENTER = np.array([0.12, -0.14]), 0.8
TILT = np.array([[0.1, -0.08, 0.12], [-0.12, 0.1, 0.08], [0.08, 0.12, -0.1], [0.1, -0.1, -0.09]])
SHIFT = np.array([[0.8, -0.7], [-0.9, 0.6], [0.7, 0.9], [-0.6, -0.8]])
# Each sign that somebody could have wrong.
SIGNS = ("theta", "tilt y", "tilt x", "tilt z", "axis x", "axis z", "shift y", "shift x", "center", "conjugate")


def poses(moving: bool, fine: int, flip: str = "") -> list[Pose]:
    """Of the four angles, one sign turned over."""
    s = {name: -1.0 if name == flip else 1.0 for name in SIGNS}
    made = []
    for theta, tilt, shift in zip(THETA, TILT if moving else 0 * TILT, SHIFT if moving else 0 * SHIFT, strict=True):
        axis = AXIS_TILT if moving else (0.0, 0.0)
        about_x, about_z = s["tilt x"] * tilt[1] + s["axis x"] * axis[0], s["tilt z"] * tilt[2] + s["axis z"] * axis[1]
        rotation = turn(s["theta"] * theta, s["tilt y"] * tilt[0], about_x, about_z)
        across = s["shift x"] * shift[1] + s["center"] * CENTER
        made.append(Pose(rotation, (fine * s["shift y"] * shift[0], fine * across)))
    return made


def blobs(fine: int, flip: str = "") -> Blobs:
    made = Blobs.some(fine)
    return Blobs(made.centers, made.weights.conj(), made.sigma) if flip == "conjugate" else made


def settings_of(model, moving: bool, **more):
    names = ("tilt", "object_shift", "axis_tilt") if moving else ()
    given = {name: model.refinable[name].settings() for name in (*names, *more)}
    return given | {"object": model.refinable["object"].settings(margin_px=0)} | more


def predicted(model, dataset: Dataset, moving: bool, fine: int, settings, values=()) -> np.ndarray:
    """By the package, from the blobs as voxels."""
    problem = adapter.ready(model, dataset, settings).problem
    inserted = {"object": Blobs.some(fine).volume(problem.store.shape), **dict(values)}
    if moving:
        inserted |= {"tilt": TILT, "object_shift": fine * SHIFT, "axis_tilt": AXIS_TILT}
    return adapter.inserted(problem, inserted)


def check(made: Callable[[int], np.ndarray], exact: Callable[[int, str], np.ndarray], flips, most: float) -> None:
    """The error is small, falls with the square of the voxel, and is far below what a wrong sign makes of it."""
    errors = [relative_error(made(fine), exact(fine, "")) for fine in (1, 2)]
    assert errors[0] < most and errors[1] < errors[0] / 2.5, errors
    right = made(2)
    for flip in flips:
        off = relative_error(right, exact(2, flip))
        assert off > 4 * errors[1], f"{flip}: {off!r}, right {errors[1]!r}"


@pytest.mark.parametrize("moving", [False, True])
def test_tomography(moving):
    model, rng = Tomography(center=CENTER), np.random.default_rng(2)
    gain, scale = rng.uniform(0.8, 1.2, (15, 15)), rng.uniform(0.8, 1.2, 4)

    def made(fine):
        window = (15 * fine, 15 * fine)
        angles = {"theta_rad": THETA, "angle_index": np.arange(4), "open_beam_counts": 1e3}
        dataset = Dataset(Exact(np.ones((4, *window))), **angles)
        given = {name: model.refinable[name].settings() for name in ("pixel_gain", "intensity_scale")}
        values = {"pixel_gain": np.kron(gain, np.ones((fine, fine)))[None], "intensity_scale": scale[:, None]}
        one = Tomography(center=fine * CENTER)
        return predicted(one, dataset, moving, fine, settings_of(one, moving, **given), values)

    def exact(fine, flip):
        y, x = physics.middle(15 * fine)[:, None], physics.middle(15 * fine)[None, :]
        rays = np.array([blobs(fine, flip).ray(y, x, pose).real for pose in poses(moving, fine, flip)])
        return 1e3 * np.kron(gain, np.ones((fine, fine))) * scale[:, None, None] * np.exp(-2 * rays)

    check(made, exact, SIGNS[:-1] if moving else ("theta", "center"), 0.03)


VOLUME, BEAM = 15, 7


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("thickness", ["thin", "multislice"])
def test_ptychotomography(thickness, moving):
    energy_ev, pixel = 5e3, 4e-7

    def scan(fine):
        corners = fine * np.array([[3.0, 4.0], [4.5, 3.0], [5.0, 5.5], [2.5, 4.5]])
        y, x = physics.middle(BEAM * fine)[:, None] / fine, physics.middle(BEAM * fine)[None, :] / fine
        return corners, (np.exp(-(y**2 + 0.8 * x**2) / 2.2 + 0.2j * (x - 0.5 * y)) * 10 / fine)[None]

    def made(fine):
        corners, probe = scan(fine)
        size = VOLUME * fine
        angles = {"theta_rad": THETA, "angle_index": np.repeat(np.arange(4), 1), "energy_ev": energy_ev}
        patterns = Exact(np.ones((4, BEAM * fine, BEAM * fine)))
        dataset = Dataset(patterns, corners, pixel_size_m=(pixel / fine, pixel / fine), **angles)
        axis = (size - 1) / 2 + fine * CENTER
        model = PtychoTomography(thickness=thickness, volume_px=(size, size, size), axis=axis)
        given = {"probe": ProbeSettings(initial=GaussianProbe(fwhm="3 px"))}
        return predicted(model, dataset, moving, fine, settings_of(model, moving, **given), {"probe": probe})

    def exact(fine, flip):
        corners, probe = scan(fine)
        size, object_ = VOLUME * fine, blobs(fine, flip)
        half, depths = (size - 1) / 2, physics.middle(VOLUME * fine) if thickness == "multislice" else [None]
        bench = physics.Bench((pixel / fine, pixel / fine), physics.wavelength_m(energy_ev))
        out = []
        for corner, pose in zip(corners, poses(moving, fine, flip), strict=True):

            def slice_of(z, pose=pose):
                if z is None:
                    return lambda y, x: np.exp(-object_.ray(y - half, x - half, pose))
                return lambda y, x: np.exp(-object_.at(y - half, x - half, z, pose))

            places = np.arange(len(depths)) * pixel / fine
            out.append(physics.scanned(bench, [slice_of(z) for z in depths], places, probe, corner))
        return np.array(out)

    flips = SIGNS if moving else ("theta", "center", "conjugate")
    check(made, exact, flips, 0.1)


@pytest.mark.parametrize("moving", [False, True])
def test_holotomography(moving):
    energy_ev, pixel, buffer = 17500.0, 2e-6, 4
    distances = np.array([0.05]) if not moving else np.array([0.03, 0.08])
    n, field = len(distances), 12
    off, common = 0.004 * np.array([1.0, -1.0]), 0.01
    scales = np.linspace(0.9, 1.1, 4 * n)

    def made(fine):
        window = (field * fine, field * fine)
        angles = {"theta_rad": THETA, "angle_index": np.repeat(np.arange(4), n), "open_beam_counts": 100.0}
        dataset = Dataset(
            Exact(np.full((4 * n, *window), 100.0)), energy_ev=energy_ev, pixel_size_m=(pixel / fine, pixel / fine),
            propagation_distance_m=distances, **angles,
        )  # fmt: skip
        model = HoloTomography(buffer_px=buffer * fine, center=fine * CENTER, propagation="fresnel")
        names = ("common_distance", "intensity_scale", *(("relative_distances",) if moving else ()))
        given = {name: model.refinable[name].settings() for name in names}
        values = {"common_distance": np.array([common]), "intensity_scale": scales[:, None]}
        values |= {"relative_distances": off} if moving else {}
        return predicted(model, dataset, moving, fine, settings_of(model, moving, **given), values)

    def exact(fine, flip):
        size, lam = (field + 2 * buffer) * fine, physics.wavelength_m(energy_ev)
        y, x = physics.middle(size)[:, None], physics.middle(size)[None, :]
        u, v = np.meshgrid(physics.middle(field * fine), physics.middle(field * fine), indexing="ij")
        sign = -1 if flip == "distance" else 1
        out = []
        for pose in poses(moving, fine, flip):
            behind = 10.0 * np.exp(-blobs(fine, flip).ray(y, x, pose))
            for k, z in enumerate(distances):
                at = sign * (z + common + (off[k] if moving else 0.0))
                wave = physics.carried(behind, (pixel / fine, pixel / fine), lam, at, paraxial=True)
                out.append(scales[len(out)] * physics.intensity_at(wave, u, v))
        return np.array(out)

    flips = (*SIGNS, "distance") if moving else ("theta", "center", "conjugate", "distance")
    check(made, exact, flips, 0.1)
