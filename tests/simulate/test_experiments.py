"""Simulated experiments: the photons asked for, the truth that explains the data, no inverse crime."""

import numpy as np
import pytest

from adorym.data.dataset import Dataset
from adorym.errors import ConfigErrors
from adorym.metrics import fourier_shift, position_errors, power_fractions, r_factor
from adorym.registry import lookup, names
from adorym.schema import build
from adorym.simulate.experiments import Ptychography, SiemensStarFlyScan
from adorym.units import wavelength_m

SMALL = {
    "window_px": [40, 32],
    "object_px": [72, 64],
    "photons": 1e5,
    "illumination": {"kind": "focused_beam", "aperture": 6},
}
EXACT = {"noise": {"poisson": False}}
NEAR = {
    "propagation": "near_field",
    "detector_pixel": "1 um",
    "distance": "30 mm",
    "window_px": [72, 64],
    "object_px": [104, 96],
    "illumination": {"kind": "diffused_beam", "grain": 0.2, "diameter": 0.6},
}


def simulate(seed: int = 0, **settings: object) -> Dataset:
    return build(Ptychography, {**SMALL, **settings}).run(seed)


def patterns(dataset: Dataset) -> np.ndarray:
    return dataset.patterns.read(np.arange(dataset.n_patterns))


def predicted(dataset: Dataset, offset: float = 0.0) -> np.ndarray:
    """What a reconstruction's own model makes of the truth, ``offset`` px away from the true positions."""
    probe, obj = dataset.truth["probe"], dataset.truth["object"]
    height, width = dataset.window_px
    distance = dataset.propagation_distance_m
    out = []
    for position in np.maximum(dataset.truth["probe_positions_px"] + offset, 0):
        y, x = corner = np.rint(position).astype(int)
        wave = fourier_shift(probe, position - corner) * obj[y : y + height, x : x + width]
        spectrum = np.fft.fft2(fourier_shift(wave, corner - position), norm="ortho")  # in the frame of the probe
        if distance is None:
            out.append(np.fft.fftshift((np.abs(spectrum) ** 2).sum(0)))
            continue
        qy, qx = (np.fft.fftfreq(n, d) for n, d in zip(wave.shape[1:], dataset.pixel_size_m, strict=True))
        q2 = qy[:, None] ** 2 + qx**2
        kernel = np.exp(-1j * np.pi * wavelength_m(dataset.energy_ev) * distance[0] * q2)
        out.append((np.abs(np.fft.ifft2(spectrum * kernel, norm="ortho")) ** 2).sum(0))
    return np.array(out)


@pytest.mark.parametrize("settings", [{}, NEAR], ids=["far_field", "near_field"])
def test_without_specimen_all_photons_arrive(settings):
    made = simulate(phantom={"kind": "vacuum"}, **EXACT, **settings)
    np.testing.assert_allclose(patterns(made).sum((1, 2)), 1e5, rtol=3e-3)
    assert (np.abs(made.truth["probe"]) ** 2).sum() == pytest.approx(1e5, rel=3e-3)
    np.testing.assert_allclose(made.truth["object"], 1, atol=1e-4)


def test_counted_photons_scatter_around_the_asked_number():
    totals = patterns(simulate(phantom={"kind": "vacuum"})).sum((1, 2))
    assert totals.mean() == pytest.approx(1e5, abs=5 * np.sqrt(1e5 / len(totals)))
    assert 0.3 < totals.std() / np.sqrt(1e5) < 3


@pytest.mark.parametrize(
    ("settings", "bar"),
    [
        ({}, 0.015),
        ({"scan": {"pattern": "fly", "overlap": 0.6}}, 0.015),
        ({"illumination": {"kind": "focused_beam", "aperture": 6, "mode_powers": [6, 3, 1]}}, 0.015),
        (NEAR, 0.03),
        ({**NEAR, "distance": "1 m", "source_distance": "31 mm", "detector_pixel": "33 um"}, 0.03),
    ],
    ids=["far", "fly", "modes", "near", "cone"],
)
def test_truth_explains_the_data_and_wrong_positions_do_not(settings, bar):
    phantom = {
        "kind": "cells",
        "count": 8,
        "diameter": "20 um" if "distance" in settings else "200 nm",
        "phase": "2 rad",
    }
    made = simulate(phantom=phantom, **EXACT, **settings)
    right, wrong = (r_factor(patterns(made), predicted(made, offset)) for offset in (0.0, -2.0))
    assert right < bar
    assert wrong > 3 * right


