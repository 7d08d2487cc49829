"""Patterns on a finer grid than the detector's: what is valid, what is spread, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from laws import relative_error
from tiny_scan import Exact, Scan

from adorym.data.upsampling import spread, upsampled
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import _fit, predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError
from adorym.forward.multislice import Multislice
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.optics.probes import GaussianProbe

RNG = np.random.default_rng(5)
COUNTS = RNG.poisson(20.0, (20, 4, 6)).astype(float)


def coarse(**changes):
    return Scan().noisy().with_(**({"patterns": Exact(COUNTS), "mask": None} | changes))


@pytest.mark.parametrize("kind", ["intensity", "amplitude"])
def test_every_count_is_valid_once_and_spread_it_stays_the_same(kind):
    mask = RNG.random((4, 6)) > 0.3
    fine = upsampled(coarse(measured=kind, mask=mask, detector_pixel_size_m=(6e-5, 3e-5)), 3)
    seen, index = fine.patterns.read(np.array([2, 7])), np.array([2, 7])
    assert fine.window_px == (12, 18) and fine.detector_pixel_size_m == pytest.approx((2e-5, 1e-5))
    assert (seen * fine.mask).sum() == (COUNTS[index] * mask).sum()
    even = spread(fine)
    power = even.patterns.read(index) ** (2 if kind == "amplitude" else 1) * even.mask
    np.testing.assert_allclose(power.sum(), (COUNTS[index] ** (2 if kind == "amplitude" else 1) * mask).sum())
    assert (even.mask.reshape(4, 3, 6, 3).all((1, 3)) == mask).all() and np.ptp(power[0, :3, :3]) == 0


def test_weights_and_probe_follow():
    weights, probe = RNG.random((4, 6)), RNG.normal(size=(2, 4, 6)) + 0j
    fine = upsampled(coarse(weights=weights, start_probe=probe), 2)
    np.testing.assert_array_equal(fine.weights[::2, 1::2], weights)
    np.testing.assert_array_equal(fine.start_probe[:, 2:6, 3:9], probe)
    assert np.count_nonzero(fine.start_probe) == probe.size
    one = upsampled(coarse(weights=np.ones((20, 1, 1)), start_probe=None), 2)
    assert one.weights.shape == (20, 1, 1) and spread(coarse()).mask is None


def predicted(model, dataset):
    settings = {"probe": ProbeSettings(initial=GaussianProbe(fwhm="4 px")), "object": ObjectSettings(margin_px=2)}
    run = RunSettings(precision="double", backend="torch", device="cpu")
    problem = Reconstruction(dataset, Recipe(model, settings, LeastSquares()), run).problem
    return problem, problem.xp.to_numpy(predict_patterns(problem, np.arange(5)))


@pytest.mark.parametrize("make", [Ptychography, lambda **given: Multislice(slices=2, spacing=1e-7, **given)])
def test_pixels_of_the_detector_hold_what_falls_on_them(make):
    """An odd factor: each measured pixel is the sum over the finer ones about its middle."""
    data = coarse()
    wide = data.with_(patterns=Exact(np.ones((20, 12, 18))))
    problem, found = predicted(make(upsampling=3), data)
    fine = problem.bound.from_model_frame(predicted(make(), wide)[1])
    expected = np.roll(fine, 1, axis=(1, 2)).reshape(5, 4, 3, 6, 3).sum((2, 4))
    seen = problem.bound.from_model_frame(found)[:, ::3, ::3]
    # Both have the same beam, but for its power, which is that of the counts.
    assert relative_error(seen / seen.sum(), expected / expected.sum()) < 1e-10


def test_a_result_shows_the_pixels_of_the_detector():
    problem, _ = predicted(Ptychography(upsampling=2), coarse())
    fit = _fit(problem)
    np.testing.assert_array_equal(fit["measured"], COUNTS[int(fit["index"])])
    assert fit["predicted"].shape == (4, 6) and fit["predicted"].sum() == pytest.approx(COUNTS.sum() / 20, rel=0.5)


def test_the_near_field_is_refused():
    with pytest.raises(ConfigError, match=r"upsampling: in the near field .* found 2; leave it out"):
        predicted(Ptychography(upsampling=2, propagation="fresnel"), coarse(propagation_distance_m=np.array([1e-3])))
