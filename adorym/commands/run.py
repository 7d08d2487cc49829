"""Run a configuration to a result, a checkpoint, a log and a report."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from adorym.callbacks.base import Callback, RunInfo
from adorym.callbacks.live import LiveSnapshots
from adorym.callbacks.profile import Profile
from adorym.callbacks.progress import ProgressReport
from adorym.callbacks.save import LogFile, Snapshots
from adorym.comm import communicator
from adorym.commands.draft import PROBE, beam_of
from adorym.commands.report import REPORT_NAME, report_scored
from adorym.commands.saving import Saving, need_folder
from adorym.commands.stages import stages_of
from adorym.config import Config, config_from, load_config, with_data
from adorym.config_file import at_lines, load
from adorym.data.atomic import remove_partial
from adorym.data.fingerprint import agree
from adorym.data.judgements import judge
from adorym.data.lock import need_free, only_run_in
from adorym.data.open import open_dataset
from adorym.data.result import RESULT_NAME, Result
from adorym.engine.checkpoint import CHECKPOINT_NAME, load_checkpoint, previous
from adorym.engine.loop import TIME_IS_OVER, Reconstruction
from adorym.engine.origin import origin
from adorym.engine.outcome import outcome
from adorym.engine.records import BatchProgress
from adorym.engine.shown import glance
from adorym.engine.signals import stop_on_signal
from adorym.errors import AdorymError, InputError, RunError
from adorym.extension import user_code
from adorym.report.position_trend import position_trend

LOG = logging.getLogger("adorym")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        result: The result, also in ``folder/result.h5``.
        stopped: Why the run ended early; empty if it did not.
        report: The report's path, if one was asked for.
        remarks: The verdict and remarks on the experiment, one per line: the trend of refined positions.
        ranks: Number of ranks.
    """

    result: Result
    folder: Path
    stopped: str
    report: Path | None
    remarks: tuple[str, ...] = ()
    ranks: int = 1

    @property
    def interrupted(self) -> bool:
        """Whether the run ended early and can be resumed."""
        return self.stopped == TIME_IS_OVER or self.stopped.startswith("SIG")


