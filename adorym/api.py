"""Reconstructions from Python: one call, or a loop of one's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adorym.callbacks.base import Callback, RunInfo
from adorym.config import Config, config_from, load_config
from adorym.data.atomic import remove_partial
from adorym.data.open import open_dataset
from adorym.data.result import Result, write_result
from adorym.engine.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.engine.records import BatchProgress, EpochRecord
from adorym.engine.signals import stop_on_signal

LOG = logging.getLogger("adorym")
RESULT_NAME = "result.h5"


def as_config(config: Config | Mapping[str, Any] | str | Path) -> Config:
    """A `Config` from one, from a mapping, or from a file's path.

    Raises:
        ConfigErrors: Everything that is wrong in it.
    """
    if isinstance(config, Config):
        return config
    return config_from(config) if isinstance(config, Mapping) else load_config(config)


def prepare(config: Config | Mapping[str, Any] | str | Path) -> Reconstruction:
    """Make a reconstruction that is ready to run, for callers who own the loop.

    That is::

        reconstruction = adorym.prepare("config.yaml")
        for epoch in reconstruction.epochs(50):
            print(epoch.loss)
        result = adorym.outcome(reconstruction)

    Raises:
        InputError: Configuration, data or geometry cannot be used.
    """
    made = as_config(config)
    return Reconstruction(open_dataset(made.data.path, made.data), made.recipe, made.run)


def reconstruct(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Run a configuration to its end and return the result.

    With an output folder, checkpoints are written there as the run goes on, and ``result.h5`` at its end. SIGINT and
    SIGTERM end the run early: the state is saved and the result so far is returned; ``resume=True`` goes on from there
    as if nothing had happened.

    Args:
        config: A `Config`, a mapping, or the path of a configuration file.
        output: Folder for checkpoint and result; nothing is written if absent.
        resume: Go on from the checkpoint in ``output``.
        callbacks: Watch the run.

    Raises:
        InputError: Configuration, data or geometry cannot be used.
        RunError: The loss is not a number any more, or grows without bound.
    """
    made = as_config(config)
    folder = None if output is None else Path(output)
    reconstruction = prepare(made)
    if resume:
        load_checkpoint(reconstruction, (folder or Path()) / CHECKPOINT_NAME, made.identity())
    return drive(reconstruction, made, folder, callbacks)


def drive(reconstruction: Reconstruction, config: Config, folder: Path | None, callbacks: Sequence[Callback]) -> Result:
    """Run ``reconstruction`` to the configured number of epochs, with checkpoints, callbacks and signals."""
    text = config.to_yaml()
    info = RunInfo(
        title=f"{config.forward_model.kind}: {Path(config.data.path).name}",
        epochs=config.run.epochs,
        n_batches=len(reconstruction.batches()),
        n_patterns=reconstruction.problem.dataset.n_patterns,
        output=folder,
        current=lambda: outcome(reconstruction, text),
    )
    result: Result | None = None
    if folder is not None:
        remove_partial(folder)  # of a run in the same folder that was killed
    for callback in callbacks:
        callback.on_start(info)
    for notice in config.notices(reconstruction.problem.dataset):
        LOG.warning(notice)
    done = reconstruction.progress.epoch
    if done >= config.run.epochs > 0:
        LOG.warning("run.epochs: nothing is left to do: %d of %d epochs are done; raise it", done, config.run.epochs)

    def watch(progress: BatchProgress) -> None:
        for callback in callbacks:
            callback.on_batch(info, progress)

    try:
        records = reconstruction.epochs(watch=watch if callbacks else None)
        with stop_on_signal(reconstruction.stop):
            for record in _saved(reconstruction, records, config, folder):
                for callback in callbacks:
                    callback.on_epoch(info, record)
        result = outcome(reconstruction, text)
        if folder is not None:
            write_result(result, folder / RESULT_NAME)
    finally:
        for callback in callbacks:
            callback.on_end(info, result)
    return result


def _saved(
    reconstruction: Reconstruction, records: Iterator[EpochRecord], config: Config, folder: Path | None
) -> Iterator[EpochRecord]:
    """``records``, with a checkpoint every few epochs and at the end, even if that comes before the first batch."""
    identity, saved = config.identity(), None

    def save() -> None:
        nonlocal saved
        now = reconstruction.progress.epoch, reconstruction.progress.batch
        if folder is not None and now != saved:
            save_checkpoint(reconstruction, folder / CHECKPOINT_NAME, identity)
            saved = now

    for record in records:
        if record.epoch % config.run.checkpoint_every == 0:
            save()
        yield record
    save()
