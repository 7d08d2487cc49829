"""Figures of fields as they are measured: one hologram of one material, near-field scans without a start probe.

Usage: python benchmarks/measured_fields.py [--only NAME] [--json FILE]

The seeds were not used in choosing defaults.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "holography_multidistance"))

from figures import Figure, main
from measured_fields_bragg import laboratory, ten_crystals
from measured_fields_mutants import mutants
from measured_fields_tomograms import half_acquisition, tooth
from series import Setting, phase_picture, solve

from adorym.api import reconstruct
from adorym.commands.score import score
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.simulate.experiments import Ptychography
from adorym.simulate.illumination import DiffusedBeam
from adorym.simulate.phantoms import Cells
from adorym.simulate.scans import Scan

SEEDS = (101, 102, 103, 104, 105)
N, KAPPA, COUNTS = 128, 30.0, 1e4
PIXEL_M, WAVELENGTH_M = 1e-6, 0.7e-10


def spheres(rng: np.random.Generator) -> np.ndarray:
    """``(2 N, 2 N)`` phase lag of a dozen spheres in vacuum, on pixels half as wide."""
    (y, x), lag = np.indices((2 * N, 2 * N)) - (N - 0.5), np.zeros((2 * N, 2 * N))
    for _ in range(12):
        (cy, cx), radius = rng.uniform(-0.7 * N, 0.7 * N, 2), rng.uniform(10, 24)
        lag += 2 * np.sqrt(np.maximum(radius**2 - (y - cy) ** 2 - (x - cx) ** 2, 0))
    return lag * 0.6 / lag.max()


def hologram(lag: np.ndarray, distance_m: float, rng: np.random.Generator) -> np.ndarray:
    """Counts ``(N, N)``, by the paraxial transfer function on a grid twice as fine and twice as wide."""
    f = np.fft.fftfreq(4 * N, PIXEL_M / 2)
    transfer = np.exp(-1j * np.pi * WAVELENGTH_M * distance_m * (f[:, None] ** 2 + f**2))
    wave = np.fft.ifft2(transfer * np.fft.fft2(np.exp(-(1 / KAPPA + 1j) * np.pad(lag, N))))
    fine = np.abs(wave[N:-N, N:-N]) ** 2
    return rng.poisson(COUNTS * fine.reshape(N, 2, N, 2).mean((1, 3)))


def phase_error(series: Dataset, lag: np.ndarray, start: str, epochs: int) -> float:
    """Error of the phase relative to its variation, after ``epochs`` from ``start``."""
    with tempfile.TemporaryDirectory() as folder:
        write_native(series, Path(folder) / "data.h5")
        result = reconstruct({
            "data": str(Path(folder) / "data.h5"),
            "forward_model": {"kind": "holography", "homogeneous": True, "kappa": KAPPA, "surroundings": "vacuum"},
            "parameters": {"object": {"initial": {"kind": start, "kappa": KAPPA}}},
            "run": {"epochs": epochs},
        })  # fmt: skip
    y, x = result.origin_px
    found = -np.angle(np.squeeze(result.object))[y : y + N, x : x + N]
    true = lag.reshape(N, 2, N, 2).mean((1, 3))
    return float(np.linalg.norm(found - found.mean() - true + true.mean()) / np.linalg.norm(true - true.mean()))


def _series(distances_m: tuple[float, ...], seed: int) -> tuple[Dataset, np.ndarray]:
    rng = np.random.default_rng(seed)
    lag = spheres(rng)
    counts = np.array([hologram(lag, z, rng) for z in distances_m], np.float32)
    known = {"energy_ev": 1.23984198e-6 / WAVELENGTH_M, "pixel_size_m": (PIXEL_M, PIXEL_M), "open_beam_counts": COUNTS}
    return Dataset(ArrayPatterns(counts), propagation_distance_m=np.array(distances_m), **known), lag


def one_hologram() -> Iterator[Figure]:
    """One material from one distance: against Paganin's formula, and after many epochs."""
    for seed in SEEDS:
        data, lag = _series((0.09,), seed)
        classical = phase_error(data, lag, "paganin", 0)
        yield Figure(f"one_hologram.seed_{seed}.paganin", classical)
        yield Figure(f"one_hologram.seed_{seed}.one_material", phase_error(data, lag, "one_material", 0), classical)
        yield Figure(f"one_hologram.seed_{seed}.epochs_60", phase_error(data, lag, "paganin", 60), 1.02 * classical)


def four_distances() -> Iterator[Figure]:
    """One material from four distances, by ``one_material`` alone."""
    for seed in SEEDS:
        data, lag = _series((0.05, 0.1, 0.2, 0.4), seed)
        yield Figure(f"four_distances.seed_{seed}.phase_error", phase_error(data, lag, "one_material", 0), 0.08)


def distances() -> Iterator[Figure]:
    """Errors of the differences of four stated distances, with fur and with a smooth portrait as the phase."""
    specimens = dict.fromkeys((phase_picture(), "astronaut"))
    for picture in specimens:
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                setting = Setting(seed=seed, picture=picture)
                found = solve("no noise, least squares", Path(folder), setting).distances_m
            error = 100 * float(np.ptp(found - np.array([0.4, 0.6, 0.8, 1.0])))
            yield Figure(f"distances.{Path(picture).stem}.seed_{seed}.differences_cm", error, 0.05)


def near_field() -> Iterator[Figure]:
    """Near-field scans in a cone beam: no start probe, no pixel size, no effective distance.

    A Siemens star has detail finer than a pixel: light that the detector samples and that no object on its pixels
    explains, which leaves errors of 0.07 to 0.09 whatever the probe, the width of the detector or the epochs. The
    rows ``smooth`` are of a specimen without such detail.
    """
    for prefix, seed in product(("near_field", "near_field.smooth"), SEEDS[:3]):
        made = Ptychography(
            window_px=(96, 96), object_px=(160, 160), propagation="near_field", energy=17e3, distance=1.998,
            source_distance=2.002e-3, detector_pixel=50e-6, photons=2e6, scan=Scan(step=9.0),
            illumination=DiffusedBeam(), **({"phantom": Cells()} if prefix.endswith("smooth") else {}),
        ).run(seed)  # fmt: skip
        bare = replace(made, start_probe=None, propagation_distance_m=None, pixel_size_m=None)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.h5"
            write_native(bare, path)
            model = {"kind": "ptychography", "propagation": "fresnel"}
            reconstruct({"data": str(path), "forward_model": model, "output": {"progress": "quiet"}}, output=folder)
            found = {each.key: each.value for each in score(folder, path).figures}
        yield Figure(f"{prefix}.seed_{seed}.object_error", found["object_nrmse"], 0.05)


MAKERS = {
    f.__name__: f
    for f in (
        one_hologram,
        four_distances,
        distances,
        near_field,
        half_acquisition,
        tooth,
        ten_crystals,
        laboratory,
        mutants,
    )
}

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
