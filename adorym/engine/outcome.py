"""The result of a run, in the form of its file."""

from __future__ import annotations

import logging
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adorym._version import __version__
from adorym.data.atomic import together, whole_file
from adorym.data.contiguous import write_rows
from adorym.data.dataset import Dataset
from adorym.data.positions import first_px
from adorym.data.result import Result, bytes_beside_the_object, write_frame, write_result
from adorym.data.upsampling import as_measured
from adorym.engine.convention import Share, share
from adorym.engine.earlier import EPOCHS_BEFORE, STAGE
from adorym.engine.loop import Reconstruction
from adorym.engine.origin import VERSION
from adorym.engine.problem import Problem
from adorym.engine.regrid import FIRST
from adorym.engine.shown import as_kept, present_parameters, present_probe, voxel_size_m
from adorym.engine.stage_grid import RECORDED
from adorym.engine.verdict import verdict
from adorym.metrics.crystal import chi_square
from adorym.storage.base import blocks
from adorym.wrapper.base import Array

LOG = logging.getLogger("adorym")


def outcome(reconstruction: Reconstruction, config: str = "", *, judged: bool = True) -> Result:
    """The object, the parameters, the history and the fit of one pattern; collective, and the same on every rank.

    The verdict on the run takes as long as an epoch; it is left out unless ``judged``.

    Probe modes are orthogonalized, strongest first, as any unitary mixture of them predicts the same patterns; not if
    one of them varies.
    """
    problem = reconstruction.problem
    shared = share(problem)
    made = _outcome(reconstruction, config, as_kept(problem, shared, problem.store.values(), 0), shared)
    return replace(made, verdict=verdict(reconstruction)) if judged else made


def outcome_in_file(reconstruction: Reconstruction, path: Path, config: str = "") -> Result:
    """Write the `outcome` to ``path``; collective.

    The ranks write the object together without gathering it, unless each holds all of it. The object of the returned
    result is then memory-mapped from the file.

    Raises:
        WriteError: The file cannot be written.
    """
    problem = reconstruction.problem
    store, comm = problem.store, problem.comm
    if store.local_rows == (0, store.shape[0]) and reconstruction.settings.store == "dp":
        result = outcome(reconstruction, config)
        together(comm, path, lambda: write_result(result, path), on_root=True)
        return result
    shared = share(problem)
    row = as_kept(problem, shared, np.ones((1, *store.shape[1:]), np.complex64), 0)
    blank = np.broadcast_to(row.dtype.type(0), (store.shape[0], *row.shape[1:]))
    result = _outcome(reconstruction, config, blank, shared)
    result = replace(result, verdict=verdict(reconstruction))
    n_bytes = result.object.nbytes + bytes_beside_the_object(result)
    with whole_file(path, comm, sealed=True, n_bytes=n_bytes) as partial:
        offset, kept = together(comm, path, lambda: write_frame(result, partial), on_root=True)
        rows = (
            (a, as_kept(problem, shared, store.read("value", a, b), a))
            for a, b in blocks(*store.owned_rows, kept.row_bytes)
        )
        together(comm, path, lambda: write_rows(partial, offset, kept, rows))
    comm.barrier("write the result")
    return replace(result, object=np.memmap(path, kept.dtype, "r", offset, result.object.shape))


def _outcome(reconstruction: Reconstruction, config: str, obj: np.ndarray, shared: Share) -> Result:
    problem, bound = reconstruction.problem, reconstruction.problem.bound
    return Result(
        object=obj,
        representation=bound.space.representation,
        origin_px=bound.origin_px,
        pixel_size_m=voxel_size_m(problem),
        probe=present_probe(problem, shared),
        parameters=present_parameters(problem, shared),
        history=_history(reconstruction),
        config=config,
        provenance=_provenance(reconstruction) | ({"photons": shared.by} if shared.by else {}),
        numbers=_numbers(problem),
        fit=_fit(problem) | {name: np.asarray(a) for name, a in problem.start_diagnostics.items()},
    )


def _numbers(problem: Problem) -> dict[str, np.ndarray]:
    """Which patterns and angles of the data were used; of a stage also where they were recorded."""
    found = {"pattern": problem.dataset.pattern_numbers, "angle": problem.dataset.angle_numbers}
    found[FIRST] = np.array(first_px(problem.dataset))
    return found | ({RECORDED: problem.recorded_px} if problem.stage and problem.recorded_px is not None else {})


