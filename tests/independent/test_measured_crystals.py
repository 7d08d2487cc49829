"""Bragg models against sums over voxels and pairs of voxels."""

from __future__ import annotations

import adapter
import numpy as np
import physics
import pytest
from laws import relative_error
from tiny_crystal import FRAMES, LATTICE_M, REFLECTIONS, WINDOW, ellipsoid
from tiny_scan import Exact

from adorym.data.dataset import Dataset
from adorym.forward.bragg_cdi import BraggCdi
from adorym.forward.multi_peak import MultiPeak
from adorym.forward.rocking_curve import RockingCurve
from adorym.initializers.simple import Constant

SIGMA, BACKGROUND = (1.3, 0.9, 0.7), 0.4
# Of the phase that a displacement makes: exp(+i G u).
DISPLACEMENT_SIGN = -1


def predicted(model, frames, obj, **values):
    settings = {name: model.refinable[name].settings() for name in values}
    settings["object"] = model.refinable["object"].settings(initial=Constant())
    dataset = Dataset(Exact(np.ones((frames, *WINDOW))))
    problem = adapter.ready(model, dataset, settings).problem
    support = {"support": (np.abs(obj) > 0).astype(float)} if "support" in problem.values else {}
    return adapter.inserted(problem, {"object": obj, **support, **values})


def flips_of(obj):
    return {"conjugate": obj.conj(), "y": obj[::-1], "x": obj[:, ::-1], "z": obj[:, :, ::-1]}


def test_one_peak():
    obj = 8 * ellipsoid()
    values = {"coherence_blur": np.array(SIGMA), "background": np.array([BACKGROUND])}
    found = predicted(BraggCdi(), FRAMES, obj, **values)
    assert relative_error(found, physics.partly_coherent(obj, SIGMA) + BACKGROUND) < 1e-9
    for name, other in flips_of(obj).items():
        assert relative_error(found, physics.partly_coherent(other, SIGMA) + BACKGROUND) > 0.02, name
    assert relative_error(found, physics.partly_coherent(obj, SIGMA[::-1]) + BACKGROUND) > 0.02
    sharp = predicted(BraggCdi(), FRAMES, obj)
    whole = np.arange(FRAMES) - FRAMES // 2
    assert relative_error(sharp, np.abs(physics.bragg_wave(obj, whole)) ** 2) < 1e-9


def test_a_rocking_curve():
    obj, rng = 8 * ellipsoid(), np.random.default_rng(4)
    places = np.arange(FRAMES) - FRAMES // 2 + 0.3 * rng.normal(size=FRAMES)
    values = {"rocking_positions": places[:, None], "background": np.array([BACKGROUND])}
    found = predicted(RockingCurve(), FRAMES, obj, **values)
    assert relative_error(found, np.abs(physics.bragg_wave(obj, places)) ** 2 + BACKGROUND) < 1e-9
    for name, at, other in [("places", -places, obj), *((n, places, o) for n, o in flips_of(obj).items())]:
        assert relative_error(found, np.abs(physics.bragg_wave(other, at)) ** 2 + BACKGROUND) > 0.02, name


@pytest.mark.parametrize("sigma", [(1e-9, 1e-9, 1e-9), SIGMA])
def test_several_peaks(sigma):
    frames = FRAMES // 2
    obj = 8 * np.abs(ellipsoid((*WINDOW, frames))).astype(complex)
    z, y, x = np.meshgrid(*(physics.middle(n) / n for n in (frames, *WINDOW)), indexing="ij")
    u = 2e-10 * np.stack([y * x + z**2, x**2 - y + z, z * y + x])  # (z, y, x) components on (z, y, x)
    values = {
        "displacement": np.moveaxis(u, 1, 3), "reflection_scale": np.array([1.0, 0.7]),
        "coherence_blur": np.array(sigma), "background": np.array([BACKGROUND]),
    }  # fmt: skip
    model = MultiPeak(reflections=REFLECTIONS, lattice=LATTICE_M)
    found = predicted(model, 2 * frames, obj, **values)

    def right(sign=DISPLACEMENT_SIGN, order=(0, 1, 2)):
        peaks = []
        for hkl, scale in zip(REFLECTIONS, (1.0, 0.7), strict=True):
            phase = sign * 2 * np.pi / LATTICE_M * sum(n * u[i] for n, i in zip(hkl, order, strict=True))
            peaks.append(scale * physics.partly_coherent(obj * np.exp(1j * np.moveaxis(phase, 0, 2)), sigma))
        return np.concatenate(peaks) + BACKGROUND

    assert relative_error(found, right()) < 1e-9
    assert relative_error(found, right(-DISPLACEMENT_SIGN)) > 0.05
    assert relative_error(found, right(order=(1, 0, 2))) > 0.05
