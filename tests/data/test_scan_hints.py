"""What is said about a scan before it is reconstructed: turned, mirrored, exchanged, standing still; or nothing.

Patterns are spots at the gradient of a known potential, which is what a center of mass measures.
"""

from __future__ import annotations

import numpy as np
import pytest
from command_line import Adorym, write_config, write_data
from tiny_scan import Scan

from adorym.commands.inspect import inspect
from adorym.data import judgements
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.judgements import judge
from adorym.data.native_write import write_native
from adorym.data.survey import OrientationTest, orientation_test
from adorym.schema import build
from adorym.simulate.experiments import Ptychography, TwoPlanes

WINDOW, PIXEL_M = (24, 24), (10e-9, 10e-9)
BASE = {"object_px": (120, 120), "window_px": (48, 48), "photons": 2e5}


def turned(positions: np.ndarray, degrees: float) -> np.ndarray:
    """From x towards y, which points down: a step along x goes to larger y."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    y, x = (positions - positions.mean(0)).T
    return np.stack([c * y + s * x, c * x - s * y], axis=-1) + positions.mean(0)


def gradient(positions: np.ndarray, seed: int) -> np.ndarray:
    """(y, x) gradient, in detector pixels, of a sum of waves of different directions and lengths."""
    rng, total = np.random.default_rng(seed), 0.0
    for _ in range(25):
        k, phase = rng.normal(size=2) * 0.12, rng.uniform(0, 6.28)
        total = total + k * np.cos(positions @ k + phase)[:, None]
    return 5 * total


def scan(seed: int = 0, recorded=lambda p: p, counts: float = 400.0, rows: int = 13) -> Dataset:
    rng = np.random.default_rng(100 + seed)
    true = np.stack(np.meshgrid(np.arange(rows), np.arange(rows), indexing="ij"), -1).reshape(-1, 2) * 4.0
    true = true + rng.uniform(-1, 1, true.shape)
    y, x = (np.arange(n) - (n - 1) / 2 for n in WINDOW)
    spots = gradient(true, seed)
    bell = np.exp(-((y - spots[:, :1]) ** 2) / 18)[:, :, None] * np.exp(-((x - spots[:, 1:]) ** 2) / 18)[:, None]
    patterns = rng.poisson(counts * bell / bell.sum((1, 2), keepdims=True)).astype(np.float32)
    return Dataset(patterns=ArrayPatterns(patterns), probe_positions_px=recorded(true), pixel_size_m=PIXEL_M)


def said(dataset: Dataset) -> list[str]:
    """What is said about the scan."""
    return [hint for hint in judge(dataset).hints if hint.split(":")[0] in ("orientation", "positions", "overlap")]


@pytest.mark.parametrize("degrees", [-80, -35, -12, 12, 20, 50, 88])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_turn_is_measured_and_undone(degrees, seed):
    dataset = scan(seed, lambda p: turned(p, -degrees))
    found = orientation_test(dataset)
    assert found.turn_deg == pytest.approx(degrees, abs=max(1.5, 4 * np.degrees(found.error_rad)))
    hint = next(hint for hint in judge(dataset).hints if hint.startswith("orientation"))
    stated = float(hint.split("'data.rotation: ")[1].split(" deg'")[0])
    mended = dataset.with_(probe_positions_px=turned(dataset.probe_positions_px, stated))
    assert said(mended) == []


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        (lambda p: p[:, ::-1], ("exchanged", "data.positions_order: xy", "data.transpose: true")),
        (lambda p: p * [1, -1], ("mirrored", "data.flip_x: true")),
        (lambda p: p * [-1, 1], ("mirrored", "data.flip_x: true")),
        (lambda p: turned(p, 90), ("turned", "data.rotation: ")),
        (lambda p: turned(p, -30) * [1, -1], ("mirrored and turned", "data.flip_y: true", "data.rotation: ")),
    ],
)
def test_other_orientations(recorded, words):
    for seed in (2, 3):
        hints = said(scan(seed, recorded, counts=2000))
        assert len(hints) == 1
        assert all(word in hints[0] for word in words)


def test_the_stated_settings_mend_a_file_that_is_mirrored_and_turned(tmp_path):
    path = write_native(scan(4, lambda p: turned(p, 40) * [-1, 1]), tmp_path / "a.h5")
    hint = next(hint for hint in inspect(path).hints if hint.startswith("orientation"))
    settings = dict(part.split(": ") for part in hint.split("'")[1::2])
    mended = {key.removeprefix("data."): True if value == "true" else value for key, value in settings.items()}
    assert {"flip_y", "rotation"} == set(mended)
    assert not [hint for hint in inspect(path, mended).hints if hint.startswith("orientation")]


@pytest.mark.parametrize("seed", range(12))
def test_right_scans_are_not_doubted(seed):
    dataset = scan(seed, counts=(60.0, 300.0, 3000.0)[seed % 3], rows=9 + seed % 5)
    assert said(dataset) == []
    rng = np.random.default_rng(seed)
    noisy = dataset.with_(probe_positions_px=dataset.probe_positions_px + rng.normal(0, 0.7, (dataset.n_patterns, 2)))
    assert said(noisy) == []
    still = dataset.with_(patterns=ArrayPatterns(rng.poisson(5.0, (dataset.n_patterns, *WINDOW)).astype(np.float32)))
    assert not [hint for hint in judge(still).hints if hint.startswith("orientation")]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Ptychography, {}),
        (Ptychography, {"scan": {"pattern": "grid"}}),
        (Ptychography, {"scan": {"pattern": "fermat"}}),
        (Ptychography, {"scan": {"pattern": "spiral"}}),
        (Ptychography, {"scan": {"pattern": "fly", "duty": 1.0, "position_error": 1.75}}),
        (Ptychography, {"phantom": {"kind": "cells", "count": 20}}),
        (Ptychography, {"photons": 1e4}),
        (TwoPlanes, {}),
    ],
)
@pytest.mark.parametrize("seed", [0, 5])
def test_simulated_experiments_are_not_doubted(kind, settings, seed):
    assert said(build(kind, BASE | settings).run(seed)) == []


def test_a_beam_that_never_moves_is_said_and_refused(tmp_path, capsys):
    path = write_data(tmp_path / "data.h5", probe_positions_px=np.full((Scan().n, 2), 7.0))
    assert any("all 20 are the same" in hint for hint in inspect(path).hints)
    adorym, config = Adorym(capsys), write_config(tmp_path)
    for command in ("check", "run"):
        ended = adorym(command, config)
        assert ended.status == 2 and "all 20 probe positions are the same" in ended.err


def test_positions_in_nanometers_are_suspected_where_they_would_overlap():
    dataset = scan(1).with_(start_probe=np.ones((1, *WINDOW), np.complex64))
    far = dataset.with_(probe_positions_px=dataset.probe_positions_px * 10)
    assert any("data.positions_unit: nm" in hint for hint in judge(far).hints)


@pytest.mark.parametrize(
    ("angle", "error", "said"), [(89.1, 0.5, 90), (-88.9, 0.5, -90), (86.0, 0.5, 86), (20.2, 9.0, 20)]
)
def test_a_turn_that_may_be_a_right_angle_is_one(angle, error, said):
    found = OrientationTest((), np.deg2rad(angle), np.deg2rad(error), False, 2.0, 2.0)
    assert f"'data.rotation: {said} deg'" in judgements._orientation_hint(found)