def run(
    path: str | Path,
    overrides: Iterable[str] = (),
    *,
    output: str | Path | None = None,
    resume: bool = False,
    quick: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Run the configuration file ``path``.

    Args:
        path: YAML, TOML or JSON.
        overrides: ``key.path=value`` assignments.
        output: Folder, instead of the configured one.
        resume: Resume from the checkpoint in that folder.
        quick: Only a few epochs.
        callbacks: Further callbacks, in addition to those of the configuration.

    Raises:
        InputError: Configuration or data cannot be used.
        RunError: The run failed.
    """
    assignments = tuple(overrides)
    config = load_config(path, assignments, quick=quick)
    folder = Path(output if output is not None else config.output.directory)
    where = "output.directory" if output is None else "--output"
    need_free(folder, where)
    try:
        return carry_out_stages(config, folder, resume=resume, callbacks=callbacks, where=where)
    except InputError as error:
        raise at_lines(error, load(path, assignments).lines) from error.__cause__


def carry_out_stages(
    config: Config, folder: Path, *, resume: bool = False, callbacks: Sequence[Callback] = (), where: str = "output"
) -> Outcome:
    """Run all stages of ``config``, or all of it if it has none; as `carry_out`.

    The result of a stage is kept as ``stage_1.h5``, ``stage_2.h5``, ...; a run that is resumed skips these stages and
    goes on from the checkpoint of the one that was interrupted.
    """
    stages = stages_of(config) or (config,)
    before: Path | None = None
    for number, stage in enumerate(stages, 1):
        kept, last = folder / f"stage_{number}.h5", number == len(stages)
        if resume and not last and kept.is_file():
            before = kept
            continue
        made = stage if before is None else replace(stage, start_from=str(before))
        made = made if last else replace(made, output=replace(made.output, report=False))
        reconstruction = prepare(made, folder)
        reconstruction.problem.stage = number if len(stages) > 1 else 0
        here = resume and (before is None or (folder / CHECKPOINT_NAME).is_file())
        done = carry_out(reconstruction, made, folder, resume=here, callbacks=callbacks, where=where)
        if done.interrupted or last:
            return done
        _keep(reconstruction, folder, kept)
        before, resume = kept, False
    raise AssertionError("the last stage returns")


def _keep(reconstruction: Reconstruction, folder: Path, kept: Path) -> None:
    """The result as that of a stage; its checkpoint goes first, so that a stage is whole or begins anew."""
    comm = reconstruction.problem.comm
    if comm.is_root:
        for old in (folder / CHECKPOINT_NAME, previous(folder / CHECKPOINT_NAME)):
            old.unlink(missing_ok=True)
        os.replace(folder / RESULT_NAME, kept)
    comm.barrier("keep the result of a stage")


def carry_out(
    reconstruction: Reconstruction,
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    where: str = "output",
) -> Outcome:
    """Run to the end, and write the files of the configuration's section ``output`` to ``folder``.

    Args:
        reconstruction: Made by `prepare` from ``config``.
        callbacks: Further callbacks, in addition to those of the configuration.
        where: Option or key that named the folder, for messages.
    """
    comm = reconstruction.problem.comm
    with ExitStack() as protected:
        if comm.is_root and (folder.is_dir() or not resume):
            need_folder(folder, where)
            protected.enter_context(only_run_in(folder, where))
        protected.enter_context(stop_on_signal(reconstruction.stop, reconstruction.save_soon))
        if resume:
            load_checkpoint(reconstruction, folder / CHECKPOINT_NAME, config.identity())
        timing = [Profile(reconstruction)] if config.output.profile else []  # before the log, which takes its lines
        watching: list[Callback] = [*timing, ProgressReport(config.output.progress), LogFile()]
        if config.output.snapshots_every is not None:
            watching.append(Snapshots(config.output.snapshots_every))
        if config.output.live:
            watching.append(LiveSnapshots())
        result = drive(reconstruction, config, folder, [*watching, *callbacks])
        report = None
        if config.output.report and comm.is_root:
            reconstruction.problem.xp.memory.give_back()  # the libraries of the report need some
            report = _reported(reconstruction, folder)
    return Outcome(result, folder, reconstruction.stop_reason, report, _remarks(result), comm.size)


def _reported(reconstruction: Reconstruction, folder: Path) -> Path | None:
    """The report; a run that went well does not fail because its report cannot be written."""
    try:
        return report_scored(folder / RESULT_NAME, folder / REPORT_NAME, reconstruction.problem.dataset)
    except (AdorymError, OSError) as error:
        LOG.warning("no report: %s", error)
        return None


def as_config(
    config: Config | Mapping[str, Any] | str | Path, patterns: ArrayLike | None = None, **data: Any
) -> Config:
    """A `Config` from another `Config`, a mapping, or the path of a file.

    Args:
        config: It, which needs no section ``data`` if ``patterns`` are given.
        patterns: Patterns in memory, instead of a file.
        data: Values for the section ``data``.

    Raises:
        ConfigErrors: All its errors.
    """
    if isinstance(config, Config):
        made = config
    elif isinstance(config, Mapping):
        made = config_from(config if patterns is None else _without_file(config))
    else:
        made = load_config(config, () if patterns is None else ("data.path=.",))
    return with_data(made, patterns, data)


def _without_file(config: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with a section ``data`` that needs no file."""
    section = config.get("data")
    return {**config, "data": {**(section if isinstance(section, Mapping) else {}), "path": "."}}


@user_code()
def prepare(
    config: Config | Mapping[str, Any] | str | Path,
    folder: Path | None = None,
    *,
    patterns: ArrayLike | None = None,
    **data: Any,
) -> Reconstruction:
    """Make a reconstruction that is ready to run, for use in your own loop.

    Example::

        reconstruction = adorym.prepare("config.yaml")
        for epoch in reconstruction.epochs(50):
            print(epoch.loss)
        result = adorym.outcome(reconstruction)

    Args:
        config: A `Config`, a mapping, or the path of a configuration file.
        folder: Folder of the run's output, and of the object's file with the store ``h5``; as configured if absent.
        patterns: Patterns in memory, as in `adorym.reconstruct`.
        data: Values for the section ``data`` of the configuration, as in `adorym.reconstruct`.

    Raises:
        InputError: Configuration, data or geometry cannot be used.
    """
    made = as_config(config, patterns, **data)
    run = made.run
    if run.store == "h5" and run.scratch is None:
        run = replace(run, scratch=str(folder or made.output.directory))
    dataset = open_dataset(made.data.path, made.source)
    made_of = origin(dataset, made.to_yaml())
    agree(communicator(), made_of)
    reconstruction = Reconstruction(dataset, made.recipe, run, folder)
    reconstruction.origin = made_of
    return reconstruction


@user_code()
def drive(reconstruction: Reconstruction, config: Config, folder: Path | None, callbacks: Sequence[Callback]) -> Result:
    """Run ``reconstruction`` to the configured number of epochs, with checkpoints, callbacks and signals."""
    saving = Saving(reconstruction, config, folder)
    info = RunInfo(
        title=f"{config.forward_model.kind}: {config.data.name}",
        epochs=config.run.epochs,
        n_batches=len(reconstruction.batches()),
        n_patterns=reconstruction.problem.dataset.n_patterns,
        output=folder,
        rank=reconstruction.problem.comm.rank,
        current=lambda: outcome(reconstruction, config.to_yaml(), judged=False),
        glance=lambda due: glance(reconstruction.problem, reconstruction.progress.history, due),
        remarks=reconstruction.problem.remarks,
    )
    result: Result | None = None
    if folder is not None and reconstruction.problem.comm.is_root:
        remove_partial(folder)  # from a killed run in the same folder
    for callback in callbacks:
        callback.on_start(info)
    for notice in (*config.notices(reconstruction.problem.dataset), *_hints(reconstruction)):
        LOG.warning(notice)
    done = reconstruction.progress.epoch
    if done >= config.run.epochs > 0:
        LOG.warning("run.epochs: nothing to do: %d of %d epochs are done; raise it", done, config.run.epochs)

    def watch(progress: BatchProgress) -> None:
        for callback in callbacks:
            callback.on_batch(info, progress)

    try:
        records = reconstruction.epochs(watch=watch if callbacks else None, save=saving.save)
        with stop_on_signal(reconstruction.stop, reconstruction.save_soon):
            for record in saving.saved(records):
                for callback in callbacks:
                    callback.on_epoch(info, record)
        result = saving.result()
    except RunError as error:
        if not reconstruction.ended:
            raise
        saving.result()
        there = "" if folder is None else f", in {folder / RESULT_NAME}"
        raise error.with_(remedy=f"{error.remedy}{there}") from error
    finally:
        for callback in callbacks:
            callback.on_end(info, result)
    return result


def _hints(reconstruction: Reconstruction) -> tuple[str, ...]:
    """Log the suspicious findings of `adorym inspect` about the data; on one rank."""
    problem = reconstruction.problem
    if not problem.comm.is_root:
        return ()
    return judge(problem.dataset, beam_of(problem), scanned=PROBE in problem.values).hints


def _remarks(result: Result) -> tuple[str, ...]:
    lines = [] if result.verdict is None else list(result.verdict.lines)
    trend = position_trend(result)
    if trend is not None:
        lines += [line for line in (f"Positions {trend.summary}.", trend.hint) if line]
    return tuple(lines)
