"""Why a run does not fit its data: what the model leaves out, what it takes for certain, and what the data suggest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adorym.data.upsampling import as_measured
from adorym.data.verdict import Kind
from adorym.engine.problem import Problem
from adorym.metrics.crystal import DISAGREEING
from adorym.parameters import POSITIONS, PROBE

MOST = 5
# What a model may refine and this run takes for certain, likeliest first; the name of a parameter and its explanation.
DOUBTS = {
    PROBE: "the probe is held fixed",
    POSITIONS: "wrong positions",
    "translation": "holograms that are not aligned",
    "affine": "holograms that differ in scale or rotation",
    "rotation_center": "a wrong rotation axis",
    "object_shift": "a sample that moves from angle to angle",
    "support": "a wrong support",
    "intensity_scale": "a beam whose intensity changes",
    "beam_shape": "a beam that changes between the holograms",
    "illumination": "an uneven beam",
    "background": "parasitic scattering",
    "common_distance": "wrong distances",
    "relative_distances": "wrong distances",
    "propagation_distance": "a wrong distance",
    "slice_spacing": "a wrong spacing of the slices",
    "tilt": "tilted axes",
}
SATURATED = 1e-4


def reasons(problem: Problem, kind: Kind, epochs: int, ended: str) -> tuple[str, ...]:
    """Likeliest reasons for a verdict, each with what to try; none if the data are fitted."""
    if kind == "converged":
        return ()
    found = [*_starts(problem), *(_unfinished(epochs, ended) if kind == "not converged" else _misfits(problem))]
    return tuple(found[:MOST])


def _starts(problem: Problem) -> Iterator[str]:
    overlap = np.ravel(problem.start_diagnostics.get("starts_overlap", ()))[1:]
    if len(overlap) and (found := float(np.median(overlap))) < DISAGREEING:
        yield f"starts that disagree (overlap {found:.2f} with the best): try more of them, check the oversampling"


def _unfinished(epochs: int, ended: str) -> Iterator[str]:
    if ended:
        yield f"{ended}: lower the learning rates"
    else:
        yield f"few epochs: the loss still falls after {epochs}; raise run.epochs"
        yield "a poor start: give parameters.probe.initial or parameters.object.initial"


def _misfits(problem: Problem) -> Iterator[str]:
    if (part := _saturated(problem)) > SATURATED:
        yield f"saturation: {100 * part:.2g} % of the pixels hold the largest value; give loss.saturation or mask them"
    settings = problem.bound.settings
    probe = settings.get(PROBE)
    for name, what in DOUBTS.items():
        if name == "slice_spacing" or name not in problem.model.refinable:
            continue
        if name not in settings or not settings[name].refine:
            yield f"{what}: refine parameters.{name}"
            if name == "probe_positions" and problem.dataset.pixel_size_m is not None:
                yield "a wrong pixel size: check data.energy, data.distance and data.detector_pixel_size"
    if probe is not None and getattr(probe, "modes", 0) == 1:
        yield "partial coherence: raise parameters.probe.modes"
    yield "a wrong geometry: check distances, orientation and the order of the data with 'adorym inspect'"
    yield "a thick object, bad pixels, or values that are no photons"


def _saturated(problem: Problem) -> float:
    """Share of the pixels of some patterns that hold one and the same largest value, if there are several."""
    index = np.unique(np.linspace(0, problem.dataset.n_patterns - 1, 8).astype(int))
    frames = problem.dataset.patterns.read(index)
    mask = problem.dataset.mask
    if mask is not None:
        frames = np.where(mask if mask.ndim == 2 else mask[index], frames, 0)
    frames = as_measured(frames, problem.dataset)
    largest = frames.max(initial=0)
    share = float(np.mean(frames == largest)) if largest > 10 else 0.0
    return share if share * frames.size > len(index) else 0.0
