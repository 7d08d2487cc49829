"""The loop: it alone decides the order of batches, updates, checkpoints and the end of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from adorym.data.batches import epoch_order
from adorym.data.dataset import Dataset
from adorym.engine.budget import Budget
from adorym.engine.build import build, default_batch_size
from adorym.engine.gradients import prefetch_batches
from adorym.engine.guard import (
    Best,
    check_divergence,
    check_finite,
    has_risen,
    on_plateau,
    recovered,
    rounding,
    second_look,
    warn_unmoved,
)
from adorym.engine.problem import Problem
from adorym.engine.recipe import Recipe
from adorym.engine.records import BatchProgress, EpochRecord
from adorym.engine.settings import RunSettings
from adorym.engine.shown import glance
from adorym.engine.solve import SolverStep
from adorym.engine.step import GradientStep, apply_due, finish_epoch
from adorym.errors import ConfigError, ConfigErrors, RunError, suggestion
from adorym.parameters import Value
from adorym.schema import build as build_component
from adorym.schema import dump
from adorym.schema.messages import prefixed
from adorym.updates.base import State

LOG = logging.getLogger("adorym")

TIME_IS_OVER = "run.max_time is over"
# Epochs after an update replaced the object in which the loss may rise.
SETTLING = 10


@dataclass
class Progress:
    """The progress of a run; with the problem's values it is all that a checkpoint holds.

    Attributes:
        epoch: Epochs completed.
        batch: Completed batches of the next epoch (if it was interrupted).
        partial_loss: Their loss.
        backoff: Factor on all learning rates.
        rises: Rises of the loss that reduced them so far.
        replaced: Epoch after which an update last replaced the object, 0 for none.
        new_problem: Last epoch whose loss cannot be compared with the one before.
        epoch_rng: State of the random generator at the beginning of the next epoch.
    """

    epoch: int = 0
    batch: int = 0
    partial_loss: float = 0.0
    partial_time_s: float = 0.0
    backoff: float = 1.0
    rises: int = 0
    replaced: int = 0
    new_problem: int = 0
    epoch_rng: Mapping[str, Any] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=lambda: {"epoch": [], "loss": [], "time_s": []})


class Reconstruction:
    """A reconstruction, run epoch by epoch from the caller's own loop.

    Example::

        for epoch in reconstruction.epochs(50):
            print(epoch.loss)

    Args:
        dataset: The measured data and their metadata.
        recipe: Model, loss, parameters, regularizers and constraints.
        run: Settings of the run.
        folder: Folder in which what was searched before the run is kept; nothing is kept if absent.

    Attributes:
        best: The state with the smallest loss so far, which a run that diverges goes back to.
        ended: Why the run was ended before it spoiled its result; empty if it was not.
        origin: Fingerprints of what the run is made of; they go into checkpoint and result.

    Raises:
        InputError: Data, configuration or geometry contradict each other.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, run: RunSettings, folder: Path | None = None) -> None:
        self.settings = run
        self.recipe = recipe
        self.rng = np.random.default_rng(run.seed)
        self._started, self._longest_batch_s, self._batches_done = time.monotonic(), 0.0, 0
        self.problem: Problem = build(dataset, recipe, run, self.rng, folder=folder)
        self.budget = Budget.of(run, self.problem.xp)
        self.batch_size = run.batch_size or default_batch_size(self.problem.bound)
        self.progress = Progress(epoch_rng=self.rng.bit_generator.state)
        solver = self.problem.solver
        self.solving = None if solver is None else SolverStep(self.problem, solver, run.seed)
        self.left_out = np.zeros(0, int)
        self.best, self.ended = Best(), ""
        self.origin: Mapping[str, str] = {}
        self.stop_reason, self._horizon = "", run.epochs
        self._asked_to_stop, self._asked_to_save = "", False
        self._watch: Callable[[BatchProgress], None] | None = None
        self._save: Callable[[], None] | None = None

    # -- the loop ------------------------------------------------------------------------------------------------
    def epochs(
        self,
        count: int | None = None,
        watch: Callable[[BatchProgress], None] | None = None,
        save: Callable[[], None] | None = None,
    ) -> Iterator[EpochRecord]:
        """Run ``count`` more epochs (by default the configured ones), and yield a record after each.

        Schedules span the configured epochs, or more if more are asked for, so that twenty calls for one epoch equal
        one call for twenty. The iteration ends early when `stop` is called, also from another thread or a signal
        handler, on a plateau, or when the time is over; the state is then that after the last completed batch.

        Args:
            count: Epochs.
            watch: Called after every batch.
            save: Called on every rank between two batches after `save_soon`.

        Raises:
            RunError: The loss is not a finite number, or grows without bound. Object and parameters are then those of
                the best epoch so far.
        """
        total = self.settings.epochs if count is None else self.progress.epoch + count
        self._horizon = max(self.settings.epochs, total)
        self.stop_reason, self._watch, self._save = "", watch, save
        return self._records(total)

    def _records(self, total: int) -> Iterator[EpochRecord]:
        try:
            self._need_time(total)
            yield from self._until(total)
        finally:  # not at the beginning: a signal may have arrived before the first step
            self._asked_to_stop, self._asked_to_save = "", False

    def _need_time(self, total: int) -> None:
        """Refuse a time limit that leaves no batch: a chain of such jobs would never come to an end."""
        limit, late = self.settings.max_time, float(self._time_is_over())
        if limit is None or self.progress.epoch >= total or not self.problem.comm.max(late, "look at the time"):
            return
        raise RunError(
            "run.max_time",
            "the time is over before the first batch",
            expected=f"more than the {time.monotonic() - self._started:.3g} s that the start takes",
            found=f"{limit:.3g} s",
            remedy="give the job more time",
        )

    def _until(self, total: int) -> Iterator[EpochRecord]:
        losses = self.progress.history["loss"]
        if self.solving is None and losses and self.progress.batch == 0:  # resumed, or continued by its owner
            self.best.keep(self.problem, self.progress.epoch, losses[-1])
        while self.progress.epoch < total and not self._agreed_to_stop():
            try:
                record = self._epoch()
            except RunError as error:
                raise self._back_to_best(error) from error
            if record is None:
                return
            if self.solving is not None and self.solving.finished:
                self.stop(self.solving.message)
            yield record
            if on_plateau(self.settings.plateau, self.progress.history["loss"]):
                self.stop(f"the loss has not fallen for {self.settings.plateau.patience} epochs")  # type: ignore[union-attr]

    def _back_to_best(self, error: RunError) -> RunError:
        """Restore the best state; the error says from which epoch it is."""
        if not self.best.restore(self.problem):
            return error
        self.ended = error.what
        return error.with_(remedy=f"{error.remedy}; the best result so far is that of epoch {self.best.epoch}")

    # -- changes in the middle of a run ------------------------------------------------------------------------------
    def set_rate(self, name: str, rate: float | str) -> None:
        """Change the learning rate of ``name`` from the next epoch on; its schedule continues as a factor.

        Args:
            name: `OBJECT` or another parameter.
            rate: As ``optimizer.learning_rate`` in a configuration: a number, or text with a unit, ``"0.05 px"``.

        Raises:
            ConfigError: No such parameter, or a solver updates them all.
            ConfigErrors: The rate is not positive, or has the wrong unit.
        """
        value, where = self._unknown(name), f"parameters.{name}.optimizer"
        settings = {**dump(value.optimizer), "learning_rate": rate}
        value.optimizer = build_component(type(value.optimizer), settings, where)
        try:
            value.rate = value.optimizer.rate(value.spec.unit, value.scale)
        except ConfigError as error:
            raise ConfigErrors(prefixed(error, where)) from None

    def refine(self, name: str, on: bool = True) -> None:
        """Refine ``name`` in every epoch from the next one on, or keep it fixed.

        Raises:
            ConfigError: No such parameter, or a solver updates them all.
        """
        value, epoch = self._unknown(name), self.progress.epoch
        if on and not value.settings.active(epoch):
            value.settings = replace(value.settings, refine=True, start=epoch, stop=None, every=1)
            if not value.state and not value.spec.by_update:
                value.state = value.optimizer.init(self.problem.xp, value.array)
        elif not on:
            value.settings = replace(value.settings, refine=False)

    def _unknown(self, name: str) -> Value:
        known = self.problem.unknowns
        if self.solving is not None:
            raise ConfigError(f"parameters.{name}", "cannot be changed: the solver updates all parameters together")
        if name not in known:
            raise ConfigError("parameters", f"no parameter named '{name}' in this run", remedy=suggestion(name, known))
        return known[name]

    def __repr__(self) -> str:
        problem, progress = self.problem, self.progress
        losses = progress.history["loss"]
        refined = [name for name, value in problem.unknowns.items() if value.settings.refine]
        state = f"epoch {progress.epoch} of {self._horizon}" + (f", loss {losses[-1]:.4e}" if losses else "")
        shape = " x ".join(map(str, problem.store.shape))
        return f"Reconstruction({problem.model.kind}: object {shape}, {state}; refines {', '.join(refined)})"

    def _repr_html_(self) -> str:
        from adorym.data.html import as_html  # slow to import, and only a notebook asks

        seen = glance(self.problem, self.progress.history)
        return repr(self) if seen is None else as_html(seen, repr(self))

    def stop(self, reason: str = "asked to stop") -> None:
        """End the loop after the current batch; one rank's call suffices."""
        self._asked_to_stop = self._asked_to_stop or reason

    def save_soon(self) -> None:
        """Ask for a checkpoint after the current batch."""
        self._asked_to_save = True

    def _agreed_to_stop(self) -> bool:
        """Whether to stop, or save now: all ranks act if any of them was asked to."""
        if self._time_is_over():
            self.stop(TIME_IS_OVER)
        comm = self.problem.comm
        asked = comm.sum(
            np.array([bool(self._asked_to_stop), self._asked_to_save], np.float64), "agree to stop or save"
        )
        if asked[1]:
            self._asked_to_save = False
            if self._save is not None:
                self._save()
        if asked[0]:
            reasons = comm.gather(np.frombuffer(self._asked_to_stop.encode(), np.uint8), "agree why to stop")
            self.stop_reason = next(bytes(reason).decode() for reason in reasons if len(reason))
        return bool(asked[0])

    def _time_is_over(self) -> bool:
        limit = self.settings.max_time
        if limit is None:
            return False
        return time.monotonic() - self._started + self._longest_batch_s > limit

    def leave_out(self, patterns: np.ndarray) -> None:
        """Hold out ``patterns``: they test how well the others predict them."""
        self.left_out = np.asarray(patterns)

    def batches(self) -> list[np.ndarray]:
        """The batches of the next epoch, always the same until it is completed."""
        self.rng.bit_generator.state = self.progress.epoch_rng
        if self.solving is not None:
            return [np.setdiff1d(np.arange(self.problem.dataset.n_patterns), self.left_out)]
        order = epoch_order(self.problem.dataset, self.batch_size, self.settings.batch_order, self.rng)
        seen = [np.setdiff1d(part, self.left_out) for part in order]
        return [part for part in seen if len(part)]

    def _state(self, total: int, epoch: int, rates: Mapping[str, float]) -> State:
        """The state of the run between two batches, for updates."""
        problem = self.problem
        constrained = frozenset(constraint.parameter for constraint in problem.constraints)
        return State(epoch, total, problem.present(), rates, problem.store.values, constrained)

    def _apply_updates(self, when: str, state: State) -> None:
        """Apply every update that is due ``when``, in order."""
        state = apply_due(self.problem, when, state, self.batches)
        if state.new_object is not None:
            self.progress.replaced = state.epoch
        if state.new_problem and when == "start":
            self.progress.new_problem = state.epoch + 1

    def _epoch(self) -> EpochRecord | None:
        progress, problem, total = self.progress, self.problem, self._horizon
        epoch, start = progress.epoch, time.perf_counter()
        active = problem.active(epoch)
        factors = {name: v.schedule.factor(epoch, total) for name, v in active.items()}
        rates = {name: active[name].rate * each * progress.backoff for name, each in factors.items() if each > 0}
        if progress.batch == 0 and epoch > 0:
            self._apply_updates("start", self._state(total, epoch, rates))
        parts, before = self.batches(), progress.partial_time_s
        moved = second_look(problem, epoch, total, rates) if progress.batch == 0 else {}
        first, step = progress.batch, GradientStep(problem)
        for i in range(first, len(parts)):
            if i > first and self._agreed_to_stop():
                return None
            problem.comm.at(f"epoch {epoch + 1}, batch {i + 1} of {len(parts)}")
            began = time.perf_counter()
            if self.solving is not None:
                loss = self.solving.epoch(epoch, list(rates), parts[i])
            else:
                prefetch_batches(problem, parts[i : i + 2])  # reads the next one during this one
                state = State(epoch, total, {}, rates, problem.store.values, patterns=parts[i])
                loss = step.apply(state).loss
            if isinstance(loss, float):  # a device adds up the losses of an epoch, and none is waited for
                check_finite(loss, f"epoch {epoch + 1}, batch {i + 1} of {len(parts)}", rates)
            progress.partial_loss += loss
            progress.batch = i + 1
            progress.partial_time_s = before + time.perf_counter() - start
            self._time_batch(time.perf_counter() - began)
            if self._watch is not None:
                self._watch(BatchProgress(epoch + 1, i + 1, len(parts), loss, time.perf_counter() - began))
        progress.partial_loss = float(progress.partial_loss)
        check_finite(progress.partial_loss, f"epoch {epoch + 1}", rates)
        finish_epoch(problem, rates, epoch)
        self._apply_updates("end", self._state(total, epoch + 1, rates))
        warn_unmoved(problem, moved)
        return self._close_epoch(total, rates, before + time.perf_counter() - start)

    def _time_batch(self, taken: float) -> None:
        if self._batches_done:  # the first one includes compilation
            self._longest_batch_s = max(self._longest_batch_s, taken)
        self._batches_done += 1

    def _close_epoch(self, total: int, rates: dict[str, float], time_s: float) -> EpochRecord:
        progress = self.progress
        record = EpochRecord(progress.epoch + 1, total, progress.partial_loss, time_s, rates)
        progress.history["epoch"].append(progress.epoch + 1)
        progress.history["loss"].append(record.loss)
        progress.history["time_s"].append(time_s)
        for name, value in self.problem.values.items():
            if value.first.size == 1 and (value.settings.refine or name in progress.history):
                # A single number: the report plots its history.
                way = progress.history.setdefault(name, [float(np.ravel(value.first)[0])] * progress.epoch)
                way.append(float(np.ravel(self.problem.xp.to_numpy(value.array))[0]))
        progress.epoch += 1
        progress.batch, progress.partial_loss, progress.partial_time_s = 0, 0.0, 0.0
        progress.epoch_rng = self.rng.bit_generator.state
        check_divergence(progress.history["loss"], rounding(self.problem), max(0, progress.new_problem - 1))
        if self.solving is None:  # a solver's line search does not leave a better point
            self.best.keep(self.problem, progress.epoch, record.loss)
        self._back_off()
        self.budget.look(self.problem)
        return record

    # -- steps that are too long -------------------------------------------------------------------------------------
    def _back_off(self) -> None:
        """Shorter steps after a rise of the loss, longer ones again while it falls."""
        losses, reduction, progress = self.progress.history["loss"], self.settings.backoff, self.progress
        if self.solving is not None or reduction == 1 or len(losses) < 2:
            return
        if losses[-1] < losses[-2] and progress.backoff < 1:
            progress.backoff = recovered(progress.backoff, reduction, progress.rises)
            if progress.backoff == 1:
                LOG.info("the loss falls again: full learning rates from epoch %d on", len(losses) + 1)
        if progress.new_problem == len(losses):
            return  # a new support makes losses incomparable
        if 0 < progress.replaced >= len(losses) - SETTLING:
            return  # the object was replaced and its momentum reset
        if not has_risen(losses, rounding(self.problem)):
            return
        progress.backoff, progress.rises = progress.backoff * reduction, progress.rises + 1
        self.problem.restart()
        LOG.warning(
            "the loss rose from %.3g to %.3g in epoch %d: learning rates are multiplied by %.3g until it falls again",
            losses[-2], losses[-1], len(losses), progress.backoff,
        )  # fmt: skip
