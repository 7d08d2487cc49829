"""The complete state of a run in one file: written atomically, read back equal, resumed bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym._version import __version__
from adorym.engine.loop import Progress, Reconstruction
from adorym.errors import ConfigError, DataError

CHECKPOINT_NAME = "checkpoint.h5"


def save_checkpoint(reconstruction: Reconstruction, path: Path, identity: Mapping[str, Any]) -> None:
    """Write the state of ``reconstruction`` to ``path``.

    The file is written beside ``path`` and moved over it when it is complete and on disk: whatever happens, ``path``
    is either the old checkpoint or the new one.

    Args:
        reconstruction: A run between two batches.
        path: Where to write.
        identity: The settings that a resumed run must share; plain data.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    problem = reconstruction.problem
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["adorym_version"] = __version__
            file.attrs["progress"] = json.dumps(asdict(reconstruction.progress))
            file.attrs["identity"] = json.dumps(identity)
            _write(file.create_group("object"), problem.store.values(), problem.store.state())
            for name, value in problem.values.items():
                state = tuple(problem.xp.to_numpy(s) for s in value.state)
                _write(file.create_group(f"parameters/{name}"), problem.xp.to_numpy(value.array), state)
            for name, array in ({} if reconstruction.solving is None else reconstruction.solving.memory).items():
                file[f"solver/{name}"] = array
            file.flush()
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
            _read(file, reconstruction)
            if reconstruction.solving is not None:
                reconstruction.solving.memory = _flat(file.get("solver", {}))
            reconstruction.progress = Progress(**json.loads(file.attrs["progress"]))
    except (OSError, KeyError) as error:
        raise DataError(
            str(path), "this checkpoint is damaged", found=str(error), remedy="start without '--resume'"
        ) from error


def _flat(group: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Every array in a group and in those below it, by its path."""
    found: dict[str, np.ndarray] = {}
    for name, entry in group.items():
        path = f"{prefix}{name}"
        found |= _flat(entry, f"{path}/") if isinstance(entry, h5py.Group) else {path: entry[()]}
    return found


def _write(group: h5py.Group, array: np.ndarray, state: tuple[np.ndarray, ...]) -> None:
    group["value"] = array
    for i, part in enumerate(state):
        group[f"state_{i}"] = part


def _read(file: h5py.File, reconstruction: Reconstruction) -> None:
    problem = reconstruction.problem
    problem.store.restore(*_parts(file["object"], problem.store.shape))
    for name, value in problem.values.items():
        array, state = _parts(file[f"parameters/{name}"], tuple(value.array.shape))
        value.array = problem.xp.asarray(array, exact=True)
        value.state = tuple(problem.xp.asarray(s, exact=True) for s in state)


def _parts(group: h5py.Group, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    value = group["value"][()]
    if value.shape != tuple(shape):
        raise ConfigError("--resume", f"'{group.name}' has another size", expected=tuple(shape), found=value.shape)
    return value, tuple(group[f"state_{i}"][()] for i in range(len(group) - 1))


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


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
