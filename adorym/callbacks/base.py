"""The interface of callbacks.

The engine calls its callbacks on **every rank**, in order, and ignores what they return. A callback writes and shows
on rank 0 only, but calls `RunInfo.current` on every rank, because gathering a distributed object is collective.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adorym.data.looks import Look
from adorym.data.result import Result
from adorym.engine.records import BatchProgress, EpochRecord
from adorym.report.text import counted

__all__ = ["BatchProgress", "Callback", "EpochRecord", "RunInfo"]


@dataclass(frozen=True)
class RunInfo:
    """Information about a run before its first batch.

    Attributes:
        title: Displayed title: technique and data.
        epochs: Last epoch of the run.
        n_batches: Batches per epoch.
        n_patterns: Measured patterns of the data set.
        output: Directory for all output; ``None`` to write nothing.
        rank: Rank of this process; only rank 0 shows or writes anything.
        current: Returns the current reconstruction; collective. ``None`` if not available.
        glance: Returns a look at the current state, thinned out and cheap, on rank 0 if its argument is true there;
            collective. ``None`` if not available.
        remarks: How start values were found, a line each.
    """

    title: str
    epochs: int
    n_batches: int
    n_patterns: int
    output: Path | None = None
    rank: int = 0
    current: Callable[[], Result] | None = None
    glance: Callable[[bool], Look[Result] | None] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def plan(self) -> str:
        """``120 patterns, 3 batches per epoch, 4 epochs``."""
        batches = counted(self.n_batches, "batch")
        return f"{counted(self.n_patterns, 'pattern')}, {batches} per epoch, {counted(self.epochs, 'epoch')}"


class Callback(ABC):  # noqa: B024 - nobody has to override anything
    """Receives the events of a run; override the methods of interest. All are called on every rank."""

    def on_start(self, run: RunInfo) -> None:  # noqa: B027 - a default that does nothing is the point
        """Before the first batch."""

    def on_batch(self, run: RunInfo, progress: BatchProgress) -> None:  # noqa: B027
        """After every batch."""

    def on_epoch(self, run: RunInfo, record: EpochRecord) -> None:  # noqa: B027
        """After every epoch."""

    def on_end(self, run: RunInfo, result: Result | None) -> None:  # noqa: B027
        """Always called last; ``result`` is ``None`` if the run failed or was interrupted."""
