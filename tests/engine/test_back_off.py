"""Learning rates that are too large: the loss rises, the rates fall, the run comes to a good end."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_same_state
from tiny_runs import calm, finished, stopped_after, tiny

from adorym.engine.checkpoint import load_checkpoint, save_checkpoint
from adorym.engine.guard import check_divergence, recovered
from adorym.errors import RunError
from adorym.forward.object import ObjectSettings
from adorym.optimizers.preconditioned import Preconditioned
from adorym.optimizers.schedules import Constant


def too_fast(rate=2.0, **run):
    """Object steps that are too long."""
    optimizer = Preconditioned(learning_rate=rate, regularization=0.1, momentum=0.8)
    parameters = calm() | {"object": ObjectSettings(optimizer=optimizer, schedule=Constant(), margin_px=4)}
    return tiny(parameters=parameters, epochs=12, **run)


def test_rates_fall_when_the_loss_rises_and_come_back_when_it_falls(caplog):
    run = too_fast()
    rates = [record.learning_rates["object"] for record in run.epochs()]
    losses = run.progress.history["loss"]
    expected, factor, rises = [], 1.0, 0
    for i in range(len(losses)):
        expected.append(2.0 * factor)
        if i and losses[i] > 1.1 * losses[i - 1]:
            factor, rises = factor / 2, rises + 1
        elif i and losses[i] < losses[i - 1]:
            factor = min(1.0, factor * 2 ** (1 / (4 * max(rises, 1))))
    assert rises, "these steps were meant to be too long"
    assert rates == pytest.approx(expected)
    assert len(caplog.messages) == rises
    assert "learning rates are multiplied by 0.5 until it falls again" in caplog.messages[0]
    assert losses[-1] < 0.1 * losses[0]


def test_one_rise_costs_a_few_epochs_only():
    run, rates = tiny(epochs=12), []
    for record in run.epochs():
        rates.append(record.learning_rates["object"])
        if record.epoch == 1:
            run.progress.history["loss"][-1] *= 0.1  # the next loss has risen, but the steps are right
    full = rates[0]
    assert rates[2] == pytest.approx(full / 2) and rates[1] == full
    assert rates[2] < rates[3] < rates[4] < rates[5] < rates[6] == rates[-1] == full


def test_steps_that_stay_too_long_come_back_ever_more_slowly():
    assert recovered(0.5, 0.5, 1) == pytest.approx(0.5 * 2 ** (1 / 4))
    assert recovered(0.5, 0.5, 3) == pytest.approx(0.5 * 2 ** (1 / 12))
    assert recovered(0.9, 0.5, 1) == 1.0


def test_a_run_that_diverges_goes_back_to_its_best_epoch():
    run, kept = too_fast(rate=4.0, backoff=1.0), {}
    with (
        pytest.raises(RunError, match=r"the best result so far is that of epoch \d+") as found,
        np.errstate(all="ignore"),
    ):
        for record in run.epochs():
            kept[record.epoch] = run.problem.store.values(), run.problem.present()["probe"].copy()
    losses, epoch = run.progress.history["loss"], run.best.epoch
    assert losses[epoch - 1] <= 1.01 * min(losses)
    assert f"epoch {epoch}" in found.value.message() and run.ended
    np.testing.assert_array_equal(run.problem.store.values(), kept[epoch][0])
    np.testing.assert_array_equal(run.problem.present()["probe"], kept[epoch][1])


@pytest.mark.parametrize("store", ["dp", "do", "h5"])
def test_the_best_state_comes_back_in_every_store(store, tmp_path):
    where = {"scratch": str(tmp_path)} if store == "h5" else {}
    run = finished(tiny(store=store, **where), 2)
    before, probe = run.problem.store.values().copy(), run.problem.present()["probe"].copy()
    assert run.best.epoch == 2
    run.problem.store.apply(lambda tile, row: tile * 7)
    run.problem.values["probe"].array = run.problem.values["probe"].array * 3
    assert run.best.restore(run.problem)
    np.testing.assert_array_equal(run.problem.store.values(), before)
    np.testing.assert_array_equal(run.problem.present()["probe"], probe)


def test_an_exact_fit_is_no_divergence():
    """What remains of a loss that has fallen a thousandfold may go up and down by any factor."""
    check_divergence([1.0, 1e-3, 1e-9, 1e-2], 1e-12)
    check_divergence([1e-13, 1e-15, 1e-12], 1e-12)
    with pytest.raises(RunError, match=r"the loss grows without bound: 0\.03"):
        check_divergence([1.0, 1e-3, 1e-9, 3e-2], 1e-12)
    with pytest.raises(RunError, match=r"not far above its smallest value 0\.1"):
        check_divergence([1.0, 0.1, 2.5], 1e-12)


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
