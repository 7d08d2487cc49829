"""Line integrals in a cone beam against chords of a ball by other geometry, their adjoint, and wrong input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from backends import make_backend
from laws import inner, noise
from tiny_scan import Exact

from adorym.config import config_from
from adorym.data.dataset import Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigErrors, GeometryError
from adorym.forward.cone_tomography import ConeTomography
from adorym.forward.tomography import TomogramSettings, Tomography
from adorym.optics.cone import Cone
from adorym.optics.poses import make_poses
from adorym.optics.projector import Joseph
from adorym.wrapper.fused.rays import Frame

SIZE, WINDOW, SOURCE, DETECTOR = 24, (20, 22), 50.0, 30.0
TILT, SHIFT, AXIS = np.array([0.5, -0.4, 0.3]), np.array([1.0, -2.0]), 1.5
ANGLES = np.array([0.3, 1.9, 4.0])


SQUARE = ((SOURCE + DETECTOR) / SOURCE, (SOURCE + DETECTOR) / SOURCE)
FLAT = (0.7 * SQUARE[0], SQUARE[1])  # pixels that are not as high as they are wide


def projected(xp, volume, pitch=SQUARE):
    numbers = (np.array([SOURCE]), np.array([DETECTOR]), TILT, SHIFT)
    cone = Cone(*map(xp.asarray, numbers), pitch=pitch, window=WINDOW)
    poses = make_poses(xp, xp.asarray(ANGLES), center=xp.asarray(np.array([AXIS])))
    frame = Frame(SIZE, 0, 0, 1, width=1)
    return xp.reshape(Joseph().project(xp, volume, cone.rays(xp, poses), frame), (len(ANGLES), *WINDOW))


def about(axis, angle):
    """A right-handed rotation in (x, y, z)."""
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    made = np.eye(3)
    made[i, i] = made[j, j] = np.cos(angle)
    made[i, j], made[j, i] = -np.sin(angle), np.sin(angle)
    return made


def chords(center, radius, pitch=SQUARE):
    """Lengths of the rays from the source to the tilted detector in a ball that turns with the sample; (x, y, z)."""
    turned = about(2, TILT[2]) @ about(0, TILT[1]) @ about(1, TILT[0])
    out, pixel = np.zeros((len(ANGLES), *WINDOW)), np.array([pitch[1], pitch[0], 0.0])
    source = np.array([0, 0, -SOURCE])
    for a, i, j in np.ndindex(out.shape):
        flat = np.array([j - (WINDOW[1] - 1) / 2 + SHIFT[1], i - (WINDOW[0] - 1) / 2 + SHIFT[0], 0.0])
        way = np.array([0, 0, DETECTOR]) + turned @ (pixel * flat) - source
        to_ball = about(1, ANGLES[a]) @ center + np.array([AXIS, 0, 0]) - source
        away = np.linalg.norm(np.cross(way, to_ball)) / np.linalg.norm(way)
        out[a, i, j] = 2 * np.sqrt(max(radius**2 - away**2, 0))
    return out


def soft_ball(center, radius):
    """``(y, x, z)``, the edge spread over a voxel."""
    x, y, z = center
    line = np.arange(SIZE) - (SIZE - 1) / 2
    away = np.sqrt((line[:, None, None] - y) ** 2 + (line[:, None] - x) ** 2 + (line - z) ** 2)
    return np.clip(radius - away + 0.5, 0, 1)


@pytest.mark.parametrize("pitch", [SQUARE, FLAT], ids=["square", "flat"])
def test_a_ball_casts_its_shadow_where_geometry_says(pitch):
    """What the edge of voxels leaves is a few per cent; any wrong sign of a tilt, a shift or the axis is far more."""
    center = np.array([-3.0, 2.0, 1.5])
    found = projected(make_backend("autograd"), soft_ball(center, 6.0), pitch)
    expected = chords(center, 6.0, pitch)
    assert np.linalg.norm(found - expected) < 0.08 * np.linalg.norm(expected)
    inside = expected > 8
    assert np.abs(found[inside] / expected[inside] - 1).max() < 0.05


@pytest.mark.parametrize("backend", ["autograd", "torch"])
def test_the_adjoint_is_exact(backend):
    xp, rng = make_backend(backend), np.random.default_rng(2)
    volume, image = rng.normal(size=(SIZE, SIZE, SIZE)), rng.normal(size=(len(ANGLES), *WINDOW))

    def product(tree):
        return xp.sum(projected(xp, tree["volume"]) * xp.asarray(image)), None

    value, _, gradient = xp.value_and_grad(product)({"volume": xp.asarray(volume)})
    back = xp.to_numpy(gradient["volume"])
    assert value == pytest.approx(inner(back, volume), rel=1e-12)
    other = noise(rng, volume.shape)
    forward = xp.to_numpy(projected(xp, xp.asarray(other)))
    assert float((forward * image).sum()) == pytest.approx(inner(back, other), rel=1e-12)


# -- what the model needs ----------------------------------------------------------------------------------------------
def data(**changes):
    angles = {"theta_rad": np.linspace(0, 6, 8), "angle_index": np.arange(8), "open_beam_counts": 1.0}
    beam = {"source_distance_m": 0.05, "distance_m": 0.03, "detector_pixel_size_m": (1e-4, 1e-4)}
    return Dataset(Exact(np.ones((8, 10, 12))), **(angles | beam | changes))


def bound(dataset, **model):
    return ConeTomography(**model).bind(dataset, {"object": TomogramSettings()})


def test_voxels_are_demagnified_pixels():
    made = bound(data(rotation_center_px=1.25))
    assert made.dataset.pixel_size_m == pytest.approx((6.25e-5, 6.25e-5))
    assert made.shape == (10, 12, 12) and made.dataset.rotation_center_px == 1.25
    assert bound(data(rotation_center_px=1.25), center="middle").dataset.rotation_center_px == 0


@pytest.mark.parametrize(("high", "rows"), [(1.0, 10), (2.0, 20), (1.55, 16), (0.5, 10)])
def test_voxels_are_cubes_where_pixels_are_not_squares(high, rows):
    """As wide as a pixel is; the volume is as high as the detector, and has no fewer rows."""
    made = bound(data(detector_pixel_size_m=(high * 1e-4, 1e-4)))
    assert made.dataset.pixel_size_m == pytest.approx((6.25e-5, 6.25e-5))
    assert made.shape == (rows, 12, 12)


def test_a_volume_comes_back_through_pixels_of_double_height():
    """Counts are chords of a ball, by other geometry; its middle and radius are found in cubes."""
    center, beam = np.array([2.0, 3.0, -2.0]), {"source_distance_m": 50e-5, "distance_m": 30e-5}
    theta = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    far = (SOURCE + DETECTOR) / SOURCE
    j, i = np.meshgrid((np.arange(22) - 10.5) * far, (np.arange(12) - 5.5) * 2 * far)
    way = np.stack([j, i, np.full(j.shape, SOURCE + DETECTOR)], axis=-1)
    patterns = []
    for angle in theta:
        to_ball = about(1, angle) @ center - np.array([0, 0, -SOURCE])
        away = np.linalg.norm(np.cross(way, to_ball), axis=-1) / np.linalg.norm(way, axis=-1)
        patterns.append(np.exp(-0.05 * 2 * np.sqrt(np.maximum(36 - away**2, 0))))
    pixel = (2e-5 * far, 1e-5 * far)
    dataset = Dataset(Exact(np.array(patterns)), theta_rad=theta, angle_index=np.arange(24), open_beam_counts=1.0,
                      detector_pixel_size_m=pixel, **beam)  # fmt: skip
    run = {"epochs": 12, "batch_size": 6, "threads": 1}
    made = Reconstruction(dataset, config_from({"data": "m", "forward_model": "cone_tomography", "run": run}).recipe,
                          RunSettings(**run))  # fmt: skip
    for _ in made.epochs():
        pass
    found = outcome(made, judged=False).object * 1e-5
    assert found.shape == (24, 22, 22)
    y, x, z = (np.arange(n) - (n - 1) / 2 for n in found.shape)
    middle = [float((found * each).sum() / found.sum()) for each in (x[:, None], y[:, None, None], z)]
    assert middle == pytest.approx(center, abs=0.3)
    assert float(found.sum()) == pytest.approx(0.05 * 4 / 3 * np.pi * 6**3, rel=0.05)


def test_what_is_refused():
    with pytest.raises(GeometryError, match=r"data\.source_distance.*needs its distances.*choose the forward model"):
        bound(data(source_distance_m=None))
    with pytest.raises(
        GeometryError, match=r"data\.detector_pixel_size: a cone beam needs its.*and the detector's pixel"
    ):
        bound(data(detector_pixel_size_m=None))
    with pytest.raises(GeometryError, match=r"data\.distance: the volume reaches over.*expected more than"):
        bound(data(distance_m=1e-4))
    model = {"kind": "cone_tomography", "projector": "rotate"}
    with pytest.raises(ConfigErrors, match=r"projector: 'rotate' takes rays as parallel.*'joseph'"):
        config_from({"data": "a.h5", "forward_model": model})


def test_the_parallel_model_names_this_one():
    wide = replace(data(detector_pixel_size_m=(1e-3, 1e-3)))
    with pytest.raises(GeometryError, match=r"takes rays as parallel.*choose the forward model 'cone_tomography'"):
        Tomography().bind(wide, {"object": TomogramSettings()})


def test_every_ray_may_meet_every_row():
    made = bound(data(detector_pixel_size_m=(4e-4, 1e-4)))
    windows = made.view.windows(np.array([[30, 0]]), made.shape, {})
    assert made.shape == (40, 12, 12) and windows.shape == (40, 12) and windows.corners_px[0, 0] == 0
