"""Write a data set in the package's own layout (described in `adorym.data.readers.native`)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from adorym.data.atomic import whole_file
from adorym.data.dataset import Dataset, Patterns
from adorym.data.flat_fields import Drift, DriftingPatterns
from adorym.data.hdf5 import put
from adorym.data.lengths import LENGTHS
from adorym.data.patterns import CorrectedPatterns, blocks
from adorym.errors import DataError

FORMAT_VERSION = 1
UNIT_OF_SUFFIX = {"px": "px", "m": "m", "cm": "cm", "rad": "rad", "ev": "eV"}


def write_native(dataset: Dataset, path: str | Path) -> Path:
    """Write ``dataset`` to ``path``; a reader sees the old file or the whole new one.

    Patterns are copied block by block. Reading the file gives an equal data set (lengths kept in centimetres to the
    last digit but one).

    Raises:
        DataError: The folder cannot be written, or an entry of ``truth`` is neither number nor text.
    """
    path = Path(path)
    if dataset.tile_corners_px is not None:
        raise DataError(str(path), "a data set cut into tiles is not written", remedy="write the pictures they are of")
    try:
        with whole_file(path) as partial, h5py.File(partial, "w") as file:
            file.attrs["format"], file.attrs["format_version"] = "adorym", FORMAT_VERSION
            _write_patterns(file, dataset)
            write_metadata(file, dataset)
            _write_positions(file, dataset)
            if dataset.start_probe is not None:
                put(file, "start/probe", dataset.start_probe, "sqrt(photons)")
            for group in ("extra", "truth"):
                for name, value in getattr(dataset, group).items():
                    put(file, f"{group}/{name}", value, UNIT_OF_SUFFIX.get(name.rpartition("_")[2], ""))
    except (OSError, TypeError) as error:
        raise DataError(str(path), "the data set cannot be written", found=str(error)) from error
    return path


def tiles_per_angle(dataset: Dataset) -> int | None:
    """Patterns an angle, where all angles have as many and they come angle after angle; else ``None``."""
    tiles, rest = divmod(dataset.n_patterns, dataset.n_angles)
    regular = rest == 0 and np.array_equal(dataset.angle_index, np.repeat(np.arange(dataset.n_angles), tiles))
    return tiles if regular else None


def _write_patterns(file: h5py.File, dataset: Dataset) -> None:
    n, y, x = dataset.patterns.shape
    tiles = tiles_per_angle(dataset)
    shape = (n, y, x) if tiles is None else (dataset.n_angles, tiles, y, x)
    stored = file.create_dataset("exchange/data", shape=shape, dtype=np.float32)
    stored.attrs["units"] = "photons" if dataset.measured == "intensity" else "sqrt(photons)"
    stored.attrs["measured"] = dataset.measured
    patterns: Patterns = dataset.patterns
    drift: Drift | None = None
    if isinstance(dataset.patterns, DriftingPatterns) and _has_moments(dataset, dataset.patterns.drift):
        patterns, drift = dataset.patterns.base, dataset.patterns.drift
    if isinstance(patterns, CorrectedPatterns) and patterns.gain is not None and dataset.open_beam_counts:
        patterns = _write_fields(file, patterns, dataset, drift)
    else:
        patterns = dataset.patterns
    for start, frames in blocks(patterns):
        if tiles is None:
            stored[start : start + len(frames)] = frames
            continue
        done = 0
        while done < len(frames):  # a block may cross from one angle to the next
            angle, tile = divmod(start + done, tiles)
            count = min(tiles - tile, len(frames) - done)
            stored[angle, tile : tile + count] = frames[done : done + count]
            done += count


def _has_moments(dataset: Dataset, drift: Drift) -> bool:
    """Whether a file can say when the flat fields were taken: by their angles, or by their number, one each."""
    return dataset.n_angles > 1 or np.array_equal(drift.moment, np.arange(len(drift.ratio)))


def _write_fields(file: h5py.File, patterns: CorrectedPatterns, dataset: Dataset, drift: Drift | None) -> Patterns:
    """Dark and flat fields as files hold them; returns the counts as they were measured."""
    gain = patterns.gain
    assert gain is not None  # the caller looked
    flat = np.divide(dataset.open_beam_counts or 0.0, gain, out=np.zeros(gain.shape), where=gain > 0)
    fields = flat[None] if drift is None else drift.flats(flat)
    if patterns.dark is not None:
        fields = fields + patterns.dark
        put(file, "exchange/data_dark", patterns.dark.astype(np.float32)[None], "photons")
    put(file, "exchange/data_white", fields.astype(np.float32), "photons")
    # The angles at which the moments of the patterns pass those of the fields.
    if drift is not None and dataset.n_angles > 1:
        theta, order = dataset.theta_rad[dataset.angle_index], np.argsort(drift.moment)
        at = np.interp(np.arange(len(fields)), drift.moment[order], theta[order])
        put(file, "exchange/theta_white", np.rad2deg(at), "deg")
    return patterns.base


def write_metadata(file: h5py.File, dataset: Dataset) -> None:
    """Write what a data set holds beside its patterns and positions."""
    put(file, "metadata/theta", np.asarray(dataset.theta_rad, dtype=np.float64), "rad")
    if tiles_per_angle(dataset) is None:
        put(file, "metadata/angle_index", dataset.angle_index, "")
    for name in ("rotation_center_px", "open_beam_counts"):
        if (value := getattr(dataset, name)) is not None:
            put(file, f"metadata/{name}", np.float64(value), UNIT_OF_SUFFIX.get(name.rpartition("_")[2], ""))
    if dataset.arm_px is not None:
        put(file, "metadata/arm_px", np.array(dataset.arm_px), "px")
    for q in LENGTHS:
        if (value := getattr(dataset, q.field)) is not None:
            number = np.asarray(value, dtype=np.float64) * (100.0 if q.stored_unit == "cm" else 1.0)
            if q.field == "pixel_size_m" and number[0] == number[1]:
                number = number[0]  # the original takes one number
            put(file, f"metadata/{q.stored}", number, q.stored_unit)
    if dataset.mask is not None:
        put(file, "metadata/mask", dataset.mask.astype(np.uint8), "")
        file["metadata/mask"].attrs["meaning"] = "1 where a pixel is good"
    if dataset.computed:
        file["metadata/computed"] = list(dataset.computed)
    if dataset.notes:
        file["metadata/notes"] = list(dataset.notes)


def _write_positions(file: h5py.File, dataset: Dataset) -> None:
    positions, tiles = dataset.probe_positions_px, tiles_per_angle(dataset)
    if positions is None:
        return
    positions = np.asarray(positions, dtype=np.float64)
    if tiles is None:
        put(file, "metadata/probe_pos_px", positions, "px")
        return
    by_angle = positions.reshape(dataset.n_angles, tiles, 2)
    if (by_angle == by_angle[0]).all():
        put(file, "metadata/probe_pos_px", by_angle[0], "px")
        return
    for i, given in enumerate(by_angle):
        put(file, f"metadata/probe_pos_px_{i}", given, "px")
