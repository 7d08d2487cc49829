"""Figures of Bragg peaks: ten crystals by default phasing, displacement and strain in the laboratory.

A part of ``measured_fields.py``. The truth of displacement and strain is the sum over points in the laboratory of
``tests/independent/test_bragg_laboratory.py``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from figures import Figure

from adorym.data.volume import read_volume
from adorym.initializers.phasing import Phasing
from adorym.initializers.phasing_run import ShrinkWrapSettings
from adorym.metrics.crystal import match
from adorym.simulate.bragg import BraggCrystal

TESTS = Path(__file__).resolve().parents[1] / "tests"
CRYSTALS = range(101, 111)
# What was the default before: one start.
WRAP = ShrinkWrapSettings(every=20, threshold=0.1)
BEFORE = {"starts": 1, "sequence": "3*(180*HIO + 20*ER) + 20*ER", "shrink_wrap": WRAP}


def ten_crystals() -> Iterator[Figure]:
    """What is lacking in the overlap of the default phasing with the truth, and its time over that of one start."""
    lacking, seconds, before = [], 0.0, 0.0
    for seed in CRYSTALS:
        data = BraggCrystal().run(seed)
        volume, true = read_volume(data), np.moveaxis(data.truth["crystal"], 2, 0)
        phasing, start = Phasing(device="cpu"), time.process_time()
        found = phasing.finished(phasing.phase(volume, np.random.default_rng(seed)), volume)
        seconds += time.process_time() - start
        lacking.append(1 - match(found, true).overlap)
        yield Figure(f"ten_crystals.seed_{seed}.lacking_overlap", lacking[-1], 0.07)
        if seed in CRYSTALS[:3]:
            start = time.process_time()
            Phasing(device="cpu", **BEFORE).phase(volume, np.random.default_rng(seed))
            before += (time.process_time() - start) * len(CRYSTALS) / 3
    yield Figure("ten_crystals.lacking_overlap_median", float(np.median(lacking)), 0.035)
    yield Figure("ten_crystals.lacking_overlap_worst", max(lacking), 0.055)
    yield Figure("ten_crystals.seconds_a_crystal", seconds / len(CRYSTALS))
    yield Figure("ten_crystals.over_time_of_one_start", seconds / before, 2.0)


def laboratory() -> Iterator[Figure]:
    """How far the slopes of displacement and strain against the sum over points are from 1, for both twins."""
    sys.path[:0] = [str(TESTS), str(TESTS / "independent")]
    import test_bragg_laboratory as truth

    for name, gonio in truth.GONIOMETERS.items():
        with tempfile.TemporaryDirectory() as folder:
            truth.written(gonio, Path(folder), truth.scattered(gonio))
            for twin in ("as_is", "other"):
                _, displacement, strain = truth.slopes(Path(folder), gonio, twin)
                short = name.partition(",")[0].lower()
                yield Figure(f"laboratory.{short}.{twin}.displacement", abs(displacement - 1), 0.02)
                yield Figure(f"laboratory.{short}.{twin}.strain", abs(strain - 1), 0.02)
