"""The loop decides what is done when, and when to give up; its owner may be the caller."""

from __future__ import annotations

import logging
import math
from typing import ClassVar

import numpy as np
import pytest
from laws import assert_same_state
from tiny_runs import SCAN, STEADY, calm, exact, finished, measured, step, stopped_after, tiny, value_of
from tiny_scan import Scan

from adorym.engine.settings import Plateau
from adorym.errors import RunError
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.optimizers.first_order import GradientDescent
from adorym.optimizers.schedules import Cosine, LateDecay, Steps
from adorym.parameters import Parameter, ParameterSettings


# -- who owns the loop -------------------------------------------------------------------------------------------------
def test_every_epoch_is_recorded():
    run, seen = tiny(), []
    records = list(run.epochs(watch=seen.append))
    assert [(r.epoch, r.epochs) for r in records] == [(n, 5) for n in range(1, 6)]
    sizes = [len(part) for part in run.batches()]
    assert [(p.epoch, p.batch, p.n_batches) for p in seen] == [(e, b, 3) for e in range(1, 6) for b in (1, 2, 3)]
    for record in records:
        assert record.loss == pytest.approx(sum(p.loss for p in seen if p.epoch == record.epoch), rel=1e-12)
        assert record.time_s >= sum(p.time_s for p in seen if p.epoch == record.epoch) > 0
        assert record.learning_rates == {n: v.rate for n, v in run.problem.unknowns.items() if v.settings.refine}
    assert run.progress.history["epoch"] == [1, 2, 3, 4, 5] and sum(sizes) == SCAN.n
    assert run.progress.history["loss"] == [r.loss for r in records]
    assert run.progress.history["time_s"] == [r.time_s for r in records]
    assert records[-1].loss < 0.5 * records[0].loss


def test_caller_may_go_on_in_portions():
    portions = tiny()
    for count in (1, 0, 3, 1):
        assert len(list(portions.epochs(count))) == count
    assert_same_state(portions, finished(tiny()))


def test_caller_may_leave_the_loop():
    left, whole = tiny(), finished(tiny())
    for record in left.epochs(50):
        if record.epoch == 2:
            break
    assert left.progress.epoch == 2 and left.progress.batch == 0
    assert_same_state(finished(left, 3), whole)


def test_stop_ends_after_the_batch_and_the_epoch_goes_on_later():
    run = stopped_after(tiny(), 2, 1)
    assert (run.progress.epoch, run.progress.batch, run.stop_reason) == (1, 1, "enough")
    assert len(run.progress.history["loss"]) == 1 and run.progress.partial_loss > 0
    again = list(run.epochs())
    assert [r.epoch for r in again] == [2, 3, 4, 5] and run.stop_reason == ""
    assert_same_state(run, finished(tiny()))


def test_stop_between_epochs():
    run, records = tiny(), []
    for record in run.epochs():
        records.append(record)
        if record.epoch == 3:
            run.stop()
    assert len(records) == 3 and run.stop_reason == "asked to stop"
    assert_same_state(finished(run), finished(tiny()))


def test_a_stop_before_the_first_step_counts():
    run = tiny()
    epochs = run.epochs()
    run.stop("a signal")
    assert list(epochs) == [] and run.stop_reason == "a signal"
    assert_same_state(finished(run), finished(tiny()))


def test_a_time_limit_that_leaves_no_batch_is_refused():
    with pytest.raises(RunError, match=r"run\.max_time: the time is over before the first batch; expected more than"):
        list(tiny(max_time=1e-6).epochs())


def test_stop_in_the_last_batch_of_an_epoch_ends_that_epoch():
    run = stopped_after(tiny(), 2, 3)
    assert (run.progress.epoch, run.progress.batch) == (2, 0) and len(run.progress.history["loss"]) == 2
    assert_same_state(finished(run), finished(tiny()))


def test_same_seed_same_run_other_seed_other_batches():
    assert_same_state(finished(tiny(seed=3), 2), finished(tiny(seed=3), 2))
    parts = [tiny(seed=seed).batches() for seed in (3, 4)]
    assert not all(np.array_equal(a, b) for a, b in zip(*parts, strict=True))


# -- batches -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ["random", "compact", "angle"])
def test_every_epoch_sees_every_pattern_once_in_another_order(order):
    run = tiny(batch_order=order, batch_size=6)
    orders = []
    for _ in range(3):
        batches = run.batches()
        for a, b in zip(batches, run.batches(), strict=True):  # the same until the epoch is done
            np.testing.assert_array_equal(a, b)
        assert sorted(np.concatenate(batches)) == list(range(SCAN.n))
        assert all((np.diff(batch) > 0).all() for batch in batches)
        if order == "angle":
            assert all(len(set(SCAN.scan_index[batch])) == 1 for batch in batches)
        orders.append([tuple(batch) for batch in batches])
        finished(run, 1)
    assert orders[0] != orders[1] != orders[2]


