"""``adorym prepare``: removes outliers from a measured Bragg peak, bins, crops and centers it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from rich.table import Table

from adorym.data.dataset import Dataset
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.data.overrides import Overrides
from adorym.data.rocking import excluded, in_order, scanned_motor, steadied, with_angles, with_energies
from adorym.data.scan_records import read_scan
from adorym.data.stray import without_stray
from adorym.data.volume import (
    UNEVEN,
    Volume,
    binned,
    cropped,
    moved,
    oversampling,
    peak,
    read_volume,
    rocking_places,
    sub_voxel_peak,
    to_dataset,
    unevenness,
)
from adorym.errors import ConfigError, DataError
from adorym.optics.buffer import rough_part
from adorym.paths import InputPath
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
        scan: File of SPEC, fio or BLISS, ``FILE:NUMBER``, with the rocking angles.
        rocking: Column of ``scan`` with the angle of each frame, in degrees; the motor that was scanned if absent.
        monitor: Column of ``scan`` with the intensity of the beam, by which the frames are divided.
        energies: Photon energy of each frame in eV, where that was scanned: a file of numbers, or a column of ``scan``.
        exclude: Boxes of voxels that belong to something else, ``z0:z1, y0:y1, x0:x1`` each, which become unmeasured.
        outliers: A voxel is stray if it exceeds its neighbors by this many standard deviations; 0 keeps all.
        isolated: Isolated groups of counts of at most this many voxels are stray, too.
        peak: (z, y, x) voxel of the measured frames that comes to the middle; the brightest if absent.
        bin: (z, y, x) number of voxels that are summed.
        shape: (z, y, x) size of the box around the peak; the largest within the detector if absent.
        center: Move the peak to the middle.
        arm: (y, x) pixel of the measured frames that the arm's angles point at, where the direct beam is with the arm
            at zero; the middle if absent.
    """

    scan: InputPath | None = None
    rocking: str | None = None
    monitor: str | None = None
    energies: InputPath | None = None
    exclude: tuple[str, ...] = ()
    outliers: float = Field(8.0, ge=0)
    isolated: int = Field(3, ge=0)
    peak: tuple[int, int, int] | None = None
    bin: tuple[Count, Count, Count] = (1, 1, 1)
    shape: tuple[Count, Count, Count] | None = None
    center: bool = True
    arm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for key in ("rocking", "monitor"):
            if getattr(self, key) is not None and self.scan is None:
                raise ConfigError(key, "has no effect without 'scan', the file that holds the column")
        if self.peak is not None and not self.center:
            raise ConfigError("peak", "has no effect with 'center=false'")
        if self.rocking is not None and self.energies is not None:
            raise ConfigError("rocking", "has no effect beside 'energies'")


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
    dataset, said = _scanned(open_dataset(source, overrides, check=False), wanted)
    volume, removed = excluded(read_volume(dataset), wanted.exclude), 0
    found = volume.counts.sum(dtype=np.float64)
    if not found:
        raise DataError(dataset.path, "no counts in any measured voxel", remedy="look at the mask and 'exclude'")
    if wanted.outliers:
        volume, removed = without_stray(volume, wanted.outliers, wanted.isolated)
    lost = 1 - volume.counts.sum(dtype=np.float64) / found
    middle = _middle(volume, wanted)
    if wanted.bin != (1, 1, 1):
        before, volume = volume, binned(volume, wanted.bin)
        middle = _after(middle, before, volume)
    shape = wanted.shape or volume.shape
    if any(s > 2 * n for s, n in zip(shape, volume.shape, strict=True)):
        raise ConfigError("shape", "more than twice the measured size", expected=f"<= {volume.shape}", found=shape)
    if wanted.center or wanted.shape is not None:
        volume = cropped(volume, shape, middle)
    notes = (*dataset.notes, f"prepared: {removed} stray voxels left out, binned {wanted.bin}, shape {volume.shape}")
    # The ground truth is on other voxels and no longer applies.
    truth = dataset.truth if volume.shape == (dataset.n_patterns, *dataset.window_px) else {}
    arm = wanted.arm or dataset.arm_px or tuple(n // 2 for n in dataset.window_px)
    made = to_dataset(volume, dataset.with_(arm_px=(float(arm[0]), float(arm[1]))))
    write_native(made.with_(notes=notes, truth=truth), target)
    ratios = oversampling(volume)
    rows = (*said, *_rows(volume, made, (removed, lost), ratios))
    return Prepared(rows, tuple(_warnings(volume, made, lost, ratios)))


def _scanned(dataset: Dataset, wanted: Preparation) -> tuple[Dataset, list[tuple[str, str]]]:
    """The frames in the order of their angles, with what the file of the scan says; and what is told of it."""
    record = None if wanted.scan is None else read_scan(wanted.scan)
    said = [] if record is None else [("scan", f"{record.name}, {record.title}")]
    if wanted.energies is not None:
        dataset, step = with_energies(dataset, wanted.energies, record)
        said.append(("energy step", f"{step:+.6g} eV a frame: give it to 'adorym crystal' as geometry.energy_step"))
    elif record is not None:
        name = wanted.rocking or scanned_motor(record)
        dataset = with_angles(dataset, np.deg2rad(record.column(name)), f"column '{name}' of {record.name}")
        said.append(("rocking angles", f"column '{name}'"))
    if record is not None and wanted.monitor is not None:
        dataset = steadied(dataset, record.column(wanted.monitor), wanted.monitor)
    return in_order(dataset), said


def _middle(volume: Volume, wanted: Preparation) -> np.ndarray:
    """(z, y, x) voxel that comes to the middle."""
    if wanted.peak is not None:
        if any(not 0 <= at < n for at, n in zip(wanted.peak, volume.shape, strict=True)):
            expected = f"0 to {', '.join(str(n - 1) for n in volume.shape)}"
            raise ConfigError("peak", "outside of the measured frames", expected=expected, found=wanted.peak)
        return np.array(wanted.peak)
    return peak(volume) if wanted.center else np.array([n // 2 for n in volume.shape])


def _after(middle: np.ndarray, before: Volume, after: Volume) -> np.ndarray:
    """The place ``middle`` of a volume in the same volume binned."""
    y, x = ((p + b * m) for p, b, m in zip(before.first_px, before.binned[1:], middle[1:], strict=True))
    frame = before.frames[middle[0]]
    places = [(frame - after.frames[0]) / after.binned[0], *moved(after, (y, x))]
    return np.clip(np.rint(places), 0, np.array(after.shape) - 1).astype(int)


def _rows(volume: Volume, made: Dataset, stray: tuple[int, float], ratios: np.ndarray) -> tuple[tuple[str, str], ...]:
    place = sub_voxel_peak(volume) - [n // 2 for n in volume.shape]
    assert made.arm_px is not None  # the caller set it
    off = [n // 2 - at for n, at in zip(made.window_px, made.arm_px, strict=True)]
    dark = int((volume.counts.sum((1, 2)) == 0).sum())
    rows = [
        ("stray voxels", f"{stray[0]}, with {100 * stray[1]:.2g} % of the counts"),
        ("moved", ", ".join(f"{v:+d}" for v in volume.shift) + " measured voxels (z, y, x), the peak to the middle"),
        ("offset of the peak", ", ".join(f"{v:+.2f}" for v in place) + " voxels: a phase ramp of the object"),
        ("off the arm", ", ".join(f"{v:+.1f}" for v in off) + " pixels (y, x) from where the detector's arm points"),
        ("shape", " x ".join(map(str, volume.shape)) + " (z, y, x)"),
        ("counts", f"{volume.counts.sum(dtype=np.float64):.6g}"),
        ("oversampling", ", ".join(f"{r:.2f}" for r in ratios) + " (z, y, x): array / crystal"),
    ]
    return (*rows, *([("empty frames", f"{dark}, kept")] if dark else []))


def _warnings(volume: Volume, made: Dataset, lost: float, ratios: np.ndarray) -> Iterator[str]:
    if lost > STRAY:
        stray = f"{100 * lost:.2g} % of the counts are in voxels far above their neighbors, which were left out"
        yield f"{stray}; if they belong to the peak, set 'outliers=0'"
    if ratios.min() < 2:
        yield f"oversampling of {ratios.min():.2g}: below 2 the pattern does not determine the crystal"
    away = unevenness(rocking_places(made))
    if away > UNEVEN:
        yield (
            f"the rocking angles are uneven, {away:.2g} steps from even ones: reconstruct with "
            "'forward_model: rocking_curve', which takes them as they are"
        )
    for n in volume.shape:
        if (rest := rough_part(n)) > 1:
            yield f"a side of {n} voxels has a prime factor of {rest}: Fourier transforms are slow"
