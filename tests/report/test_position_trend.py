"""The affine trend of refined positions: found, told in words, and shown in the report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from command_line import Adorym, write_config, write_data
from hypothesis import given, settings
from hypothesis import strategies as st
from result_cases import ptychography_result

from adorym.data.result import ParameterResult, Result, read_result, write_result
from adorym.report.base import Scene
from adorym.report.page import render
from adorym.report.position_trend import position_trend

RECORDED = np.random.default_rng(5).uniform((-30, 12), (190, 160), (80, 2))
SCATTER = np.random.default_rng(6).normal(0, 0.2, RECORDED.shape)


def affine(scale=(1.0, 1.0), shear=0.0, rotation_rad=0.0) -> np.ndarray:
    c, s = np.cos(rotation_rad), np.sin(rotation_rad)
    return np.array([[c, -s], [s, c]]) @ np.array([[1, shear], [0, 1]]) @ np.diag(scale)


def result(refined, recorded=RECORDED) -> Result:
    return Result(np.ones((4, 5, 1)), parameters={"probe_positions": ParameterResult(refined, "px", recorded)})


def moved(matrix: np.ndarray, scatter: np.ndarray | float = SCATTER) -> Result:
    """Recorded positions about their center, mapped and scattered."""
    center = RECORDED.mean(0)
    return result(center + (RECORDED - center) @ matrix.T + scatter)


def shown(trend) -> dict[str, str]:
    return dict(trend.rows)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.tuples(st.floats(0.95, 1.05), st.floats(0.95, 1.05)),
    shear=st.floats(-0.03, 0.03),
    rotation=st.floats(-0.03, 0.03),
    shift=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
)
def test_every_part_of_the_map_is_found(scale, shear, rotation, shift):
    matrix = affine(scale, shear, rotation)
    trend = position_trend(moved(matrix, np.array(shift) + 1e-3 * SCATTER))
    assert trend is not None and trend.rms_affine_px < 1e-3
    np.testing.assert_allclose(trend.affine.scale, scale, atol=1e-4)
    assert trend.affine.shear == pytest.approx(shear, abs=1e-4)
    assert trend.affine.rotation_rad == pytest.approx(rotation, abs=1e-4)
    np.testing.assert_allclose(trend.shift_px, shift, atol=2e-3)


def test_the_numbers_are_told_with_sign_and_unit():
    trend = position_trend(moved(affine((0.99, 1.02), 0.005, -0.004), 0.05 * (SCATTER - SCATTER.mean(0))))
    rows = shown(trend)
    assert rows["Scale in y"].startswith("−1.0") and rows["Scale in x"].startswith("+2.0")
    assert rows["Shear of y with x"].startswith("+0.5") and rows["Rotation from y towards x"].endswith("mrad")
    assert rows["Mean shift in y, x"] == "0.000, 0.000 px"
    assert rows["Correction, affine map removed"].startswith("0.01")
    for part in ("px rms", "px beyond the trend", "scale y −", "shear +0.5", "rotation −"):
        assert part in trend.summary


def test_scatter_of_the_scale_is_that_of_chance():
    """A standard error that is right is exceeded twofold in one of twenty draws."""
    beyond = 0
    for seed in range(200):
        scatter = np.random.default_rng(seed).normal(0, 0.2, RECORDED.shape)
        affine_part = position_trend(moved(affine(), scatter)).affine
        beyond += abs(affine_part.scale[0] - 1) > 2 * affine_part.scale_error[0]
    assert 2 <= beyond <= 22


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (0.985, ("too small, by 1.5 % or more", "energy too high", "distance too short", "move less")),
        (1.02, ("too large, by 2.0 % or more", "energy too low", "distance too long", "move more")),
    ],
)
def test_a_scale_common_to_both_axes_is_interpreted(scale, words):
    hint = position_trend(moved(affine((scale, scale)))).hint
    assert all(word in hint for word in words)


def test_a_scale_says_what_to_change():
    made = replace(moved(affine((1.04, 1.04)), 0.0), pixel_size_m=(12.48e-9, 12.48e-9))
    assert "Try the distance times 0.9615, or 'data.pixel_size: 12 nm' if no distance is" in position_trend(made).hint


@pytest.mark.parametrize("degrees", [-2.0, 3.0])
def test_a_turn_is_interpreted(degrees):
    """From x towards y is the other way round than from y towards x."""
    hint = position_trend(moved(affine(rotation_rad=-np.radians(degrees)), 0.05 * SCATTER)).hint
    assert "Refinement found a turn" in hint
    stated = float(hint.split("data.rotation: ")[1].split(" deg")[0])
    assert stated == pytest.approx(degrees, abs=0.1)
    assert position_trend(moved(affine((1.05, 0.97), 0.03, 0.02))).hint == ""


@pytest.mark.parametrize("scale", [(1.0, 1.0), (1.02, 1.0), (1.0, 0.98), (1.01, 0.99), (1.006, 1.006)])
def test_nothing_is_read_into_other_trends(scale):
    assert position_trend(moved(affine(scale))).hint == ""


def test_pixels_that_are_too_small_shrink_the_refined_positions():
    """The same stage positions in meters: divided by a pixel that is too small they spread too far."""
    true_m, assumed_pixel_m, pixel_m = RECORDED * 1e-8, 0.98e-8, 1e-8
    trend = position_trend(result(true_m / pixel_m, true_m / assumed_pixel_m))
    assert "too small, by 2.0 %" in trend.hint


@pytest.mark.parametrize(
    "without",
    [
        Result(np.ones((4, 5, 1))),
        result(RECORDED, None),
        result(RECORDED, RECORDED.copy()),
        result(RECORDED[:2] + SCATTER[:2], RECORDED[:2]),
        result(np.outer(np.arange(9), [1.0, 2.0]) + SCATTER[:9], np.outer(np.arange(9), [1.0, 2.0])),
    ],
    ids=["no positions", "no start", "not refined", "too few", "on a line"],
)
def test_no_trend_where_there_is_none_to_find(without):
    assert position_trend(without) is None


def test_the_report_shows_the_trend():
    base = replace(ptychography_result(), object=np.ones((12, 14, 1), complex), probe=None)
    html = render(Scene(replace(base, parameters=moved(affine((0.985, 0.985))).parameters)), [])
    for text in ('id="trend"', 'href="#trend"', "Scale in y", "Mean shift in y, x", "pixel size seems too small"):
        assert text in html
    unrefined = render(Scene(replace(base, parameters=result(RECORDED, RECORDED).parameters)), [])
    assert 'id="trend"' not in unrefined


def test_a_run_ends_with_the_trend(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5")
    adorym = Adorym(capsys)
    refining = adorym("run", write_config(tmp_path, parameters={"probe_positions": {}}), "-o", "out")
    lines = [line for line in refining.out.splitlines() if line.startswith("Positions corrected by ")]
    assert lines == [f"Positions {position_trend(read_result('out')).summary}."]
    fixed = write_config(tmp_path, parameters={"probe_positions": {"refine": False}})
    assert "Positions" not in adorym("run", fixed, "-o", "out").out


def test_the_trend_survives_the_file(tmp_path):
    made = moved(affine((0.99, 0.99)))
    write_result(made, tmp_path / "result.h5")
    assert position_trend(read_result(tmp_path)).rows == position_trend(made).rows
