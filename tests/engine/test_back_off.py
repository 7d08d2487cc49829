"""Learning rates that are too large: the loss rises, the rates fall, the run comes to a good end."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_same_state
from tiny_runs import calm, finished, stopped_after, tiny

from adorym.engine.checkpoint import load_checkpoint, save_checkpoint
from adorym.errors import RunError
from adorym.forward.object import ObjectSettings
from adorym.optimizers.preconditioned import Preconditioned
from adorym.optimizers.schedules import Constant


def too_fast(rate=2.0, **run):
    """Object steps that are too long."""
    optimizer = Preconditioned(learning_rate=rate, regularization=0.1, momentum=0.8)
    parameters = calm() | {"object": ObjectSettings(optimizer=optimizer, schedule=Constant(), margin_px=4)}
    return tiny(parameters=parameters, epochs=12, **run)


def test_rates_fall_until_the_loss_does(caplog):
    run = too_fast()
    rates = [record.learning_rates["object"] for record in run.epochs()]
    losses = run.progress.history["loss"]
    rises = [i for i in range(1, len(losses)) if losses[i] > 1.1 * losses[i - 1]]
    assert rises, "these steps were meant to be too long"
    expected = [2.0 * 0.5 ** sum(rise < epoch for rise in rises) for epoch in range(len(rates))]
    assert rates == pytest.approx(expected)
    assert len(caplog.messages) == len(rises)
    assert "learning rates are multiplied by 0.5 from here on" in caplog.messages[0]
    assert losses[-1] < 0.1 * losses[0]


def test_without_it_the_run_ends_with_an_error():
    with pytest.raises(RunError, match=r"the loss (grows without bound|is not a finite number)"):
        finished(too_fast(rate=4.0, backoff=1.0))


def test_velocities_start_anew(caplog):
    run = too_fast()
    for _ in run.epochs():
        if caplog.messages:
            break
    assert caplog.messages
    assert all(np.all(state == 0) for state in run.problem.store.state())


def test_a_calm_run_is_left_alone(caplog):
    one, other = finished(tiny()), finished(tiny(backoff=1.0))
    assert one.progress.backoff == 1 and not caplog.messages
    assert_same_state(one, other)


def test_a_resumed_run_keeps_the_rates_that_fell(tmp_path):
    whole = finished(too_fast())
    first = stopped_after(too_fast(), 6, 2)
    assert first.progress.backoff < 1
    save_checkpoint(first, tmp_path / "checkpoint.h5", {})
    second = too_fast()
    load_checkpoint(second, tmp_path / "checkpoint.h5", {})
    assert_same_state(finished(second, 12 - second.progress.epoch), whole)
