"""``adorym prepare``: removes outliers from a measured Bragg peak, bins, crops and centers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from rich.table import Table

from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.data.overrides import Overrides
from adorym.data.volume import (
    binned,
    cropped,
    oversampling,
    peak,
    read_volume,
    sub_voxel_peak,
    to_dataset,
    without_outliers,
)
from adorym.errors import ConfigError
from adorym.optics.buffer import rough_part
from adorym.registry import component
from adorym.report.score import table_of
from adorym.schema import build

# Part of the counts that stray voxels may have without a word.
STRAY = 0.01
Count = Annotated[int, Field(ge=1)]


@component
class Preparation:
    """The steps of the preparation of a Bragg peak, in this order.

    Attributes:
        outliers: A voxel is stray if it exceeds its neighbors by this many standard deviations; 0 keeps all.
        isolated: Isolated groups of counts of at most this many voxels are stray, too.
        bin: (z, y, x) number of voxels that are summed.
        shape: (z, y, x) size of the box around the peak; the largest within the detector if absent.
        center: Move the brightest voxel to the middle.
    """

    outliers: float = Field(8.0, ge=0)
    isolated: int = Field(3, ge=0)
    bin: tuple[Count, Count, Count] = (1, 1, 1)
    shape: tuple[Count, Count, Count] | None = None
    center: bool = True


@dataclass(frozen=True)
class Prepared:
    """Report of the preparation.

    Attributes:
        rows: Name and text of each finding.
        warnings: Suspicious findings.
    """

    rows: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...] = ()

    def render(self) -> Table:
        """A table for a terminal."""
        return table_of(self.rows, [("warning", text) for text in self.warnings])


def prepare_peak(
    source: str | Path,
    target: str | Path,
    settings: Mapping[str, Any] | None = None,
    overrides: Overrides | Mapping[str, Any] | None = None,
) -> Prepared:
    """Read a rocking scan, prepare it, and write it as a native file.

    Args:
        source: Any readable file of frames (rocking, y, x).
        target: Native HDF5 file.
        settings: Fields of `Preparation`.
        overrides: Corrections to the file's metadata.

    Raises:
        InputError: The file cannot be read or written, or a setting is invalid.
    """
    wanted: Preparation = build(Preparation, dict(settings or {}))
    dataset = open_dataset(source, overrides, check=False)
    volume, removed = read_volume(dataset), 0
    found = volume.counts.sum(dtype=np.float64)
    if wanted.outliers:
        volume, removed = without_outliers(volume, wanted.outliers, wanted.isolated)
    lost = 1 - volume.counts.sum(dtype=np.float64) / max(found, 1e-300)
    if wanted.bin != (1, 1, 1):
        volume = binned(volume, wanted.bin)
    shape = wanted.shape or volume.shape
    if any(s > 2 * n for s, n in zip(shape, volume.shape, strict=True)):
        raise ConfigError("shape", "more than twice the measured size", expected=f"<= {volume.shape}", found=shape)
    before = peak(volume)
    middle = None if wanted.center else np.array([n // 2 for n in volume.shape])
    if wanted.center or wanted.shape is not None:
        volume = cropped(volume, shape, middle)
    ratios = oversampling(volume)
    notes = (*dataset.notes, f"prepared: {removed} stray voxels left out, binned {wanted.bin}, shape {volume.shape}")
    # The ground truth is on other voxels and no longer applies.
    truth = dataset.truth if volume.shape == (dataset.n_patterns, *dataset.window_px) else {}
    write_native(to_dataset(volume, dataset).with_(notes=notes, truth=truth), target)
    place = sub_voxel_peak(volume) - [n // 2 for n in volume.shape]
    rows = (
        ("stray voxels", f"{removed}, with {100 * lost:.2g} % of the counts"),
        ("brightest voxel", ", ".join(map(str, before)) + " (z, y, x)"),
        ("offset of the peak", ", ".join(f"{v:+.2f}" for v in place) + " voxels: a phase ramp of the object"),
        ("shape", " x ".join(map(str, volume.shape)) + " (z, y, x)"),
        ("counts", f"{volume.counts.sum(dtype=np.float64):.6g}"),
        ("oversampling", ", ".join(f"{r:.2f}" for r in ratios) + " (z, y, x): array / crystal"),
    )
    warnings = [
        f"a side of {n} voxels has a prime factor of {rest}: Fourier transforms are slow"
        for n in volume.shape
        if (rest := rough_part(n)) > 1
    ]
    if ratios.min() < 2:
        warnings.insert(0, f"oversampling of {ratios.min():.2g}: below 2 the pattern does not determine the crystal")
    if lost > STRAY:
        stray = f"{100 * lost:.2g} % of the counts are in voxels far above their neighbors, which were left out"
        warnings.insert(0, f"{stray}; if the peak is that narrow, set 'outliers=0'")
    return Prepared(rows, tuple(warnings))
