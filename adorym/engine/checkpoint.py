"""The complete state of a run in one file: written atomically, read back equal, resumed bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym._version import __version__
from adorym.data.atomic import whole_file
from adorym.engine.loop import Progress, Reconstruction
from adorym.engine.problem import Problem
from adorym.errors import ConfigError, DataError, RunError

CHECKPOINT_NAME = "checkpoint.h5"
Parts = tuple[np.ndarray, tuple[np.ndarray, ...]]  # a value and the state of its optimizer


def save_checkpoint(reconstruction: Reconstruction, path: Path, identity: Mapping[str, Any]) -> None:
    """Write the state of ``reconstruction`` to ``path``.

    Whatever happens, ``path`` is either the old checkpoint or the new one.

    Args:
        reconstruction: A run between two batches.
        path: Where to write.
        identity: The settings that a resumed run must share; plain data.

    Raises:
        RunError: A value is not a number any more; the checkpoint before is left as it is.
    """
    unknowns = _unknowns(reconstruction.problem)
    _need_numbers(unknowns, reconstruction.progress.epoch)
    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["adorym_version"] = __version__
        file.attrs["progress"] = json.dumps(asdict(reconstruction.progress))
        file.attrs["identity"] = json.dumps(identity)
        for name, (value, state) in unknowns.items():
            group = file.create_group(name)
            group["value"] = value
            for i, part in enumerate(state):
                group[f"state_{i}"] = part
        for name, array in ({} if reconstruction.solving is None else reconstruction.solving.memory).items():
            file[f"solver/{name}"] = array


def load_checkpoint(reconstruction: Reconstruction, path: Path, identity: Mapping[str, Any]) -> None:
    """Put ``reconstruction`` into the state that `save_checkpoint` wrote.

    Raises:
        ConfigError: There is no checkpoint, or it belongs to a run with other settings.
        DataError: The file is damaged.
    """
    if not path.is_file():
        raise ConfigError(
            "--resume", f"no checkpoint '{path}'", remedy="leave '--resume' out to start from the beginning"
        )
    try:
        with h5py.File(path, "r") as file:
            _same_run(json.loads(file.attrs["identity"]), identity, path)
            wanted = _unknowns(reconstruction.problem)
            stored = {name: _parts(file[name], *kept) for name, kept in wanted.items()}
            memory = _flat(file.get("solver", {}))
            progress = Progress(**json.loads(file.attrs["progress"]))
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(
            str(path), "this checkpoint is damaged", found=str(error), remedy="start without '--resume'"
        ) from error
    _restore(reconstruction.problem, stored)
    if reconstruction.solving is not None:
        reconstruction.solving.memory = memory
    reconstruction.progress = progress


def _flat(group: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Every array in a group and in those below it, by its path."""
    found: dict[str, np.ndarray] = {}
    for name, entry in group.items():
        path = f"{prefix}{name}"
        found |= _flat(entry, f"{path}/") if isinstance(entry, h5py.Group) else {path: entry[()]}
    return found


def _unknowns(problem: Problem) -> dict[str, Parts]:
    """Present value and optimizer state of the object and of every parameter, by their group in the file."""
    found: dict[str, Parts] = {"object": (problem.store.values(), problem.store.state())}
    for name, value in problem.values.items():
        state = tuple(problem.xp.to_numpy(s) for s in value.state)
        found[f"parameters/{name}"] = problem.xp.to_numpy(value.array), state
    return found


def _need_numbers(unknowns: Mapping[str, Parts], epoch: int) -> None:
    lost = [name.removeprefix("parameters/") for name, (value, _) in unknowns.items() if not np.isfinite(value).all()]
    if lost:
        raise RunError(
            "run",
            f"values are not numbers any more after epoch {epoch}",
            found=", ".join(lost),
            remedy="lower the learning rates; the checkpoint before is kept",
        )


def _parts(group: h5py.Group, value: np.ndarray, state: tuple[np.ndarray, ...]) -> Parts:
    """What is stored, of the shapes of ``value`` and ``state``."""
    stored = group["value"][()]
    if stored.shape != value.shape:
        raise ConfigError("--resume", f"'{group.name}' has another size", expected=value.shape, found=stored.shape)
    kept = tuple(group[f"state_{i}"][()] for i in range(len(state)))
    if [part.shape for part in kept] != [part.shape for part in state] or len(group) != 1 + len(state):
        raise KeyError(f"the optimizer's state in '{group.name}' is incomplete")
    return stored, kept


def _restore(problem: Problem, stored: Mapping[str, Parts]) -> None:
    xp = problem.xp
    problem.store.restore(*stored["object"])
    for name, value in problem.values.items():
        array, state = stored[f"parameters/{name}"]
        value.array = xp.asarray(array, exact=True)
        value.state = tuple(xp.asarray(part, exact=True) for part in state)


def _same_run(stored: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    changed = sorted(_differences(stored, json.loads(json.dumps(now)), ""))
    if changed:
        raise ConfigError(
            "--resume",
            f"'{path}' belongs to a run with other settings",
            found=f"changed: {', '.join(changed)}",
            remedy="restore them, or start without '--resume'",
        )


def _differences(a: Any, b: Any, where: str) -> set[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = a.keys() | b.keys()
        return {d for k in keys for d in _differences(a.get(k), b.get(k), f"{where}.{k}" if where else str(k))}
    return set() if a == b else {where}
