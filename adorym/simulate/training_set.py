"""Shards of simulated crystals for training, the same for the same seed whatever the number of processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from adorym.errors import RunError
from adorym.networks.shards import Examples, write_shards
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
    xp = get_backend("torch", device=settings.device, precision="single")

    def make(number: int) -> tuple[Examples, Mapping[str, object]]:
        left = min(settings.shard, settings.crystals - number * settings.shard)
        rng = np.random.default_rng((settings.seed, number))
        parts = [crystals(xp, rng, min(BATCH, left - done), settings.kind) for done in range(0, left, BATCH)]
        made_by = {"generator": "polyhedra", "seed": [settings.seed, number], "settings": dump(settings.kind)}
        return Examples.joined(parts), made_by

    names = [f"{number:05d}.h5" for number in range(-(-settings.crystals // settings.shard))]
    return write_shards(folder, names, slice(rank, None, ranks), make)


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
