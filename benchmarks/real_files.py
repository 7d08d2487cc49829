"""Figures of what the package says and does on data as people have them.

Usage: python benchmarks/real_files.py [--only NAME] [--json FILE]

Data are simulated on grids twice as fine as those of the reconstruction. The seeds were not used in choosing limits.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import logging
import sys
from collections.abc import Iterator

import numpy as np
from figures import Figure, main
from real_files_first_probe import first_probe
from real_files_measured import siemens_star
from real_files_mutants import mutants

from adorym.config import config_from
from adorym.data.dataset import Dataset
from adorym.data.verdict import Kind
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.schema import build
from adorym.simulate.experiments import Ptychography
from adorym.simulate.holograms import Holography

SEED = 2000
RUNS_OF_A_KIND = 20
# What a run may be told, and how many epochs lead there.
FITS, UNFINISHED, WRONG = "converged", "not converged", "the model does not fit"


def _scan(rng: np.random.Generator, **changes: object) -> Dataset:
    settings = {
        "window_px": [64, 64],
        "object_px": [112, 112],
        "illumination": {"kind": "focused_beam", "defocus": "50 um"},
        "scan": {"step": "4 px"},
        "photons": float(10 ** rng.uniform(4.5, 6)),
        "phantom": {"kind": "cells"} if rng.random() < 0.5 else {"kind": "siemens_star"},
    }
    return build(Ptychography, settings | changes).run(int(rng.integers(1 << 30)))


def _holograms(rng: np.random.Generator, **changes: object) -> Dataset:
    settings = {
        "window_px": [96, 96],
        "distances": ["5 cm", "10 cm", "20 cm", "40 cm"],
        "photons": float(10 ** rng.uniform(2.5, 4)),
        "phantom": {"kind": "cells"},
        "band_limited": True,
    }
    return build(Holography, settings | changes).run(int(rng.integers(1 << 30)))


def _moved(data: Dataset, rng: np.random.Generator) -> Dataset:
    """The scan as it was not: axes exchanged, mirrored, turned by 20 degrees, or each point elsewhere."""
    positions = np.asarray(data.probe_positions_px)
    off, which = positions - positions.mean(0), int(rng.integers(4))
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wrong = (off[:, ::-1], off * [1, -1], off @ turn, off + rng.normal(0, 2, off.shape))[which]
    return data.with_(probe_positions_px=np.ascontiguousarray(wrong) + positions.mean(0), truth={})


def _farther(data: Dataset, rng: np.random.Generator) -> Dataset:
    """Distances in the wrong order, or 30 % too large."""
    distances = np.asarray(data.propagation_distance_m)
    wrong = distances[::-1].copy() if rng.random() < 0.5 else 1.3 * distances
    return data.with_(propagation_distance_m=wrong, truth={})


def _ran(data: Dataset, model: str, epochs: int) -> Reconstruction:
    made = config_from({"data": {"path": "-"}, "forward_model": {"kind": model}, "run": {"epochs": epochs}})
    run = Reconstruction(data, made.recipe, made.run)
    for _ in run.epochs():
        pass
    return run


def runs(kind: Kind, number: int) -> Reconstruction:
    """Run ``number`` of a kind: two in three a scan, the others a series of holograms."""
    rng = np.random.default_rng([SEED, number, len(kind)])
    scanned = number % 3 != 2
    data = _scan(rng) if scanned else _holograms(rng)
    if kind == WRONG:
        data = _moved(data, rng) if scanned else _farther(data, rng)
    model = "ptychography" if scanned else "holography"
    epochs = int(rng.integers(3, 9)) if kind == UNFINISHED else int(rng.integers(60, 120))
    return _ran(data, model, epochs)


def verdicts() -> Iterator[Figure]:
    """The verdict on good runs, on runs of a few epochs and on runs with a wrong geometry: per cent that are wrong."""
    wrong = 0
    for kind in (FITS, UNFINISHED, WRONG):
        missed = [n for n in range(RUNS_OF_A_KIND) if outcome(runs(kind, n)).verdict.kind != kind]  # type: ignore[arg-type,union-attr]
        wrong += len(missed)
        yield Figure(f"verdicts.missed.{kind.replace(' ', '_')}", len(missed))
    yield Figure("verdicts.wrong_percent", 100 * wrong / (3 * RUNS_OF_A_KIND), 5)


MAKERS = {f.__name__: f for f in (verdicts, first_probe, siemens_star, mutants)}

if __name__ == "__main__":
    logging.getLogger("adorym").setLevel(logging.ERROR)
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
