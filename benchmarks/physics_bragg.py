"""A strained film under a focused beam at ten rocking angles, and crystals with strong strain.

The film comes from the package's own simulation, on upright voxels half as large as the skew ones of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_models import STATIC, run

from adorym.data.dataset import Dataset
from adorym.engine.loop import Reconstruction
from adorym.initializers.phasing import Phasing
from adorym.metrics.crystal import CrystalMatch, match
from adorym.simulate.bragg import BraggCrystal
from adorym.simulate.bragg_scan import BraggScan
from adorym.simulate.crystals import Strain

SLICES = 6


def bragg_ptychography() -> Iterator[Figure]:
    """Phase of the film after shift, ramp and offset, started from a Gaussian beam in its focus, 1.2 x too wide.

    The film is as thick as 5.4 slices, the model has 6.
    """
    simulation = BraggScan(scan=(6, 6), angles=10)
    data = simulation.run(0)
    beam = {"probe": {"start": 3, "initial": {"kind": "gaussian", "fwhm": f"{1.2 * simulation.beam} m"}}}
    made = _run(data, **beam)
    found, true = _matched(made, data)
    spacing_m = 1.239841984e-6 / simulation.energy / (2 * np.sin(simulation.gamma / 2))
    yield Figure("bragg_ptychography.phase_rms_rad", found.phase_rms_rad, 0.15)
    yield Figure("bragg_ptychography.displacement_rms_pm", 1e12 * found.phase_rms_rad * spacing_m / (2 * np.pi), 6.0)
    yield Figure("bragg_ptychography.one_minus_overlap", 1 - found.overlap, 0.06)
    _picture(found.aligned, true)


def strong_strain() -> Iterator[Figure]:
    """Four crystals with phases of 7 to 9 rad: median phase error of six starts in three generations, over that in one.

    With as many iterations in all; the crystals are drawn on voxels half as large.
    """
    strain = Strain(eigenstrain=(7.0, 9.0), relaxed_part=0.0, dislocation_part=0.0, unstrained_part=0.0)
    errors: dict[int, list[float]] = {1: [], 3: []}
    for seed in range(4):
        data = BraggCrystal(frames=28, window_px=(28, 32), photons=1e6, strain=strain).run(seed)
        true = data.truth["crystal"]
        for generations, found in errors.items():
            sequence = f"{3 // generations}*(180*HIO + 20*ER)"
            phasing = Phasing(starts=6, generations=generations, sequence=sequence, finish="")
            found.append(match(phasing.make(data, true.shape, np.random.default_rng(1)), true).phase_rms_rad)
    once, thrice = (float(np.median(found)) for found in errors.values())
    yield Figure("strong_strain.phase_rms_rad_in_one_generation", once)
    yield Figure("strong_strain.error_over_that", thrice / once, 0.8)


def _run(data: Dataset, **parameters: Any) -> Reconstruction:
    model = {"kind": "bragg_ptychography", "slices": SLICES, "geometry": {"gamma": "34 deg"}}
    return run(data, model, parameters=parameters, run={"epochs": 40, "threads": 1})


def _matched(made: Reconstruction, data: Dataset) -> tuple[CrystalMatch, np.ndarray]:
    """The film laid upon the true one, and the true one, where the middles of the windows were."""
    true, (y, x) = data.truth["object"].astype(complex), made.problem.bound.origin_px
    found = made.problem.store.values()[y:, x:][: true.shape[0], : true.shape[1]]
    deep, first = np.zeros((*found.shape[:2], true.shape[2]), complex), (true.shape[2] - SLICES) // 2
    deep[..., first : first + SLICES] = found
    inside = tuple(slice(n // 2 - 2, -(n // 2 - 2)) for n in data.window_px)
    true = true[: found.shape[0], : found.shape[1]][inside]
    return match(deep[inside], true), true


def _picture(found: np.ndarray, true: np.ndarray) -> None:
    drawn = Drawing(figsize=(9, 2.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    row, middle = true.shape[0] // 2, true.shape[2] // 2
    shown = np.where(np.abs(true) > 0.5, np.angle(found), np.nan), np.where(np.abs(true) > 0.5, np.angle(true), np.nan)
    panels = {
        "phase across the film": shown[0][:, :, middle],
        "true": shown[1][:, :, middle],
        "phase along the exit beam": shown[0][row].T,
        "true ": shown[1][row].T,
    }
    for ax, (title, values) in zip(drawn.subplots(1, 4), panels.items(), strict=True):
        ax.imshow(values, cmap="twilight", vmin=-np.pi, vmax=np.pi, interpolation="nearest")
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    drawn.savefig(STATIC / "bragg_ptychography.png", dpi=110)
