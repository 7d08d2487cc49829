"""The result of a run, as files and people want it."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adorym._version import __version__
from adorym.data.atomic import whole_file
from adorym.data.contiguous import write_rows
from adorym.data.result import ParameterResult, Result, write_frame, write_result
from adorym.engine.loop import Reconstruction
from adorym.engine.problem import Problem
from adorym.optics.modes import orthogonalize
from adorym.optics.representation import optical_constants_of
from adorym.storage.base import blocks
from adorym.wrapper.base import Array


def outcome(reconstruction: Reconstruction, config: str = "") -> Result:
    """The object, the parameters, the history and the fit of one pattern; collective, and the same on every rank.

    Probe modes are orthogonalized, strongest first: any unitary mixture of them predicts the same patterns.
    """
    problem = reconstruction.problem
    return _outcome(reconstruction, config, _as_kept(problem, problem.store.values(), 0))


def outcome_in_file(reconstruction: Reconstruction, path: Path, config: str = "") -> Result:
    """Write the `outcome` to ``path``; collective.

    The ranks write the object together and none gathers it, unless each has the whole of it anyway. The object of what
    is returned then lies in the file, mapped into memory.

    Raises:
        RunError: The file cannot be written.
    """
    problem = reconstruction.problem
    store, comm = problem.store, problem.comm
    if store.local_rows == (0, store.shape[0]) and reconstruction.settings.store == "dp":
        result = outcome(reconstruction, config)
        if comm.is_root:
            write_result(result, path)
        comm.barrier("write the result")
        return result
    row = _as_kept(problem, np.ones((1, *store.shape[1:]), np.complex64), 0)
    result = _outcome(reconstruction, config, np.broadcast_to(row.dtype.type(0), (store.shape[0], *row.shape[1:])))
    with whole_file(path, comm) as partial:
        offset, kept = comm.broadcast(write_frame(result, partial) if comm.is_root else None, "make the result")
        rows = (
            (a, _as_kept(problem, store.read("value", a, b), a)) for a, b in blocks(*store.owned_rows, kept.row_bytes)
        )
        write_rows(partial, offset, kept, rows)
    comm.barrier("write the result")
    return replace(result, object=np.memmap(path, kept.dtype, "r", offset, result.object.shape))


def _outcome(reconstruction: Reconstruction, config: str, obj: np.ndarray) -> Result:
    problem = reconstruction.problem
    values, probe = _values(problem), problem.values.get("probe")
    parameters = {
        name: ParameterResult(
            _centered(problem, name, problem.xp.to_numpy(v.array)), v.spec.unit, _centered(problem, name, v.first)
        )
        for name, v in problem.values.items()
        if name != "probe"
    }
    for name, d in problem.model.derived(problem.dataset, values).items():
        parameters[name] = ParameterResult(d.value, d.unit, d.start)
    pixel_size: tuple[float, ...] | None = problem.dataset.pixel_size_m
    if pixel_size is not None and problem.model.absorbs_only:
        pixel_size = (*pixel_size, pixel_size[1])
    elif pixel_size is not None and problem.slice_thickness_m is not None:
        pixel_size = (*pixel_size, problem.slice_thickness_m)
    return Result(
        object=obj,
        representation="attenuation" if problem.model.absorbs_only else problem.representation,
        origin_px=problem.origin_px,
        pixel_size_m=pixel_size,
        probe=None if probe is None else orthogonalize(problem.xp.to_numpy(probe.array)).astype(np.complex64),
        parameters=parameters,
        history={name: np.asarray(v) for name, v in reconstruction.progress.history.items()},
        config=config,
        provenance=_provenance(reconstruction),
        fit=_fit(problem) | {name: np.asarray(a) for name, a in problem.start_curves.items()},
    )


def _as_kept(problem: Problem, rows: np.ndarray, first: int) -> np.ndarray:
    """Rows of the store, from ``first`` on, as a result holds them: transmission, or delta and beta."""
    for value in problem.values.values():
        if value.spec.masks_object:
            rows = rows * problem.xp.to_numpy(value.array)[first : first + len(rows)]
    rows = rows.reshape(*rows.shape, *(1,) * (3 - rows.ndim))
    if problem.model.absorbs_only:
        pixel_size = problem.dataset.pixel_size_m
        voxel = 1.0 if pixel_size is None else pixel_size[1]  # in voxels where their size is not known
        return (2 * rows.real / voxel).astype(np.float32)
    rows = problem.model.decode(rows, _values(problem))
    if problem.slice_thickness_m is None:
        return rows.astype(np.complex64, copy=False)
    constants = optical_constants_of(rows, problem.slice_thickness_m, problem.geometry.wavelength_m)
    return constants.astype(np.float32)


def _values(problem: Problem) -> dict[str, np.ndarray]:
    """All parameters by name, the object excepted."""
    return {name: problem.xp.to_numpy(v.array) for name, v in problem.values.items()}


def _centered(problem: Problem, name: str, array: np.ndarray) -> np.ndarray:
    # A detector image is kept as the patterns are: in the model's frame inside, in the file's frame outside.
    if problem.values[name].spec.object_frame:
        return array.copy()
    return problem.model.from_model_frame(array) if array.shape[-2:] == problem.dataset.window_px else array.copy()


def _provenance(reconstruction: Reconstruction) -> dict[str, str]:
    problem, run = reconstruction.problem, reconstruction.settings
    return {
        "adorym": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "backend": problem.xp.name,
        "device": problem.xp.device,
        "precision": problem.xp.precision,
        "store": run.store,
        "ranks": str(problem.comm.size),
        "seed": str(run.seed),
        **_solver(reconstruction),
        "batch_size": str(reconstruction.batch_size),
        "data": problem.dataset.path,
        "data_format": problem.dataset.format,
        "data_notes": "\n".join(problem.dataset.notes),
    }


def _solver(reconstruction: Reconstruction) -> dict[str, str]:
    solving = reconstruction.solving
    if solving is None:
        return {}
    ended = solving.message or "went on to the last epoch"
    return {"solver": solving.solver.kind, "solver_ended": ended, "loss_evaluations": str(solving.evaluations)}


def _fit(problem: Problem) -> dict[str, Any]:
    """Measured and predicted counts of the pattern nearest to the middle of the scan."""
    xp, positions = problem.xp, problem.dataset.probe_positions_px
    middle = problem.dataset.n_patterns // 2 if problem.model.whole_object else 0
    if positions is not None:
        middle = int(np.argmin(((positions - positions.mean(0)) ** 2).sum(1)))
    predicted = predict_patterns(problem, np.array([middle]))
    measured = problem.dataset.patterns.read(np.array([middle]))[0].astype(np.float64)
    counts = measured**2 if problem.dataset.measured == "amplitude" else measured
    return {
        "measured": counts.astype(np.float32),
        "predicted": problem.model.from_model_frame(xp.to_numpy(predicted))[0].astype(np.float32),
        "index": np.asarray(middle),
    }


def predict_patterns(problem: Problem, patterns: np.ndarray) -> Array:
    """Predicted intensities ``(n, y, x)`` of ``patterns`` in the model's frame."""
    obj, params, batch = problem.inputs(patterns)
    return problem.model.predict(problem.xp, obj, params, batch)
