"""The frames of a rocking scan in order: their angles or energies, the beam's intensity, and what is boxed out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from adorym.data.containers import read_array
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.projections import monitored
from adorym.data.scan_records import ScanRecord
from adorym.data.volume import UNEVEN, Volume, unevenness
from adorym.errors import ConfigError, DataError


def scanned_motor(record: ScanRecord) -> str:
    """Name of the column of the motor that the scan's command names, else of the first column.

    Raises:
        DataError: The scan has no columns.
    """
    if not record.columns:
        raise DataError(record.name, "the scan has no columns of numbers", remedy="is it the right scan?")
    words = re.split(r"[\s,()'\"]+", record.title)
    return next((name for word in words for name in record.columns if name == word), next(iter(record.columns)))


def with_angles(dataset: Dataset, theta_rad: np.ndarray, source: str) -> Dataset:
    """The frames at the rocking angles ``(n,)``.

    Raises:
        DataError: There are more or fewer than frames.
    """
    n = dataset.n_patterns
    if len(theta_rad) != n:
        what = "the number of rocking angles differs from the number of frames"
        raise DataError(source, what, expected=f"{n} frames", found=f"{len(theta_rad)} angles")
    return dataset.with_(theta_rad=theta_rad, angle_index=np.arange(n), angle_numbers=np.arange(n))


def with_energies(dataset: Dataset, source: str | Path, record: ScanRecord | None) -> tuple[Dataset, float]:
    """The frames of an energy scan, at the energy of the middle one, and the step in eV.

    Args:
        dataset: The frames.
        source: File of numbers in eV, or the name of a column of ``record``.
        record: The scan, if any.

    Raises:
        DataError: Not one energy a frame, or uneven ones.
    """
    column = record is not None and not Path(source).is_file()
    values = record.column(Path(source).name) if record is not None and column else _numbers(source)
    n = dataset.n_patterns
    if len(values) != n or not (np.isfinite(values) & (values > 0)).all():
        expected, found = f"{n} positive numbers in eV, one a frame", f"{len(values)} numbers"
        raise DataError("energies", "not the energies of the frames", expected=expected, found=found)
    step, first = np.polyfit(np.arange(n), values, 1)
    away = unevenness((values - values.mean()) / step + (n - 1) / 2 - n // 2) if step else np.inf
    if away > UNEVEN:
        raise DataError(
            "energies", "the energies of the frames are not even", expected=f"even to {UNEVEN} steps",
            found=f"{away:.2g} steps root mean square", remedy="choose frames at even energies with data.frames",
        )  # fmt: skip
    known = {"theta_rad": np.zeros(1), "angle_index": np.zeros(n, int), "angle_numbers": np.zeros(1, int)}
    return dataset.with_(**known, energy_ev=float(first + step * (n // 2))), float(step)


def _numbers(source: str | Path) -> np.ndarray:
    path = Path(source)
    if path.suffix.lower() not in (".txt", ".csv", ".dat"):
        return np.ravel(read_array(source, "energies")[0]).astype(np.float64)
    try:
        return np.loadtxt(path, delimiter="," if path.suffix.lower() == ".csv" else None, ndmin=1)
    except (OSError, ValueError) as error:
        raise DataError(str(path), "no list of energies", expected="a number a line", found=str(error)) from error


def steadied(dataset: Dataset, reading: np.ndarray, name: str) -> Dataset:
    """The frames divided by a monitor of the beam."""
    factor = monitored(reading, dataset)[:, None, None].astype(np.float32)
    note = f"each frame divided by the monitor '{name}', {factor.min():.4g} to {factor.max():.4g}"
    frames = dataset.patterns.read(np.arange(dataset.n_patterns))
    frames = frames / (np.sqrt(factor) if dataset.measured == "amplitude" else factor)
    return dataset.with_(patterns=ArrayPatterns(frames), notes=(*dataset.notes, note))


def in_order(dataset: Dataset) -> Dataset:
    """The frames in the order of their rocking angles, as they are if these are not known.

    Raises:
        DataError: Not one frame an angle, two frames of the same angle, or an angle that is not finite.
    """
    n = dataset.n_patterns
    if dataset.probe_positions_px is not None or 1 < dataset.n_angles < n:
        found = "probe positions" if dataset.probe_positions_px is not None else f"{dataset.n_angles} angles"
        raise DataError(
            dataset.path, "not a rocking scan", expected="one frame an angle, without probe positions",
            found=f"{n} frames and {found}", remedy="choose the frames of one rocking curve with data.frames",
        )  # fmt: skip
    if dataset.n_angles != n:
        return dataset
    theta = np.asarray(dataset.theta_rad, float)[dataset.angle_index]
    step = np.diff(theta)
    if not np.isfinite(theta).all():
        bad = int(np.flatnonzero(~np.isfinite(theta))[0])
        remedy = "give all angles with data.theta, or leave frames out with data.frames"
        raise DataError(dataset.path, f"the rocking angle of frame {bad} is not a finite number", remedy=remedy)
    if (step > 0).all() or (step < 0).all():
        return dataset
    order = np.argsort(theta, kind="stable")
    if (np.diff(theta[order]) <= 0).any():
        twice = int(order[1 + int(np.flatnonzero(np.diff(theta[order]) <= 0)[0])])
        remedy = "leave one of each two out with data.frames, or give the angles with data.theta"
        raise DataError(dataset.path, f"frame {twice} has the rocking angle of another one", remedy=remedy)
    mask = dataset.mask
    return dataset.with_(
        patterns=ArrayPatterns(dataset.patterns.read(order)), theta_rad=theta[order], angle_index=np.arange(n),
        mask=mask[order] if mask is not None and mask.ndim == 3 else mask,
        pattern_numbers=dataset.pattern_numbers[order], truth={},
        notes=(*dataset.notes, "the frames were put in the order of their rocking angles"),
    )  # fmt: skip


def excluded(volume: Volume, boxes: Iterable[str]) -> Volume:
    """``volume`` with boxes of voxels unmeasured, each ``z0:z1, y0:y1, x0:x1``; a side that is left out is whole.

    Raises:
        ConfigError: Not a box.
    """
    good = np.ones(volume.shape, bool) if volume.good is None else volume.good.copy()
    for box in boxes:
        sides = [re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", side) for side in box.split(",")]
        if len(sides) != 3 or None in sides:
            expected = "z0:z1, y0:y1, x0:x1, such as '4:9, :, 30:40'"
            raise ConfigError("exclude", "not a box of voxels", expected=expected, found=repr(box))
        where = tuple(slice(*(int(n) if n else None for n in side.groups())) for side in sides if side is not None)
        if not good[where].size:
            expected = " x ".join(map(str, volume.shape))
            raise ConfigError("exclude", "a box without voxels", expected=f"within {expected}", found=repr(box))
        good[where] = False
    if good.all():
        return volume
    return replace(volume, counts=np.where(good, volume.counts, np.float32(0)), good=good)
