"""Figures of the third dimension: projectors beside ASTRA, tomography, multislice, ptychotomography, memory.

Usage: python benchmarks/three_d.py [--only NAME] [--json FILE]

Times are processor times of one thread, measured in turn within one process. ``projectors`` needs ``astra`` (GPL, for
comparison only) and ``finufft``; what is not installed is left out. The seeds were not used in choosing defaults.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from figures import Figure, main
from three_d_projectors import adjoints, projectors

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from mpi_launch import run

from adorym.api import prepare, reconstruct
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.data.result import read_result
from adorym.engine.gradients import batch_gradients
from adorym.report.score import Score
from adorym.wrapper import get_backend


def solved(
    name: str,
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    seed: int,
    known: Mapping[str, Any] | None = None,
) -> Score:
    """Score of a run on a simulated data set; ``known`` changes what the data say of the experiment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        simulate(name, path, settings, seed)
        given = {"path": str(path), **(known or {})}
        reconstruct({"data": given, "output": {"progress": "quiet", "report": False}, **config}, output=folder)
        return score(folder, path)


# -- tomography --------------------------------------------------------------------------------------------------------
def tomography() -> Iterator[Figure]:
    """Raw counts with the axis 7.3 px off: center, and error against the classical methods, of a noisy foam."""
    data = {"center": "7.3 px", "size_px": [8, 128], "angles": 60, "counts": 1000}
    own = {
        "forward_model": "tomography",
        "regularizers": [{"kind": "total_variation", "weight": 0.004, "along_z": True}],
        "constraints": [{"kind": "non_negativity"}],
        "run": {"epochs": 40, "batch_size": 10},
    }
    for seed in (41, 42):
        ratio = _misfit(data, own, seed) / _misfit(data, _classical("filtered_back_projection"), seed)
        yield Figure(f"tomography.seed_{seed}.misfit_over_filtered_back_projection", ratio, 1.0)
        found = solved("tomography_foam", data, own, seed)
        yield Figure(f"tomography.seed_{seed}.center_error_px", found["rotation_center_error_px"], 0.25)
        yield Figure(f"tomography.seed_{seed}.nrmse", found["attenuation_nrmse"])
        for kind, bar in (("filtered_back_projection", 0.75), ("sirt", 0.9), ("cgls", None)):
            other = solved("tomography_foam", data, _classical(kind), seed)["attenuation_nrmse"]
            yield Figure(f"tomography.seed_{seed}.{kind}.nrmse", other)
            yield Figure(f"tomography.seed_{seed}.nrmse_over_{kind}", found["attenuation_nrmse"] / other, bar)


def _classical(kind: str) -> dict[str, Any]:
    return {
        "forward_model": "tomography",
        "parameters": {"object": {"initial": kind}},
        "run": {"epochs": 0},
    }


