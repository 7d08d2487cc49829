"""Prepared data of ptypy (``.ptyd``): patterns in numbered chunks, energy in keV, lengths in meters.

Positions are the probe's, (y, x) in meters; weights are 1 where a pixel is good and may be given once, for every
pattern, or not at all.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from adorym.data.dataset import Patterns
from adorym.data.hdf5 import find, numbers, open_hdf5, whole
from adorym.data.lengths import Lengths
from adorym.data.overrides import Overrides
from adorym.data.patterns import Hdf5Patterns, JoinedPatterns
from adorym.data.readers.base import Raw, Reader
from adorym.errors import DataError
from adorym.registry import register


@register("reader", "ptypy")
class PtypyReader(Reader):
    """ptypy's ``.ptyd`` files."""

    def recognizes(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            return all(isinstance(file.get(name), h5py.Group) for name in ("chunks", "meta"))

    def extract(self, path: Path, overrides: Overrides) -> Raw:
        notes: list[str] = []
        with open_hdf5(path) as file:
            chunks = _chunks(file)
            patterns = [Hdf5Patterns(chunk.file.filename, f"{chunk.name.rstrip('/')}/data") for chunk in chunks]
            if len({stack.shape[1:] for stack in patterns}) != 1:
                sizes = sorted({stack.shape[1:] for stack in patterns})
                raise DataError(str(path), "chunks hold patterns of different sizes", found=sizes)
            joined: Patterns = patterns[0] if len(patterns) == 1 else JoinedPatterns(patterns)
            lengths, near_field = _lengths(file, notes)
            if near_field:
                lengths = lengths.propagated("near_field", joined.shape[1:], notes)
            notes.append(f"patterns from {len(chunks)} chunks; positions: the probe's, (y, x) in m")
            return Raw(
                patterns=joined,
                positions_m=_positions(chunks),
                lengths=lengths,
                mask=_weights(chunks, [stack.shape for stack in patterns], notes),
                notes=tuple(notes),
            )


def _chunks(file: h5py.File) -> list[h5py.Group]:
    """The chunks in the order of their numbers; each must be there, for its data may lie in a file of its own."""
    names = sorted(file["chunks"], key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    if not names:
        raise DataError(f"{file.filename}:/chunks", "no chunk: the file holds no patterns")
    found = []
    for name in names:
        link = file["chunks"].get(name, getlink=True)
        chunk = file["chunks"].get(name)
        if not isinstance(chunk, h5py.Group):
            where = f"'{link.filename}'" if isinstance(link, h5py.ExternalLink) else "nothing"
            raise DataError(
                f"{file.filename}:/chunks/{name}",
                "the chunk leads nowhere",
                found=f"a link to {where}",
                remedy="put the part files beside this one",
            )
        found.append(chunk)
    return found


def _lengths(file: h5py.File, notes: list[str]) -> tuple[Lengths, bool]:
    """Lengths and energy, and whether it is a near field. Unknown values are missing or the text 'None'."""
    meta = file["meta"]

    def value(name: str) -> np.ndarray | None:
        dataset = find(meta, [name])
        if dataset is None or h5py.check_string_dtype(dataset.dtype) is not None or dataset.shape is None:
            return None
        numeric = np.ravel(numbers(dataset))
        return numeric if numeric.size and (numeric > 0).all() else None

    energy, distance, pixel = value("energy"), value("distance"), value("psize")
    propagation = find(meta, ["propagation"])
    is_text = propagation is not None and h5py.check_string_dtype(propagation.dtype) is not None
    near_field = bool(is_text and "near" in str(np.ravel(propagation.asstr()[()])[0]))  # type: ignore[union-attr]
    if energy is not None:
        notes.append(f"energy {energy[0]:.6g} keV")
    lengths = Lengths(
        energy_ev=None if energy is None else float(energy[0]) * 1e3,
        detector_pixel_size_m=None if pixel is None else (float(pixel[0]), float(pixel[-1])),
        distance_m=None if distance is None else float(distance[0]),
    )
    return lengths, near_field and distance is not None


def _positions(chunks: list[h5py.Group]) -> np.ndarray | None:
    """``(n, 2)`` of all chunks, ``None`` where none has any."""
    stored = [find(chunk, ["positions"]) for chunk in chunks]
    have = [dataset is not None and dataset.shape not in (None, (), (0,)) for dataset in stored]
    if not any(have):
        return None
    if not all(have):
        empty = chunks[have.index(False)]
        raise DataError(f"{empty.file.filename}:{empty.name}", "this chunk has no positions, others have")
    parts = [numbers(dataset) for dataset in stored if dataset is not None]
    for part, chunk in zip(parts, chunks, strict=True):
        if part.ndim != 2 or part.shape[1] != 2:
            place = f"{chunk.file.filename}:{chunk.name}/positions"
            raise DataError(place, "positions have the wrong shape", expected="(n, 2)", found=part.shape)
    return np.concatenate(parts)


def _weights(chunks: list[h5py.Group], shapes: list[tuple[int, ...]], notes: list[str]) -> np.ndarray | None:
    """True where the weight is above 0: ``(y, x)`` if it is so for all patterns, else ``(n, y, x)``."""
    window = shapes[0][1:]
    stored = find(chunks[0].file, ["info/weight2d", "meta/weight2d"])
    common = None if stored is None or stored.shape != window else np.asarray(whole(stored)) > 0
    parts = []
    for chunk, shape in zip(chunks, shapes, strict=True):
        dataset = find(chunk, ["weights"])
        weights = np.zeros(0) if dataset is None or dataset.shape is None else np.asarray(whole(dataset))
        if weights.size in (0, 1):  # absent, or one number for all
            good = np.ones(window, bool) if common is None else common
        else:
            good = weights.squeeze() > 0
        if good.shape not in (window, shape):
            raise DataError(f"{chunk.file.filename}:{chunk.name}/weights", "weights have the wrong shape",
                            expected=f"{window} or {shape}", found=weights.shape)  # fmt: skip
        parts.append(np.broadcast_to(good, shape))
    mask = np.concatenate(parts)
    if mask.all():
        return None
    notes.append("mask from the weights: good where above 0")
    return mask[0].copy() if (mask == mask[0]).all() else mask
