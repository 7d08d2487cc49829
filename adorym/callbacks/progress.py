"""Progress on the screen: a live bar on terminals, plain lines for batch systems, or nothing."""

from __future__ import annotations

import math
import time
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from adorym.callbacks.base import BatchProgress, Callback, EpochRecord, RunInfo
from adorym.data.result import Result
from adorym.errors import ConfigError

MODES = ("auto", "live", "plain", "quiet")
REDRAWN_HZ = 4  # reading a loss waits for a device


def clock(seconds: float) -> str:
    """``h:mm:ss``; ``-:--:--`` if the time is not known."""
    if not math.isfinite(seconds) or seconds < 0:
        return "-:--:--"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def duration(seconds: float) -> str:
    """``12 ms`` or ``1.2 s``: three digits of a short time."""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def of_an_epoch(progress: BatchProgress) -> float:
    """The loss of a batch, scaled to a whole epoch for comparison."""
    return progress.loss * progress.n_batches


class ProgressReport(Callback):
    """Shows loss, time per batch and remaining time.

    Args:
        mode: ``"live"`` redraws one line; ``"plain"`` prints lines at intervals, without control codes; ``"quiet"``
            prints nothing; ``"auto"`` is live on a terminal and plain elsewhere.
        every_s: Shortest time between two plain lines.
        console: Where to print; standard output by default.
    """

    def __init__(self, mode: str = "auto", *, every_s: float = 10.0, console: Console | None = None) -> None:
        if mode not in MODES:
            raise ConfigError("progress", f"no progress mode '{mode}'", expected=", ".join(MODES))
        self._console = console or Console()
        if mode == "auto":
            mode = "live" if self._console.is_terminal else "plain"
        self._mode, self._every_s = mode, every_s
        self._view: _Live | _Plain | None = None

    def on_start(self, run: RunInfo) -> None:
        if run.rank != 0 or self._mode == "quiet":
            return
        live = self._mode == "live"
        self._view = _Live(run, self._console) if live else _Plain(run, self._console.file, self._every_s)

    def on_batch(self, run: RunInfo, progress: BatchProgress) -> None:
        if self._view:
            self._view.batch(progress)

    def on_epoch(self, run: RunInfo, record: EpochRecord) -> None:
        if self._view:
            self._view.epoch(record)

    def on_end(self, run: RunInfo, result: Result | None) -> None:
        if self._view:
            self._view.close(result)
        self._view = None


class _Live:
    """One line, redrawn at most four times per second."""

    def __init__(self, run: RunInfo, console: Console) -> None:
        self._n_batches = run.n_batches
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss [bold]{task.fields[loss]}"),
            TextColumn("[dim]{task.fields[pace]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            refresh_per_second=REDRAWN_HZ,
            expand=True,
        )
        self._task: TaskID | None = None
        self._read = 0.0  # when a loss was last read
        self._total = run.epochs * run.n_batches
        console.print(run.title, style="bold", markup=False, highlight=False)
        for line in (run.plan, *run.remarks):
            console.print(line, highlight=False, markup=False)
        self._bar.start()

    def batch(self, progress: BatchProgress) -> None:
        done = (progress.epoch - 1) * self._n_batches + progress.batch
        if 1 < progress.batch < self._n_batches and time.monotonic() - self._read < 1 / REDRAWN_HZ:
            return
        self._read = time.monotonic()
        loss, pace = f"{of_an_epoch(progress):.4e}", f"{duration(progress.time_s)}/batch"
        if self._task is None:  # the earlier batches of a resumed run took no time here
            where = f"epoch {progress.epoch}"
            self._task = self._bar.add_task(where, total=self._total, completed=done - 1, loss=loss, pace=pace)
        self._bar.update(self._task, completed=done, loss=loss, pace=pace)

    def epoch(self, record: EpochRecord) -> None:
        if self._task is not None:
            self._bar.update(self._task, description=f"epoch {record.epoch}/{record.epochs}", loss=f"{record.loss:.4e}")

    def close(self, result: Result | None) -> None:
        self._bar.stop()


class _Plain:
    """A line for the first epoch, the last one, and in between whenever ``every_s`` have passed."""

    def __init__(self, run: RunInfo, file: IO[str], every_s: float) -> None:
        # No escape codes in logs, even if a batch system sets FORCE_COLOR.
        self._console = Console(file=file, force_terminal=False, color_system=None, highlight=False, markup=False)
        self._every_s, self._start, self._last = every_s, time.monotonic(), time.monotonic()
        self._total, self._n_batches = run.epochs * run.n_batches, run.n_batches
        self._done_here = 0
        for line in (f"{run.title}: {run.plan}", *run.remarks):
            self._line(line)

    def batch(self, progress: BatchProgress) -> None:
        self._done_here += 1
        if progress.batch < progress.n_batches and time.monotonic() - self._last > self._every_s:
            where = f"epoch {progress.epoch}, batch {progress.batch}/{progress.n_batches}"
            done = (progress.epoch - 1) * self._n_batches + progress.batch
            loss, pace = f"loss {of_an_epoch(progress):.4e}", f"{duration(progress.time_s)}/batch"
            self._line(f"{where}  {loss}  {pace}  {self._to_go(done)}")

    def epoch(self, record: EpochRecord) -> None:
        first_or_last = self._done_here <= self._n_batches or record.epoch == record.epochs
        if first_or_last or time.monotonic() - self._last > self._every_s:
            pace = f"{duration(record.time_s)}/epoch"
            to_go = self._to_go(record.epoch * self._n_batches)
            self._line(f"epoch {record.epoch}/{record.epochs}  loss {record.loss:.4e}  {pace}  {to_go}")

    def close(self, result: Result | None) -> None:
        taken = clock(time.monotonic() - self._start)
        self._line(f"finished after {taken}" if result is not None else f"stopped after {taken}")

    def _to_go(self, done: int) -> str:
        passed = time.monotonic() - self._start
        return f"{clock((self._total - done) * passed / max(self._done_here, 1))} to go"

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        self._console.print(text, soft_wrap=True)
