"""The gauge of a parameter never changes the loss: what it takes out goes elsewhere, or stays."""

from __future__ import annotations

import adapter
import numpy as np
import pytest
from cases import MODELS, insert
from laws import noise

CASES = [(case, name) for make in MODELS.values() for case in make() for name in case.settings]
GAUGED = [
    (case, name)
    for case, name in CASES
    if name in case.model.refinable and case.model.refinable[name].gauge is not None
]


@pytest.mark.parametrize(("case", "name"), GAUGED, ids=lambda each: each if isinstance(each, str) else each.name)
def test_the_gauge_leaves_the_loss_as_it_was(case, name):
    problem = adapter.of_case(case).problem
    truth, rng = case.truth(problem.store.shape, problem.origin_px), np.random.default_rng(6)
    scale = case.scales.get(name, 1.0)
    width = scale * (0.1 if scale < 0.1 else 0.05)
    off = width * (1 + noise(rng, truth[name].shape))
    insert(problem, truth | {name: truth[name] + off})
    before = adapter.loss_of(problem)
    adapter.fix_gauge(problem, name)
    assert adapter.loss_of(problem) == pytest.approx(before, rel=1e-9)
