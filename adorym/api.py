"""Reconstructions from Python: one call, or a loop of one's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adorym.callbacks.base import Callback, RunInfo
from adorym.config import Config, config_from, load_config
from adorym.data.atomic import remove_partial
from adorym.data.open import open_dataset
from adorym.data.result import Result
from adorym.engine.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, outcome_in_file
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


def prepare(config: Config | Mapping[str, Any] | str | Path, folder: Path | None = None) -> Reconstruction:
    """Make a reconstruction that is ready to run, for callers who own the loop.

    That is::

        reconstruction = adorym.prepare("config.yaml")
        for epoch in reconstruction.epochs(50):
            print(epoch.loss)
        result = adorym.outcome(reconstruction)

    Args:
        config: A `Config`, a mapping, or the path of a configuration file.
        folder: Where the run's output goes, and the object's file with the store ``h5``; as configured if absent.

    Raises:
        InputError: Configuration, data or geometry cannot be used.
    """
    made = as_config(config)
    run = made.run
    if run.store == "h5" and run.scratch is None:
        run = replace(run, scratch=str(folder or made.output.directory))
    return Reconstruction(open_dataset(made.data.path, made.data), made.recipe, run)


def reconstruct(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Run a configuration to its end and return the result.

    With an output folder, checkpoints are written there as the run goes on, and ``result.h5`` at its end. SIGINT and
    SIGTERM end the run early, as the end of ``run.max_time`` does: the state is saved and the result so far returned;
    ``resume=True`` goes on from there as if nothing had happened. SIGUSR1 has the state saved.

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
    reconstruction = prepare(made, folder)
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
        rank=reconstruction.problem.comm.rank,
        current=lambda: outcome(reconstruction, text),
    )
    result: Result | None = None
    if folder is not None and reconstruction.problem.comm.is_root:
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
        save = _saver(reconstruction, config, folder)
        records = reconstruction.epochs(watch=watch if callbacks else None, save=save)
        with stop_on_signal(reconstruction.stop, reconstruction.save_soon):
            for record in _saved(records, config.run.checkpoint_every, save):
                for callback in callbacks:
                    callback.on_epoch(info, record)
        if folder is None:
            result = outcome(reconstruction, text)
        else:
            result = outcome_in_file(reconstruction, folder / RESULT_NAME, text)
    finally:
        for callback in callbacks:
            callback.on_end(info, result)
    return result


def _saver(reconstruction: Reconstruction, config: Config, folder: Path | None) -> Callable[[], None]:
    """What writes a checkpoint, unless the run stands where it stood at the last one; collective."""
    identity, saved = config.identity(), None

    def save() -> None:
        nonlocal saved
        now = reconstruction.progress.epoch, reconstruction.progress.batch
        if folder is not None and now != saved:
            save_checkpoint(reconstruction, folder / CHECKPOINT_NAME, identity)
            saved = now

    return save


def _saved(records: Iterator[EpochRecord], every: int, save: Callable[[], None]) -> Iterator[EpochRecord]:
    """``records``, with a checkpoint every few epochs and at the end, even if that comes before the first batch."""
    for record in records:
        if record.epoch % every == 0:
            save()
        yield record
    save()