def _history(reconstruction: Reconstruction) -> dict[str, np.ndarray]:
    """The history of this stage after that of the ones before; of what all of them have."""
    own = {name: np.asarray(values) for name, values in reconstruction.progress.history.items()}
    before = reconstruction.problem.history_before
    if not before:
        return own
    own["epoch"] = own["epoch"] + len(before["loss"])
    return {name: np.concatenate([before[name], own[name]]) for name in own if name in before}


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
        **({EPOCHS_BEFORE: str(problem.epochs_before)} if problem.epochs_before else {}),
        **({STAGE: str(problem.stage)} if problem.stage else {}),
        **_solver(reconstruction),
        "batch_size": str(reconstruction.batch_size),
        "data": problem.dataset.path,
        "data_format": problem.dataset.format,
        "data_notes": "\n".join(problem.dataset.notes),
        **_geometry(problem.dataset),
        **{f"fingerprint of the {name}": text for name, text in reconstruction.origin.items() if name != VERSION},
    }


def _geometry(dataset: Dataset) -> dict[str, str]:
    """Energy and lengths that other programs ask for, as numbers in SI units and electronvolts."""
    names = ("energy_ev", "distance_m", "detector_pixel_size_m", "propagation_distance_m")
    known = {name: getattr(dataset, name) for name in names}
    return {name: " ".join(f"{v:.12g}" for v in np.ravel(value)) for name, value in known.items() if value is not None}


def _solver(reconstruction: Reconstruction) -> dict[str, str]:
    solving = reconstruction.solving
    if solving is None:
        return {}
    ended = solving.message or "reached the last epoch"
    return {"solver": solving.solver.kind, "solver_ended": ended, "loss_evaluations": str(solving.evaluations)}


def _fit(problem: Problem) -> dict[str, Any]:
    """Measured and predicted counts of the pattern nearest to the middle of the scan."""
    xp, positions = problem.xp, problem.dataset.probe_positions_px
    middle = problem.dataset.n_patterns // 2 if problem.bound.view.all_at_once else 0
    if positions is not None:
        middle = int(np.argmin(((positions - positions.mean(0)) ** 2).sum(1)))
    made = problem.bound.from_model_frame(xp.to_numpy(predict_patterns(problem, np.array([middle]))))
    measured = problem.dataset.patterns.read(np.array([middle]))[0].astype(np.float64)
    counts = measured**2 if problem.dataset.measured == "amplitude" else measured
    mask = problem.dataset.mask
    if mask is not None:  # masked values were not measured
        counts = np.where(mask if mask.ndim == 2 else mask[middle], counts, np.nan)
    return _control(problem) | {
        "measured": as_measured(counts, problem.dataset).astype(np.float32),
        "predicted": as_measured(made, problem.dataset)[0].astype(np.float32),
        "index": np.asarray(middle),
    }


def _control(problem: Problem) -> dict[str, Any]:
    """Misfit of the moduli of patterns that were left out as a control, and of the others; nothing without any."""
    bound, n = problem.bound, problem.dataset.n_patterns
    if not len(bound.control):
        return {}
    made, found = bound.from_model_frame(problem.xp.to_numpy(predict_patterns(problem, np.arange(n)))), {}
    counts = problem.dataset.patterns.read(np.arange(n)).astype(np.float64)
    moduli = counts if problem.dataset.measured == "amplitude" else np.sqrt(np.maximum(counts, 0))
    good = np.isfinite(moduli) & (True if problem.dataset.mask is None else problem.dataset.mask)
    for name, rows in (("control", bound.control), ("fitted", np.setdiff1d(np.arange(n), bound.control))):
        found[f"{name}_misfit"] = np.asarray(chi_square(np.sqrt(made[rows]), moduli[rows], good[rows]))
    LOG.info("misfit of the control: %.4g, of what was fitted: %.4g", *(float(each) for each in found.values()))
    return found


def predict_patterns(problem: Problem, patterns: np.ndarray) -> Array:
    """Predicted intensities ``(n, y, x)`` of ``patterns`` in the model's frame."""
    obj, params, batch = problem.inputs(patterns)
    return problem.model.predict(problem.xp, obj, params, batch)
