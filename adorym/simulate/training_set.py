"""Shards of simulated crystals for training, the same for the same seed whatever the number of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from adorym.networks.shards import ARRAYS, Examples, write_shard
from adorym.registry import component
from adorym.schema import dump
from adorym.simulate.crystals import CrystalSettings, crystals
from adorym.wrapper import get_backend

BATCH = 64


@component
class TrainingSet:
    """How many crystals of which kind.

    Attributes:
        crystals: Number of them.
        shard: Crystals in one file.
        kind: Which crystals.
        seed: Of all random numbers.
        device: ``auto``, ``cpu`` or ``cuda[:index]``.
    """

    crystals: int = Field(6656, ge=1)
    shard: int = Field(512, ge=1)
    kind: CrystalSettings = CrystalSettings()
    seed: int = Field(5, ge=0)
    device: str = "auto"


def write_training_set(settings: TrainingSet, folder: str | Path, rank: int = 0, ranks: int = 1) -> Iterator[Path]:
    """Write the shards that are not there yet; of several processes each its own share. Yields each path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    xp = get_backend("torch", device=settings.device, precision="single")
    n_shards = -(-settings.crystals // settings.shard)
    for number in range(rank, n_shards, ranks):
        path = folder / f"{number:05d}.h5"
        if path.exists():
            continue
        left = min(settings.shard, settings.crystals - number * settings.shard)
        rng = np.random.default_rng((settings.seed, number))
        parts = [crystals(xp, rng, min(BATCH, left - done), settings.kind) for done in range(0, left, BATCH)]
        examples = Examples(*(np.concatenate([getattr(p, name) for p in parts]) for name in ARRAYS))
        made_by = {"generator": "polyhedra", "seed": [settings.seed, number], "settings": dump(settings.kind)}
        yield write_shard(path, examples, made_by)


def process_number() -> tuple[int, int]:
    """``(number, count)`` of this process as mpirun, srun or torchrun say it."""
    for count, number in (("PMI_SIZE", "PMI_RANK"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
                          ("WORLD_SIZE", "RANK"), ("SLURM_NTASKS", "SLURM_PROCID")):  # fmt: skip
        if count in os.environ:
            return int(os.environ[number]), int(os.environ[count])
    return 0, 1
