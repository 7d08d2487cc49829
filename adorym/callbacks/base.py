"""What a run tells those who watch it.

The engine is handed a sequence of `Callback`; it calls them on **every rank**, in order, and never asks anything of
them. What a callback writes or shows, it writes on rank 0 alone; what needs the whole object (`RunInfo.current`) it
asks for on every rank, because gathering a distributed object is a collective operation.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adorym.data.result import Result
from adorym.engine.records import BatchProgress, EpochRecord
from adorym.report.text import counted

__all__ = ["BatchProgress", "Callback", "EpochRecord", "RunInfo"]


@dataclass(frozen=True)
class RunInfo:
    """What is known before the first batch.

    Attributes:
        title: One line for people: technique and data.
        epochs: Epochs this run ends at.
        n_batches: Batches per epoch.
        n_patterns: Measured patterns of the data set.
        output: Directory that takes what the run writes; ``None`` to write nothing.
        rank: Of this process; only rank 0 shows or writes anything.
        current: Collective; the reconstruction as it is now. ``None`` where the run cannot tell.
    """

    title: str
    epochs: int
    n_batches: int
    n_patterns: int
    output: Path | None = None
    rank: int = 0
    current: Callable[[], Result] | None = None

    @property
    def plan(self) -> str:
        """``120 patterns, 3 batches per epoch, 4 epochs``."""
        batches = counted(self.n_batches, "batch")
        return f"{counted(self.n_patterns, 'pattern')}, {batches} per epoch, {counted(self.epochs, 'epoch')}"


class Callback(ABC):  # noqa: B024 - nobody has to override anything
    """Watches a run; override what is of interest. Every call is made on every rank."""

    def on_start(self, run: RunInfo) -> None:  # noqa: B027 - a default that does nothing is the point
        """Before the first batch."""

    def on_batch(self, run: RunInfo, progress: BatchProgress) -> None:  # noqa: B027
        """After every batch."""

    def on_epoch(self, run: RunInfo, record: EpochRecord) -> None:  # noqa: B027
        """After every epoch."""

    def on_end(self, run: RunInfo, result: Result | None) -> None:  # noqa: B027
        """Always last; ``result`` is ``None`` if the run failed or was interrupted."""
