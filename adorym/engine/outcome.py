"""The result of a run, as files and people want it."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from adorym._version import __version__
from adorym.data.result import ParameterResult, Result
from adorym.engine.loop import Reconstruction
from adorym.engine.problem import Problem
from adorym.optics.modes import orthogonalise
from adorym.optics.representation import optical_constants_of
from adorym.wrapper.base import Array


def outcome(reconstruction: Reconstruction, config: str = "") -> Result:
    """The object, the parameters, the history and the fit of one pattern.

    Probe modes are orthogonalised, strongest first: any unitary mixture of them predicts the same patterns.
    """
    problem = reconstruction.problem
    values = {name: problem.xp.to_numpy(v.array) for name, v in problem.values.items()}
    obj = problem.model.decode(problem.store.values(), values)
    probe = problem.values.get("probe")
    parameters = {
        name: ParameterResult(
            _centred(problem, name, problem.xp.to_numpy(v.array)), v.spec.unit, _centred(problem, name, v.first)
        )
        for name, v in problem.values.items()
        if name != "probe"
    }
    for name, d in problem.model.derived(problem.dataset, values).items():
        parameters[name] = ParameterResult(d.value, d.unit, d.start)
    obj = obj.reshape(*obj.shape, *(1,) * (3 - obj.ndim))
    pixel_size: tuple[float, ...] | None = problem.dataset.pixel_size_m
    thickness = problem.slice_thickness_m
    if thickness is not None:
        obj = optical_constants_of(obj, thickness, problem.geometry.wavelength_m)
        pixel_size = None if pixel_size is None else (*pixel_size, thickness)
    return Result(
        object=obj.astype(np.complex64 if thickness is None else np.float32),
        representation=problem.representation,
        origin_px=problem.origin_px,
        pixel_size_m=pixel_size,
        probe=None if probe is None else orthogonalise(problem.xp.to_numpy(probe.array)).astype(np.complex64),
        parameters=parameters,
        history={name: np.asarray(v) for name, v in reconstruction.progress.history.items()},
        config=config,
        provenance=_provenance(reconstruction),
        fit=_fit(problem),
    )


def _centred(problem: Problem, name: str, array: np.ndarray) -> np.ndarray:
    # A detector image is kept as the patterns are: in the model's frame inside, in the file's frame outside.
    return problem.model.disarrange(array) if array.shape[-2:] == problem.dataset.window_px else array.copy()


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
        "ranks": "1",
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
    middle = 0
    if positions is not None:
        middle = int(np.argmin(((positions - positions.mean(0)) ** 2).sum(1)))
    predicted = predict_patterns(problem, np.array([middle]))
    measured = problem.dataset.patterns.read(np.array([middle]))[0].astype(np.float64)
    counts = measured**2 if problem.dataset.measured == "amplitude" else measured
    return {
        "measured": counts.astype(np.float32),
        "predicted": problem.model.disarrange(xp.to_numpy(predicted))[0].astype(np.float32),
        "index": np.asarray(middle),
    }


def predict_patterns(problem: Problem, patterns: np.ndarray) -> Array:
    """Predicted intensities ``(n, y, x)`` of ``patterns`` in the model's frame."""
    obj, params, batch = problem.inputs(patterns)
    return problem.model.predict(problem.xp, obj, params, batch)
