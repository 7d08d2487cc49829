"""Figures of the core: quality on the reference problem, equality of the backends, speed beside the FFT floor.

Usage: python benchmarks/core.py [--only NAME] [--json FILE]

The seeds were not used in choosing the defaults. A time is a ratio of processor times, measured in turn within one
process on one thread: one epoch (gather, loss, gradients, steps of object and probe) against the transforms that it
cannot do without: one ``torch.fft.fft2`` and ``ifft2`` of every exit wave with positions on whole pixels, two of each
with positions between pixels, where every probe is shifted.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import Figure, main
from reference_problem import SCORED, make

from adorym.api import prepare, reconstruct
from adorym.commands.convert import convert
from adorym.commands.run import run
from adorym.commands.score import score
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.fetch import SIEMENS_STAR_MAP, siemens_star_path
from adorym.data.native_write import write_native
from adorym.errors import DataError
from adorym.report.score import Score

SEEDS = (41, 42, 43, 44, 45)
STAR = Path(__file__).resolve().parent.parent / "examples" / "ptychography_siemens_star" / "config.yaml"


def solved(dataset: Dataset, parameters: Mapping[str, Any], epochs: int) -> Score:
    """Score of a run with default settings, but for what is refined and for how long."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        write_native(dataset, path)
        config = {
            "data": str(path),
            "forward_model": "ptychography",
            "parameters": parameters,
            "run": {"epochs": epochs},
        }
        reconstruct(config, output=folder)
        return score(folder, path, SCORED)


def one_mode() -> Iterator[Figure]:
    """Object error after 40 epochs."""
    for seed in SEEDS:
        yield Figure(f"one_mode.seed_{seed}.object_nrmse", solved(make(seed), {}, 40)["object_nrmse"], 0.045)


def five_modes() -> Iterator[Figure]:
    """Object error after 60 epochs, with three ways of seeding the modes."""
    for seed in SEEDS[:3]:
        for seeding in ("hermite", "random", "shifted"):
            found = solved(make(seed, modes=5), {"probe": {"modes": 5, "seeding": seeding}}, 60)
            yield Figure(f"five_modes.seed_{seed}.{seeding}.object_nrmse", found["object_nrmse"], 0.04)


def positions() -> Iterator[Figure]:
    """Errors after 100 epochs with positions that start 2 px off."""
    for seed in SEEDS:
        found = solved(make(seed, position_error_px=2.0), {"probe_positions": {}}, 100)
        yield Figure(f"positions.seed_{seed}.rms_px", found["position_rms_px"], 0.28)
        yield Figure(f"positions.seed_{seed}.rms_affine_px", found["position_rms_affine_px"], 0.17)
        yield Figure(f"positions.seed_{seed}.object_nrmse", found["object_nrmse"], 0.045)


def backends() -> Iterator[Figure]:
    """Largest relative difference between the backends' objects, probes and positions after 5 epochs."""
    dataset = make(SEEDS[0], position_error_px=2.0)
    with tempfile.TemporaryDirectory() as folder:
        write_native(dataset, Path(folder) / "data.h5")
        for precision, bar in (("single", 1e-4), ("double", 1e-9)):
            states = [_state(Path(folder) / "data.h5", name, precision) for name in ("torch", "autograd")]
            worst = max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(*states, strict=True))
            yield Figure(f"backends.{precision}.relative_difference", worst, bar)


def _state(path: Path, backend: str, precision: str) -> list[np.ndarray]:
    run_settings = {"epochs": 5, "backend": backend, "precision": precision}
    parameters = {"probe": {"modes": 2}, "probe_positions": {"start": 1}}
    made = prepare({"data": str(path), "forward_model": "ptychography", "parameters": parameters, "run": run_settings})
    list(made.epochs())
    values = made.problem.values
    return [
        made.problem.store.values(),
        *(made.problem.xp.to_numpy(values[n].array) for n in ("probe", "probe_positions")),
    ]


def speed() -> Iterator[Figure]:
    """Processor time of an epoch over that of the transforms it cannot do without."""
    for size, patterns in ((64, 400), (128, 200), (256, 100)):
        for modes in (1, 5):
            for between in (False, True):
                ratio, floor_us = epoch_over_floor(size, patterns, modes, between)
                name = f"speed.{size}x{size}.{modes}_modes.{'between_pixels' if between else 'whole_pixels'}"
                yield Figure(f"{name}.us_per_fft", floor_us)
                yield Figure(f"{name}.epoch_over_fft_floor", ratio, 2.5)


def epoch_over_floor(size: int, patterns: int, modes: int, between: bool) -> tuple[float, float]:
    """Processor time of an epoch over that of its transforms, and microseconds of one transform."""
    rng = np.random.default_rng(0)
    positions = rng.integers(0, 3 * size, (patterns, 2)) + (0.3 if between else 0.0)
    counts = rng.poisson(5, (patterns, size, size)).astype(np.float32)
    dataset = Dataset(ArrayPatterns(counts), positions, start_probe=rng.normal(size=(1, size, size)) + 0j)
    with tempfile.TemporaryDirectory() as folder:
        write_native(dataset, Path(folder) / "data.h5")
        settings = {"epochs": 100, "threads": 1}
        parameters = {"probe": {"modes": modes}}
        config = {
            "data": f"{folder}/data.h5",
            "forward_model": "ptychography",
            "parameters": parameters,
            "run": settings,
        }
        made = prepare(config)
        waves = torch.randn(made.batch_size, modes, size, size, dtype=torch.complex64)

        def floor() -> None:
            for _ in range(patterns // made.batch_size * (2 if between else 1)):
                torch.fft.ifft2(torch.fft.fft2(waves))

        epochs = made.epochs()
        next(epochs)
        floor()
        count = int(np.clip(2 / _cpu_s(lambda: next(epochs)), 9, 60))  # short ones are measured more often
        pairs = np.array([(_cpu_s(lambda: next(epochs)), _cpu_s(floor)) for _ in range(count)])
    ratio = float(np.median(pairs[:, 0] / pairs[:, 1]))
    transforms = (4 if between else 2) * patterns * modes
    return ratio, float(np.median(pairs[:, 1])) / transforms * 1e6


def _cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def siemens_star() -> Iterator[Figure]:
    """Wall time from the measured star's file to the report, with the example's configuration."""
    try:
        source = siemens_star_path()
    except DataError as error:
        print(f"siemens_star: left out: {error}")
        return
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        convert(source, f"{folder}/star.h5", list(SIEMENS_STAR_MAP), {})
        done = run(STAR, [f"data.path={folder}/star.h5", "output.progress=quiet"], output=folder)
        yield Figure("siemens_star.seconds_to_report", time.perf_counter() - start, 300.0)
        yield Figure("siemens_star.loss", float(done.result.history["loss"][-1]))


MAKERS = {f.__name__: f for f in (one_mode, five_modes, positions, backends, speed, siemens_star)}

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
