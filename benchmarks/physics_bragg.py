"""A strained film under a focused beam at ten rocking angles, crystals with strong strain, and one with a dislocation.

The film comes from the package's own simulation, on upright voxels half as large as the skew ones of the model. The
crystal with a dislocation is drawn here, on voxels half as large, and transformed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_models import STATIC, run

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.initializers.phasing import Phasing
from adorym.metrics.crystal import CrystalMatch, match
from adorym.simulate.bragg import BraggCrystal
from adorym.simulate.bragg_scan import BraggScan
from adorym.simulate.crystals import Strain

SLICES = 6
WIDTH = 40  # of the crystal with a dislocation, in voxels


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


def dislocation() -> Iterator[Figure]:
    """Four crystals with a screw dislocation, by default phasing: its place in five sections, and the whole crystal.

    The phase turns once around the line. In a section, a square of four voxels around which the found phase turns is
    the dislocation; there should be one, turning the right way.
    """
    away, wrong, lacking = 0.0, 0, 0.0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        true, line = _dislocated(rng)
        counts = _counted(true, rng)
        data = Dataset(ArrayPatterns(np.moveaxis(counts, 2, 0)))  # frames come first
        found = match(Phasing().make(data, true.shape, np.random.default_rng(1)), true)
        lacking = max(lacking, 1 - found.overlap)
        for z in range(WIDTH // 2 - 4, WIDTH // 2 + 5, 2):
            places = _turns(found.aligned[:, :, z])
            wrong += abs(len(places) - 1) + sum(turn != 1 for *_, turn in places)
            away = max([away, *(float(np.hypot(y - line[0], x - line[1])) for y, x, _ in places)])
        if seed == 0:
            _picture_of_sections({"true phase": true, "found": found.aligned})
    yield Figure("dislocation.lines_missing_or_wrong", wrong, 0)
    yield Figure("dislocation.largest_distance_px", away, 1.0)
    yield Figure("dislocation.largest_lack_of_overlap", lacking, 0.035)


def _dislocated(rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, float]]:
    """``(y, x, z)`` crystal with faces, a smooth strain, and a dislocation along z, and the latter's place (y, x)."""
    y, x, z = np.meshgrid(*[np.arange(2 * WIDTH) - WIDTH] * 3, indexing="ij", sparse=True)
    faces = [*np.array(list(product((1, -1), repeat=3))) / np.sqrt(3), *np.eye(3), *-np.eye(3)]
    shape = np.ones((2 * WIDTH,) * 3)
    for face in faces:
        shape = shape * np.clip(rng.uniform(15, 20) - (face[0] * y + face[1] * x + face[2] * z) + 0.5, 0, 1)
    down, across = rng.uniform(-4, 4, 2)
    phase = np.arctan2(x - across, y - down) + 1.2 * np.exp(-((y - 5) ** 2 + (x + 3) ** 2 + z**2) / 150)
    spectrum = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(shape * np.exp(1j * phase))))
    seen = (slice(WIDTH // 2, -(WIDTH // 2)),) * 3
    crystal = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(spectrum[seen])))
    return crystal / np.abs(crystal).max(), (WIDTH / 2 + down / 2, WIDTH / 2 + across / 2)


def _counted(crystal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    intensity = np.abs(np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(crystal)))) ** 2
    return rng.poisson(1e7 * intensity / intensity.sum()).astype(np.float32)


def _turns(section: np.ndarray) -> list[tuple[float, float, int]]:
    """``(y, x, turns)`` of the squares of four bright voxels around which the phase turns."""
    corners = [section[:-1, :-1], section[1:, :-1], section[1:, 1:], section[:-1, 1:]]
    steps = [np.angle(b * a.conj()) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    bright = np.min(np.abs(corners), axis=0) > 0.15 * np.abs(section).max()
    turns = np.rint(np.sum(steps, axis=0) / (2 * np.pi)).astype(int) * bright
    return [(y + 0.5, x + 0.5, int(turns[y, x])) for y, x in np.argwhere(turns)]


def _picture_of_sections(crystals: dict[str, np.ndarray]) -> None:
    drawn = Drawing(figsize=(5, 2.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    for ax, (title, crystal) in zip(drawn.subplots(1, 2), crystals.items(), strict=True):
        middle = crystal[8:-8, 8:-8, WIDTH // 2]
        bright = np.abs(middle) > 0.15 * np.abs(crystal).max()
        ax.imshow(np.where(bright, np.angle(middle), np.nan), cmap="twilight", vmin=-np.pi, vmax=np.pi,
                  interpolation="nearest")  # fmt: skip
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    drawn.savefig(STATIC / "dislocation.png", dpi=110)


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
