"""Figures of speed of techniques besides ptychography, each over its own transforms; and how times and memory grow.

All times are processor times of one thread, in turn with the transforms that the technique cannot do without.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import Figure
from holography import HERE as HOLOGRAPHY
from holography import SEED
from speed_memory import scan

import adorym
from adorym.api import prepare
from adorym.data.native_write import write_native
from adorym.engine.trial import measured, try_batch
from adorym.initializers.phasing_run import Phaser, PhasingSettings, ShrinkWrapSettings
from adorym.simulate.holograms import HolographyOfPictures
from adorym.wrapper import get_backend

ONE = {"threads": 1, "epochs": 1000, "device": "cpu"}
REPEATS = 9


def cpu_s(work: Callable[[], object]) -> float:
    """Processor time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def over_floor(work: Callable[[], object], floor: Callable[[], object]) -> float:
    """Median of the times of ``work`` over those of ``floor``, measured in turn."""
    work()
    floor()
    return statistics.median(cpu_s(work) / cpu_s(floor) for _ in range(REPEATS))


def transforms(shape: tuple[int, ...], pairs: float) -> Callable[[], None]:
    """So many times one transform and its inverse of complex arrays in single precision, over the last axes."""
    wave = torch.randn(*shape, dtype=torch.complex64)

    def work() -> None:
        for _ in range(round(pairs)):
            torch.fft.ifftn(torch.fft.fftn(wave))

    return work


def epochs_of(folder: str, data: Any, config: Mapping[str, Any], warm: int = 2) -> tuple[Any, Callable[[], Any]]:
    """A run, and what does its next epoch."""
    write_native(data, Path(folder) / "data.h5")
    made = prepare({"data": f"{folder}/data.h5", **config, "run": ONE | dict(config.get("run", {}))})
    epochs = made.epochs()
    for _ in range(warm):
        next(epochs)
    return made, lambda: next(epochs)


def techniques() -> Iterator[Figure]:
    """An epoch of holography, multislice and Bragg CDI, and a step of phasing, over their transforms."""
    yield Figure("techniques.holography_512x512x4.over_fft_floor", _holography(), 2.2)
    for modes in (1, 5):
        yield Figure(f"techniques.multislice_32x128x128.{modes}_modes.over_fft_floor", _multislice(modes), 2.2)
    yield Figure("techniques.bragg_64x64x64.hio_over_fft_floor", _hybrid_input_output(), 1.5)
    yield Figure("techniques.bragg_64x64x64.gradients_over_fft_floor", _bragg(), 2.5)


