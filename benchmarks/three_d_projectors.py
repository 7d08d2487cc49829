"""Figures of projectors: adjoints and slopes, agreement with ASTRA, and times beside it; part of ``three_d.py``."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from figures import Figure

from adorym.optics.poses import make_poses
from adorym.optics.projector import Fourier, Joseph, Rotate
from adorym.wrapper import get_backend
from adorym.wrapper.fused.rays import Frame

ANGLES = SIZE = 256
ROWS = 64
NAMES = ("volume", "theta", "tilt", "shift")


def projectors() -> Iterator[Figure]:
    """Agreement with ASTRA's linear projector, and time of projection and back-projection, in ms a slice."""
    xp = get_backend("torch", device="cpu", threads=1)
    theta = np.linspace(0, np.pi, ANGLES, endpoint=False)
    picture = phantom()
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


def phantom() -> np.ndarray:
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
