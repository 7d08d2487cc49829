"""Coarse alignment of holograms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from adorym.forward.hologram_geometry import hologram_geometry
from adorym.forward.registration import coarse_maps, phase_correlation
from adorym.metrics.holograms import map_error
from adorym.simulate.holograms import Holography as Experiment
from adorym.simulate.holograms import Misalignment
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Pictures


@pytest.mark.parametrize("shift", [(3, -5), (0, 0), (-7, 2)])
def test_phase_correlation_counts_pixels(shift):
    scene = gaussian_filter(np.random.default_rng(0).random((90, 100)), 2)
    reference = scene[10:70, 10:80]
    moved = scene[10 + shift[0] : 70 + shift[0], 10 + shift[1] : 80 + shift[1]]
    assert phase_correlation(reference, moved) == shift


@pytest.mark.parametrize("cone", [False, True])
def test_misaligned_holograms_are_brought_near(cone):
    wrong = Misalignment(rotation=np.deg2rad(1.0), scale=0.01, shear=0.01, shift=3.0)
    places = {"distances": (0.2, 0.3, 0.4)}
    if cone:
        places = {"distances": (0.4, 0.38), "source_distances": (0.4, 0.42), "detector_pixel": 2e-6}
    data = Experiment(
        window_px=(120, 140),
        misalignment=wrong,
        noise=Noise(poisson=False),
        photons=1000.0,
        phantom=Pictures(amplitude=(0.6, 1.0), phase=1.0),
        **({"detector_pixel": 1e-6} | places),
    ).run(14)
    found = coarse_maps(data, hologram_geometry(data, None))
    before = np.tile([1.0, 0, 0, 0, 1, 0], (len(found), 1))
    error, at_first = (map_error(each, data.truth["affine"], data.window_px) for each in (found, before))
    np.testing.assert_array_equal(found[0], before[0])
    assert error.corner_rms_px < min(0.7, 0.4 * at_first.corner_rms_px)
