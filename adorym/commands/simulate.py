"""Make a data set in the computer and write it, with its truth, to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Imported for what it registers; its own names are looked up by kind.
import adorym.simulate.bragg
import adorym.simulate.bragg_scan
import adorym.simulate.experiments
import adorym.simulate.holograms
import adorym.simulate.microscope
import adorym.simulate.speckle  # noqa: F401
from adorym.data.dataset import Dataset
from adorym.data.native_write import write_native
from adorym.errors import ConfigError
from adorym.registry import lookup
from adorym.schema import build
from adorym.simulate.base import Simulation


def simulate(name: str, output: str | Path, settings: Mapping[str, Any] | None = None, seed: int = 0) -> Dataset:
    """Run the simulation registered as ``name`` and write its data set to ``output``.

    Args:
        name: Such as ``"ptychography"`` or ``"siemens_star_fly_scan"``.
        output: Native HDF5 file to write.
        settings: The simulation's fields as a configuration writes them, such as ``{"photons": 1e5}``.
        seed: Same seed, same data.

    Raises:
        ConfigError: Unknown name, or a seed below 0.
        ConfigErrors: All that is wrong in ``settings``.
        GeometryError: The settings do not describe a possible experiment.
        DataError: The file cannot be written.
    """
    if seed < 0:
        raise ConfigError("seed", "must not be negative", expected=">= 0", found=seed)
    experiment: Simulation = build(lookup("simulation", name), dict(settings or {}))
    dataset = experiment.run(seed)
    write_native(dataset, Path(output))
    return dataset.with_(path=str(output))
