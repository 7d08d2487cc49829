"""Several files as one data set: parts of a scan, scans of one object in its coordinates, or one distance each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adorym.data.air import steady
from adorym.data.dataset import Patterns
from adorym.data.lengths import Lengths
from adorym.data.patterns import JoinedPatterns
from adorym.data.positions import Recorded
from adorym.data.readers.base import Raw, corrected, lit_mean
from adorym.errors import DataError


def joined_raw(raws: Sequence[Raw], path: str) -> Raw:
    """Several scans of one object as one, in the coordinates that they share.

    Raises:
        DataError: They differ in geometry or in kind.
    """
    first = raws[0]
    for other in raws[1:]:
        if other.patterns.shape[1:] != first.patterns.shape[1:] or other.measured != first.measured:
            found = " and ".join(f"{raw.patterns.shape[1:]}, {raw.measured}" for raw in (first, other))
            raise DataError(path, "files of different kinds cannot be joined", expected="one size", found=found)
        for name, value in vars(first.lengths).items():
            same = getattr(other.lengths, name)
            if (value is None) != (same is None) or (value is not None and not np.allclose(value, same, rtol=1e-6)):
                raise DataError(path, "the files differ in geometry", found=f"{name}: {value} and {same}",
                                remedy="give the value with data, if one of them is wrong")  # fmt: skip
    shapes = [raw.patterns.shape for raw in raws]
    masks = [np.broadcast_to(True if raw.mask is None else raw.mask, raw.patterns.shape) for raw in raws]
    angles, offset = [], 0
    for raw in raws:
        angles.append(offset + (np.zeros(raw.patterns.shape[0], int) if raw.angle_index is None else raw.angle_index))
        offset += 0 if len(raw.theta_rad) == 1 else len(raw.theta_rad)
    several = offset > 0
    return replace(
        first,
        patterns=JoinedPatterns([raw.patterns for raw in raws]),
        positions_px=_concatenated([raw.positions_px for raw in raws], path),
        recorded=_recorded([raw.recorded for raw in raws], path),
        scan_shape=None,
        positions_m=_concatenated([raw.positions_m for raw in raws], path),
        angle_index=np.concatenate(angles) if several else None,
        theta_rad=np.concatenate([raw.theta_rad for raw in raws]) if several else first.theta_rad,
        mask=first.mask if all(_same(raw.mask, first.mask) for raw in raws) else np.concatenate(masks),
        truth={},
        notes=(f"{len(raws)} files of {', '.join(str(shape[0]) for shape in shapes)} patterns", *first.notes),
    )


def same_angles(raws: Sequence[Raw]) -> bool:
    """Whether several sets of pictures without a scan are taken at the same angles, as those of several distances."""
    first = raws[0].theta_rad
    for raw in raws:
        scanned = any(each is not None for each in (raw.positions_px, raw.positions_m, raw.recorded))
        if scanned or raw.theta_rad.shape != first.shape or not np.allclose(raw.theta_rad, first, atol=1e-6):
            return False
        if len(first) > 1 and raw.patterns.shape[0] != len(first):
            return False
    return len(first) > 1 or all(raw.patterns.shape[0] == 1 for raw in raws)


def at_distances(raws: Sequence[Raw], path: str) -> Raw:
    """Pictures at the same angles and one distance each as one data set, all at one distance after the other.

    Each is corrected by its own flat and dark fields, so that the beam has the same counts in all of them.

    Raises:
        DataError: They differ in size or in kind, or some have flat fields and others none.
    """
    first, shapes = raws[0], [raw.patterns.shape for raw in raws]
    levels = [lit_mean(raw.flat) for raw in raws]
    alike = len({(raw.patterns.shape, raw.measured, raw.flat is None) for raw in raws}) == 1
    if not alike:
        found = ", ".join(f"{s} {'with' if level else 'without'} flat" for s, level in zip(shapes, levels, strict=True))
        what = "pictures of different kinds cannot be joined"
        raise DataError(path, what, expected="one number and size, all with flat fields or none", found=found)
    notes, masks, stacks = list[str](), list[np.ndarray](), list[Patterns]()
    for raw, level in zip(raws, levels, strict=True):
        stack = corrected(raw, None, notes, path)
        stacks.append(stack if level is None else steady(stack, np.full(stack.shape[0], level / (levels[0] or level))))
        masks += [good for good in (raw.mask, None if raw.flat is None else raw.flat > 0) if good is not None]
    n, several = shapes[0][0], len(first.theta_rad) > 1
    return replace(
        first,
        patterns=JoinedPatterns(stacks),
        angle_index=np.tile(np.arange(n), len(raws)) if several else None,
        lengths=_of_distances(raws, notes),
        mask=np.logical_and.reduce(masks) if masks else None,
        dark=None,
        flat=None,
        drift=None,
        open_beam_counts=levels[0] or first.open_beam_counts,
        truth={},
        notes=(f"{len(raws)} distances of {n} pictures", *first.notes, *dict.fromkeys(notes)),
        doubts=tuple(dict.fromkeys(doubt for raw in raws for doubt in raw.doubts)),
    )


def _of_distances(raws: Sequence[Raw], notes: list[str]) -> Lengths:
    """The lengths that the parts share, and their distances; pixels that differ are those of a cone beam."""
    every = [raw.lengths for raw in raws]
    shared, distances = replace(every[0], distance_m=None), [each.distance_m for each in every]
    if len({each.detector_pixel_size_m for each in every}) > 1:
        notes.append("pixel sizes differ, a cone beam: give data.source_distance, distance and detector_pixel_size")
        return replace(shared, detector_pixel_size_m=None)
    if None in distances or len(set(distances)) == 1:
        return replace(shared, distance_m=distances[0])
    return replace(shared, propagation_distance_m=np.array(distances, np.float64))


def _recorded(found: Sequence[Recorded | None], path: str) -> Recorded | None:
    values = _concatenated([None if each is None else each.values for each in found], path)
    first = found[0]
    if values is None or first is None:
        return None
    if any(each is not None and each.unit != first.unit for each in found):
        raise DataError(path, "the files give positions in different units")
    return replace(first, values=values)


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.ndim == 2 and np.array_equal(one, other)


def _concatenated(arrays: list[np.ndarray | None], path: str) -> np.ndarray | None:
    have = [array for array in arrays if array is not None]
    if have and len(have) < len(arrays):
        raise DataError(path, "some of the files have positions, others have none")
    return np.concatenate(have) if have else None
