"""Objects and patterns that networks for ptychography are trained on."""

import numpy as np
import pytest

from adorym.errors import ConfigError, InputError
from adorym.optics.modes import beam_diameter_px
from adorym.schema import build
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings, shifted
from adorym.simulate.synthetic_objects import FAMILIES, SyntheticObjects

SHAPE = (96, 112)


def made(family, seed=0, **changes):
    fields = {"families": (family,), "amplitude": (0.6, 0.6), "phase": (1.5, 1.5)} | changes
    return SyntheticObjects(**fields).make(0, SHAPE, np.random.default_rng(seed))


def slopes(obj):
    """Fraction of the variance in the upper half of the frequencies."""
    power = np.abs(np.fft.fft2(np.abs(obj) - np.abs(obj).mean())) ** 2
    fine = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1])) > 0.2
    return power[fine].sum() / power.sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_family_has_the_contrast_that_was_chosen_and_follows_its_seed(family):
    obj = made(family)
    assert obj.shape == SHAPE and np.mean(np.abs(obj) ** 2) == pytest.approx(1, rel=1e-5)
    assert np.abs(obj).min() / np.abs(obj).max() == pytest.approx(0.6, abs=0.01)
    assert np.ptp(np.angle(obj)) == pytest.approx(1.5, abs=0.01)
    np.testing.assert_array_equal(obj, made(family))
    assert not np.array_equal(obj, made(family, seed=1))


@pytest.mark.parametrize("wanted", [-1.0, 0.0, 1.0])
def test_amplitude_and_phase_correlate_as_chosen(wanted):
    found = [made("blurred_noise", seed, correlation=(wanted, wanted)) for seed in range(3)]
    values = [np.corrcoef(np.abs(o).ravel(), np.angle(o).ravel())[0, 1] for o in found]
    assert np.mean(values) == pytest.approx(wanted, abs=0.15)


def test_families_differ_in_their_fine_structure():
    assert slopes(made("dead_leaves")) > 3 * slopes(made("multi_octave_noise"))


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"families": ()}, "there are none"),
        ({"amplitude": (0.9, 0.5)}, "not a range"),
        ({"phase": ("-1 rad", "2 rad")}, "phase: not a range"),
    ],
)
def test_impossible_objects_are_refused(changes, match):
    with pytest.raises(InputError, match=match):
        build(SyntheticObjects, changes)


# -- patterns ----------------------------------------------------------------------------------------------------------
def source(group=3, **changes):
    fields = {"pool": 2, "photons": (1e7, 1e7), "object_px": 128} | changes
    return SyntheticPatterns(SyntheticSettings(**fields), (), ProbeFamily(), 64, group, 5)


def test_patterns_are_those_of_their_patches():
    batch = source().batch((0, 3, 0), 10)
    assert batch.counts.shape == (10, 3, 64, 64) and len(batch) == 10
    wave = np.fft.fft2(batch.probe * batch.truth[:, :, None], norm="ortho")
    expected = batch.photons * (np.abs(wave) ** 2).sum(2)
    error = (batch.counts - expected)[expected > 10] / np.sqrt(expected[expected > 10])
    assert np.std(error) == pytest.approx(1, abs=0.02)  # photon noise and nothing else
    np.testing.assert_array_equal(batch.counts, source().batch((0, 3, 0), 10).counts)


def test_neighbors_of_a_group_overlap_in_their_patches():
    batch = source().batch((1,), 4)
    first, second = batch.corners_px[0, :2]
    y, x = second - first
    a, b = batch.truth[0, 0], batch.truth[0, 1]
    inside = (slice(max(0, y), 64 + min(0, y)), slice(max(0, x), 64 + min(0, x)))
    moved = (slice(max(0, -y), 64 + min(0, -y)), slice(max(0, -x), 64 + min(0, -x)))
    np.testing.assert_array_equal(a[inside], b[moved])
    assert batch.corners_px.min(1).max() == 0


def test_recorded_positions_are_wrong_by_as_much_as_was_chosen():
    one, other = source(position_error=4.0).batch((0,), 40), source().batch((0,), 40)
    assert not np.array_equal(one.corners_px, other.corners_px)
    np.testing.assert_array_equal(one.counts.shape, other.counts.shape)


def test_dead_pixels_and_beam_stop_are_masked():
    good = source(dead_pixels=0.1, beam_stop=4.0).batch((0,), 2).good
    assert not good[0, 0] and not good[3, 0] and np.mean(good) == pytest.approx(0.89, abs=0.02)


def test_scan_holds_its_truth():
    data = source().scan(0, side=3)
    true, probe = data.truth["object"], data.truth["probe"]
    positions = data.truth["probe_positions_px"]
    corner, offset = np.rint(positions[4]).astype(int), positions[4] - np.rint(positions[4])
    patch = true[corner[0] : corner[0] + 64, corner[1] : corner[1] + 64]
    expected = (np.abs(np.fft.fftshift(np.fft.fft2(shifted(probe, offset) * patch, norm="ortho"))) ** 2).sum(0)
    measured = data.patterns.read(np.array([4]))[0]
    assert abs(measured.sum() / expected.sum() - 1) < 1e-3
    assert np.corrcoef(measured.ravel(), expected.ravel())[0, 1] > 0.999


def test_probes_of_the_family_fit_into_the_window():
    rng = np.random.default_rng(0)
    drawn = [ProbeFamily().draw(64, rng) for _ in range(30)]
    diameters = [beam_diameter_px(probe) for probe in drawn]
    assert min(diameters) > 3 and max(diameters) < 48 and np.std(diameters) > 3
    edge = [float((np.abs(p[0, [0, -1]]) ** 2).sum()) for p in drawn]
    assert max(edge) < 0.02 and all(np.sum(np.abs(p) ** 2) == pytest.approx(1, rel=1e-4) for p in drawn)


def test_object_smaller_than_its_patterns_is_refused():
    with pytest.raises(ConfigError, match="too small for the patterns"):
        SyntheticPatterns(SyntheticSettings(object_px=96), (), ProbeFamily(), 128, 1, 0)
