"""Tiny reconstructions for the laws of the loop: 20 patterns of 12 x 14 pixels, every step size written down.

The loop's laws hold whatever the step sizes; no test here leans on a default of an optimizer or of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tiny_scan import Scan

from adorym.data.dataset import Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.optimizers.first_order import Adam, Momentum
from adorym.optimizers.preconditioned import Preconditioned
from adorym.optimizers.schedules import Constant, Cosine, Exponential
from adorym.parameters import ParameterSettings

BACKENDS = ("torch", "autograd")
SCAN = Scan(modes=2, scans=2)
STEADY = Constant()


def step(rate: float = 0.3, momentum: float = 0.0) -> Preconditioned:
    """A preconditioned step that converges on these scans."""
    return Preconditioned(learning_rate=rate, regularization=0.1, momentum=momentum)


def calm() -> dict[str, ParameterSettings]:
    """Object and probe refined by plain steps at a constant rate."""
    return {
        "object": ObjectSettings(optimizer=step(), schedule=STEADY, margin_px=4),
        "probe": ProbeSettings(optimizer=step(0.1), schedule=STEADY, modes=2, per="run"),
    }


def everything() -> dict[str, ParameterSettings]:
    """Most parameters at once: every kind of optimizer state, rate schedules, refinements that begin, pause and end."""
    small = Adam(learning_rate=0.01)
    return {
        "object": ObjectSettings(optimizer=step(0.2, 0.6), schedule=Cosine(final=0.3), margin_px=4),
        "probe": ProbeSettings(
            optimizer=Adam(learning_rate=0.01), schedule=Exponential(decay=0.8), modes=3, seeding="random"
        ),
        "probe_positions": ParameterSettings(
            optimizer=Preconditioned(learning_rate=0.3, momentum=0.5, maximum_step=0.5), start=1
        ),
        "probe_offset": ParameterSettings(optimizer=small, every=2),
        "intensity_scale": ParameterSettings(optimizer=Momentum(learning_rate=0.02, decay=0.5), stop=3),
        "background": ParameterSettings(optimizer=small, start=2),
    }


def measured(scan: Scan = SCAN, **changes: Any) -> Dataset:
    """Noisy counts of ``scan``, with the true probe as the first one."""
    return scan.noisy(**({"start_probe": scan.probe()} | changes))


def exact(scan: Scan = SCAN, **changes: Any) -> Dataset:
    """The same without noise, in double precision."""
    return scan.dataset(**({"start_probe": scan.probe()} | changes))


def tiny(
    dataset: Dataset | None = None,
    parameters: Mapping[str, ParameterSettings] | None = None,
    terms: Mapping[str, Any] | None = None,
    **run: Any,
) -> Reconstruction:
    """A reconstruction on the CPU in double precision: three batches an epoch, five epochs.

    Args:
        dataset: Noisy counts of `SCAN` if absent.
        parameters: `calm` if absent.
        terms: ``model``, ``loss``, ``regularizers``, ``constraints``.
        run: Changes of the run's settings.
    """
    parts = {"model": Ptychography(), "loss": LeastSquares()} | dict(terms or {})
    recipe = Recipe(parameters=calm() if parameters is None else parameters, **parts)
    settings = {"backend": "autograd", "device": "cpu", "precision": "double", "batch_size": 7, "epochs": 5}
    return Reconstruction(measured() if dataset is None else dataset, recipe, RunSettings(**(settings | run)))


def finished(reconstruction: Reconstruction, epochs: int | None = None) -> Reconstruction:
    """``reconstruction`` after ``epochs`` more epochs."""
    for _ in reconstruction.epochs(epochs):
        pass
    return reconstruction


def stopped_after(reconstruction: Reconstruction, epoch: int, batch: int) -> Reconstruction:
    """``reconstruction`` asked to stop while batch ``batch`` of epoch ``epoch``, both from 1, is worked on."""

    def watch(progress: Any) -> None:
        if (progress.epoch, progress.batch) == (epoch, batch):
            reconstruction.stop("enough")

    for _ in reconstruction.epochs(watch=watch):
        pass
    return reconstruction


def value_of(reconstruction: Reconstruction, name: str) -> np.ndarray:
    """Copy of the present value of the object or of a parameter."""
    problem = reconstruction.problem
    if name == "object":
        return problem.store.values()
    return np.array(problem.xp.to_numpy(problem.values[name].array))
