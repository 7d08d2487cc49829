"""Reconstructions from Python: one call, or your own loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from adorym.callbacks.base import Callback
from adorym.commands.run import as_config, carry_out_stages, drive, prepare
from adorym.config import Config
from adorym.data.result import Result
from adorym.errors import ConfigError

__all__ = ["prepare", "reconstruct"]


def reconstruct(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    patterns: ArrayLike | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    **data: Any,
) -> Result:
    """Run a configuration to its end and return the result.

    With an output folder it writes the same files as ``adorym run``, following the section ``output`` of the
    configuration: ``result.h5``, checkpoints, ``log.txt`` and the report; and it shows the same progress. SIGINT and
    SIGTERM end the run early, as does ``run.max_time``: the state is saved and the result so far returned;
    ``resume=True`` continues exactly from there. SIGUSR1 saves the state.

    Data that are in memory need no file::

        adorym.reconstruct({"forward_model": "ptychography"}, patterns=counts, positions=positions_m,
                           pixel_size=12e-9, energy=8800, output="out")

    Args:
        config: A `Config`, a mapping, or the path of a configuration file.
        patterns: ``(n, y, x)`` patterns in memory, instead of a file, or ``(rows, columns, y, x)`` of a raster.
        output: Folder for all files; nothing is written or shown if absent.
        resume: Resume from the checkpoint in ``output``.
        callbacks: Further callbacks, in addition to those of the configuration.
        data: Values for the section ``data`` of the configuration (`adorym.data.overrides.Overrides` has them), also
            arrays and lists: ``positions``, ``mask``, ``theta``, ... Numbers without a unit are in SI units, energies
            in electronvolts.

    Raises:
        InputError: Configuration, data or geometry cannot be used.
        RunError: The loss is not a finite number, or grows without bound.
    """
    made = as_config(config, patterns, **data)
    if output is None:
        if resume:
            raise ConfigError("resume", "there is no checkpoint to go on from", remedy="name the run's folder: output=")
        return drive(prepare(made), made, None, callbacks)
    folder = Path(output)
    return carry_out_stages(made, folder, resume=resume, callbacks=callbacks).result
