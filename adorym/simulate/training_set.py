"""Shards of simulated crystals for training, the same for the same seed whatever the number of processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from adorym.errors import RunError
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
        seed: Seed of the random generator.
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


def wait_for_shards(folder: Path, number: tuple[int, int], patience_s: float = 3600.0) -> None:
    """Return when every process has said, by an empty file, that its shards are there.

    Raises:
        RunError: One has not for a long time.
    """
    rank, ranks = number
    (folder / f".ready-{rank}-of-{ranks}").touch()
    until = time.monotonic() + patience_s
    while len(list(folder.glob(f".ready-*-of-{ranks}"))) < ranks:
        if time.monotonic() > until:
            raise RunError("train", "another process does not finish its shards", remedy="look at its messages")
        time.sleep(0.2)
