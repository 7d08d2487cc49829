"""Figures of the third dimension: projectors beside ASTRA, tomography, multislice, ptychotomography, memory.

Usage: python benchmarks/three_d.py [--only NAME] [--json FILE]

Times are processor times of one thread, measured in turn within one process. ``projectors`` needs ``astra`` (GPL, for
comparison only) and ``finufft``; what is not installed is left out. The seeds were not used in choosing defaults.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, main

from adorym.api import prepare, reconstruct
from adorym.commands.score import Score, score
from adorym.commands.simulate import simulate
from adorym.engine.gradients import batch_gradients
from adorym.optics.poses import make_poses
from adorym.optics.projector import Fourier, Joseph, Rotate
from adorym.wrapper import get_backend
from adorym.wrapper.fused.rays import Frame

ANGLES = SIZE = 256
ROWS = 64
NAMES = ("volume", "theta", "tilt", "shift")


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


# -- projectors --------------------------------------------------------------------------------------------------------
def projectors() -> Iterator[Figure]:
    """Agreement with ASTRA's linear projector, and time of projection and back-projection, in ms a slice."""
    xp = get_backend("torch", device="cpu", threads=1)
    theta = np.linspace(0, np.pi, ANGLES, endpoint=False)
    picture = _phantom()
    reference, astra_ms = _astra(picture, theta)
    engines = [Joseph()] + ([Fourier(tolerance=1e-3)] if importlib.util.find_spec("finufft") else [])
    volume = xp.asarray(np.repeat(picture[None], ROWS, axis=0))
    for engine in engines:
        for refined in (False, True):
            ms, seen = _time(xp, engine, volume, theta, refined)
            name = f"projectors.{engine.kind}{'.angles_refined' if refined else ''}"
            yield Figure(f"{name}.ms_per_slice", ms)
            if astra_ms:
                yield Figure(f"{name}.time_over_astra", ms / astra_ms, 0.2 if name == "projectors.joseph" else None)
            if reference is not None and not refined:
                error = float(np.linalg.norm(seen - reference) / np.linalg.norm(reference))
                yield Figure(f"{name}.difference_from_astra", error, 1e-3 if engine.kind == "joseph" else 1e-2)


def adjoints() -> Iterator[Figure]:
    """<A x, y> against <x, A^T y>, and the slope by angles, tilts and shifts against differences; relative errors."""
    engines = [Joseph(), Rotate()]
    engines += [Fourier(tolerance=1e-14)] if importlib.util.find_spec("finufft") else []
    for engine in engines:
        for precision, bar in (("single", 1e-5), ("double", 1e-12)):
            yield Figure(f"adjoints.{engine.kind}.{precision}.dot_test", _dot_test(engine, precision), bar)
        yield Figure(f"adjoints.{engine.kind}.slope_by_geometry", _slope_error(engine), 1e-5)


def _posed(xp: Any, engine: Any, tree: Mapping[str, Any]) -> Any:
    poses = make_poses(xp, tree["theta"], tree["tilt"], tree["shift"])
    return engine.project(xp, tree["volume"], poses, Frame(12, 0, 2, 7, level=False))


def _inputs(xp: Any, volume: np.ndarray) -> dict[str, Any]:
    rng = np.random.default_rng(43)
    theta, tilt, shift = np.linspace(0.01, 3, 5), 0.1 * rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    return {name: xp.asarray(a) for name, a in zip(NAMES, (volume, theta, tilt, shift), strict=True)}


def _dot_test(engine: Any, precision: str) -> float:
    xp, rng = get_backend("torch", device="cpu", precision=precision), np.random.default_rng(44)
    x, y = rng.normal(size=(12, 14, 16)), xp.asarray(rng.normal(size=(5, 7, 14)))
    given = _inputs(xp, x)

    def product(tree: Mapping[str, Any]) -> tuple[Any, None]:
        return xp.sum(y * _posed(xp, engine, given | {"volume": tree["volume"]})), None

    seen, numbers = _posed(xp, engine, given), {name: xp.to_numpy(value).astype(float) for name, value in given.items()}
    back = xp.to_numpy(xp.value_and_grad(product)({"volume": given["volume"]})[2]["volume"]).astype(float)
    one, other = (
        np.vdot(xp.to_numpy(seen).astype(float), xp.to_numpy(y).astype(float)),
        np.vdot(numbers["volume"], back),
    )
    return float(abs(one - other) / (np.linalg.norm(xp.to_numpy(seen)) * np.linalg.norm(xp.to_numpy(y))))


