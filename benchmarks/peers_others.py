"""Projections beside ASTRA, Bragg diffraction beside cohere, holography beside hotopy; part of ``peers.py``."""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure
from peers_environment import AbsentError, python_with
from peers_runs import FailedError, Worker, absent
from skimage.data import astronaut
from skimage.transform import resize
from three_d_projectors import ANGLES, ROWS, phantom

import adorym
from adorym.commands.score import in_frame
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.optics.poses import make_poses
from adorym.optics.projector import Fourier, Joseph
from adorym.units import energy_ev
from adorym.wrapper import get_backend
from adorym.wrapper.fused.rays import Frame

ROUNDS = 3
SLICES = 8  # that ASTRA is measured on; it takes one after the other


def tomography() -> Iterator[Figure]:
    """Milliseconds to project a slice and back, 64 slices of 256 x 256 pixels, 256 angles; ASTRA: ``linear``, CPU."""
    picture, theta = phantom(), np.linspace(0, np.pi, ANGLES, endpoint=False)
    engines: dict[str, Any] = {"joseph": Joseph()}
    if importlib.util.find_spec("finufft"):
        engines["fourier"] = Fourier(tolerance=1e-3)
    bars = {"joseph": 1 / 8, "fourier": 1 / 10}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "data.npz", picture=picture, theta=theta)
        try:
            with Worker(python_with("astra"), "astra", Path(folder), {"slices": SLICES}) as worker:
                times, seen = _in_turn(engines, picture, theta, worker)
                worker.epoch(f"{folder}/found.npz")
                reference = np.load(f"{folder}/found.npz")["object"]
        except (AbsentError, FailedError) as error:
            yield absent("tomography", "astra", error)
            times, seen = _in_turn(engines, picture, theta, None)
            reference = None
    for name, ms in times.items():
        yield Figure(f"tomography.{name}.ms_per_slice", ms)
        if name in engines and reference is not None:
            yield Figure(f"tomography.{name}.ours_over_astra", ms / times["astra"], bars[name])
            error = float(np.linalg.norm(seen[name] - reference) / np.linalg.norm(reference))
            yield Figure(f"tomography.{name}.difference_from_astra", error)


