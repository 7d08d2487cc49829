"""Snapshots of the picture, and the books, for those who look at the folder of a stream with `adorym watch`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from adorym.callbacks.base import BatchProgress, RunInfo
from adorym.callbacks.live import LiveSnapshots
from adorym.config import Config
from adorym.data.atomic import write_json
from adorym.data.live import BOOKS, LIVE
from adorym.data.result import Result
from adorym.engine.shown import glance
from adorym.stream.picture import LivePicture

LOG = logging.getLogger("adorym")
EVERY_S = 1.0


class Onlookers:
    """Writes ``live/`` in the folder of the stream, unless ``output.live`` is off.

    Args:
        config: The configuration of the run.
        folder: Of the stream.
        rank: Of this process.
    """

    def __init__(self, config: Config, folder: Path, rank: int) -> None:
        self._wanted, self._last_s = config.output.live, 0.0
        title = f"{config.forward_model.kind}: {config.data.name}, while it is measured"
        self._info = RunInfo(title, config.run.epochs, 1, 1, folder, rank)
        self._snapshots: LiveSnapshots | None = None

    def look(self, picture: LivePicture) -> None:
        """After a batch; collective."""
        if not self._wanted:
            return
        batches = max(1, round(len(picture) / picture.batch_size))
        self._info = replace(self._info, n_batches=batches, n_patterns=len(picture))
        if self._snapshots is None:
            problem, history = picture.problem, picture.history
            self._info = replace(self._info, glance=lambda due: glance(problem, history, due))
            self._snapshots = LiveSnapshots()
            self._snapshots.on_start(self._info)
        part = int(picture.looks % 1 * batches)
        progress = BatchProgress(int(picture.looks) + 1, part, batches, picture.loss / batches, 0.0)
        self._snapshots.on_batch(self._info, progress)

    def tell(self, books: Mapping[str, Any]) -> None:
        """Write the books."""
        if not self._wanted:
            return
        try:
            write_json(self._info.output / LIVE / BOOKS, books)  # type: ignore[operator]
        except OSError as error:  # a look at the books is no reason to lose a frame
            LOG.debug("no books for those who look on: %s", error)

    def due(self) -> bool:
        """Whether the books were written long enough ago."""
        now = time.monotonic()
        if now - self._last_s < EVERY_S:
            return False
        self._last_s = now
        return True

    def close(self, result: Result | None) -> None:
        """No more snapshots; ``result`` is the last picture, if it did not fail."""
        if self._snapshots is not None:
            self._snapshots.on_end(self._info, result)
