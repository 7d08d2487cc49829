"""NXtomo: projections, flat and dark fields in one stack, told apart by ``image_key``.

https://manual.nexusformat.org/classes/applications/NXtomo.html: 0 is a projection, 1 a flat field, 2 a dark field, 3 an
invalid picture; ``image_key_control`` has -1 for projections taken again to see whether the sample moved. Angles are in
degrees unless ``@units`` says otherwise. Groups may have any name: what is soft-linked in NXdata counts as well.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from adorym.data.flat_fields import beam_of, moments_of, robust_mean
from adorym.data.hdf5 import find, numbers, open_hdf5, quantity, single, unit_of
from adorym.data.lengths import Lengths
from adorym.data.overrides import Overrides
from adorym.data.patterns import Hdf5Patterns
from adorym.data.projections import clipping
from adorym.data.readers.base import Raw, Reader
from adorym.data.readers.beam import photon_energy
from adorym.data.readers.entry import chosen_entry, is_nxtomo
from adorym.data.rotation_angles import in_radians
from adorym.errors import DataError
from adorym.registry import register

PROJECTION, FLAT, DARK, INVALID = 0, 1, 2, 3
DETECTORS = ("instrument/detector", "instrument/detector_1", "data", "tomo_entry/instrument/detector")
ANGLES = ("sample/rotation_angle", "data/rotation_angle", "sample/transformations/rotation_angle")
BORDER = ("x_rotation_axis_pixel_position", "transformations/x_rotation_axis_pixel_position")


@register("reader", "nxtomo")
class NxTomoReader(Reader):
    """NeXus files of tomography, as beamlines write them."""

    def recognizes(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            return is_nxtomo(file)

    def extract(self, path: Path, overrides: Overrides) -> Raw:
        notes: list[str] = []
        with open_hdf5(path) as file:
            entry = chosen_entry(file, overrides.entry, notes)
            detector, stack, key = _stack(entry, path)
            notes.append(f"projections from {stack.name}, told apart by image_key")
            projections, flats, darks = (np.flatnonzero(key == kind) for kind in (PROJECTION, FLAT, DARK))
            if not len(projections):
                raise DataError(f"{path}:{stack.name}", "no projections", expected="image_key 0",
                                found=", ".join(map(str, np.unique(key))))  # fmt: skip
            patterns = Hdf5Patterns(path, stack.name)
            theta, doubts = _angles(entry, len(key), path, overrides)
            dark = None if not len(darks) else robust_mean(patterns.read(darks), "dark", notes)
            flat, drift = None, None
            clipped: tuple[str, ...] = ()
            if len(flats):
                when = _moments(overrides, flats, projections, str(path))
                fields = patterns.read(flats).astype(np.float64)
                flat, drift = beam_of(fields, dark, when, notes)
                clipped = clipping(patterns.select(projections), fields)
            axis, width = find(detector, BORDER), stack.shape[-1]
            return Raw(
                patterns=patterns.select(projections),
                angle_index=None if theta is None else np.arange(len(projections)),
                theta_rad=np.zeros(1) if theta is None else theta[projections],
                lengths=_lengths(entry, detector, notes),
                dark=dark,
                flat=flat,
                drift=drift,
                rotation_center_px=None if axis is None else float(np.ravel(numbers(axis))[0]) - (width - 1) / 2,
                notes=tuple(notes),
                doubts=(*doubts, *clipped),
            )


def _stack(entry: h5py.Group, path: Path) -> tuple[h5py.Group, h5py.Dataset, np.ndarray]:
    """The detector, its pictures, and what each of them is."""
    for name in DETECTORS:
        group = entry.get(name)
        if not isinstance(group, h5py.Group):
            continue
        stack, key = find(group, ["data"]), find(group, ["image_key_control", "image_key"])
        key = find(entry, ["data/image_key"]) if key is None else key
        if stack is not None and key is not None and stack.ndim == 3:
            kinds = np.clip(np.nan_to_num(np.ravel(numbers(key)), nan=INVALID), -9, 9).astype(int)
            if len(kinds) != len(stack):
                place = f"{path}:{key.name}"
                raise DataError(place, "not one key a picture", expected=len(stack), found=len(kinds))
            return group, stack, kinds
    raise DataError(f"{path}:{entry.name}", "no pictures with an image_key", expected="instrument/detector/data",
                    remedy="say where they are with data.map")  # fmt: skip


def _angles(entry: h5py.Group, n: int, path: Path, overrides: Overrides) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Angle of every picture, flat and dark fields included, and what is doubtful about it."""
    stored = find(entry, ANGLES)
    if stored is None:
        return None, ()
    values = np.ravel(numbers(stored))
    if len(values) != n:
        raise DataError(f"{path}:{stored.name}", "not one angle a picture", expected=n, found=len(values))
    return in_radians(values, unit_of(stored), overrides.theta_unit)


def _moments(
    overrides: Overrides, flats: np.ndarray, projections: np.ndarray, path: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """When flat fields and projections were taken: their places in the stack, flat fields in one go at one moment."""
    if overrides.white_fields is not None:
        return moments_of(overrides.white_fields, len(flats), None, projections.astype(float), path)
    groups = np.cumsum(np.concatenate([[0], np.diff(flats) > 1]))
    middles = np.array([flats[groups == group].mean() for group in range(groups[-1] + 1)])
    return middles[groups], projections.astype(float)


def _lengths(entry: h5py.Group, detector: h5py.Group, notes: list[str]) -> Lengths:
    def length(names: list[str]) -> float | None:
        stored = find(detector, names)
        return None if stored is None else single(np.abs(quantity(stored, "m")))

    y, x = (length([f"{axis}_pixel_size"]) for axis in "yx")
    pixel = None if (y or x) is None else (float(y or x or 0), float(x or y or 0))
    return Lengths(
        energy_ev=photon_energy(entry, False, notes), detector_pixel_size_m=pixel, distance_m=length(["distance"])
    )
