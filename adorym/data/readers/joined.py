"""Several files as one data set: parts of a scan, or scans of one object in the coordinates that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adorym.data.patterns import JoinedPatterns
from adorym.data.positions import Recorded
from adorym.data.readers.base import Raw
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
