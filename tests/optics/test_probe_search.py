"""The search for a first probe, on scans simulated here: beams of both signs of defocus, and detectors with faults."""

import numpy as np
import pytest
from tiny_beams import PIXEL_M, WAVELENGTH_M, Experiment

from adorym.errors import DataError, GeometryError
from adorym.optics.modes import beam_diameter_px
from adorym.optics.probe_search import AutoProbe, Search
from adorym.optics.pupil import Pupil, pupil_of, survey


def likeness(one, other):
    return abs(np.vdot(one, other)) / np.linalg.norm(one) / np.linalg.norm(other)


BEAMS = {
    "aperture": Experiment(curvature=0.14),
    "aperture, before the focus": Experiment(curvature=-0.14),
    "aperture, in focus": Experiment(step=1.7),
    "central stop": Experiment(radius=8, stop=3, curvature=-0.1),
    "gaussian": Experiment(gaussian=True, curvature=0.1),
    "few photons": Experiment(curvature=0.14, photons=2e3),
    "strong object": Experiment(curvature=-0.12, contrast=2.0),
    "rectangular window": Experiment(window=(32, 44), curvature=0.12),
}


@pytest.mark.parametrize("name", BEAMS)
def test_the_beam_is_found(name, caplog):
    caplog.set_level("INFO", logger="adorym")
    experiment = BEAMS[name]
    x = PIXEL_M * experiment.window[0] / experiment.window[1]  # a detector with square pixels
    found = Search(experiment.dataset(pixel_size_m=(PIXEL_M, x)), AutoProbe()).found()
    depth = (experiment.window[0] * PIXEL_M / experiment.radius) ** 2 / WAVELENGTH_M  # 3 rad at the pupil's rim
    assert found.decided and "do not decide it" not in caplog.text
    assert found.defocus_m == pytest.approx(experiment.defocus_m, abs=0.3 * depth)
    assert likeness(found.modes[0], experiment.probe()) > 0.9


@pytest.mark.parametrize("tilt", [(5, -4), (-6, 0)])
def test_beam_beside_the_middle_of_the_detector_is_a_tilted_beam(tilt):
    experiment = Experiment(curvature=0.14, tilt=tilt)
    y, x = np.indices(experiment.window)
    tilted = experiment.probe() * np.exp(2j * np.pi * (tilt[0] * y + tilt[1] * x) / 32)
    search = Search(experiment.dataset(), AutoProbe())
    assert search.pupil.center_px == pytest.approx(tilt, abs=0.5)
    assert likeness(search.found().modes[0], tilted) > 0.9
    assert "off the middle of the patterns" in search.found().words


def test_what_is_masked_does_not_matter():
    experiment = Experiment(curvature=0.14)
    patterns, mask = experiment.patterns(), np.ones((32, 32), bool)
    mask[15:17], mask[3, 5] = False, False
    clean = Search(experiment.dataset(patterns, mask=mask), AutoProbe()).found()
    patterns[:, ~mask] = [np.nan, 4e9, -1][experiment.seed]
    found = Search(experiment.dataset(patterns, mask=mask), AutoProbe()).found()
    assert likeness(found.modes[0], experiment.probe()) > 0.9
    np.testing.assert_array_equal(found.modes, clean.modes)


def test_dark_and_wild_patterns_do_not_matter():
    experiment = Experiment(curvature=0.14)
    patterns = experiment.patterns()
    patterns[20:22], patterns[30] = 0, 900.0
    found = Search(experiment.dataset(patterns), AutoProbe()).found()
    assert likeness(found.modes[0], experiment.probe()) > 0.9


def test_amplitudes_and_counts_say_the_same():
    experiment = Experiment(curvature=0.14)
    counts = Search(experiment.dataset(), AutoProbe()).found()
    amplitudes = experiment.dataset(np.sqrt(experiment.patterns()), measured="amplitude")
    np.testing.assert_allclose(AutoProbe().make(amplitudes), counts.modes, rtol=1e-4, atol=1e-4)


def test_without_energy_the_phase_at_the_rim_is_told():
    experiment = Experiment(curvature=0.14)
    found = Search(experiment.dataset(energy_ev=None, pixel_size_m=None), AutoProbe()).found()
    assert found.defocus_m is None and "rad at the pupil's rim" in found.words
    assert found.rim_rad == pytest.approx(0.14 * 36, rel=0.15)
    with pytest.raises(GeometryError, match=r"energy|pixel_size"):
        AutoProbe(maximum_defocus="1 mm").make(experiment.dataset(energy_ev=None, pixel_size_m=None))


def test_maximum_defocus_bounds_the_search():
    experiment = Experiment(curvature=0.14)
    found = Search(experiment.dataset(), AutoProbe(maximum_defocus=abs(experiment.defocus_m) / 3)).found()
    assert abs(found.defocus_m) <= abs(experiment.defocus_m) / 3 * 1.001


def test_vacuum_decides_nothing():
    empty = Experiment(curvature=0.14, contrast=0.0)
    assert not Search(empty.dataset(), AutoProbe()).found().decided


def test_one_place_gives_the_focus():
    experiment = Experiment(curvature=0.14)
    for positions in (None, np.full_like(experiment.positions, 3.0)):
        found = Search(experiment.dataset(probe_positions_px=positions), AutoProbe()).found()
        assert found.rim_rad == 0 and not found.decided and "in focus" in found.words


def test_search_is_limited_by_a_beam_that_fills_the_window():
    search = Search(Experiment(curvature=0.1).dataset(), AutoProbe())
    widest = search.pupil.wave(search.limit)
    assert 0.6 * 32 < beam_diameter_px(widest[None]) < 32


def test_scattering_beside_the_pupil_is_not_part_of_it():
    dataset = Experiment(contrast=1.2).dataset()
    mean = survey(dataset, np.arange(49)).mean
    pupil = pupil_of(mean, dataset)
    y, x = np.indices(mean.shape) - 16
    outside = np.hypot(y, x) > 8
    share = pupil.amplitude[outside] ** 2
    assert share.sum() / (pupil.amplitude**2).sum() < mean[outside].sum() / mean.sum() / 5
    assert pupil.radius_px == pytest.approx(6, rel=0.15)


def test_dark_patterns_and_the_near_field_are_refused():
    experiment = Experiment()
    with pytest.raises(DataError, match="the mean pattern is dark; choose another initial probe"):
        AutoProbe().make(experiment.dataset(np.zeros((49, 32, 32), "f4")))
    with pytest.raises(GeometryError, match="in the far field only; choose"):
        AutoProbe().make(experiment.dataset(propagation_distance_m=np.array([0.1])))


@pytest.mark.parametrize("part", [0.5, 1.0])
def test_the_largest_curvature_makes_a_beam_as_wide_as_the_window(part):
    """The edge of the pupil of radius b is deflected by c b N/pi pixels, half the window for the largest c."""
    y, x = np.indices((128, 128)) - 64
    pupil = Pupil((np.hypot(y, x) < 20).astype(float))
    found = np.abs(pupil.wave(part * pupil.largest_curvature)) ** 2
    spread = np.sqrt((found * (y + 0.5) ** 2).sum() / found.sum())  # half the radius of a uniform disc
    assert spread == pytest.approx(part * 128 / 4, rel=0.1)
