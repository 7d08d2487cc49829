"""Several files as one data set: parts of a scan, scans of one object in its coordinates, or one distance each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adorym.data.air import steady
from adorym.data.dataset import Dataset, Patterns
from adorym.data.lengths import Lengths
from adorym.data.patterns import JoinedPatterns
from adorym.data.positions import Recorded
from adorym.data.readers.base import Raw, corrected, lit_mean
from adorym.errors import DataError

# Relative difference of pixels of the object that shifts no pixel of a window by a tenth of its width.
SAME_PIXEL = 1e-3


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
    scanned = raws[0].scanned
    angles, offset = [], 0
    for raw in raws:
        angles.append(offset + (np.zeros(raw.patterns.shape[0], int) if raw.angle_index is None else raw.angle_index))
        offset += 0 if len(raw.theta_rad) == 1 and not scanned else len(raw.theta_rad)  # each scan has its beam
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
        start_probe=_probes([raw.start_probe for raw in raws]),
        extra={},
        truth={},
        notes=(f"{len(raws)} files of {', '.join(str(shape[0]) for shape in shapes)} patterns", *first.notes),
    )


def joined_scans(scans: Sequence[Dataset]) -> Dataset:
    """Several scans of one object as one data set; each keeps its mask, start probe and number.

    Raises:
        DataError: They differ in the size of patterns or pixels, in kind, or have no positions.
    """
    first, offset = scans[0], 0
    for other in scans:
        _fits(first, other)
    zero = np.min([scan.positions_zero_px for scan in scans], axis=0)
    numbers, masks, weights = [], [], []
    for scan in scans:
        numbers.append(scan.pattern_numbers + offset)
        offset += int(scan.pattern_numbers.max()) + 1
        whole = scan.patterns.shape
        masks.append(np.broadcast_to(True if scan.mask is None else scan.mask, whole))
        weights.append(np.broadcast_to(1.0 if scan.weights is None else scan.weights, whole))
    saturated = [scan.saturation_counts for scan in scans if scan.saturation_counts is not None]
    return first.with_(
        patterns=JoinedPatterns([scan.patterns for scan in scans]),
        probe_positions_px=np.concatenate([_shifted(scan, zero) for scan in scans]),
        positions_zero_px=(float(zero[0]), float(zero[1])),
        angle_index=np.concatenate([np.full(scan.n_patterns, i) for i, scan in enumerate(scans)]),
        theta_rad=np.array([scan.theta_rad[0] for scan in scans]),
        angle_numbers=np.arange(len(scans)),
        pattern_numbers=np.concatenate(numbers),
        mask=first.mask if all(_same(scan.mask, first.mask) for scan in scans) else np.concatenate(masks),
        weights=None if all(scan.weights is None for scan in scans) else np.concatenate(weights),
        start_probe=_probes([scan.start_probe for scan in scans]),
        saturation_counts=min(saturated, default=None),
        extra={},
        truth={},
        notes=tuple(f"scan {i}: {note}" for i, scan in enumerate(scans, 1) for note in scan.notes),
        doubts=tuple(f"scan {i}: {doubt}" for i, scan in enumerate(scans, 1) for doubt in scan.doubts),
    )


def _shifted(scan: Dataset, zero_px: np.ndarray) -> np.ndarray:
    """Positions of a scan that count from ``zero_px``."""
    assert scan.probe_positions_px is not None  # checked by the caller
    return scan.probe_positions_px + scan.positions_zero_px - zero_px


def _fits(first: Dataset, other: Dataset) -> None:
    """Refuse a scan that is not of the object of ``first``."""
    if other.probe_positions_px is None or other.n_angles > 1:
        raise DataError(other.path, "not a scan of one object at one angle: only such are given with settings of each",
                        remedy="give the files as a list of names")  # fmt: skip
    for name, here, there in (
        ("size of patterns", first.window_px, other.window_px),
        ("kind", first.measured, other.measured),
    ):
        if here != there:
            raise DataError(other.path, f"scans of another {name} cannot be joined", expected=here, found=there,
                            remedy="bring them to one with data.crop, data.bin or data.measured of each")  # fmt: skip
    pixel, own = first.pixel_size_m, other.pixel_size_m
    if pixel is not own and (pixel is None or own is None or not np.allclose(pixel, own, rtol=SAME_PIXEL)):
        raise DataError(other.path, "scans with another pixel of the object cannot be joined", expected=pixel,
                        found=own, remedy="crop the patterns so that pixel and window agree")  # fmt: skip


def same_angles(raws: Sequence[Raw]) -> bool:
    """Whether several sets of pictures without a scan are taken at the same angles, as those of several distances."""
    first = raws[0].theta_rad
    for raw in raws:
        if raw.scanned or raw.theta_rad.shape != first.shape or not np.allclose(raw.theta_rad, first, atol=1e-6):
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
        extra={},
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


def _probes(found: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """``(scans, modes, y, x)`` start probes of the scans, if all of them have one."""
    known = [each for each in found if each is not None]
    return np.array(known) if len({each.shape for each in known}) == 1 and len(known) == len(found) else None


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.ndim == 2 and np.array_equal(one, other)


def _concatenated(arrays: list[np.ndarray | None], path: str) -> np.ndarray | None:
    have = [array for array in arrays if array is not None]
    if have and len(have) < len(arrays):
        raise DataError(path, "some of the files have positions, others have none")
    return np.concatenate(have) if have else None
