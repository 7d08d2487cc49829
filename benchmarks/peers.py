"""Figures beside other packages: ptychography, projections, Bragg diffraction and holography, on the same data.

Usage: python benchmarks/peers.py [--only NAME] [--json FILE]

The first call makes a virtual environment for the peers and installs them from the package registry, into
``~/.cache/adorym/peers`` or the folder that ``$ADORYM_PEERS`` names. Every solver runs in a process of its own, on one
thread, with its own settings; epochs of all of them are measured in turn, in processor time without start-up. All
objects are scored in the same way. A peer that does not install or fails has the row ``did_not_run``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Iterator, Mapping

import numpy as np
from figures import Figure, main
from peers_environment import installed
from peers_others import bragg, holography, tomography
from peers_runs import epoch_cell, quality_cell
from reference_problem import SCORED, make

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.metrics import object_error, position_errors

SEED = 41
BARS = {"pty_chi_lsqml": 1 / 3, "pty_chi_ad": 1 / 6}


def epochs() -> Iterator[Figure]:
    """Seconds of an epoch of 400 patterns of 64 x 64, object and probe refined, positions between pixels."""
    for modes in (1, 5):
        yield from epoch_cell(f"epochs.{modes}_modes", _scan(64, 400), modes, 7, BARS)


def larger_epochs() -> Iterator[Figure]:
    """The same of 200 patterns of 128 x 128, and of 100 of 256 x 256."""
    for size, patterns in ((128, 200), (256, 100)):
        for modes in (1, 5):
            yield from epoch_cell(f"larger_epochs.{size}x{size}.{modes}_modes", _scan(size, patterns), modes, 3, {})


def _scan(size: int, patterns: int) -> Dataset:
    """Data that every solver accepts; what they show plays no part in the time of an epoch."""
    rng, r = np.random.default_rng(SEED), np.hypot(*np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j])
    probe = 10 * np.exp(-((3 * r) ** 2) + 20j * r**2)
    waves = np.fft.fft2(probe * np.exp(0.5j * rng.random((patterns, size, size))), norm="ortho")
    counts = rng.poisson(np.fft.fftshift(np.abs(waves) ** 2, axes=(1, 2))).astype(np.float32)
    positions = rng.uniform(2, 3 * size - 2, (patterns, 2))
    return Dataset(ArrayPatterns(counts), positions, energy_ev=1e4, pixel_size_m=(1e-8, 1e-8), start_probe=probe[None])


def one_mode() -> Iterator[Figure]:
    """Seconds until the object's error is 0.05."""
    yield from _to_object_error("one_mode", 1, 0.05)


def five_modes() -> Iterator[Figure]:
    """Seconds until the object's error is 0.08, with five modes in data and model."""
    yield from _to_object_error("five_modes", 5, 0.08)


def _to_object_error(cell: str, modes: int, enough: float) -> Iterator[Figure]:
    dataset = make(SEED, modes=modes)

    def error(found: Mapping[str, np.ndarray]) -> float:
        return object_error(found["object"], dataset.truth["object"], SCORED)

    yield from quality_cell(cell, dataset, modes, 20, error, enough)


def positions() -> Iterator[Figure]:
    """Seconds until positions that start 2 px off are right to 0.5 px, rms."""
    dataset = make(SEED, position_error_px=2.0)

    def error(found: Mapping[str, np.ndarray]) -> float:
        return position_errors(found["positions"], dataset.truth["probe_positions_px"]).rms_px

    yield from quality_cell("positions", dataset, 1, 30, error, 0.5, positions=True)


MAKERS = {
    f.__name__: f
    for f in (installed, epochs, larger_epochs, one_mode, five_modes, positions, tomography, bragg, holography)
}

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
