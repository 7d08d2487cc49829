"""Learning-rate schedules."""

from __future__ import annotations

import itertools

import pytest
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from adorym.optimizers.schedules import Constant, Cosine, Exponential, LateDecay, Steps


@given(name=st.sampled_from(sorted(CASES["schedule"])), epochs=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_factors_start_at_one_and_never_rise(name, epochs):
    schedule = CASES["schedule"][name](None)
    factors = [schedule.factor(epoch, epochs) for epoch in range(epochs + 3)]  # a run may go on for longer than planned
    assert factors[0] == 1 or epochs == 1
    assert all(0 < f <= 1 for f in factors)
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(factors))


def test_constant():
    assert [Constant().factor(epoch, 10) for epoch in (0, 5, 99)] == [1, 1, 1]


def test_late_decay_holds_and_then_falls_to_its_end():
    factors = [LateDecay(hold=0.5, final=0.01).factor(epoch, 8) for epoch in range(8)]
    assert factors[:4] == [1, 1, 1, 1]
    assert factors[7] == pytest.approx(0.01)
    ratios = [b / a for a, b in itertools.pairwise(factors[3:])]
    assert ratios == pytest.approx([0.01**0.25] * 4)  # geometric
    assert LateDecay(hold=1.0, final=0.01).factor(7, 8) == 1


def test_exponential_ends_at_its_minimum():
    assert [Exponential(decay=0.5, minimum=0.2).factor(epoch, 9) for epoch in range(4)] == [1, 0.5, 0.25, 0.2]


def test_cosine_is_half_a_cosine():
    assert [Cosine(final=0.2).factor(epoch, 5) for epoch in range(5)] == pytest.approx(
        [1, 0.2 + 0.8 * (1 + 2**-0.5) / 2, 0.6, 0.2 + 0.8 * (1 - 2**-0.5) / 2, 0.2]
    )


def test_steps():
    assert [Steps(at=(2, 4), decay=0.1).factor(epoch, 6) for epoch in range(6)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
