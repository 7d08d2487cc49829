"""Run a configuration to a result, a checkpoint, a log and a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from adorym.api import RESULT_NAME, drive, prepare
from adorym.callbacks.base import Callback
from adorym.callbacks.progress import ProgressReport
from adorym.callbacks.save import LogFile, Snapshots
from adorym.commands.report import report_scored
from adorym.config import Config, load_config
from adorym.config_file import at_lines, load
from adorym.data.result import Result
from adorym.engine.checkpoint import CHECKPOINT_NAME, load_checkpoint
from adorym.engine.loop import TIME_IS_OVER
from adorym.errors import ConfigError, InputError
from adorym.report.position_trend import position_trend

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
        result: The result, also in ``folder/result.h5``.
        stopped: Why the run ended early; empty if it did not.
        report: The report's path, if one was asked for.
        remarks: What the result says about the experiment, a line each: the trend of refined positions.
        ranks: On how many ranks it ran.
    """

    result: Result
    folder: Path
    stopped: str
    report: Path | None
    remarks: tuple[str, ...] = ()
    ranks: int = 1

    @property
    def interrupted(self) -> bool:
        """Whether the run has not come to an end of its own and waits to be resumed."""
        return self.stopped == TIME_IS_OVER or self.stopped.startswith("SIG")


def run(
    path: str | Path,
    overrides: Iterable[str] = (),
    *,
    output: str | Path | None = None,
    resume: bool = False,
    quick: bool = False,
) -> Outcome:
    """Run the configuration file ``path``.

    Args:
        path: YAML, TOML or JSON.
        overrides: ``key.path=value`` assignments.
        output: Folder, instead of the configured one.
        resume: Go on from the checkpoint in that folder.
        quick: Only a few epochs.

    Raises:
        InputError: Configuration or data cannot be used.
        RunError: The run failed.
    """
    assignments = tuple(overrides)
    config = load_config(path, assignments, quick=quick)
    folder = Path(output if output is not None else config.output.directory)
    try:
        reconstruction = prepare(config, folder)
    except InputError as error:
        raise at_lines(error, load(path, assignments).lines) from None
    comm = reconstruction.problem.comm
    if resume:
        load_checkpoint(reconstruction, folder / CHECKPOINT_NAME, config.identity())
    if comm.is_root:
        _writable(folder, "output.directory" if output is None else "--output")
    result = drive(reconstruction, config, folder, _callbacks(config))
    report = None
    if config.output.report and comm.is_root:
        report = report_scored(folder / RESULT_NAME, folder / REPORT_NAME, reconstruction.problem.dataset)
    return Outcome(result, folder, reconstruction.stop_reason, report, _remarks(result), comm.size)


def _remarks(result: Result) -> tuple[str, ...]:
    trend = position_trend(result)
    if trend is None:
        return ()
    return tuple(line for line in (f"Positions {trend.summary}.", trend.hint) if line)


def _callbacks(config: Config) -> list[Callback]:
    callbacks: list[Callback] = [ProgressReport(config.output.progress), LogFile()]
    if config.output.snapshots_every is not None:
        callbacks.append(Snapshots(config.output.snapshots_every))
    return callbacks


def _writable(folder: Path, where: str) -> None:
    """Find out before an hour's run whether its result can be written."""
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        remedy = "name another folder with '--output'"
        raise ConfigError(where, f"cannot write to '{folder}'", found=error.strerror, remedy=remedy) from None
