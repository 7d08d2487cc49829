"""While a scan goes on the picture keeps learning; in the time after it, it settles, as a run does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_scan import Scan

from adorym.config import config_from
from adorym.stream import picture as module
from adorym.stream.picture import SMALLEST_BATCH, LivePicture
from adorym.stream.waiting import Ready

SCAN = Scan(grid=(8, 8))
SETTINGS = {"data": {"path": "r.h5", "pixel_size": "10 nm", "energy": "8 keV"}, "forward_model": "ptychography",
            "run": {"epochs": 10, "threads": 1}}  # fmt: skip


@pytest.fixture
def picture(monkeypatch):
    """A picture of a scan, and the learning rates and sizes of its batches."""
    taken = []

    class Step(module.GradientStep):
        def apply(self, state):
            taken.append((state.rates, len(state.patterns)))
            return super().apply(state)

    monkeypatch.setattr(module, "GradientStep", Step)
    settings = {**SETTINGS, "parameters": {"probe": {"initial": "mean_pattern"}, "probe_positions": {"start": 2}}}
    made = LivePicture(config_from(settings), {"positions_unit": "px"}, Path("r.h5"))
    patterns, positions = SCAN.dataset().patterns.read(np.arange(SCAN.n)), SCAN.positions
    rows = zip(patterns, positions, strict=True)
    made.add([Ready(n, image, tuple(at), 0.0) for n, (image, at) in enumerate(rows)])
    return made, taken


def test_rates_are_steady_while_the_scan_goes_on_and_fall_after_it(picture):
    made, taken = picture
    while made.looks < 40:  # as of a scan that takes far longer than ten epochs
        made.step(SCAN.n)
    assert len({rates["object"] for rates, _ in taken}) == 1
    assert "probe_positions" not in taken[0][0] and "probe_positions" in taken[-1][0]
    steady = taken[-1][0]["object"]
    for part in (0.2, 0.5, 0.7, 0.8, 1.0):
        made.step(SCAN.n, part)
    falling = [rates["object"] for rates, _ in taken[-5:]]
    assert falling[0] == steady and all(np.diff(falling[1:]) < 0) and falling[-1] == pytest.approx(0.05 * steady)


def test_batches_are_no_larger_than_those_of_a_run(picture):
    made, taken = picture
    for _ in range(30):
        made.step(made.batch_size)
    assert {size for _, size in taken} == {SMALLEST_BATCH}
