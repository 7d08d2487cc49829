"""A gauge never changes the loss: it restricts a step, or another parameter takes over what it takes out."""

from __future__ import annotations

import adapter
import numpy as np
import pytest
from cases import MODELS, insert
from laws import noise

from adorym.engine.step import apply_update, run_batch
from adorym.updates.base import State

CASES = [case for make in MODELS.values() for case in make()]
REFINED = 1e-9  # a rate: steps that change nothing but the gauge


def moved(case):
    """A problem off the truth in every parameter, after one step of all of them."""
    problem = adapter.of_case(case).problem
    truth, rng = case.truth(problem.store.shape, problem.bound.origin_px), np.random.default_rng(6)
    off = {}
    for name, value in truth.items():
        if name != "object" and not problem.values[name].spec.by_update:
            width = 0.02 * case.scales.get(name, 1.0)
            off[name] = value + width * (1 + noise(rng, np.shape(value), np.iscomplexobj(value)))
    insert(problem, truth | off)
    rates = {name: REFINED for name, v in problem.unknowns.items() if not v.spec.by_update}
    run_batch(problem, np.arange(problem.dataset.n_patterns), rates, 1.0)
    return problem, rates


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gauges_leave_the_loss_as_it_is(case):
    problem, rates = moved(case)
    before = adapter.loss_of(problem)
    for value in problem.values.values():
        value.fix_gauge(problem.xp)
    assert adapter.loss_of(problem) == pytest.approx(before, rel=1e-9)
    state = State(1, 2, problem.present(), rates, problem.store.values)
    for update in problem.bound.updates:
        if update.when == "end":
            state = apply_update(problem, update, state)
            assert adapter.loss_of(problem) == pytest.approx(before, rel=1e-9), update


def test_every_kind_of_gauge_acts_in_some_case():
    acting = set()
    for case in CASES:
        problem, rates = moved(case)
        state = State(1, 2, problem.present(), rates, problem.store.values)
        acting |= {type(u).__name__ for u in problem.bound.updates if u.when == "end" and u.apply(state) is not state}
    assert acting == {"FactorGauge", "OffsetGauge"}


def test_gauges_are_taken_out_of_every_step():
    """What the data cannot determine does not move, whatever the gradient says."""
    case = MODELS["ptychography"]()[0]
    problem, _ = moved(case)
    positions = problem.values["probe_positions"]
    shift = (problem.xp.to_numpy(positions.array) - positions.first).mean(0)
    np.testing.assert_allclose(shift, 0, atol=1e-12)