def _holography() -> float:
    """Maps and distances refined, in balanced steps; two transforms a hologram and two of the object."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "holograms.h5"
        write_native(HolographyOfPictures().run(SEED), path)
        settings = [f"data.path={path}", "run.epochs=100", "run.threads=1", "forward_model.autofocus=null"]
        made = prepare(adorym.load_config(HOLOGRAPHY / "config.yaml", settings))
        epochs = made.epochs()
        for _ in range(12):  # all refinements have started
            next(epochs)
        return over_floor(lambda: next(epochs), transforms(made.problem.store.shape, 5))


def _multislice(modes: int) -> float:
    """Object and probe refined; two transforms a slice there and two back."""
    patterns, depth, side = 40, 32, 128
    model = {"kind": "multislice", "slices": depth, "spacing": "1 um"}
    guess = {"initial": {"kind": "mean_pattern"}, "modes": modes}
    with tempfile.TemporaryDirectory() as folder:
        data = scan(patterns, side)
        _, epoch = epochs_of(folder, data, {"forward_model": model, "parameters": {"probe": guess}})
        return over_floor(epoch, transforms((side, side), patterns * modes * (2 * depth - 1)))


def _crystal() -> np.ndarray:
    """Counts of a facetted crystal with a phase, zero frequency in the middle."""
    z, y, x = np.mgrid[-32:32, -32:32, -32:32] / 10.0
    crystal = (np.abs(x + y) + np.abs(x - y) + np.abs(z) < 2.2) * np.exp(1j * np.sin(x + 0.5 * y))
    found = np.abs(np.fft.fftshift(np.fft.fftn(crystal))) ** 2
    return np.random.default_rng(0).poisson(1e6 * found / found.sum() * 100).astype(np.float32)


def _hybrid_input_output() -> float:
    """A step of hybrid input-output over a transform and its inverse."""
    xp = get_backend("torch", device="cpu", precision="single", threads=1)
    modulus = np.fft.ifftshift(np.sqrt(_crystal()))
    support = np.zeros(modulus.shape, bool)
    support[20:44, 20:44, 20:44] = True
    rng = np.random.default_rng(1)
    start = (support * np.exp(1j * rng.uniform(-1, 1, support.shape))).astype(np.complex64)

    def steps(n: int) -> Callable[[], object]:
        wrap = ShrinkWrapSettings(every=0)
        phaser = Phaser(xp, modulus, None, PhasingSettings(sequence=f"{n}*HIO", shrink_wrap=wrap, average=1))
        return lambda: phaser.run(start[None], support[None])

    few, many, floor = steps(10), steps(60), transforms(support.shape, 50)
    few()
    floor()
    return statistics.median((cpu_s(many) - cpu_s(few)) / cpu_s(floor) for _ in range(REPEATS))


def _bragg() -> float:
    """An epoch by gradients over a transform and its inverse."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crystal.npy"
        np.save(path, _crystal())
        made = prepare(
            {
                "data": {"path": str(path), "map": ["patterns=data"]},
                "forward_model": "bragg_cdi",
                "loss": "poisson",
                "parameters": {"object": {"initial": {"kind": "phasing", "sequence": "20*HIO + 5*ER", "starts": 1}}},
                "run": ONE,
            }
        )
        epochs = made.epochs()
        for _ in range(3):
            next(epochs)
        return over_floor(lambda: next(epochs), transforms(made.problem.store.shape, 1))


def growth() -> Iterator[Figure]:
    """Exponents of the time by patterns, modes and slices, as distances from 1; memory of a batch by all patterns."""
    for name, sizes in (("patterns", (100, 400)), ("modes", (8, 32)), ("slices", (16, 64))):
        times = [_epoch_s(**{name: size}) for size in sizes]
        exponent = float(np.log(times[1] / times[0]) / np.log(sizes[1] / sizes[0]))
        yield Figure(f"growth.{name}.exponent", exponent)
        yield Figure(f"growth.{name}.outside_0.95_to_1.1", max(0.0, 0.95 - exponent, exponent - 1.1), 0.0)
    few, many = (_batch_bytes(n) for n in (400, 1600))
    yield Figure("growth.batch_bytes.four_times_the_patterns_over_once", many / few, 1.05)


def _epoch_s(patterns: int = 100, modes: int = 1, slices: int = 1) -> float:
    side = 128 if slices == 1 else 64
    model = "ptychography" if slices == 1 else {"kind": "multislice", "slices": slices, "spacing": "1 um"}
    guess = {"initial": {"kind": "mean_pattern"}, "modes": modes}
    with tempfile.TemporaryDirectory() as folder:
        config = {"forward_model": model, "parameters": {"probe": guess}, "run": {"batch_size": 20}}
        _, epoch = epochs_of(folder, scan(patterns, side), config)
        return statistics.median(cpu_s(epoch) for _ in range(REPEATS))


def _batch_bytes(patterns: int) -> float:
    """Peak of a batch of 40 patterns above what was there before."""
    with tempfile.TemporaryDirectory() as folder:
        guess = {"initial": {"kind": "mean_pattern"}}
        config = {"forward_model": "ptychography", "parameters": {"probe": guess}}
        made, _ = epochs_of(folder, scan(patterns, 128), config, warm=1)
        work = try_batch(made.problem, 40)
        return statistics.median(measured(made.problem, work)[1] for _ in range(5))
