"""Short runs on the device that is none, and what leaves it in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from backends import DOUBLE
from cases import ModelCase, insert
from device_double import Traffic
from laws import noise

from adorym.engine.loop import Reconstruction
from adorym.engine.step import run_batch

ON_DEVICE: dict[str, Any] = {"backend": DOUBLE, "precision": "single", "batch_size": 10}


def near_truth(case: ModelCase, **run: Any) -> Reconstruction:
    """A run of ``case`` that starts a little off the truth, where every gradient means something."""
    made = case.reconstruction(**run)
    problem, rng = made.problem, np.random.default_rng(7)
    values = case.truth(problem.store.shape, problem.bound.origin_px)
    moved = {}
    for name, value in values.items():
        size = 0.02 * (float(np.abs(value).max()) if np.iscomplexobj(value) else case.scales.get(name, 0.1))
        moved[name] = value if name == "support" else value + size * noise(rng, value.shape, np.iscomplexobj(value))
    insert(problem, moved)
    return made


def traffic(reconstruction: Reconstruction) -> list[str]:
    """What leaves the device in a batch of the second epoch."""
    problem = reconstruction.problem
    for _ in reconstruction.epochs(1):
        pass
    rates = {name: value.rate for name, value in problem.active(1).items()}
    assert len(rates) > 1 or "object" in rates
    patterns, *others = reconstruction.batches()
    with Traffic() as seen:
        run_batch(problem, patterns, rates, 1 / (1 + len(others)))
    return seen.seen
