"""Runs without a start probe beside runs with the true one: beams of several kinds, in and out of focus."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from figures import Figure

from adorym.commands.score import in_frame
from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.metrics import align_object
from adorym.optics.geometry import Grid
from adorym.optics.probe_search import AutoProbe, Search
from adorym.registry import component
from adorym.simulate.experiments import Ptychography
from adorym.simulate.illumination import FocusedBeam

FIRST_SEED, RUNS = 3000, 20
WINDOW, OBJECT = 64, 112
# Largest ratio of the errors, and how many of the runs may exceed it.
RATIO, EXCEPTIONS = 1.3, 1
# Part of the defocus at which the geometric beam fills the window; a soft pupil is wider than its radius.
WIDEST = {"zone plate": 0.7, "central stop": 0.7, "aperture": 0.7, "gaussian": 0.4, "off the middle": 0.7}


@component
class GaussianPupil(FocusedBeam):
    """A pupil whose amplitude falls as a Gaussian: ``aperture`` is where it is 1/e."""

    def wave(self, grid: Grid, defocus_m: float) -> np.ndarray:
        qy, qx = grid.frequencies_per_m()
        q2 = qy**2 + qx**2
        pupil = np.exp(-q2 * (min(grid.extent_m) / self.aperture) ** 2)
        return np.fft.fftshift(np.fft.ifft2(pupil * np.exp(-1j * np.pi * grid.wavelength_m * defocus_m * q2)))


def experiment(kind: str, seed: int) -> Dataset:
    """A scan with the beam ``kind``; defocus, overlap, counts and specimen by ``seed``."""
    rng = np.random.default_rng(seed)
    radius = float(rng.uniform(12, 18) if kind == "aperture" else rng.uniform(7, 12))
    plain = Ptychography(window_px=(WINDOW, WINDOW), object_px=(OBJECT, OBJECT))
    window = Grid((WINDOW, WINDOW), plain._geometry.far_field_pixel_size_m, plain._geometry.wavelength_m)
    farthest = min(window.extent_m) ** 2 / (2 * window.wavelength_m * radius)
    defocus = float(rng.uniform(-1, 1) * WIDEST[kind] * farthest)
    beam = GaussianPupil if kind == "gaussian" else FocusedBeam
    stop = 0.45 * radius if kind == "central stop" else 0.0
    illumination = beam(aperture=radius, stop=stop, defocus=defocus)
    photons, overlap = float(10 ** rng.uniform(4.5, 6)), float(rng.uniform(0.63, 0.85))
    scan = type(plain.scan)(overlap=overlap)
    made = Ptychography(
        window_px=(WINDOW, WINDOW), object_px=(OBJECT, OBJECT), illumination=illumination, scan=scan, photons=photons
    ).run(seed)
    return moved(made, (6, -5)) if kind == "off the middle" else made


def moved(data: Dataset, by: tuple[int, int]) -> Dataset:
    """The patterns moved on the detector, and the true probe tilted; what leaves on one side is gone."""
    patterns = np.asarray(data.patterns.read(np.arange(data.n_patterns)))
    wide = np.pad(patterns, ((0, 0), (8, 8), (8, 8)))
    cut = wide[:, 8 - by[0] : 8 - by[0] + WINDOW, 8 - by[1] : 8 - by[1] + WINDOW]
    y, x = np.indices((WINDOW, WINDOW)) / WINDOW
    probe = np.asarray(data.truth["probe"]) * np.exp(2j * np.pi * (by[0] * y + by[1] * x))
    return data.with_(patterns=ArrayPatterns(np.ascontiguousarray(cut)), truth={**data.truth, "probe": probe})


def centered(probe: np.ndarray) -> np.ndarray:
    """``probe`` ``(m, y, x)`` with its middle at (N - 1)/2 instead of N/2.

    Every start probe of the package is there: otherwise objects half a pixel apart were compared.
    """
    f = np.fft.fftfreq(WINDOW)
    return np.fft.ifft2(np.fft.fft2(probe) * np.exp(1j * np.pi * (f[:, None] + f)))


def error_of(data: Dataset, start: np.ndarray | None) -> tuple[float, float]:
    """Error of the object, and seconds of the epochs."""
    config = config_from({"data": "scan.h5", "forward_model": "ptychography", "run": {"threads": 1}})
    run = Reconstruction(data.with_(start_probe=start), config.recipe, config.run)
    seconds = sum(record.time_s for record in run.epochs())
    true = np.asarray(data.truth["object"])
    y, x = run.problem.bound.origin_px
    found = in_frame(run.problem.store.values(), (int(y), int(x)), true.shape)[0]
    corners = np.asarray(data.probe_positions_px) + (WINDOW - 1) / 2
    low, high = np.ceil(corners.min(0)).astype(int) + 4, np.floor(corners.max(0)).astype(int) - 4
    region = (slice(low[0], high[0]), slice(low[1], high[1]))
    return float(align_object(found, true, region).error), seconds


def first_probe() -> Iterator[Figure]:
    """How often a run without start probe is worse than with the true one, and what the search costs."""
    ratios, costs = [], []
    for i in range(RUNS):
        kind = list(WIDEST)[i % len(WIDEST)]
        data = experiment(kind, FIRST_SEED + i)
        start = time.perf_counter()
        Search(data.with_(start_probe=None), AutoProbe()).found()
        cost = time.perf_counter() - start
        error, seconds = error_of(data, None)
        ratios.append(error / error_of(data, centered(np.asarray(data.truth["probe"])))[0])
        costs.append(cost / seconds)
        yield Figure(f"first_probe.{kind.replace(' ', '_')}.{FIRST_SEED + i}.error_over_true", ratios[-1])
    yield Figure("first_probe.runs_above_1.3_times_the_true_one", sum(r > RATIO for r in ratios), EXCEPTIONS)
    yield Figure("first_probe.search_over_run_time", float(np.median(costs)), 0.5)
