"""The complete state of a run in one file, written atomically; a run resumes from it bit for bit.

Every rank writes and reads its own rows of the object and of its optimizer's state; the object is never gathered. A
run resumes in any store and on any number of ranks.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym._version import __version__
from adorym.data.atomic import MARGIN_BYTES, PARTIAL, together, whole_file
from adorym.data.contiguous import ALIGNMENT, ArraySpec, create_contiguous, read_rows, write_rows
from adorym.data.seal import state_of
from adorym.engine.loop import Progress, Reconstruction
from adorym.engine.origin import compare
from adorym.engine.problem import Problem
from adorym.engine.resumption import OF_BATCHES, OF_LOSS, changes
from adorym.errors import ConfigError, DataError, RunError
from adorym.parameters import OBJECT
from adorym.storage.base import LikeObject, ObjectStore, blocks
from adorym.storage.vector import StoreVector

LOG = logging.getLogger("adorym")
CHECKPOINT_NAME = "checkpoint.h5"
# Counts up whenever what a checkpoint holds changes its meaning.
FORMAT = 3
Parts = tuple[np.ndarray, tuple[np.ndarray, ...]]  # a value and the state of its optimizer


def previous(path: Path) -> Path:
    """Path of the checkpoint before the last one."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


# -- writing -----------------------------------------------------------------------------------------------------------
def save_checkpoint(reconstruction: Reconstruction, path: Path, identity: Mapping[str, Any]) -> None:
    """Write the state of ``reconstruction`` to ``path``; collective. An existing checkpoint is kept as `previous`.

    Args:
        reconstruction: A run between two batches.
        path: File to write.
        identity: The settings that a resumed run must have, too; plain data.

    Raises:
        RunError: A value is not finite; an existing checkpoint is left unchanged.
        WriteError: The file cannot be written; likewise, and on every rank.
    """
    store, comm = reconstruction.problem.store, reconstruction.problem.comm
    _need_numbers(reconstruction)
    with whole_file(path, comm, _switch, sealed=True, n_bytes=_n_bytes(reconstruction)) as partial:
        offsets = together(comm, path, lambda: _frame(reconstruction, partial, identity), on_root=True)

        def own() -> None:
            for path_in_file, (kept, array) in _laid_out(reconstruction).items():
                write_rows(partial, offsets[path_in_file], kept, _own_rows(store, array, kept))

        together(comm, path, own)


def _laid_out(reconstruction: Reconstruction) -> dict[str, tuple[ArraySpec, LikeObject]]:
    """By key in the file: the layout of each array shaped like the object, and its name in the store."""
    kept = reconstruction.problem.store.arrays()
    found: dict[str, tuple[ArraySpec, LikeObject]] = {f"{OBJECT}/{name}": (each, name) for name, each in kept.items()}
    for name, each in _memory(reconstruction).items():
        if isinstance(each, StoreVector) and OBJECT in each.parts:
            found[f"solver/{name}/{OBJECT}"] = kept["value"], each.parts[OBJECT]
    return found


def _n_bytes(reconstruction: Reconstruction) -> int:
    """What a checkpoint takes on the disk."""
    arrays = [kept.row_bytes * kept.shape[0] for kept, _ in _laid_out(reconstruction).values()]
    parts = [part for v in reconstruction.problem.values.values() for part in (v.array, *v.state)]
    small = [math.prod(part.shape) * reconstruction.problem.xp.complex_dtype.itemsize for part in parts]
    history = 24 * sum(map(len, reconstruction.progress.history.values()))  # bytes of a number as text
    return sum(arrays) + sum(small) + history + (len(arrays) + len(parts) + 4) * MARGIN_BYTES


def _memory(reconstruction: Reconstruction) -> dict[str, Any]:
    return {} if reconstruction.solving is None else reconstruction.solving.memory


