"""Simulated holograms: energy, geometry, misalignment, another grid."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.optics.affine import parts_of, to_pixels
from adorym.simulate.holograms import Holography, HolographyOfPictures, Misalignment
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Pictures, Vacuum

FIELDS = {"window_px": (24, 30), "detector_pixel": 2e-6, "distances": (0.1, 0.2), "noise": Noise(poisson=False)}


def test_vacuum_gives_the_open_beam():
    data = Holography(phantom=Vacuum(), photons=50.0, **FIELDS).run(0)
    np.testing.assert_allclose(data.patterns.read(np.arange(2)), 50, rtol=1e-5)
    assert data.open_beam_counts == 50 and data.patterns.shape == (2, 24, 30)


def test_finer_grids_agree():
    fields = FIELDS | {"blur": 1.0, "phantom": Pictures(moved=False)}
    coarse, fine = (Holography(oversample=n, **fields).run(1).patterns.read(np.arange(2)) for n in (2, 4))
    assert np.abs(coarse - fine).mean() < 0.03 * fine.mean()


def test_the_first_hologram_is_the_reference():
    wrong = Misalignment(rotation=0.1, scale=0.05, shear=0.02, shift=3.0)
    data = Holography(misalignment=wrong, **(FIELDS | {"distances": (0.1,) * 5})).run(2)
    maps = [parts_of(each) for each in to_pixels(data.truth["affine"], 15.0)]
    assert maps[0].rotation_rad == 0 and maps[0].shift_px == (0, 0)
    assert all(0 < abs(each.rotation_rad) <= 0.1 and max(np.abs(each.shift_px)) <= 3 for each in maps[1:])


def test_cone_beam_is_a_scaled_parallel_beam():
    """Of the same magnification, effective distance and pixel: the same holograms."""
    cone = Holography(source_distances=(0.1, 0.1), **(FIELDS | {"distances": (0.1, 0.1), "detector_pixel": 4e-6})).run(
        3
    )
    flat = Holography(**(FIELDS | {"distances": (0.05, 0.05)})).run(3)
    np.testing.assert_allclose(cone.magnification, 2)
    assert cone.pixel_size_m == flat.pixel_size_m == (2e-6, 2e-6)
    np.testing.assert_allclose(cone.patterns.read(np.arange(2)), flat.patterns.read(np.arange(2)), rtol=1e-4)


def test_named_experiment_is_that_of_the_paper():
    made = HolographyOfPictures().experiment()
    assert made.distances == (0.4, 0.6, 0.8, 1.0) and made.energy == 17500 and made.detector_pixel == 1e-6
    data = HolographyOfPictures(size_px=32, photons=0).run(0)
    np.testing.assert_allclose(data.propagation_distance_m, np.array(made.distances) - 0.02)
    assert data.truth["propagation_distances_m"][0] == 0.4
    magnitude = np.abs(HolographyOfPictures(size_px=64, photons=0).run(0).truth["object"])
    assert magnitude.min() > 0.4 and magnitude.max() < 1.2


def test_pictures_must_be_there():
    with pytest.raises(ValueError, match="phase_picture: no picture 'nowhere.tif'"):
        Holography(phantom=Pictures(phase_picture="nowhere.tif"), **FIELDS).run(0)