def _slope_error(engine: Any) -> float:
    xp, rng = get_backend("torch", device="cpu", precision="double"), np.random.default_rng(45)
    y, x, z = (np.linspace(-1, 1, n) for n in (12, 14, 16))
    volume = np.exp(-((y[:, None, None] ** 2 + (x[:, None] - 0.1) ** 2 + (z + 0.15) ** 2) / 0.08))
    given, weights = _inputs(xp, volume), xp.asarray(rng.normal(size=(5, 7, 14)))

    def f(tree: Mapping[str, Any]) -> tuple[Any, None]:
        return xp.sum(weights * xp.square(_posed(xp, engine, given | dict(tree)))), None

    refined, worst = {name: given[name] for name in NAMES[1:]}, 0.0
    slopes, step = xp.value_and_grad(f)(refined)[2], 1e-7
    for name, value in refined.items():
        way = rng.normal(size=tuple(value.shape))
        ahead, behind = (f({name: value + sign * step * xp.asarray(way)})[0] for sign in (1, -1))
        slope = float(np.vdot(xp.to_numpy(slopes[name]), way))
        worst = max(worst, abs(float(ahead - behind) / (2 * step) - slope) / abs(slope))
    return worst


def _phantom() -> np.ndarray:
    from skimage.data import shepp_logan_phantom
    from skimage.transform import resize

    return resize(shepp_logan_phantom(), (SIZE, SIZE)).astype(np.float32)


def _time(xp: Any, engine: Any, volume: Any, theta: np.ndarray, refined: bool) -> tuple[float, np.ndarray]:
    frame = Frame(ROWS, 0, 0, ROWS, level=True)

    def product(tree: Mapping[str, Any]) -> tuple[Any, Any]:
        seen = engine.project(xp, tree["volume"], make_poses(xp, tree.get("theta", xp.asarray(theta))), frame)
        return xp.sum(xp.square(seen)), seen

    given = {"volume": volume} | ({"theta": xp.asarray(theta)} if refined else {})
    call, times, seen = xp.value_and_grad(product), [], None
    for _ in range(3):
        start = time.process_time()
        _, seen, _ = call(given)
        times.append(time.process_time() - start)
    return 1e3 * min(times) / ROWS, xp.to_numpy(seen)[:, 0]


def _astra(picture: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray | None, float]:
    """ASTRA's sinogram of ``(x, z)``, and the time of projection and back-projection of a slice in ms."""
    try:
        import astra
    except ImportError:
        print("astra: not installed, left out")
        return None, 0.0
    # ASTRA's angles run the other way and its second axis is our first.
    pose = astra.create_proj_geom("parallel", 1.0, SIZE, -theta)
    projector = astra.create_projector("linear", pose, astra.create_vol_geom(SIZE, SIZE))
    times = []
    for _ in range(3):
        start = time.process_time()
        number, sinogram = astra.create_sino(np.ascontiguousarray(picture.T), projector)
        back, _ = astra.create_backprojection(sinogram, projector)
        times.append(time.process_time() - start)
        astra.data2d.delete([number, back])
    return sinogram, 1e3 * min(times)


