"""Figures of what real beams and stages do: a beam of each of several scans, a beam that drifts, a stage that drifts.

Usage: python benchmarks/physics.py [--only NAME] [--json FILE]

Truth comes from `physics_waves`, on a grid twice as fine as the one that reconstructs. All but
``drifting_probe`` also draw the pictures of the documentation into docs/_static.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, main
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_bragg import bragg_ptychography, dislocation, strong_strain
from physics_cone import cone_beam
from physics_detector import pattern_shift
from physics_electrons import electrons
from physics_hardening import hardening
from physics_models import fourier_ptychography, speckle_tracking
from physics_runs import ENERGY_EV, PIXEL_M, STATIC, error, measured, run
from physics_states import mixed_states
from physics_tiles import tiles
from physics_tilt import object_tilt, semi_angle
from physics_time import changing_foam
from physics_upsampling import upsampling
from physics_waves import FINE, WINDOW, beam, patterns, raster, seen, specimen
from scipy.ndimage import gaussian_filter

import adorym
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.engine.loop import Reconstruction
from adorym.metrics import align_object, position_errors

LARGE = 96


def two_scans() -> Iterator[Figure]:
    """Two half scans by two beams, one object: its error over that of one full scan by the first beam, at equal dose.

    One probe for both scans cannot describe them: its object has a several times larger error.
    """
    rng = np.random.default_rng(11)
    positions = raster(14, 4.0, rng)
    obj = specimen(int(positions.max()) + WINDOW + 8, rng)
    true = seen(obj)
    half = np.indices((14, 14)).sum(0).ravel() % 2
    beams = np.array([beam(), beam(curvature=0.03, astigmatism=0.3)])
    full = run(measured(obj, np.repeat(beams[:1], len(positions), 0), positions, rng))
    both = measured(obj, beams[half], positions, rng, angle_index=half, theta_rad=np.zeros(2))
    made = {"a probe of each scan": run(both), "one probe": run(both, parameters={"probe": {"per": "run"}})}
    errors = {name: error(each, true)[0] for name, each in {"one scan": full, **made}.items()}
    yield Figure("two_scans.one_full_scan", errors["one scan"])
    yield Figure("two_scans.error_over_one_full_scan", errors["a probe of each scan"] / errors["one scan"], 1.1)
    yield Figure("two_scans.one_probe_for_both", errors["one probe"])
    _picture({name: (errors[name], each) for name, each in made.items()}, true)


def _picture(found: Mapping[str, tuple[float, Reconstruction]], true: np.ndarray) -> None:
    drawn = Drawing(figsize=(9, 4.9), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(2, 3, height_ratios=(1.6, 1))
    inside = (slice(30, 90), slice(30, 90))
    axes[0, 0].imshow(np.angle(true[inside]), cmap="gray")
    axes[0, 0].set_title("truth, phase", fontsize=10)
    for ax, (name, (wrong, made)) in zip(axes[0, 1:], found.items(), strict=True):
        aligned = align_object(error(made, true)[1], true).aligned[inside]
        ax.imshow(np.angle(aligned), cmap="gray")
        ax.set_title(f"{name}: error {wrong:.3f}", fontsize=10)
    modes = adorym.outcome(found["a probe of each scan"][1], judged=False).probe
    assert modes is not None
    shared = adorym.outcome(found["one probe"][1], judged=False).probe
    assert shared is not None
    probes = {"first": modes[0, 0], "second": modes[1, 0], "shared": shared[0]}
    for ax, (name, wave) in zip(axes[1], probes.items(), strict=True):
        ax.imshow(abs(wave), cmap="magma")
        ax.set_title(f"{name} probe, amplitude", fontsize=10)
    for ax in axes.ravel():
        ax.set_axis_off()
    drawn.savefig(STATIC / "two_scans.png", dpi=110)


def drifting_probe() -> Iterator[Figure]:
    """A beam that breathes and turns astigmatic, positions in random order: error over that of a fixed probe.

    The weights of three variations against the true drift: what their best linear combination leaves of it.
    """
    rng = np.random.default_rng(12)
    positions = rng.permutation(raster(14, 4.0, rng))
    obj = specimen(int(positions.max()) + WINDOW + 8, rng)
    true, drift = seen(obj), np.linspace(-1, 1, len(positions))
    beams = np.array([beam(curvature=0.05 * (1 + 0.25 * s), astigmatism=0.25 * s) * (1 + 0.1 * s) for s in drift])
    data = measured(obj, beams, positions, rng)
    fixed = error(run(data), true)[0]
    varied = run(data, parameters={"probe": {"variations": 3}})
    yield Figure("drifting_probe.error_over_fixed_probe", error(varied, true)[0] / fixed, 0.5)
    weights = varied.problem.present()["variation_weights"]
    told = np.column_stack([weights, np.ones(len(weights))])
    left = drift - told @ np.linalg.lstsq(told, drift, rcond=None)[0]
    yield Figure("drifting_probe.one_minus_correlation", 1 - np.sqrt(1 - left.var() / drift.var()), 0.05)


def position_trend() -> Iterator[Figure]:
    """Positions in random order, turned by 1.5 degrees and sheared by 1 per cent, on a stage that drifts by 3 px.

    Errors in px rms, the shift removed: as recorded, corrected one by one, and along the trend that is asked for.
    """
    rng = np.random.default_rng(13)
    positions = rng.permutation(raster(14, 4.0, rng))
    obj = specimen(int(positions.max()) + WINDOW + 8, rng)
    time = np.linspace(0, 1, len(positions))
    away = positions - positions.mean(0)
    drift = 1.5 * np.stack([np.cos(np.pi * time), np.cos(2 * np.pi * time)], axis=-1)
    recorded = positions + away @ np.array([[0.0, -0.026], [0.036, 0.0]]) + drift
    data = measured(obj, np.repeat(beam()[None], len(positions), 0), positions, rng, probe_positions_px=recorded)
    found = {"as recorded": recorded}
    for name, more in (("one by one", {}), ("along the trend", {"trend": ["rotation", "shear"], "drift": 3})):
        made = run(data, parameters={"probe_positions": {"start": 5, **more}})
        found[name] = made.problem.present()["probe_positions"]
    errors = {name: position_errors(each, positions).rms_px for name, each in found.items()}
    for name, wrong in errors.items():
        bar = 0.3 if name == "along the trend" else None
        yield Figure(f"position_trend.{name.replace(' ', '_')}_px", wrong, bar)
    _arrows("position_trend", found, positions, 2.0)


def _arrows(name: str, found: Mapping[str, np.ndarray], true: np.ndarray, enlarged: float) -> None:
    drawn = Drawing(figsize=(9, 3.3), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    for ax, (title, each) in zip(drawn.subplots(1, 3), found.items(), strict=True):
        errors = position_errors(each, true)
        wrong = errors.residual_px
        ax.quiver(true[:, 1], true[:, 0], wrong[:, 1], wrong[:, 0], angles="xy", scale_units="xy", scale=1 / enlarged)
        ax.set_title(f"{title}: {errors.rms_px:.2f} px rms", fontsize=10)
        ax.set_aspect("equal")
        ax.invert_yaxis()
        ax.set_axis_off()
    drawn.savefig(STATIC / f"{name}.png", dpi=110)


def stages() -> Iterator[Figure]:
    """Position errors of 8 px rms under a beam 70 px wide: searched on three times as large pixels, then refined.

    In px rms, affine map removed: as recorded, found in one stage, and in two with a search in the first.
    """
    rng = np.random.default_rng(14)
    positions = raster(14, 8.0, rng)
    obj = specimen(int(positions.max()) + LARGE + 60, rng, size=2.0)
    moved, optics = positions + 24, {"radius": 16.0, "photons": 4e6, "window": LARGE}
    recorded = moved + rng.normal(size=positions.shape) * 8 / np.sqrt(2)
    beams = np.broadcast_to(beam(curvature=0.07, **optics)[None], (len(positions), FINE * LARGE, FINE * LARGE))
    data = measured(obj, beams, moved, rng)
    # The beam as its optics are known: a twentieth too far out of focus.
    data = data.with_(probe_positions_px=recorded, start_probe=seen(beam(curvature=0.0735, **optics))[None])
    search = {"probe_positions": {"search": f"{16 * PIXEL_M} m"}}
    changes = [{"data": {"crop": LARGE // 3}, "parameters": search, "run": {"epochs": 50}}, {}]
    found = {"as recorded": recorded}
    for name, each in (("one stage", ()), ("two stages", changes)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.h5"
            write_native(data, path)
            config = {
                "data": str(path),
                "forward_model": "ptychography",
                "parameters": {"probe_positions": {"start": 3}},
                "run": {"epochs": 40, "threads": 1, "stages": each},
                "output": {"progress": "quiet", "report": False},
            }
            found[name] = adorym.reconstruct(config, output=Path(folder) / "out").parameters["probe_positions"].value
    for name, each in found.items():
        bar = 0.4 if name == "two stages" else None
        yield Figure(f"stages.{name.replace(' ', '_')}_px", position_errors(each, moved).rms_affine_px, bar)
    _arrows("stages", found, moved, 1.0)


def detector_blur() -> Iterator[Figure]:
    """A detector that spreads counts by 0.8 x 0.6 px: error over that of a run without blur, and the blur's error."""
    rng = np.random.default_rng(15)
    positions = raster(14, 4.0, rng)
    obj = specimen(int(positions.max()) + WINDOW + 8, rng)
    true, sigma = seen(obj), np.array([0.8, 0.6])
    expected = patterns(obj, np.repeat(beam()[None], len(positions), 0), positions)
    counts = rng.poisson(gaussian_filter(expected, (0, *sigma))).astype(np.float32)
    known: dict[str, Any] = {"energy_ev": ENERGY_EV, "pixel_size_m": (PIXEL_M,) * 2}
    data = Dataset(ArrayPatterns(counts), probe_positions_px=positions, **known)
    sharp, blurred = run(data), run(data, parameters={"detector_blur": True})
    errors = [error(each, true)[0] for each in (sharp, blurred)]
    yield Figure("detector_blur.error_without_blur", errors[0])
    yield Figure("detector_blur.error_over_that", errors[1] / errors[0], 0.5)
    found = blurred.problem.present()["detector_blur"]
    yield Figure("detector_blur.relative_error_of_the_blur", float(np.abs(found / sigma - 1).max()), 0.1)
    drawn = Drawing(figsize=(9, 3.3), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    shown = {f"without blur: error {errors[0]:.3f}": sharp, f"blur refined: error {errors[1]:.3f}": blurred}
    axes, inside = drawn.subplots(1, 3), (slice(30, 90), slice(30, 90))
    axes[0].imshow(np.angle(true[inside]), cmap="gray")
    axes[0].set_title("truth, phase", fontsize=10)
    for ax, (name, each) in zip(axes[1:], shown.items(), strict=True):
        difference = align_object(error(each, true)[1], true).aligned - true
        ax.imshow(abs(difference[inside]), cmap="magma", vmin=0, vmax=0.2)
        ax.set_title(name, fontsize=10)
    for ax in axes:
        ax.set_axis_off()
    drawn.savefig(STATIC / "detector_blur.png", dpi=110)


MAKERS = {
    "two_scans": two_scans,
    "drifting_probe": drifting_probe,
    "position_trend": position_trend,
    "stages": stages,
    "detector_blur": detector_blur,
    "upsampling": upsampling,
    "speckle_tracking": speckle_tracking,
    "fourier_ptychography": fourier_ptychography,
    "pattern_shift": pattern_shift,
    "mixed_states": mixed_states,
    "electrons": electrons,
    "object_tilt": object_tilt,
    "semi_angle": semi_angle,
    "bragg_ptychography": bragg_ptychography,
    "strong_strain": strong_strain,
    "dislocation": dislocation,
    "changing_foam": changing_foam,
    "hardening": hardening,
    "tiles": tiles,
    "cone_beam": cone_beam,
}

if __name__ == "__main__":
    sys.exit(main(__doc__ or "", MAKERS))