def _in_turn(
    engines: dict[str, Any], picture: np.ndarray, theta: np.ndarray, worker: Worker | None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Medians in ms a slice, and the sinograms ``(angle, x)``."""
    xp = get_backend("torch", device="cpu", threads=1)
    volume, frame = xp.asarray(np.repeat(picture[None], ROWS, axis=0)), Frame(ROWS, 0, 0, ROWS, level=True)
    times: dict[str, list[float]] = {}
    seen = {}
    for turn in range(ROUNDS + 1):
        for name, engine in engines.items():

            def product(tree: Any, engine: Any = engine) -> tuple[Any, Any]:
                sinogram = engine.project(xp, tree["volume"], make_poses(xp, xp.asarray(theta)), frame)
                return xp.sum(xp.square(sinogram)), sinogram

            start = time.process_time()
            found = xp.value_and_grad(product)({"volume": volume})[1]
            times.setdefault(name, []).append(1e3 * (time.process_time() - start) / ROWS)
            if not turn:
                seen[name] = xp.to_numpy(found)[:, 0]
        if worker is not None:
            times.setdefault("astra", []).append(1e3 * worker.epoch()["processor_s"] / SLICES)
    return {name: float(np.median(each[1:])) for name, each in times.items()}, seen


def bragg() -> Iterator[Figure]:
    """620 iterations of phase retrieval of the measured nanocrystal, 64 x 64 x 64, beside cohere-core's on NumPy."""
    from bragg import WHOLE, cohere, random_starts

    try:
        os.environ["ADORYM_COHERE_PYTHON"] = python_with("cohere")
        theirs = cohere()
        if theirs is None:
            raise FailedError("its process ended; see above")
    except (AbsentError, FailedError) as error:
        yield absent("bragg", "cohere", error)
        return
    ours = random_starts(WHOLE, ROUNDS)
    seconds = statistics.median(each[2] for each in ours)
    yield Figure("bragg.adorym.seconds", seconds)
    yield Figure("bragg.adorym.chi2", statistics.median(each[0] for each in ours))
    yield Figure("bragg.cohere.seconds", theirs["processor_s"])
    yield Figure("bragg.cohere.chi2", theirs["chi2"])
    yield Figure("bragg.ours_over_cohere", seconds / theirs["processor_s"], 1.0)


# -- holography --------------------------------------------------------------------------------------------------------
DISTANCES_M, WAVELENGTH_M, PIXEL_M, KAPPA, PHOTONS, SIDE = (0.4, 0.6, 0.8, 1.0), 7.08e-11, 1e-6, 100.0, 1e4, 256

HOTOPY = {"betadelta": 1 / KAPPA, "alpha": [0.0, 0.01]}  # low frequencies show through absorption


def holography() -> Iterator[Figure]:
    """Seconds to a phase as good as that of hotopy's Tikhonov method: one material, 4 distances, 256 x 256 pixels."""
    true, holograms = _holograms(np.random.default_rng(41))
    with tempfile.TemporaryDirectory() as folder:
        fresnel = PIXEL_M**2 / (WAVELENGTH_M * np.array(DISTANCES_M))
        np.savez(Path(folder) / "data.npz", holograms=holograms, fresnel=fresnel)
        try:
            with Worker(python_with("hotopy"), "hotopy", Path(folder), HOTOPY) as worker:
                answers = [worker.epoch(f"{folder}/found.npz") for _ in range(ROUNDS)]
            theirs = float(np.median([each["processor_s"] for each in answers]))
            error = phase_error(np.load(f"{folder}/found.npz")["object"], true)
        except (AbsentError, FailedError) as failed:
            yield absent("holography", "hotopy", failed)
            return
        yield Figure("holography.hotopy.seconds", theirs)
        yield Figure("holography.hotopy.phase_error", error)
        _reconstructed(holograms, Path(folder), true, np.inf)  # what is compiled once
        seconds, ours = _reconstructed(holograms, Path(folder), true, error)
    yield Figure("holography.adorym.seconds", seconds)
    yield Figure("holography.adorym.phase_error", ours, error)
    yield Figure("holography.ours_over_hotopy", seconds / theirs, 1.0)


def phase_error(phase: np.ndarray, true: np.ndarray) -> float:
    """Root mean square over that of the true phase, means removed."""
    found, wanted = phase - phase.mean(), true - true.mean()
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def _holograms(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True phase ``(y, x)`` of a specimen that ends well inside the field, and counts over the open beam's."""
    image = resize(astronaut().mean(-1) / 255, (SIDE // 2, SIDE // 2), anti_aliasing=True)
    true = -np.pad(image * np.outer(*[np.hanning(SIDE // 2) ** 0.25] * 2), SIDE // 4)
    spectrum, k = np.fft.fft2(np.exp((1j + 1 / KAPPA) * true) - 1), np.fft.fftfreq(SIDE) / PIXEL_M
    squared = k[:, None] ** 2 + k**2
    waves = [np.fft.ifft2(spectrum * np.exp(-1j * np.pi * WAVELENGTH_M * z * squared)) + 1 for z in DISTANCES_M]
    return true, (rng.poisson(PHOTONS * np.abs(waves) ** 2) / PHOTONS).astype(np.float32)


def _reconstructed(holograms: np.ndarray, folder: Path, true: np.ndarray, enough: float) -> tuple[float, float]:
    """Processor seconds, with the initial object, until the phase is good enough, and its error then."""
    dataset = Dataset(
        ArrayPatterns(holograms * np.float32(PHOTONS)), energy_ev=energy_ev(WAVELENGTH_M),
        pixel_size_m=(PIXEL_M, PIXEL_M), propagation_distance_m=np.array(DISTANCES_M), open_beam_counts=PHOTONS,
    )  # fmt: skip
    write_native(dataset, folder / "data.h5")
    model = {"kind": "holography", "homogeneous": True, "kappa": KAPPA, "surroundings": "vacuum"}
    start = {"object": {"initial": {"kind": "one_material", "kappa": KAPPA}}}
    config = {"data": str(folder / "data.h5"), "forward_model": model, "parameters": start}
    before = time.process_time()
    prepared = adorym.prepare({**config, "run": {"epochs": 40, "threads": 1}})
    epochs, seconds, error = prepared.epochs(), time.process_time() - before, np.inf
    while True:
        result = adorym.outcome(prepared)
        framed = in_frame(result.transmission, result.origin_px, true.shape)[0]
        error = phase_error(np.angle(framed), true)
        if error <= enough:
            return seconds, error
        before = time.process_time()
        if next(epochs, None) is None:
            return seconds, error
        seconds += time.process_time() - before
