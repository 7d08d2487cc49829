"""Figures of holography: a misaligned distance series, low dose, one material in a cone beam, speed.

Usage: python benchmarks/holography.py [--only NAME] [--json FILE]

The seeds were not used in choosing defaults. Holograms of 512 x 512 pixels, 300 epochs, simulated on a grid twice as
fine. Similarities (SSIM) are told as what they lack to 1. A time is a ratio of processor times, measured in turn within
one process on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES / "holography_multidistance"))

from figures import Figure, main  # noqa: E402
from series import HERE, SHORT, Done, Setting, solve  # noqa: E402

import adorym  # noqa: E402
from adorym.api import prepare  # noqa: E402
from adorym.commands.score import score  # noqa: E402
from adorym.data.native_write import write_native  # noqa: E402
from adorym.simulate.holograms import HolographyOfElectrode, HolographyOfPictures  # noqa: E402

SEED = 41
SIMILARITIES = ("high_passed_phase_ssim", "magnitude_ssim")
TRUE_M = np.array([0.4, 0.6, 0.8, 1.0])


def _run(name: str, seed: int = SEED, *, band_limited: bool = True) -> Done:
    with tempfile.TemporaryDirectory() as folder:
        return solve(name, Path(folder), Setting(seed=seed, band_limited=band_limited))


def series() -> Iterator[Figure]:
    """Without noise, everything refined, with autofocus along the common distance."""
    for seed in (SEED, SEED + 1):
        done = _run("no noise, least squares", seed)
        error, found = done.distances_m - TRUE_M, done.figures
        name = f"series.seed_{seed}"
        yield Figure(f"{name}.distance_differences_cm", 100 * float(np.ptp(error)), 0.05)
        yield Figure(f"{name}.mean_distance_cm", 100 * abs(float(error.mean())), 0.3)
        yield Figure(f"{name}.d_affine", found["affine_distance"], 1e-3)
        yield Figure(f"{name}.corners_px", found["affine_corner_px"], 0.05)
        yield Figure(f"{name}.phase_ssim_lacks", 1 - found["high_passed_phase_ssim"], 0.06)
        yield Figure(f"{name}.magnitude_ssim_lacks", 1 - found["magnitude_ssim"], 0.15)


def plain() -> Iterator[Figure]:
    """The same with neither autofocus, the object by Adam."""
    done = _run("no noise, no autofocus")
    yield Figure("plain.mean_distance_cm", 100 * abs(float((done.distances_m - TRUE_M).mean())), 0.8)


def finer_specimen() -> Iterator[Figure]:
    """As `series`, of a specimen with detail finer than the pixels hold, which is noise to any reconstruction."""
    done = _run("no noise, least squares", band_limited=False)
    error, found = done.distances_m - TRUE_M, done.figures
    yield Figure("finer_specimen.distance_differences_cm", 100 * float(np.ptp(error)))
    yield Figure("finer_specimen.mean_distance_cm", 100 * abs(float(error.mean())))
    yield Figure("finer_specimen.d_affine", found["affine_distance"])
    yield Figure("finer_specimen.corners_px", found["affine_corner_px"])
    yield Figure("finer_specimen.phase_ssim_lacks", 1 - found["high_passed_phase_ssim"])
    yield Figure("finer_specimen.magnitude_ssim_lacks", 1 - found["magnitude_ssim"])


def not_aligned() -> Iterator[Figure]:
    """Control: the maps are not refined. A similarity (not what it lacks) below the bar is what is asked for."""
    found = _run("no noise, not aligned").figures
    yield Figure("not_aligned.phase_ssim", found["high_passed_phase_ssim"], 0.5)
    yield Figure("not_aligned.magnitude_ssim", found["magnitude_ssim"])


def low_dose() -> Iterator[Figure]:
    """400 photons a pixel; least squares is of amplitudes. Ratios within a few thousandths of 1 are a tie."""
    poisson = _run("400 photons, Poisson").figures
    squares = _run("400 photons, least squares").figures
    yield Figure("low_dose.poisson.d_affine", poisson["affine_distance"], 1e-2)
    for key in SIMILARITIES:
        yield Figure(f"low_dose.poisson.{key}", poisson[key])
        yield Figure(f"low_dose.{key}.least_squares_over_poisson", squares[key] / poisson[key], 1.0)


def low_dose_losses() -> Iterator[Figure]:
    """400 photons a pixel, 256 x 256 pixels; the same short steps for 300 epochs of each loss."""
    names = {"amplitudes": "least squares", "intensities": "least squares of intensities", "poisson": "Poisson"}
    for seed in (SEED, SEED + 1):
        found = {}
        for key, name in names.items():
            with tempfile.TemporaryDirectory() as folder:
                setting = Setting(256, seed=seed, changes=(SHORT,))
                found[key] = solve(f"400 photons, {name}", Path(folder), setting).figures
        for loss in ("amplitudes", "intensities"):
            for key in SIMILARITIES:
                name = f"low_dose_losses.seed_{seed}.{key}.{loss}_over_poisson"
                yield Figure(name, found[loss][key] / found["poisson"][key])
        yield Figure(f"low_dose_losses.seed_{seed}.poisson.high_passed_phase_ssim",
                     found["poisson"]["high_passed_phase_ssim"])  # fmt: skip


def kappa() -> Iterator[Figure]:
    """Relative error of delta / beta = 120 started ten times too large, three holograms of 256 x 256 in a cone beam."""
    for seed in (SEED, SEED + 1, SEED + 2):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "holograms.h5"
            write_native(HolographyOfElectrode().run(seed), path)
            config = EXAMPLES / "holography_cone_beam" / "config.yaml"
            settings = [f"data.path={path}", "output.progress=quiet"]
            adorym.reconstruct(adorym.load_config(config, settings), output=folder)
            found = {each.key: each.value for each in score(folder, path).figures}
        yield Figure(f"kappa.seed_{seed}.relative_error", abs(found["kappa_over_truth"] - 1), 0.2)
        yield Figure(f"kappa.seed_{seed}.high_passed_phase_ssim", found["high_passed_phase_ssim"])


def speed() -> Iterator[Figure]:
    """An epoch of four holograms with everything refined over its transforms: two a hologram and two of the object.

    Balanced steps, as the example takes them, need two more of the object, which the floor does not count.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "holograms.h5"
        write_native(HolographyOfPictures().run(SEED), path)
        settings = [f"data.path={path}", "run.epochs=100", "run.threads=1", "forward_model.autofocus=null"]
        extra = ["parameters.intensity_scale={}", "parameters.illumination={}"]
        plain = ["forward_model.balance=null"]
        for name, changes in (
            ("as_the_example", []), ("with_scale_and_illumination", extra + plain),
            ("balanced_with_scale_and_illumination", extra),
        ):  # fmt: skip
            made = prepare(adorym.load_config(HERE / "config.yaml", settings + changes))
            shape = made.problem.store.shape
            waves = torch.randn(5, *shape, dtype=torch.complex64)

            def floor(waves: torch.Tensor = waves) -> None:
                for wave in waves:
                    torch.fft.ifft2(torch.fft.fft2(wave))

            epochs = made.epochs()
            for _ in range(12):  # all refinements have started
                next(epochs)
            floor()
            pairs = np.array([(_cpu_s(lambda it=epochs: next(it)), _cpu_s(floor)) for _ in range(11)])
            yield Figure(f"speed.{name}.ms_per_fft_{shape[0]}x{shape[1]}", 100 * float(np.median(pairs[:, 1])))
            yield Figure(f"speed.{name}.epoch_ms", 1000 * float(np.median(pairs[:, 0])))
            yield Figure(f"speed.{name}.epoch_over_fft_floor", float(np.median(pairs[:, 0] / pairs[:, 1])), 3.0)


def _cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


MAKERS = {f.__name__: f for f in (series, plain, finer_specimen, not_aligned, low_dose, low_dose_losses, kappa, speed)}

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