def test_fine_details_are_not_those_of_the_reconstructions_model():
    """No inverse crime: halving the grid again changes little, giving it up changes much."""
    at_hand, coarse, finer = (patterns(simulate(oversample=n, **EXACT)) for n in (2, 1, 4))
    crime = r_factor(finer, coarse)
    assert crime > 0.02
    assert r_factor(finer, at_hand) < 0.5 * crime


def test_same_seed_same_data_other_seed_other_data():
    scan = {"pattern": "jittered", "position_error": 1.0}
    first, again, other = (simulate(seed, scan=scan) for seed in (3, 3, 4))
    np.testing.assert_array_equal(patterns(first), patterns(again))
    np.testing.assert_array_equal(first.probe_positions_px, again.probe_positions_px)
    assert np.abs(first.truth["probe_positions_px"] - other.truth["probe_positions_px"]).max() > 0.1


def test_noise_does_not_move_the_scan_or_the_specimen():
    first, other = simulate(), simulate(noise={"read_noise": 2.0, "bad_pixels": 0.02})
    np.testing.assert_array_equal(first.truth["probe_positions_px"], other.truth["probe_positions_px"])
    np.testing.assert_array_equal(first.truth["object"], other.truth["object"])
    assert first.mask is None
    assert other.mask.shape == (40, 32)


def test_geometry_is_that_of_the_settings():
    far = simulate(energy="10 keV", distance="2 m", detector_pixel="50 um")
    scale = wavelength_m(10e3) * 2 / 50e-6
    np.testing.assert_allclose(far.pixel_size_m, (scale / 40, scale / 32))
    assert (far.energy_ev, far.distance_m, far.propagation_distance_m) == (10e3, 2.0, None)
    cone = simulate(**{**NEAR, "distance": "0.9 m", "source_distance": "0.1 m", "detector_pixel": "20 um"})
    np.testing.assert_allclose(cone.pixel_size_m, 2e-6)
    np.testing.assert_allclose(cone.propagation_distance_m, [0.09])


def test_truth_has_the_shapes_and_types_that_files_hold():
    made = simulate(scan={"pattern": "fly", "step": 8, "position_error": 1.5})
    assert made.truth["object"].shape == (72, 64)
    assert made.truth["object"].dtype == made.truth["probe"].dtype == made.start_probe.dtype == np.complex64
    assert made.truth["probe_at_rest"].shape == made.start_probe.shape == (1, 40, 32)
    np.testing.assert_array_equal(made.truth["object_origin_px"], 0)
    assert position_errors(made.probe_positions_px, made.truth["probe_positions_px"]).rms_px == pytest.approx(1.5)


def test_more_than_the_detector_sees_is_not_counted():
    made = simulate(phantom={"kind": "siemens_star", "beta": 0.0, "thickness": "2 um"}, **EXACT)
    totals = patterns(made).sum((1, 2))
    assert totals.max() <= 1e5 * 1.001
    assert totals.min() < 0.99e5


def test_first_guess_has_the_photons():
    assert (np.abs(simulate().start_probe) ** 2).sum() == pytest.approx(1e5, rel=0.01)


def test_source_distance_in_the_far_field_is_refused():
    with pytest.raises(ConfigErrors, match="source_distance: has no effect in the far field"):
        simulate(source_distance="10 mm")


def test_object_smaller_than_the_window_is_refused():
    with pytest.raises(ConfigErrors, match="object_px: smaller than the window"):
        simulate(object_px=[72, 24])


def test_misspelt_setting_is_refused_with_its_place():
    with pytest.raises(ConfigErrors, match=r"scan.ovrlap: unknown key; did you mean 'overlap'"):
        simulate(scan={"ovrlap": 0.5})


def test_every_simulation_is_registered_with_its_name():
    assert {"ptychography", "siemens_star_fly_scan"} <= set(names("simulation"))
    assert lookup("simulation", "siemens_star_fly_scan") is SiemensStarFlyScan


@pytest.fixture(scope="module")
def demonstration() -> Dataset:
    return SiemensStarFlyScan().run(0)


def test_demonstration_is_what_it_says(demonstration):
    assert demonstration.patterns.shape == (380, 64, 64)
    np.testing.assert_allclose(demonstration.pixel_size_m, 12.8e-9, rtol=0.01)
    errors = position_errors(demonstration.probe_positions_px, demonstration.truth["probe_positions_px"])
    assert errors.rms_px == pytest.approx(1.75)


def test_demonstration_needs_several_modes(demonstration):
    fractions = power_fractions(demonstration.truth["probe"])
    assert fractions[0] < 0.6
    assert fractions[:5].sum() > 0.999