def _frame(reconstruction: Reconstruction, path: Path, identity: Mapping[str, Any]) -> dict[str, int]:
    """Write everything but the object's arrays; returns the offset of these in the file."""
    problem = reconstruction.problem
    with h5py.File(path, "w", **ALIGNMENT) as file:
        file.attrs["adorym_version"], file.attrs["format"] = __version__, FORMAT
        progress = replace(reconstruction.progress, partial_loss=float(reconstruction.progress.partial_loss))
        file.attrs["progress"] = json.dumps(asdict(progress))
        file.attrs["identity"], file.attrs["origin"] = json.dumps(identity), json.dumps(dict(reconstruction.origin))
        for name, value in problem.values.items():
            group = file.create_group(f"parameters/{name}")
            group["value"] = problem.xp.to_numpy(value.array)
            for i, part in enumerate(value.state):
                group[f"state_{i}"] = problem.xp.to_numpy(part)
        for name, each in _memory(reconstruction).items():
            parts = each.parts if isinstance(each, StoreVector) else {"": each}
            for part in parts.keys() - {OBJECT}:
                file[f"solver/{name}/{part}".rstrip("/")] = parts[part]
        laid_out = _laid_out(reconstruction)
        return {
            path: create_contiguous(file.require_group(path.rpartition("/")[0]), path.rpartition("/")[2], kept)
            for path, (kept, _) in laid_out.items()
        }


def _need_numbers(reconstruction: Reconstruction) -> None:
    problem = reconstruction.problem
    kept = problem.store.arrays()["value"]
    whole = all(np.isfinite(rows).all() for _, rows in _own_rows(problem.store, "value", kept))
    lost = [OBJECT] if problem.comm.max(float(not whole), "look for what is not a number") else []
    lost += [name for name, v in problem.values.items() if not np.isfinite(problem.xp.to_numpy(v.array)).all()]
    if lost:
        raise RunError(
            "run",
            f"values are not finite after epoch {reconstruction.progress.epoch}",
            found=", ".join(lost),
            remedy="lower the learning rates; the previous checkpoint is kept",
        )


def _own_rows(store: ObjectStore, array: LikeObject, kept: ArraySpec) -> Iterator[tuple[int, np.ndarray]]:
    for start, stop in blocks(*store.owned_rows, kept.row_bytes):
        yield start, store.read(array, start, stop)


def _switch(partial: Path, path: Path) -> None:
    before = path.with_name(f"{PARTIAL}{previous(path).name}")
    before.unlink(missing_ok=True)
    try:
        if path.exists():
            os.link(path, before)  # so that `path` always exists
        os.replace(partial, path)
        if before.exists():
            os.replace(before, previous(path))
    finally:
        before.unlink(missing_ok=True)


# -- reading -----------------------------------------------------------------------------------------------------------
def load_checkpoint(reconstruction: Reconstruction, path: Path, identity: Mapping[str, Any]) -> None:
    """Restore the state that `save_checkpoint` wrote; collective.

    If the last checkpoint is missing or damaged, the one before is used, and takes its place.

    Raises:
        ConfigError: There is no checkpoint, or settings contradict it.
        DataError: The file is damaged.
    """
    problem = reconstruction.problem
    comm = problem.comm
    found = comm.broadcast(_choose(path, problem) if comm.is_root else None, "choose the checkpoint")
    if found is None:
        raise ConfigError(
            "--resume", f"no checkpoint '{path}'", remedy="leave '--resume' out to start from the beginning"
        )
    chosen, fault = found
    if fault:
        raise DataError(str(chosen), "this checkpoint is damaged", found=fault, remedy="start without '--resume'")
    if chosen != path and comm.is_root:
        LOG.warning("%s is damaged; resuming from the one before it, %s", path, chosen)
    try:
        with h5py.File(chosen, "r") as file:
            _need_format(file)
            changed = changes(json.loads(file.attrs["identity"]), identity, chosen)
            compare(json.loads(file.attrs.get("origin", "{}")), reconstruction.origin, chosen)
            progress, parameters = _checked(file, problem)  # before anything is changed
            memory = {name: _remembered(entry, problem.store) for name, entry in file.get("solver", {}).items()}
            for name, kept in problem.store.arrays().items():
                _restore_rows(file[f"{OBJECT}/{name}"], problem.store, name, kept)
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(
            str(chosen), "this checkpoint is damaged", found=str(error), remedy="start without '--resume'"
        ) from error
    for name, (value, state) in parameters.items():
        problem.values[name].array = problem.xp.asarray(value, exact=True)
        problem.values[name].state = tuple(problem.xp.asarray(part, exact=True) for part in state)
    if reconstruction.solving is not None:
        reconstruction.solving.memory = memory
    reconstruction.progress = _adapted(progress, changed)
    comm.barrier("read the checkpoint")
    if chosen != path and comm.is_root:
        with suppress(OSError):  # the run can go on; a folder that cannot be written stops it when it saves
            os.replace(chosen, path)  # lest the damaged file be kept as the one before, with no whole one left