def _misfit(data: Mapping[str, Any], config: Mapping[str, Any], seed: int) -> float:
    """What is left between all counts and what a volume predicts: the loss without its other terms."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        simulate("tomography_foam", path, data, seed)
        made = prepare({"data": str(path), **config})
        for _ in made.epochs(config["run"]["epochs"]):
            pass
        return batch_gradients(made.problem, np.arange(made.problem.dataset.n_patterns), frozenset({"object"}))[0]


def alignment() -> Iterator[Figure]:
    """A foam whose angles are shifted by 1 px and tilted by 0.5 degrees, rms: refined with the volume, and not."""
    data = {
        "center": "7.3 px",
        "size_px": [16, 96],
        "angles": 60,
        "counts": 10000,
        "tilt_error": "0.5 deg",
        "shift_error": "1 px",
    }
    refined = {"object_shift": {"start": 2}, "tilt": {"start": 4}}
    errors = []
    for parameters in ({}, refined):
        config = {
            "forward_model": {"kind": "tomography", "projector": {"kind": "fourier", "tolerance": 1e-3}},
            "parameters": parameters,
            "regularizers": [{"kind": "total_variation", "weight": 4e-4, "along_z": True}],
            "constraints": [{"kind": "non_negativity"}],
            "run": {"epochs": 40, "batch_size": 20, "backoff": 1.0},
        }
        found = solved("tomography_foam", data, config, 41)
        errors.append(found["attenuation_nrmse"])
    yield Figure("alignment.shift_rms_px", found["shift_rms_px"])
    yield Figure("alignment.tilt_rms_deg", math.degrees(found["tilt_rms_rad"]))
    yield Figure("alignment.nrmse", errors[1])
    yield Figure("alignment.nrmse_over_not_refined", errors[1] / errors[0])


# -- thick objects -----------------------------------------------------------------------------------------------------
def two_planes() -> Iterator[Figure]:
    """Spacing of two planes that starts 20 % wrong."""
    for seed in (41, 42):
        data = {"recorded_spacing": "40 um", "object_px": [128, 128], "scan": {"overlap": 0.8}}
        config = {"forward_model": "multislice", "parameters": {"slice_spacing": {"start": 10}}, "run": {"epochs": 60}}
        found = solved("multislice_two_planes", data, config, seed)
        yield Figure(f"two_planes.seed_{seed}.spacing_error", found["slice_spacing_error"], 0.03)
        yield Figure(f"two_planes.seed_{seed}.front_nrmse", found["slice_0_nrmse"])
        yield Figure(f"two_planes.seed_{seed}.back_nrmse", found["slice_1_nrmse"])


def thick_cone() -> Iterator[Figure]:
    """A cone of 128 voxels a side, six depths of focus thick: waves through its slices against its projections.

    Both start from the same volume: filtered back-projection of images filtered for one material (Paganin). The model
    without thickness is given the distance from the middle of the volume, which is the best for it.
    """
    found, middle = {}, "620 nm"
    for thickness in ("thin", "multislice"):
        config = {
            "forward_model": {"kind": "ptychotomography", "propagation": "angular_spectrum", "thickness": thickness},
            "parameters": {
                "object": {
                    "margin_px": 0,
                    "initial": {
                        "kind": "filtered_back_projection",
                        "paganin": {"kappa": 33.0, "distance": middle},
                    },
                    "optimizer": {"kind": "preconditioned", "learning_rate": 3.0, "momentum": 0.95},
                },
                "probe": {"refine": False, "initial": "plane"},
            },
            "regularizers": [{"kind": "total_variation", "weight": 1e-3, "along_z": True}],
            "constraints": [{"kind": "non_negativity"}],
            "run": {"epochs": 10, "batch_size": 4},
        }
        distance = {"propagation_distance": middle} if thickness == "thin" else {}
        data = {"volume_px": 128, "angles": 64, "distance": "300 nm"}
        found[thickness] = solved("full_field_cone", data, config, 41, distance)["delta_nrmse"]
        yield Figure(f"thick_cone.{thickness}.nrmse", found[thickness])
    yield Figure("thick_cone.nrmse_over_thin", found["multislice"] / found["thin"], 0.5)


def ptychotomography() -> Iterator[Figure]:
    """64 voxels a side, 30 angles, tilts up to 1 degree about three axes, positions off by 1 px (needs ``finufft``).

    On two ranks, with the object on each of them, spread over them, and in a file (needs ``mpi4py``).
    """
    data = {"angles": 30, "tilt_error": "1 deg", "position_error": "1 px", "photons": 1e7, "probe_px": "8 px"}
    with tempfile.TemporaryDirectory() as folder:
        path, first = Path(folder) / "data.h5", None
        simulate("ptychotomography_cone", path, data, 41)
        config = _posed_cone() | {"data": str(path), "output": {"progress": "quiet", "report": False}}
        (Path(folder) / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        for store in ("dp", "do", "h5"):
            command = ["-m", "adorym.cli", "run", "config.yaml", "-o", store, "--set", f"run.store={store}"]
            ended = run(2, command, Path(folder), 7200, ADORYM_MPI_TIMEOUT="3000")
            assert ended.status == 0, ended.err
            found, tilts = score(f"{folder}/{store}", path), _tilts_deg(Path(folder) / store)
            name = f"ptychotomography.{store}"
            yield Figure(f"{name}.one_minus_correlation", 1 - found["delta_correlation"], 0.03)
            yield Figure(f"{name}.tilt_rms_deg", math.degrees(found["tilt_rms_rad"]), 0.1)
            yield Figure(f"{name}.position_rms_px", found["position_rms_px"])
            first = tilts if first is None else first
            if store != "dp":
                yield Figure(f"{name}.largest_difference_of_tilts_from_dp_deg", float(np.abs(tilts - first).max()))


def _tilts_deg(folder: Path) -> np.ndarray:
    return np.degrees(read_result(folder / "result.h5").parameters["tilt"].value)


def _posed_cone() -> dict[str, Any]:
    falling = {"kind": "late_decay", "hold": 0.7, "final": 0.1}
    return {
        "forward_model": {
            "kind": "ptychotomography",
            "volume_px": [64, 64, 64],
            "projector": {"kind": "fourier", "tolerance": 1e-3, "oversampling": 1.5},
        },
        "parameters": {
            "object": {
                "margin_px": 12,
                "optimizer": {"kind": "preconditioned", "learning_rate": 2.0, "momentum": 0.9},
                "schedule": falling,
            },
            "probe": False,
            # Positions that follow from the start let the volume stretch with them, and the tilts with it.
            "probe_positions": {
                "start": 20,
                "optimizer": {
                    "kind": "preconditioned",
                    "learning_rate": 0.5,
                    "regularization": 0.05,
                    "maximum_step": 0.3,
                    "momentum": 0.5,
                },
            },
            "tilt": {"start": 4, "schedule": falling},
        },
        # The second term keeps recorded positions where a pattern sees nothing of the sample.
        "regularizers": [
            {"kind": "total_variation", "weight": 3e-3, "along_z": True},
            {"kind": "l2", "parameter": "probe_positions", "weight": 1e-6},
        ],
        "constraints": [{"kind": "non_negativity"}],
        "run": {"epochs": 60, "batch_size": 810, "backoff": 1.0},
    }


# -- memory ------------------------------------------------------------------------------------------------------------
def memory() -> Iterator[Figure]:
    """Loss and gradients of 256 slices, five probe modes, spacing refined: peak over what is there before, and time."""
    (kept, kept_s), (again, again_s) = (_peak(mode) for mode in ("off", "auto"))
    yield Figure("memory.kept_mib", kept)
    yield Figure("memory.computed_again_mib", again)
    yield Figure("memory.ratio", again / kept, 0.25)
    yield Figure("memory.time_ratio", again_s / kept_s, 1.4)


def _peak(mode: str) -> tuple[float, float]:
    """(MiB, s) in a process of its own: memory that was once used would not be asked for again."""
    done = subprocess.run([sys.executable, __file__, "--peak", mode], capture_output=True, text=True, check=True)
    peak, seconds = done.stdout.split()[-2:]
    return float(peak), float(seconds)


def measure_peak(mode: str) -> None:
    """Print peak and time of one evaluation."""
    from types import SimpleNamespace

    from adorym.forward.multislice import Multislice
    from adorym.optics.geometry import Geometry

    xp, depth, n, modes = get_backend("torch", device="cpu", threads=1), 256, 2, 5
    model, rng = Multislice(slices=depth, spacing=1e-6), np.random.default_rng(0)
    geometry = Geometry((64, 64), 8000.0, given_pixel_size_m=(2e-8, 2e-8))
    batch = SimpleNamespace(geometry=geometry, checkpoint_slices=0 if mode == "off" else None, floor=0.0)
    params = {"probe_positions": xp.asarray(np.zeros((n, 2)))}

    def inputs(slices: int) -> dict[str, Any]:
        return {
            "object": xp.asarray(np.exp(0.01j * rng.normal(size=(n, 64, 64, slices)))),
            "probe": xp.asarray(rng.normal(size=(modes, 64, 64)) + 0j),
            "slice_spacing": xp.asarray(np.full(slices - 1, 1e-6)),
        }

    def loss(tree: Mapping[str, Any]) -> tuple[Any, None]:
        refined = {name: tree[name] for name in ("probe", "slice_spacing")}
        return xp.sum(model.predict(xp, tree["object"], params | refined, batch)), None

    def seconds(given: Mapping[str, Any]) -> float:
        start = time.process_time()
        xp.value_and_grad(loss)(given)
        return time.process_time() - start

    seconds(inputs(16))
    given = inputs(depth)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_mib("VmRSS")
    first = seconds(given)
    peak = _status_mib("VmHWM") - before
    print(peak, min(first, *(seconds(given) for _ in range(4))))


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))


MAKERS: tuple[Callable[[], Iterator[Figure]], ...] = (
    adjoints,
    projectors,
    tomography,
    alignment,
    two_planes,
    thick_cone,
    ptychotomography,
    memory,
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        measure_peak(sys.argv[2])
        sys.exit(0)
    sys.exit(main(__doc__.splitlines()[0], {maker.__name__: maker for maker in MAKERS}))