def test_batch_size_is_chosen_from_the_patterns():
    assert [len(part) for part in tiny(batch_size=None).batches()] == [20]
    assert len(tiny(measured(Scan(modes=2, grid=(8, 10))), batch_size=None).batches()) == 4
    assert len(tiny(measured(Scan(modes=2, grid=(12, 15))), batch_size=None).batches()) == 5


# -- when a parameter is refined, and how fast -------------------------------------------------------------------------
def test_parameters_move_in_their_epochs_only():
    parameters = calm() | {
        "probe_positions": ParameterSettings(optimizer=step(0.2), start=1, stop=5, every=2),
        "background": ParameterSettings(refine=False, initial=0.5),
    }
    run = tiny(parameters=parameters, epochs=6)
    before, moved = value_of(run, "probe_positions"), []
    for record in run.epochs():
        now = value_of(run, "probe_positions")
        moved.append(not np.array_equal(now, before))
        assert ("probe_positions" in record.learning_rates) == moved[-1]
        before = now
    assert moved == [False, True, False, True, False, False]
    np.testing.assert_array_equal(value_of(run, "background"), np.full((1, 12, 14), 0.5))


@pytest.mark.parametrize("name", ["object", "probe", "probe_positions"])
def test_frozen_parameter_keeps_its_start_value(name):
    parameters = calm() | {"probe_positions": ParameterSettings(optimizer=step(0.2))}
    kept = {"initial": parameters[name].initial}
    kept |= {"margin_px": 4} if name == "object" else {"modes": 2} if name == "probe" else {}
    run = tiny(parameters=parameters | {name: type(parameters[name])(refine=False, **kept)})
    before = {n: value_of(run, n) for n in parameters}
    records = list(run.epochs(2))
    for n, value in before.items():
        assert np.array_equal(value_of(run, n), value) == (n == name), n
    assert name not in records[0].learning_rates and math.isfinite(records[1].loss)
    if name != "object":
        assert run.problem.values[name].state == ()


def test_schedules_are_planned_for_the_whole_run():
    kinds = {"object": Cosine(final=0.2), "probe": LateDecay(hold=0.4, final=0.1)}
    parameters = {n: type(p)(**(vars(p) | {"schedule": kinds[n]})) for n, p in calm().items()}
    parameters["probe_positions"] = ParameterSettings(optimizer=step(0.2), schedule=Steps(at=(1, 3), decay=0.5))
    kinds["probe_positions"] = parameters["probe_positions"].schedule
    run = tiny(parameters=parameters)
    rates = [record.learning_rates for record in run.epochs()]
    for name, schedule in kinds.items():
        base = run.problem.unknowns[name].rate
        assert [r[name] for r in rates] == pytest.approx([base * schedule.factor(e, 5) for e in range(5)])
        assert rates[-1][name] < 0.5 * rates[0][name]
    more = [record.learning_rates["object"] for record in run.epochs(2)]  # a run of seven epochs by now
    assert more == pytest.approx([0.3 * kinds["object"].factor(e, 7) for e in (5, 6)])


def test_learning_rate_is_the_size_of_the_step():
    """The first step of a preconditioned refinement is proportional to the rate."""
    moves = []
    for rate in (0.1, 0.2):
        parameters = calm() | {"object": ObjectSettings(optimizer=step(rate), schedule=STEADY, margin_px=4)}
        run = tiny(exact(), parameters, batch_size=20)
        before = value_of(run, "object")
        moves.append(value_of(finished(run, 1), "object") - before)
    np.testing.assert_allclose(moves[1], 2 * moves[0], rtol=1e-9, atol=1e-12)


class Deaf(Ptychography):
    """Has a parameter that its prediction never looks at."""

    refinable: ClassVar = {**Ptychography.refinable, "nothing": Parameter(start=0.5, optional=True)}


def test_refined_parameter_that_the_loss_does_not_depend_on_is_named(caplog):
    parameters = calm() | {"nothing": ParameterSettings(start=1), "background": ParameterSettings()}
    run = tiny(parameters=parameters, terms={"model": Deaf(fused=False)})
    with caplog.at_level(logging.WARNING, "adorym"):
        finished(run)
    assert caplog.messages == [
        "parameters.nothing: the loss does not depend on it in this run; refining it has no effect"
    ]


