"""Holography against sums over plane waves that are read at any place of the detector."""

from __future__ import annotations

import adapter
import numpy as np
import physics
import pytest
from tiny_holograms import ENERGY_EV, PIXEL_M, object_of, series

from adorym.forward.holography import Holography

WINDOW, BUFFER, N = (14, 16), 4, 4
LAM = physics.wavelength_m(ENERGY_EV)
COMMON, RELATIVE = np.array([0.05]), 0.06 * np.array([1.0, -0.5, 0.3, -0.8])
MAPS = np.array([
    [1, 0, 0, 0, 1, 0], [1.03, 0.02, 0.05, -0.01, 0.97, -0.08], [0.98, -0.03, -0.06, 0.02, 1.02, 0.07],
    [1.01, 0.02, 0.08, -0.03, 1.03, 0.04],
])  # fmt: skip
MOVED = np.array([[0, 0], [0.7, -0.4], [-0.6, 0.8], [0.5, 0.9]])
RATIO = np.array([1, 1.04, 0.97, 1.03])
SCALE = np.array([0.9, 1.1, 1.05, 0.95])
BEAM = np.random.default_rng(4).uniform(-0.1, 0.1, (N, 5))


def smooth(shape):
    """An object that repeats, so that its light has no edge."""
    y, x = (2 * np.pi * np.arange(n) / n for n in shape[:2])
    lag = 0.4 * np.cos(y)[:, None] + 0.3 * np.sin(2 * x) + 0.2 * np.sin(y[:, None] - x) + 0.5
    return (1 - 0.2 * np.sin(y[:, None] + 2 * x) ** 2) * np.exp(-1j * lag)


def light(shape):
    y, x = (2 * np.pi * np.arange(n) / n for n in shape)
    return 10 * (1 + 0.1 * np.cos(y)[:, None] + 0.3j * np.sin(x))


def exact(wave, distances, maps, paraxial, scale=None):
    """``(n, y, x)``: each map takes a pixel of a picture to its place in the first."""
    r_y, r_x = np.meshgrid(*(physics.middle(n) for n in WINDOW), indexing="ij")
    out = []
    for k, distance in enumerate(distances):
        behind = physics.carried(wave, PIXEL_M, LAM, distance, paraxial)
        a = maps[k]
        out.append(physics.intensity_at(behind, a[0] * r_y + a[1] * r_x + a[2], a[3] * r_y + a[4] * r_x + a[5]))
    if scale is None:
        return np.array(out)
    y, x = r_y / (max(WINDOW) / 2), r_x / (max(WINDOW) / 2)
    polynomials = np.array([x, y, (3 * x**2 - 1) / 2, x * y, (3 * y**2 - 1) / 2])
    return np.array(out) * scale[:, None, None] * np.exp(np.tensordot(BEAM, polynomials, 1))


def predicted(model, dataset, values, obj):
    settings = {name: model.refinable[name].settings() for name in ("object", *values)}
    problem = adapter.ready(model, dataset, settings).problem
    return problem, adapter.inserted(problem, {"object": obj(problem.store.shape), **values})


def error(found, right):
    """Of cubic splines, rms: the band-limited picture is the truth."""
    return float(np.sqrt(np.mean((found - right) ** 2)) / right.std())


TOLERANCE, CLEAR = 0.02, 0.06


@pytest.mark.parametrize("propagation", ["fresnel", "angular_spectrum"])
def test_maps_distances_and_illumination(propagation):
    stated = np.linspace(0.03, 0.12, N)
    dataset = series(WINDOW, patterns=series(WINDOW).patterns.__class__(np.full((N, *WINDOW), 100.0)),
                     propagation_distance_m=stated)  # fmt: skip
    model = Holography(buffer_px=BUFFER, propagation=propagation)
    values = {
        "common_distance": COMMON,
        "relative_distances": RELATIVE,
        "affine": MAPS,
        "intensity_scale": SCALE[:, None],
        "beam_shape": BEAM,
    }
    settings = {**values, "illumination": light((WINDOW[0] + 2 * BUFFER, WINDOW[1] + 2 * BUFFER))}
    problem, found = predicted(model, dataset, settings, smooth)
    shape, paraxial = problem.store.shape, propagation == "fresnel"
    wave, half = smooth(shape) * light(shape), max(WINDOW) / 2
    distances, maps = stated + COMMON + RELATIVE - RELATIVE.mean(), MAPS * [1, 1, half, 1, 1, half]
    assert error(found, exact(wave, distances, maps, paraxial, SCALE)) < TOLERANCE
    identity = np.array([1.0, 0, 0, 0, 1, 0])
    wrong = {
        "distance": (wave, -distances, maps),
        "common": (wave, distances - 2 * COMMON, maps),
        "relative": (wave, distances - 2 * (RELATIVE - RELATIVE.mean()), maps),
        "maps": (wave, distances, 2 * identity - maps),
        "axes of maps": (wave, distances, maps[:, [4, 3, 5, 1, 0, 2]]),
        "conjugate": (smooth(shape).conj() * light(shape), distances, maps),
        "conjugate light": (smooth(shape) * light(shape).conj(), distances, maps),
    }
    for name, (other, at, by) in wrong.items():
        assert error(found, exact(other, at, by, paraxial, SCALE)) > CLEAR, name


def test_a_cone_beam_and_parts_of_maps():
    """A point source at ``s`` and detectors at ``s + d``: magnification (s + d)/s, effective distance s d/(s + d)."""
    source, detector = 0.02, np.array([0.5, 0.52, 0.54, 0.57])
    magnification = (source + detector) / source
    stated = source * detector / (source + detector)
    dataset = series(WINDOW, patterns=series(WINDOW).patterns.__class__(np.full((N, *WINDOW), 100.0)),
                     propagation_distance_m=stated, magnification=magnification)  # fmt: skip
    kappa = 20.0
    model = Holography(buffer_px=BUFFER, homogeneous=True, kappa=5.0, propagation="fresnel")
    values = {"translation": MOVED, "pixel_ratio": RATIO, "log10_kappa": np.array([np.log10(kappa)])}
    problem, found = predicted(model, dataset, values, lambda shape: -np.angle(smooth(shape)) + 0j)
    lag = -np.angle(smooth(problem.store.shape))

    def right(sign_move=1, sign_lag=1, ratio=RATIO, sign_kappa=1):
        # A pixel of the detector is a pixel over the magnification in the object, the first of them the largest.
        scale = ratio * magnification.max() / magnification
        zero = np.zeros(N)
        maps = np.stack([scale, zero, sign_move * MOVED[:, 0] * (scale / ratio), zero, scale,
                         sign_move * MOVED[:, 1] * (scale / ratio)], axis=1)  # fmt: skip
        wave = 10 * np.exp(-(sign_kappa / kappa + sign_lag * 1j) * lag)
        return exact(wave, stated, maps, paraxial=True)

    assert error(found, right()) < TOLERANCE
    for name, flip in {"move": {"sign_move": -1}, "lag": {"sign_lag": -1}, "ratio": {"ratio": 2 - RATIO},
                       "absorption": {"sign_kappa": -1}}.items():  # fmt: skip
        assert error(found, right(**flip)) > CLEAR, name


def test_the_object_of_the_model_cases_is_not_what_is_tested_with():
    """Two objects, two makers: a common mistake would have to be made twice."""
    assert not np.allclose(smooth((12, 14)), object_of((12, 14)))
