"""Raw pictures: one file, a series, or a folder for each distance, with the fields that lie beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adorym.data.containers import SINGLE, Container, open_container, opened
from adorym.data.esrf import described
from adorym.data.overrides import Overrides
from adorym.data.readers.base import Raw, with_fields
from adorym.data.readers.joined import at_distances
from adorym.data.rotation_angles import chosen_angles
from adorym.data.sources import Source
from adorym.data.stacks import FilePatterns, single_stack


def pictures_raw(container: Container, files: Sequence[Path]) -> Raw:
    """The pictures of one file or of several, with what is noted beside them."""
    stack = FilePatterns(container.parts) if container.parts else single_stack(container)
    shape = None if container.parts else container.arrays[SINGLE].shape[:-2]
    note = f"{stack.shape[0]} raw pictures, taken as intensities"
    return described(Raw(patterns=stack, scan_shape=shape, notes=(note,)), files)


def with_own_fields(wanted: Overrides, source: Source, raw: Raw) -> Overrides:
    """``wanted`` with the flat and dark fields that lie beside the pictures, unless the user gives them.

    Dark fields alone are left: without a flat field they may be those of something else.
    """
    if not source.flats or wanted.white is not None or not _of_one_size(source.flats, raw):
        return wanted
    darks = source.darks if wanted.dark is None and source.darks and _of_one_size(source.darks, raw) else None
    given = {"white": tuple(map(str, source.flats))} | ({} if darks is None else {"dark": tuple(map(str, darks))})
    return replace(wanted, **given)  # type: ignore[arg-type]


def _of_one_size(files: Sequence[Path], raw: Raw) -> bool:
    """Whether the first of ``files``, which are named like fields, has the size of the pictures."""
    array = open_container(files[0]).arrays.get(SINGLE)
    return array is not None and array.shape[-2:] == raw.patterns.shape[1:]


def raw_of_parts(source: Source, wanted: Overrides) -> tuple[Raw, Overrides]:
    """Pictures of several folders, one a distance, at the same angles; the user's settings that are left to apply.

    Raises:
        DataError: The folders hold different numbers of pictures, or pictures of different sizes.
    """
    raws = []
    for part in source.parts:
        raw = pictures_raw(opened(part.files), part.files)
        found = chosen_angles(wanted, raw.patterns.shape[0], len(raw.theta_rad), scanned=False)
        if found is not None:
            theta, index, doubts = found
            index = raw.angle_index if index is None else index
            raw = replace(raw, theta_rad=theta, angle_index=index, doubts=(*raw.doubts, *doubts))
        if wanted.white is None:  # else the user's are those of all
            own = with_own_fields(Overrides(dark=wanted.dark), part, raw)
            noted, doubted = list(raw.notes), list(raw.doubts)
            raw = with_fields(raw, own, noted, doubted, str(part.files[0]))
            raw = replace(raw, notes=tuple(noted), doubts=tuple(doubted))
        raws.append(raw)
    joined = at_distances(raws, str(source.files[0]))
    left = replace(wanted, theta=None, theta_range=None, dark=None if wanted.white is None else wanted.dark)
    return replace(joined, notes=(*source.notes, *joined.notes)), left
