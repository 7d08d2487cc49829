"""What a run shows of its values: in the form of the result, whole or thinned out for a look while it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from adorym.data.looks import Look, look, strides
from adorym.data.result import ParameterResult, Result
from adorym.engine.convention import Share
from adorym.engine.problem import Problem
from adorym.parameters import PROBE

AS_IT_IS = Share(np.zeros(0))


def as_kept(problem: Problem, shared: Share, rows: np.ndarray, first: int) -> np.ndarray:
    """Rows of the store, from ``first`` on, in the form of the result."""
    exported = problem.bound.space.export(shared.scaled(problem, rows), first, problem.present())
    # A result always has the three axes of the object; delta and beta add one.
    return exported.reshape(*rows.shape, *(1,) * (3 - rows.ndim), *exported.shape[rows.ndim :])


def present_probe(problem: Problem, shared: Share = AS_IT_IS) -> np.ndarray | None:
    """``(modes, y, x)`` modes of the probe in the file's frame; none without a probe.

    They are orthogonal, the strongest first, unless another parameter is added to one of them.
    """
    if PROBE not in problem.values:
        return None
    modes = problem.present()[PROBE]
    if any(v.spec.in_probe for v in problem.values.values()):
        return _as_probe(modes, shared)
    return _shown(problem, PROBE, modes) * shared.of_probe


def _as_probe(waves: np.ndarray, shared: Share) -> np.ndarray:
    return (waves * shared.of_probe).astype(np.complex64)


def present_parameters(problem: Problem, shared: Share = AS_IT_IS) -> dict[str, ParameterResult]:
    """All parameters except object and probe, those that follow from others included."""
    values = problem.present()
    found = {}
    for name, v in problem.values.items():
        if name != PROBE:
            in_probe = v.spec.in_probe
            shown, start = (
                _as_probe(array, shared) if in_probe else _shown(problem, name, array)
                for array in (values[name], v.first)
            )
            found[name] = ParameterResult(shown, v.spec.unit, start)
    derived = problem.bound.derived(values)
    return found | {name: ParameterResult(d.value, d.unit, d.start) for name, d in derived.items()}


def voxel_size_m(problem: Problem) -> tuple[float, ...] | None:
    """(y, x), or (y, x, z) where slices have a known distance."""
    size, depth = problem.bound.dataset.pixel_size_m, problem.bound.space.depth_m
    return size if size is None or depth is None else (*size, depth)


def _shown(problem: Problem, name: str, array: np.ndarray) -> np.ndarray:
    """A parameter in the form of the file: detector images in the file's frame, probe modes orthogonal."""
    spec = problem.values[name].spec
    if spec.export is not None:
        return spec.export(array)
    if spec.object_frame or array.shape[-2:] != problem.dataset.window_px:
        return array.copy()
    return problem.bound.from_model_frame(array)


def glance(problem: Problem, history: Mapping[str, Sequence[float]], due: bool = True) -> Look[Result] | None:
    """The present state, thinned out to a few megabytes however large the object is; collective.

    Every n-th row of the object is read and gathered, and of it every n-th column and slice is kept. Object and probe
    have the factor of the run, not that of the result.

    Args:
        history: Numbers of each epoch, by name.
        due: Whether a look is due; what rank 0 says counts.

    Returns:
        The state on rank 0; ``None`` on the others, and if no look is due.
    """
    store, comm = problem.store, problem.comm
    if not comm.broadcast(due, "agree to look"):
        return None
    depth = store.shape[2] if len(store.shape) > 2 else 1
    step = strides((store.shape[0], store.shape[1], depth))
    low, high = store.owned_rows
    rows = [_rows(problem, low, low, step)]  # none, for a rank that owns none
    rows += [_rows(problem, row, row + 1, step) for row in range(-(-low // step[0]) * step[0], high, step[0])]
    parts = comm.gather(np.concatenate(rows), "gather rows of the object")
    if not comm.is_root:
        return None
    state = Result(
        object=np.concatenate(parts),
        representation=problem.bound.space.representation,
        origin_px=problem.bound.origin_px,
        pixel_size_m=voxel_size_m(problem),
        probe=present_probe(problem),
        parameters=present_parameters(problem),
        history={name: np.asarray(values) for name, values in history.items()},
    )
    return look(state, step)


def _rows(problem: Problem, start: int, stop: int, step: tuple[int, int, int]) -> np.ndarray:
    kept = as_kept(problem, AS_IT_IS, problem.store.read("value", start, stop), start)
    return np.ascontiguousarray(kept[:, :: step[1], :: step[2]])
