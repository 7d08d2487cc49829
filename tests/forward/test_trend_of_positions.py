"""Corrections of positions that follow an affine map and a smooth drift."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_scan import Scan

from adorym.config import config_from
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigErrors
from adorym.forward.object import ObjectSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.thin import PositionSettings
from adorym.losses.counting import LeastSquares
from adorym.updates import PositionTrend
from adorym.updates.base import State


def after(trend: PositionTrend, positions: np.ndarray) -> np.ndarray:
    state = State(1, 2, {"probe_positions": positions}, {"probe_positions": 1.0}, lambda: np.zeros(0))
    return trend.apply(state).values["probe_positions"]


def turned(positions: np.ndarray, rad: float) -> np.ndarray:
    """By a small angle from x towards y, y downwards, about the middle."""
    y, x = (positions - positions.mean(0)).T
    return positions + rad * np.stack([x, -y], axis=1)


def test_what_follows_the_trend_stays_and_the_rest_goes():
    rng = np.random.default_rng(4)
    first = rng.uniform(0, 50, (40, 2))
    away, rows = first - first.mean(0), (np.arange(40),)
    alone = rng.normal(size=(40, 2))
    for name, moved in {
        "scale": 1.01 * away,
        "unequal_scales": away * [1.01, 0.99],
        "shear": away + 0.01 * away[:, ::-1],
        "rotation": turned(first, 0.01) - first.mean(0),
    }.items():
        moved = moved + first.mean(0) + [0.3, -0.2]
        stiff = PositionTrend(first, rows, (name,))
        np.testing.assert_allclose(after(stiff, moved), moved, atol=1e-10)
        other = PositionTrend(first, rows, ("rotation" if name == "scale" else "scale",))
        assert np.abs(after(other, moved) - moved).max() > 0.1, name
        rest = after(stiff, first + alone) - first - alone.mean(0)
        assert np.sqrt(np.mean(rest**2)) < 0.4
        loose = PositionTrend(first, rows, (name,), flexibility=0.25)
        trend = after(stiff, first + alone)
        np.testing.assert_allclose(after(loose, first + alone), trend + 0.25 * (first + alone - trend), atol=1e-10)


def test_a_drift_is_smooth_in_the_order_of_each_scan():
    first = np.random.default_rng(4).uniform(0, 50, (40, 2))
    scans = (np.arange(0, 40, 2), np.arange(1, 40, 2))
    moved = first.copy()
    for k, rows in enumerate(scans):
        time = (np.arange(20) + 0.5) / 20
        moved[rows, k] += 2 * np.cos(np.pi * time) - np.cos(3 * np.pi * time)
    np.testing.assert_allclose(after(PositionTrend(first, scans, (), drift=3), moved), moved, atol=1e-10)
    assert np.abs(after(PositionTrend(first, scans, (), drift=2), moved) - moved).max() > 0.5
    one = PositionTrend(first, (np.arange(40),), (), drift=3)
    assert np.abs(after(one, moved) - moved).max() > 0.5


def test_positions_that_are_not_refined_stay():
    first = np.random.default_rng(4).uniform(0, 50, (40, 2))
    state = State(1, 2, {"probe_positions": first + 1.0 * (first > 20)}, {}, lambda: np.zeros(0))
    assert PositionTrend(first, (np.arange(40),), ("scale",)).apply(state) is state


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_a_drift_during_a_scan_in_random_order_is_found(backend):
    """In the order of the rows a drift would stretch the object, which the patterns hardly tell."""
    scan = Scan(grid=(7, 8), photons=1e6, step_px=1.8)
    object.__setattr__(scan, "positions", np.random.default_rng(2).permutation(scan.positions))
    time = (np.arange(scan.n) + 0.5) / scan.n
    recorded = scan.positions + 0.6 * np.stack([np.cos(np.pi * time), np.cos(2 * np.pi * time)], axis=1)
    data = scan.noisy(probe_positions_px=recorded, start_probe=scan.probe())
    errors = {}
    for name, more in {"alone": {}, "trend": {"drift": 2}}.items():
        settings = {"object": ObjectSettings(margin_px=4), "probe_positions": PositionSettings(start=3, **more)}
        run = RunSettings(epochs=60, device="cpu", threads=1, backend=backend)
        made = Reconstruction(data, Recipe(Ptychography(), settings, LeastSquares()), run)
        list(made.epochs())
        wrong = made.problem.present()["probe_positions"] - scan.positions
        errors[name] = np.sqrt(np.mean((wrong - wrong.mean(0)) ** 2))
    before = recorded - scan.positions
    assert errors["trend"] < 0.3 * np.sqrt(np.mean((before - before.mean(0)) ** 2)), errors
    assert errors["trend"] < errors["alone"]


def test_mistakes_are_told():
    def config(**positions):
        return config_from(
            {"data": "a.h5", "forward_model": "ptychography", "parameters": {"probe_positions": positions}}
        )

    made = config(trend=["scale", "shear"], drift=4, flexibility=0.5).parameters["probe_positions"]
    assert made.trend == ("scale", "shear") and made.drift == 4
    with pytest.raises(
        ConfigErrors, match=r"positions\.flexibility: has no effect without a trend; .* give 'trend' or"
    ):
        config(flexibility=0.5)
    with pytest.raises(ConfigErrors, match=r"positions\.drift: has no effect: positions are not refined; leave it out"):
        config(drift=2, refine=False)
    with pytest.raises(ConfigErrors, match=r"initial: cannot be combined with 'trend', which refers to the data; give"):
        config(trend=["scale"], initial="a.npy")
    with pytest.raises(ConfigErrors, match=r"positions\.trend"):
        config(trend=["twist"])
    said = list(PositionSettings(trend=("scale",), drift=3).notices("p", Scan(grid=(2, 2)).dataset()))
    assert said == ["p.trend: has no effect: 4 positions of a scan are free in a trend of 5 terms"]
