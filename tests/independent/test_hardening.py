"""Beam hardening against sums over spectra: the law of attenuation, and coefficients of rods seen by a tube."""

from __future__ import annotations

import numpy as np
import pytest
from backends import make_backend

from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.forward.hardening import HARDENING, attenuation, slope

# Mass attenuation coefficients in cm^2/g at these energies in keV: Hubbell & Seltzer, NIST.
ENERGIES = np.array([15.0, 20, 30, 40, 50, 60, 80, 100])
WATER = np.array([1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707])
ALUMINUM = 2.699 * np.array([7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704])
IRON = 7.874 * np.array([57.08, 25.68, 8.176, 3.629, 1.958, 1.205, 0.5952, 0.3717])


def tube(kilovolt: float, material: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and coefficients over their mean."""
    energy = np.arange(16.0, kilovolt)
    coefficient = np.exp(np.interp(np.log(energy), np.log(ENERGIES), np.log(material)))
    weight = (kilovolt / energy - 1) * np.exp(-((27.0 / energy) ** 3))
    weight /= weight.sum()
    return weight, coefficient / (weight @ coefficient)


@pytest.mark.parametrize("kilovolt", [60.0, 100.0])
@pytest.mark.parametrize("material", [WATER, ALUMINUM, IRON], ids=["water", "aluminum", "iron"])
def test_one_number_describes_the_spectrum_of_a_tube(material, kilovolt):
    xp = make_backend("autograd", precision="double")
    weight, relative = tube(kilovolt, material)
    depth = np.linspace(0, 15, 600)
    true = -np.log(weight @ np.exp(-relative[:, None] * depth))
    depth, true = depth[true < 3.5], true[true < 3.5]
    off = []
    for c in np.linspace(0.02, 1.5, 300):
        params = {HARDENING: np.array([c])}
        found = attenuation(xp, depth, params)
        off.append(np.abs(found - true).max())
        np.testing.assert_allclose(slope(xp, depth, params), np.gradient(found, depth), atol=0.03)
    assert min(off) < 0.05
    assert np.linspace(0.02, 1.5, 300)[np.argmin(off)] == pytest.approx(weight @ (relative - 1) ** 2, rel=0.25)


def test_without_matter_and_without_hardening_nothing_changes():
    xp = make_backend("autograd", precision="double")
    depth = np.array([-0.3, -1e-3, 0.0, 0.5, 2.0])
    np.testing.assert_array_equal(attenuation(xp, depth, {}), depth)
    np.testing.assert_allclose(attenuation(xp, depth, {HARDENING: np.array([0.0])}), depth, atol=2e-4)
    np.testing.assert_array_equal(attenuation(xp, depth[:3], {HARDENING: np.array([0.7])}), depth[:3])


def rods(n: int, n_angles: int) -> tuple[Dataset, float]:
    """Counts of three rods of aluminum in the beam of a tube, and the mean coefficient per pixel."""
    weight, relative = tube(60.0, ALUMINUM)
    places = ((-9.0, -6.0, 6.0), (9.0, 7.0, 5.0), (7.0, -9.0, 3.0))
    per_pixel, fine = 0.14, 6
    u = (np.arange(n * fine) + 0.5) / fine - n / 2
    theta = np.arange(n_angles) * np.pi / n_angles
    seen = np.zeros((n_angles, 1, n))
    for row, angle in zip(seen, theta, strict=True):
        chord = sum(
            2 * np.sqrt(np.clip(r**2 - (u - x * np.cos(angle) - z * np.sin(angle)) ** 2, 0, None)) for x, z, r in places
        )
        row[0] = (weight @ np.exp(-per_pixel * relative[:, None] * chord)).reshape(n, fine).mean(1)
    counts = np.random.default_rng(2).poisson(1e6 * seen).astype(np.float32)
    index = np.arange(n_angles)
    return Dataset(ArrayPatterns(counts), theta_rad=theta, angle_index=index, open_beam_counts=1e6), per_pixel


def test_coefficients_are_right_where_beam_hardening_is_refined(caplog):
    data, true = rods(36, 60)
    line = np.arange(36) - 17.5
    inside = (line[:, None] + 9) ** 2 + (line + 6) ** 2 < 4**2
    means = []
    for parameters in ({}, {HARDENING: {}}):
        settings = {"data": "memory", "forward_model": {"kind": "tomography", "center": "middle"}}
        config = config_from(settings | {"parameters": parameters, "run": {"epochs": 150, "threads": 1}})
        made = Reconstruction(data, config.recipe, config.run)
        list(made.epochs())
        means.append(outcome(made, judged=False).object[0][inside].mean() / true)
    assert means[0] < 0.85 and means[1] == pytest.approx(1, abs=0.05)
    assert not [m for m in caplog.messages if "does not depend" in m]  # the first volume is empty: it says nothing
