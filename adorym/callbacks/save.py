"""Output during a run: ``log.txt``, and snapshots of the object."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from adorym.callbacks.base import Callback, EpochRecord, RunInfo
from adorym.data.field_of_view import field_of_view, robust_range, without_ramp
from adorym.data.result import Result
from adorym.errors import ConfigError

LOG = logging.getLogger("adorym")
LOG_NAME = "log.txt"


class _Lines(logging.FileHandler):
    """A log that a full disk cuts short without a word: the run is worth more."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Of a line that could not be written."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class LogFile(Callback):
    """Appends to ``log.txt``: one line per epoch, every warning of the package during the run, the verdict."""

    def __init__(self) -> None:
        self._handler: logging.FileHandler | None = None
        self._start = 0.0

    def on_start(self, run: RunInfo) -> None:
        if run.rank != 0 or run.output is None:
            return
        self._start = time.monotonic()
        try:
            run.output.mkdir(parents=True, exist_ok=True)
            self._handler = _Lines(run.output / LOG_NAME, encoding="utf-8")
        except OSError as error:
            LOG.warning("no log: %s", error)
            return
        self._handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        logging.getLogger("adorym").addHandler(self._handler)
        for line in (f"start: {run.title}; {run.plan}", *run.remarks):
            self._line(line)

    def on_epoch(self, run: RunInfo, record: EpochRecord) -> None:
        rates = "".join(f"  {name} {rate:.3g}" for name, rate in record.learning_rates.items())
        rates = f"  learning rates:{rates}" if rates else ""
        self._line(f"epoch {record.epoch}/{record.epochs}  loss {record.loss:.6e}  {record.time_s:.3g} s{rates}")

    def on_end(self, run: RunInfo, result: Result | None) -> None:
        if self._handler is None:
            return
        for line in () if result is None or result.verdict is None else result.verdict.lines:
            self._line(line)
        how = "end" if result is not None else "stopped before the end"
        self._line(f"{how}: {time.monotonic() - self._start:.1f} s")
        logging.getLogger("adorym").removeHandler(self._handler)
        self._handler.close()
        self._handler = None

    def _line(self, text: str) -> None:
        if self._handler:
            # Written directly: the package's logger also has a console handler.
            self._handler.handle(logging.makeLogRecord({"name": "adorym.run", "level": logging.INFO, "msg": text}))


class Snapshots(Callback):
    """Saves the object's phase (or delta) as ``snapshots/epoch_00010.png`` every ``every`` epochs."""

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ConfigError("output.snapshots_every", "not a number of epochs", expected=">= 1", found=every)
        self._every = every

    def on_epoch(self, run: RunInfo, record: EpochRecord) -> None:
        if run.output is None or run.current is None or record.epoch % self._every:
            return
        result = run.current()  # collective: asked on every rank, drawn on one
        if run.rank == 0:
            try:
                save_snapshot(result, run.output / "snapshots" / f"epoch_{record.epoch:05d}.png")
            except OSError as error:
                LOG.warning("no snapshot after epoch %d: %s", record.epoch, error)


def save_snapshot(result: Result, path: Path) -> Path:
    """Middle slice of the object's phase, ramp removed, or of its delta, pixel by pixel as a gray PNG."""
    from matplotlib.image import imsave  # slow to import, and most runs take no snapshot

    view = field_of_view(result)
    middle = result.object.shape[2] // 2
    if result.representation == "real_imag":
        flat = without_ramp(result.object[..., middle][view.crop], view.bright, ramp=view.scanned)
        image = np.angle(flat)
    else:
        image = result.object[..., middle, 0][view.crop]
    low, high = robust_range(image, view.bright)
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, image, cmap="gray", vmin=low, vmax=high)
    return path
