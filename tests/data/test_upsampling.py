"""Patterns on a finer grid than the detector's: what is valid, what is spread, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from laws import relative_error
from tiny_scan import Exact, Scan

import adorym
from adorym.data.native_write import write_native
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
from adorym.optics.probe_search import AutoProbe
from adorym.optics.probes import GaussianProbe, MeanPatternProbe

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
    # The middle of each block is its measured pixel, and all of a block is alike.
    blocks = np.roll(even.mask, 1, axis=(0, 1)).reshape(4, 3, 6, 3)
    assert (blocks.all((1, 3)) == mask).all() and (blocks.any((1, 3)) == mask).all()
    assert np.ptp(np.roll(power, 1, axis=(1, 2))[0, 3:6, 3:6]) == 0


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
@pytest.mark.parametrize("window", [(4, 6), (5, 7)])
def test_pixels_of_the_detector_hold_what_falls_on_them(make, window):
    """An odd factor: each measured pixel is the sum over the finer ones about its middle."""
    ny, nx = window
    data = coarse(patterns=Exact(np.ones((20, ny, nx))))
    room = np.array([ny, nx])
    wide = coarse(patterns=Exact(np.ones((20, 3 * ny, 3 * nx))), probe_positions_px=data.probe_positions_px - room)
    problem, found = predicted(make(upsampling=3), data)
    fine = problem.bound.from_model_frame(predicted(make(), wide)[1])
    # Fine pixels from the zero frequency, and measured ones: the latter hold three of the former.
    ends = [np.arange(3 * n) - 3 * n // 2 + 1 for n in window]
    rows, columns = (np.floor_divide(each, 3) + n // 2 for each, n in zip(ends, window, strict=True))
    expected = np.zeros((5, ny, nx))
    for i, row in enumerate(rows % ny):
        for j, column in enumerate(columns % nx):
            expected[:, row, column] += fine[:, i, j]
    seen = problem.bound.from_model_frame(found)[:, ::3, ::3]
    # Both have the same beam, but for its power, which is that of the counts.
    assert relative_error(seen / seen.sum(), expected / expected.sum()) < 1e-10


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("window", [(12, 12), (11, 11)])
def test_a_probe_from_the_patterns_shows_their_middle(factor, window):
    """Of symmetric patterns: the middle of the start prediction is the middle of the measured ones."""
    y, x = (np.arange(n) - n // 2 for n in window)
    spot = 1000 * np.exp(-(y[:, None] ** 2 + x**2) / 6.0)
    data = coarse(patterns=Exact(np.broadcast_to(spot, (20, *window)).copy()))
    settings = {"probe": ProbeSettings(initial=MeanPatternProbe()), "object": ObjectSettings(margin_px=2)}
    run = RunSettings(precision="double", backend="torch", device="cpu")
    problem = Reconstruction(data, Recipe(Ptychography(upsampling=factor), settings, LeastSquares()), run).problem
    made = problem.bound.from_model_frame(problem.xp.to_numpy(predict_patterns(problem, np.arange(1))))
    seen = made[0, ::factor, ::factor]
    middle = [(seen * each).sum() / seen.sum() for each in np.indices(window)]
    np.testing.assert_allclose(middle, [n // 2 for n in window], atol=0.06)


def test_two_scans_have_a_probe_each(monkeypatch):
    """What the search sees is spread, also of a part of the patterns."""
    seen = []

    def search(initial, dataset, *rest):
        seen.append(dataset)
        raise ZeroDivisionError

    monkeypatch.setattr("adorym.forward.first_probe.kept", search)
    two = coarse(angle_index=np.arange(20) % 2, theta_rad=np.zeros(2))
    for data, per in ((coarse(), "run"), (two, "scan")):
        settings = {"probe": ProbeSettings(initial=AutoProbe(), per=per), "object": ObjectSettings(margin_px=2)}
        with pytest.raises(ZeroDivisionError):
            recipe = Recipe(Ptychography(upsampling=2), settings, LeastSquares())
            Reconstruction(data, recipe, RunSettings(precision="double", backend="torch", device="cpu"))
        assert seen[-1].mask is None and np.ptp(seen[-1].patterns.read(np.zeros(1, int))) > 0
        np.testing.assert_allclose(seen[-1].patterns.read(np.zeros(1, int)).sum(), COUNTS[0].sum())


def test_what_it_cannot_be_combined_with_is_refused():
    for name in ("background", "pattern_shift"):
        settings = {name: Ptychography.refinable[name].settings()} | {
            "probe": ProbeSettings(initial=GaussianProbe(fwhm="4 px")),
            "object": ObjectSettings(margin_px=2),
        }
        with pytest.raises(ConfigError, match=f"upsampling: cannot be refined beside 'parameters.{name}'"):
            Reconstruction(coarse(), Recipe(Ptychography(upsampling=2), settings, LeastSquares()), RunSettings())


def test_a_result_shows_the_pixels_of_the_detector():
    problem, _ = predicted(Ptychography(upsampling=2), coarse())
    fit = _fit(problem)
    np.testing.assert_array_equal(fit["measured"], COUNTS[int(fit["index"])])
    assert fit["predicted"].shape == (4, 6) and fit["predicted"].sum() == pytest.approx(COUNTS.sum() / 20, rel=0.5)


def test_the_near_field_is_refused():
    with pytest.raises(ConfigError, match=r"upsampling: in the near field .* found 2; leave it out"):
        predicted(Ptychography(upsampling=2, propagation="fresnel"), coarse(propagation_distance_m=np.array([1e-3])))


def test_another_grid_does_not_go_on(tmp_path):
    write_native(coarse(pixel_size_m=(1e-8, 1e-8)), tmp_path / "scan.h5")

    def config(**changes):
        made = {"data": {"path": str(tmp_path / "scan.h5")}, "run": {"epochs": 1}}
        parameters = {"probe": {"initial": {"kind": "gaussian", "fwhm": "4 px"}}, **changes.pop("parameters", {})}
        return made | {"parameters": parameters, **changes}

    fine = {"kind": "ptychography", "upsampling": 2}
    first = adorym.reconstruct(config(forward_model=fine), output=tmp_path / "out")
    again = adorym.reconstruct(config(forward_model=fine, start_from=str(tmp_path / "out"), parameters={"probe": {}}))
    assert again.history["loss"][0] < first.history["loss"][0]
    with pytest.raises(ConfigError, match=r"another grid; expected 'forward_model.upsampling: 2'; found 1"):
        adorym.reconstruct(config(forward_model="ptychography", start_from=str(tmp_path / "out")))
