"""What a run leaves on the disk: checkpoints while it lasts, the result at its end; what is tried on a full disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from adorym.config import Config
from adorym.data.atomic import need_space
from adorym.data.result import RESULT_NAME, Result
from adorym.engine.checkpoint import CHECKPOINT_NAME, save_checkpoint
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, outcome_in_file
from adorym.engine.records import EpochRecord
from adorym.errors import ConfigError, WriteError

LOG = logging.getLogger("adorym")
LEAST_BYTES = 1 << 16  # without which no run begins


class Saving:
    """Writes checkpoints and the result of a run to its folder; nothing without a folder. All calls are collective.

    A checkpoint that cannot be written ends nothing: the run goes on, and its result is tried.

    Args:
        reconstruction: The run.
        config: Its configuration.
        folder: The folder of its output.

    Attributes:
        fault: Why the last checkpoint could not be written; ``None`` if it was.
    """

    def __init__(self, reconstruction: Reconstruction, config: Config, folder: Path | None) -> None:
        self._reconstruction, self._config, self._folder = reconstruction, config, folder
        self._saved: tuple[int, int] | None = None
        self.fault: WriteError | None = None

    def save(self) -> None:
        """Write a checkpoint, unless nothing has changed since the last one."""
        progress = self._reconstruction.progress
        now = progress.epoch, progress.batch
        if self._folder is None or now == self._saved:
            return
        try:
            save_checkpoint(self._reconstruction, self._folder / CHECKPOINT_NAME, self._config.identity())
        except WriteError as error:
            if self.fault is None:
                LOG.warning("%s; the run goes on without this checkpoint", error)
            self.fault = error
        else:
            self._saved, self.fault = now, None

    def saved(self, records: Iterator[EpochRecord]) -> Iterator[EpochRecord]:
        """``records``, with a checkpoint every few epochs and at the end, even before the first batch."""
        for record in records:
            if record.epoch % self._config.run.checkpoint_every == 0:
                self.save()
            yield record
        self.save()

    def result(self) -> Result:
        """The result so far, in the folder, or in ``output.spare`` if it cannot be written there.

        Raises:
            WriteError: It, or the last checkpoint, could not be written to the folder.
        """
        text = self._config.to_yaml()
        if self._folder is None:
            return outcome(self._reconstruction, text)
        path, spare = self._folder / RESULT_NAME, self._config.output.spare
        try:
            result = outcome_in_file(self._reconstruction, path, text)
        except WriteError as error:
            if spare is None:
                raise error.with_(remedy=f"{error.remedy}; 'output.spare' names one that is tried then") from error
            path = Path(spare) / RESULT_NAME
            outcome_in_file(self._reconstruction, path, text)
            self.fault = error
            raise error.with_(remedy=f"the result is in '{path}' instead") from error
        if self.fault is not None:
            raise self.fault.with_(remedy=f"the result is complete, in '{path}'") from self.fault
        return result


def need_folder(folder: Path, where: str) -> None:
    """Check before a long run that its result can be written.

    Args:
        where: Option or key that named the folder, for the message.

    Raises:
        ConfigError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        need_space(folder, LEAST_BYTES)
    except OSError as error:
        remedy = "make room, or name another folder with '--output'"
        raise ConfigError(where, f"cannot write to '{folder}'", found=error.strerror, remedy=remedy) from None