# -- tomography --------------------------------------------------------------------------------------------------------
def tomography() -> Iterator[Figure]:
    """Raw counts with the axis 7.3 px off: centre, and error against the classical methods, of a noisy foam."""
    data = {"centre": "7.3 px", "size_px": [8, 128], "angles": 60, "counts": 1000}
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
        yield Figure(f"tomography.seed_{seed}.centre_error_px", found["rotation_centre_error_px"], 0.25)
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
        "centre": "7.3 px",
        "size_px": [16, 96],
        "angles": 60,
        "counts": 10000,
        "tilt_error": "0.5 deg",
        "shift_error": "1 px",
    }
    step = {"kind": "preconditioned", "learning_rate": 0.5, "momentum": 0.8}
    refined = {
        "object_shift": {"start": 2, "optimizer": step, "schedule": {"kind": "constant"}},
        "tilt": {"start": 4, "optimizer": step | {"maximum_step": 5e-3}, "schedule": {"kind": "constant"}},
    }
    errors = []
    for parameters in ({}, refined):
        config = {
            "forward_model": "tomography",
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

    The model without thickness is given the distance from the middle of the volume, which is the best for it.
    """
    found = {}
    for thickness in ("thin", "multislice"):
        config = {
            "forward_model": {"kind": "ptychotomography", "propagation": "angular_spectrum", "thickness": thickness},
            "parameters": {
                "object": {
                    "margin_px": 0,
                    "optimizer": {"kind": "preconditioned", "learning_rate": 1.6, "momentum": 0.9},
                },
                "probe": {"refine": False, "initial": "plane"},
            },
            "regularizers": [{"kind": "total_variation", "weight": 5e-4, "along_z": True}],
            "constraints": [{"kind": "non_negativity"}],
            "run": {"epochs": 12, "batch_size": 4},
        }
        distance = {"propagation_distance": "620 nm"} if thickness == "thin" else {}
        data = {"volume_px": 128, "angles": 32, "distance": "300 nm"}
        found[thickness] = solved("full_field_cone", data, config, 41, distance)["delta_nrmse"]
        yield Figure(f"thick_cone.{thickness}.nrmse", found[thickness])
    yield Figure("thick_cone.nrmse_over_thin", found["multislice"] / found["thin"], 0.5)


def ptychotomography() -> Iterator[Figure]:
    """64 voxels a side, 30 angles, tilts up to 1 degree about three axes, positions off by 1 px (needs ``finufft``)."""
    data = {"angles": 30, "tilt_error": "1 deg", "position_error": "1 px", "photons": 1e7, "probe_px": "8 px"}
    constant = {"kind": "constant"}
    config = {
        "forward_model": {
            "kind": "ptychotomography",
            "volume_px": [64, 64, 64],
            "projector": {"kind": "fourier", "tolerance": 1e-3, "oversampling": 1.5},
        },
        "parameters": {
            "object": {
                "margin_px": 12,
                "optimizer": {"kind": "preconditioned", "learning_rate": 2.0, "momentum": 0.9},
                "schedule": constant,
            },
            "probe": False,
            "probe_positions": {
                "start": 2,
                "optimizer": {
                    "kind": "preconditioned",
                    "learning_rate": 0.5,
                    "regularization": 0.05,
                    "maximum_step": 0.3,
                    "momentum": 0.5,
                },
            },
            "tilt": {
                "start": 8,
                "optimizer": {
                    "kind": "preconditioned",
                    "learning_rate": 0.5,
                    "maximum_step": 5e-3,
                    "momentum": 0.9,
                },
                "schedule": constant,
            },
        },
        # The second term keeps recorded positions where a pattern sees nothing of the sample.
        "regularizers": [
            {"kind": "total_variation", "weight": 1e-3, "along_z": True},
            {"kind": "l2", "parameter": "probe_positions", "weight": 3e-8},
        ],
        "constraints": [{"kind": "non_negativity"}],
        "run": {"epochs": 55, "batch_size": 810, "backoff": 1.0},
    }
    found = solved("ptychotomography_cone", data, config, 41)
    yield Figure("ptychotomography.one_minus_correlation", 1 - found["delta_correlation"], 0.03)
    yield Figure("ptychotomography.tilt_rms_deg", math.degrees(found["tilt_rms_rad"]), 0.1)
    yield Figure("ptychotomography.position_rms_px", found["position_rms_px"])


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