def _adapted(progress: Progress, changed: Mapping[str, str]) -> Progress:
    """``progress`` under changed settings, which are said."""
    if not changed:
        return progress
    LOG.warning(
        "--resume: from epoch %d on with other settings: %s",
        progress.epoch + 1,
        ", ".join(f"{key} {value}" for key, value in changed.items()),
    )
    if any(key in OF_BATCHES for key in changed):  # the epoch begins again
        progress.batch, progress.partial_loss, progress.partial_time_s = 0, 0.0, 0.0
    if any(key in OF_LOSS for key in changed):
        progress.new_problem = progress.epoch + 1
    return progress


def _choose(path: Path, problem: Problem) -> tuple[Path, str] | None:
    """The checkpoint to resume from, and what is wrong with it; the last one if both are damaged."""
    there = [(each, _fault(each, problem)) for each in (path, previous(path)) if each.is_file()]
    return next((each for each in there if not each[1]), there[0] if there else None)


def _fault(path: Path, problem: Problem) -> str:
    """What is wrong with a checkpoint; nothing if it is whole, even that of another run, which is reported later."""
    try:
        with h5py.File(path, "r") as file:
            _need_format(file)
            state = state_of(path)
            if state != "whole":
                return "its checksum does not fit its content" if state == "damaged" else "it ends without a checksum"
            _checked(file, problem)
            return "" if "identity" in file.attrs else "it does not say whose it is"
    except ConfigError:
        return ""
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # ValueError: JSON, too
        return str(error)


def _checked(file: h5py.File, problem: Problem) -> tuple[Progress, dict[str, Parts]]:
    """Progress and parameters, with the shapes of all arrays checked, the object's included."""
    _need_format(file)
    kept, group = problem.store.arrays(), file[OBJECT]
    if set(group) != set(kept):
        raise KeyError("the optimizer's state in '/object' is incomplete")
    for name, each in kept.items():
        shape = (*each.shape, 2) if each.dtype.kind == "c" else each.shape
        _need_shape(group[name], shape)
    parameters = {}
    for name, value in problem.values.items():
        group = file[f"parameters/{name}"]
        _need_shape(group["value"], tuple(value.array.shape))
        state = tuple(group[f"state_{i}"][()] for i in range(len(value.state)))
        if [s.shape for s in state] != [tuple(s.shape) for s in value.state] or len(group) != 1 + len(state):
            raise KeyError(f"the optimizer's state in '{group.name}' is incomplete")
        parameters[name] = group["value"][()], state
    return Progress(**json.loads(file.attrs["progress"])), parameters


def _need_format(file: h5py.File) -> None:
    version, found = file.attrs["adorym_version"], int(file.attrs.get("format", 1))
    if found != FORMAT:
        raise ConfigError(
            "--resume",
            f"the checkpoint was written by adorym {version}, in a format that this version does not continue",
            expected=f"format {FORMAT}, of adorym {__version__}",
            found=f"format {found}",
            remedy=f"finish the run with adorym {version}, or start anew without '--resume'",
        )


def _need_shape(stored: h5py.Dataset, shape: tuple[int, ...]) -> None:
    if stored.shape != shape:
        raise ConfigError("--resume", f"'{stored.name}' has another size", expected=shape, found=stored.shape)


def _restore_rows(stored: h5py.Dataset, store: ObjectStore, array: LikeObject, kept: ArraySpec) -> LikeObject:
    for start, stop in blocks(*store.local_rows, kept.row_bytes):
        array = store.write(array, start, read_rows(stored, kept, start, stop))
    return array


def _remembered(entry: h5py.Dataset | h5py.Group, store: ObjectStore) -> float | StoreVector:
    """An entry of a solver's state: a number, or a vector, of whose object each rank reads its rows."""
    if isinstance(entry, h5py.Dataset):
        return float(entry[()])
    parts: dict[str, Any] = {}
    for name, part in entry.items():
        here = name == OBJECT
        parts[name] = _restore_rows(part, store, store.empty(), store.arrays()["value"]) if here else part[()]
    return StoreVector(store, parts)