def test_parameters_are_judged_once_in_their_second_epoch(caplog):
    """However they wait for it, and whichever epochs they leave out."""
    for schedule in (
        {},
        {"start": 2},
        {"every": 2},
        {"schedule": LateDecay(wait=0.1)},
        {"schedule": LateDecay(wait=0.3)},
    ):
        caplog.clear()
        run = tiny(
            parameters=calm() | {"nothing": ParameterSettings(**schedule)},
            terms={"model": Deaf(fused=False)},
            epochs=10,
        )
        with caplog.at_level(logging.WARNING, "adorym"):
            finished(run, 10)
        assert len([m for m in caplog.messages if "nothing: the loss does not depend" in m]) == 1, schedule


# -- when to give up ---------------------------------------------------------------------------------------------------
def reckless(rate: float, **changes):
    """Steepest descent by far too large steps."""
    return {
        "object": ObjectSettings(optimizer=GradientDescent(learning_rate=rate), schedule=STEADY, **changes),
        "probe": ProbeSettings(modes=2, refine=False),
    }


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_loss_that_is_no_number_ends_the_run(backend, precision):
    rate = 1e30 if precision == "single" else 1e250
    run = tiny(parameters=reckless(rate), backend=backend, precision=precision)
    with (
        pytest.raises(RunError, match=r"run: .*epoch \d+.*learning rates.*object 1e\+\d+") as found,
        np.errstate(all="ignore"),
    ):
        finished(run)
    assert found.value.exit_status == 1 and "lower" in found.value.remedy
    assert "batch" in found.value.what and f"epoch {run.progress.epoch + 1}" in found.value.what


def test_loss_that_is_no_number_ends_at_its_batch(monkeypatch):
    """Not one more step is made with it, and what was completed before is kept."""
    run, whole = tiny(), stopped_after(tiny(), 3, 1)

    def watch(progress):
        if (progress.epoch, progress.batch) == (3, 1):
            values = run.problem.store.values()
            values[10:14, 10:14] = np.nan
            run.problem.store.restore(values, run.problem.store.state())

    with pytest.raises(RunError, match=r"not a finite number.* epoch 3, batch 2 of 3"):
        for _ in run.epochs(watch=watch):
            pass
    assert run.progress.history["loss"] == whole.progress.history["loss"]
    assert (run.progress.epoch, run.progress.batch) == (2, 1)


def test_loss_that_grows_without_bound_ends_the_run():
    """A factor of four a step: no fluctuation, and still far from what a float can hold."""
    run = tiny(exact(), reckless(2e4), epochs=60)
    with pytest.raises(RunError, match=r"run: ") as found, np.errstate(all="ignore"):
        finished(run)
    assert "learning rate" in found.value.message() and run.progress.epoch < 60


def test_loss_at_the_rounding_error_is_no_divergence():
    """From the truth: what remains goes up and down by any factor."""
    scan = Scan(window=(24, 28), size_px=2.3)
    parameters = {
        "probe": ProbeSettings(optimizer=step(0.1), schedule=STEADY, power=scan.photons),
        "object": ObjectSettings(optimizer=step(), schedule=STEADY, margin_px=4),
    }
    run = tiny(scan.dataset(start_probe=scan.probe()), parameters)
    store = run.problem.store
    store.restore(scan.object_array(store.shape, run.problem.bound.origin_px), store.state())
    losses = finished(run, 8).progress.history["loss"]
    assert len(losses) == 8 and max(losses) < 1e-9


def test_plateau_ends_the_run():
    run = tiny(plateau=Plateau(patience=2, tolerance=1e-6), epochs=40, parameters=_standing_after(3))
    records = list(run.epochs())
    losses = [r.loss for r in records]
    assert 3 + 2 <= len(records) < 12
    assert run.stop_reason == "the loss has not fallen for 2 epochs"
    assert min(losses[-2:]) > min(losses[:-2]) * (1 - 1e-6)
    assert len(list(run.epochs(4))) >= 1  # the owner may insist


def _standing_after(epoch: int):
    kept = calm()
    return {n: type(p)(**(vars(p) | {"stop": epoch})) for n, p in kept.items()}


def test_no_plateau_while_the_loss_falls():
    run = tiny(plateau=Plateau(patience=2, tolerance=1e-9), epochs=12)
    assert len(list(run.epochs())) == 12 and run.stop_reason == ""


def test_large_tolerance_calls_slow_progress_a_plateau():
    run = tiny(plateau=Plateau(patience=3, tolerance=0.999), epochs=30)
    assert len(list(run.epochs())) == 4
