"""The package's own HDF5 layout: that of the original Adorym, with DXchange's fields.

| dataset | shape | unit |
|---|---|---|
| ``exchange/data`` | (angle, tile, y, x) or (angle, y, x) | photons; ``@measured`` says intensity or amplitude |
| ``exchange/data_white``, ``data_dark`` | (..., y, x), averaged | as the data |
| ``exchange/theta_white`` | (flat field,): the beam is linear between these angles | degree |
| ``exchange/theta``, or ``metadata/theta`` | (angle,) | degree, or radian |
| ``metadata/energy_ev`` | scalar | eV |
| ``metadata/psize_cm`` | scalar or (y, x) | cm, in the object plane |
| ``metadata/free_prop_cm`` | scalar or (distance,), 0 or ``inf`` for the far field | cm |
| ``metadata/probe_pos_px``, or ``probe_pos_px_{i}`` for angle i | (tile, 2) | px, (y, x) of the window's corner |
| ``metadata/slice_pos_cm`` | (slice,) | cm |
| ``metadata/mask`` or ``exchange/mask`` | (y, x) or (n, y, x) | 1 where good |
| ``metadata/distance_m``, ``source_distance_m``, ``detector_pixel_size_m`` | scalar, scalar, (y, x) | m |
| ``metadata/magnification`` | (distance,) | cone beam; ``psize_cm`` is that of the largest |
| ``metadata/open_beam_counts`` | scalar | counts in a pixel without the sample |
| ``metadata/arm_px`` | (y, x) | px, that the detector's arm points at, of a Bragg peak |
| ``metadata/computed`` | texts | which of pixel size and positions follow from the distance of the detector |
| ``metadata/angle_index`` | (n,) | angle of every pattern, where angles have unequal numbers of them |
| ``start/probe`` | (modes, y, x) | square root of photons |
| ``extra/references`` | (n or 1, y, x) | photons, pictures without the sample, of speckle tracking |
| ``extra/times`` | (n,) | seconds, moment of each pattern of an object that changes |
| ``extra/leds_m``, or ``leds_px`` | (n, 2) | places of the lamps of Fourier ptychography, (y, x) |
| ``truth/...`` | | what a simulation knows |
| ``stream/...`` | | what a recorded stream tells of its frames: `adorym.data.recording` |

``@units`` on a dataset wins over the unit of the table. The last eleven rows are additions to the original's layout.
Angles missing from a file with scans at several angles are taken as the original takes them: evenly from 0 to pi, both
included. Pictures without angles are pictures at one angle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym.data.flat_fields import beam_of, moments_of, one_each, robust_mean
from adorym.data.hdf5 import find, numbers, open_hdf5, quantity, require, single, text_attribute, unit_of, whole
from adorym.data.lengths import LENGTHS, Lengths, Quantity
from adorym.data.overrides import Overrides
from adorym.data.patterns import Hdf5Patterns
from adorym.data.positions import Recorded
from adorym.data.projections import clipping
from adorym.data.readers.arrays import modes_of
from adorym.data.readers.base import Raw, Reader
from adorym.data.recording import POSITION, Joined, joined_in
from adorym.data.rotation_angles import in_radians
from adorym.errors import DataError
from adorym.registry import register

DATA = "exchange/data"
EXTRA = {"times": 1, "references": 3, "leds_m": 2, "leds_px": 2}  # axes of each


@register("reader", "adorym")
class NativeReader(Reader):
    """HDF5 files of this package, of the original Adorym, and of DXchange."""

    def recognizes(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            return find(file, [DATA]) is not None

    def extract(self, path: Path, overrides: Overrides) -> Raw:
        notes: list[str] = []
        with open_hdf5(path) as file:
            stored, stream = file[DATA], joined_in(file)
            patterns = Hdf5Patterns(path, DATA, None if stream is None else stream.rows)
            if stored.ndim not in (3, 4):
                expected = "(angle, tile, y, x) or (angle, y, x)"
                raise DataError(
                    f"{path}:/{DATA}", "patterns have the wrong shape", expected=expected, found=stored.shape
                )
            lengths = _lengths(file, notes)
            doubts: list[str] = []
            shape = stored.shape if not overrides.sinograms else (*stored.shape[-2::-1], stored.shape[-1])
            shape = shape if stream is None else patterns.shape
            index, theta = _angles(file, shape, lengths, (notes, doubts), overrides.theta_unit)
            measured = text_attribute(stored, "measured")
            if measured is None:
                measured = "intensity"
                notes.append("measured: not said in the file, taken as intensity")
            dark, white = find(file, ["exchange/data_dark"]), find(file, ["exchange/data_white"])
            dark = None if dark is None else robust_mean(_stack(numbers(dark)), "dark", notes)
            flat, drift = None, None
            if white is not None:
                flats = _stack(numbers(white))
                when = _moments(file, flats, theta[index], overrides.white_fields, notes)
                flat, drift = beam_of(flats, dark, when, notes)
                doubts += clipping(patterns, flats)
            probe, stored_notes = find(file, ["start/probe"]), _texts(file, "metadata/notes")
            raw = Raw(
                patterns=patterns,
                positions_px=_positions(file, index, lengths, notes) if stream is None else None,
                recorded=None if stream is None else _streamed(stream, file, notes),
                angle_index=index,
                theta_rad=theta,
                measured=measured,
                lengths=lengths,
                mask=_mask(file, patterns.shape),
                dark=dark,
                flat=flat,
                drift=drift,
                start_probe=None if probe is None else _start_probe(probe, len(theta), path),
                rotation_center_px=_number(file, "metadata/rotation_center_px", "metadata/rotation_centre_px"),
                arm_px=_arm(file),
                open_beam_counts=_number(file, "metadata/open_beam_counts"),
                computed=_texts(file, "metadata/computed"),
                extra=_extra(file),
                truth=_group(file, "truth"),
                notes=(*stored_notes, *notes),
                doubts=tuple(doubts),
            )
        return raw


def _extra(file: h5py.File) -> dict[str, np.ndarray]:
    """What a forward model may need of the group ``extra``, where others may keep what they like."""
    found = {name: find(file, [f"extra/{name}"]) for name in EXTRA}
    for name, stored in found.items():
        if stored is not None and stored.ndim != EXTRA[name]:
            place = f"{file.filename}:/extra/{name}"
            raise DataError(place, "wrong shape", expected=f"{EXTRA[name]} axes", found=stored.shape)
    return {name: whole(stored) for name, stored in found.items() if stored is not None}


def _start_probe(stored: h5py.Dataset, scans: int, path: Path) -> np.ndarray:
    """``(modes, y, x)``, or ``(scans, modes, y, x)`` as `adorym.data.native_write` writes them."""
    each = stored.ndim == 4 and stored.shape[0] == scans > 1
    return whole(stored) if each else modes_of(whole(stored), f"{path}:{stored.name}")


def _streamed(stream: Joined, file: h5py.File, notes: list[str]) -> Recorded | None:
    """Positions of a recorded stream."""
    notes.append(f"a recorded stream: {len(stream.rows)} frames, {len(stream.without)} without a position left out")
    if not len(stream.positions):
        return None
    unit = unit_of(file[POSITION]) or "px"
    return Recorded(stream.positions, unit)


def _texts(file: h5py.File, name: str) -> tuple[str, ...]:
    stored = find(file, [name])
    return () if stored is None else tuple(stored.asstr()[()])


def _lengths(file: h5py.File, notes: list[str]) -> Lengths:
    stored = {q: found for q in LENGTHS if (found := find(file, [f"metadata/{q.stored}"])) is not None}
    values = {q.field: _length(q, dataset, notes) for q, dataset in stored.items()}
    return Lengths(**values)


def _length(q: Quantity, dataset: h5py.Dataset, notes: list[str]) -> Any:
    """One of the lengths, ``None`` where the number stands for none."""
    values = np.ravel(quantity(dataset, q.unit, q.stored_unit))
    if q.count == "one":
        number = single(quantity(dataset, q.unit, q.stored_unit))
        if number is None:
            notes.append(f"metadata/{q.stored}: not a positive number, left out")
        return number
    if q.count == "pair" and (values.size not in (1, 2) or not (values > 0).all()):
        place = f"{dataset.file.filename}:{dataset.name}"
        raise DataError(place, "not a pixel size", expected="one or (y, x), > 0", found=values)
    # The original writes 0 or inf for the far field, and [0] for the slices of a thin object.
    far = q.field == "propagation_distance_m" and not (np.isfinite(values).all() and (values != 0).any())
    thin = q.field == "slice_positions_m" and len(values) < 2
    return None if far or thin else q.of(values)


def _number(file: h5py.File, *names: str) -> float | None:
    dataset = find(file, names)
    return None if dataset is None else float(np.ravel(numbers(dataset))[0])


def _arm(file: h5py.File) -> tuple[float, float] | None:
    dataset = find(file, ["metadata/arm_px"])
    if dataset is None:
        return None
    place = np.ravel(quantity(dataset, "px", "px"))
    if place.shape != (2,) or not np.isfinite(place).all():
        raise DataError(f"{file.filename}:{dataset.name}", "not a pixel", expected="(y, x)", found=place)
    return float(place[0]), float(place[1])


def _stack(fields: np.ndarray) -> np.ndarray:
    return fields.reshape(-1, *fields.shape[-2:])


def _angles(
    file: h5py.File, shape: tuple[int, ...], lengths: Lengths, said: tuple[list[str], list[str]], unit: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Angle of every pattern, and the angles; ``said`` receives notes and doubts."""
    n, (notes, doubts) = int(np.prod(shape[:-2])), said
    theta, doubtful = _theta(file, unit)
    doubts += doubtful
    stored = find(file, ["metadata/angle_index"])
    if stored is not None:
        index = numbers(stored).astype(int)
        n_angles = index.max(initial=0) + 1 if theta is None else len(theta)
        if index.shape != (n,) or (index < 0).any() or (index >= n_angles).any():
            expected = f"{n} numbers from 0 to {n_angles - 1}"
            raise DataError(
                f"{file.filename}:{stored.name}", "the angle of every pattern", expected=expected, found=index.shape
            )
    elif n == shape[0] > 1 and _is_one_angle(len(shape), theta, file, lengths):
        notes.append(f"exchange/data without angles: taken as {n} patterns of one angle")
        index, n_angles = np.zeros(n, int), 1
    else:
        n_angles = shape[0]
        index = np.repeat(np.arange(n_angles), n // n_angles)
    if theta is None:
        if n_angles > 1:
            doubts.append("theta: not in the file, taken as evenly spaced from 0 to 180 deg (data.theta_range)")
        return index, np.linspace(0, np.pi, n_angles) if n_angles > 1 else np.zeros(1)
    if len(theta) != n_angles:
        where = f"{file.filename}:/{DATA}"
        raise DataError(
            where, "the number of rotation angles does not fit", expected=n_angles, found=f"{len(theta)} in theta"
        )
    return index, theta


def _is_one_angle(axes: int, theta: np.ndarray | None, file: h5py.File, lengths: Lengths) -> bool:
    """Whether one pattern a step is not a rotation series: its angles would be in the file, or are not known."""
    if theta is not None:
        return axes == 3 and len(theta) == 1
    scanned = find(file, ["metadata/probe_pos_px", "metadata/probe_pos_px_0"]) is not None
    return axes == 3 or not (scanned or lengths.propagation_distance_m is not None)


def _theta(file: h5py.File, unit: str | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Angles in rad, and what is doubtful about their unit."""
    stored = find(file, ["metadata/theta"])
    if stored is not None:
        return np.ravel(quantity(stored, "rad", unit or "rad")), ()
    stored = find(file, ["exchange/theta"])
    if stored is None:
        return None, ()
    try:
        return in_radians(np.ravel(numbers(stored)), unit_of(stored), unit)
    except ValueError as error:
        place = f"{file.filename}:{stored.name}"
        raise DataError(place, "its unit is no unit of angles", found=unit_of(stored), remedy=str(error)) from error


def _positions(file: h5py.File, index: np.ndarray, lengths: Lengths, notes: list[str]) -> np.ndarray | None:
    """Positions of all patterns, angle after angle."""
    n_angles = int(index.max()) + 1
    if find(file, ["metadata/probe_pos_px_0"]) is not None:
        parts = []
        for i in range(n_angles):
            dataset = require(file, f"metadata/probe_pos_px_{i}")
            parts.append(_fitting(quantity(dataset, "px"), int((index == i).sum()), dataset))
        positions = np.concatenate(parts)
        order = np.argsort(index, kind="stable")
        result = np.empty_like(positions)
        result[order] = positions
        return result
    dataset = find(file, ["metadata/probe_pos_px"])
    if dataset is None:
        return None
    positions = quantity(dataset, "px")
    positions = positions.reshape(-1, 2) if positions.ndim == 3 and positions.shape[-1] == 2 else positions
    if len(positions) == len(index):
        return _fitting(positions, len(index), dataset)
    per_angle = len(index) // n_angles
    n_distances = 1 if lengths.propagation_distance_m is None else len(lengths.propagation_distance_m)
    if n_distances > 1 and positions.ndim == 2 and len(positions) * n_distances == per_angle:
        notes.append(f"metadata/probe_pos_px: the same {len(positions)} positions at each of {n_distances} distances")
        positions = np.tile(positions, (n_distances, 1))
    elif n_angles == 1 and positions.ndim == 2 and positions.shape[1] == 2:
        return positions  # more or fewer than patterns, among which the user may choose
    return np.tile(_fitting(positions, per_angle, dataset), (n_angles, 1))


def _fitting(positions: np.ndarray, n: int, dataset: h5py.Dataset) -> np.ndarray:
    """``positions``, once they are known to be ``(n, 2)``."""
    place = f"{dataset.file.filename}:{dataset.name}"
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise DataError(place, "probe positions have the wrong shape", expected=f"({n}, 2)", found=positions.shape)
    if (lack := n - len(positions)) != 0:
        count = "one position" if abs(lack) == 1 else f"{abs(lack)} positions"
        much = "few" if lack > 0 else "many"
        raise DataError(
            place,
            f"the number of probe positions differs from the number of patterns: {count} too {much}",
            expected=f"{n} positions",
            found=len(positions),
            remedy="supply the missing positions" if lack > 0 else "take out the surplus positions",
        )
    return positions


def _moments(
    file: h5py.File, flats: np.ndarray, theta_rad: np.ndarray, kind: str | None, notes: list[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Moments of flat fields and patterns; ``theta_rad`` is the angle of every pattern."""
    dataset, n = find(file, ["exchange/theta_white"]), len(theta_rad)
    angles = None if dataset is None else np.ravel(quantity(dataset, "rad", "deg"))
    scanned = find(file, ["metadata/probe_pos_px", "metadata/probe_pos_px_0"]) is not None
    kind = kind or one_each(len(flats), n, scanned or angles is not None or np.ptp(theta_rad) > 0, notes)
    return moments_of(kind, len(flats), angles, theta_rad, file.filename)


def _mask(file: h5py.File, shape: tuple[int, int, int]) -> np.ndarray | None:
    dataset = find(file, ["metadata/mask", "exchange/mask"])
    if dataset is None:
        return None
    mask = np.asarray(whole(dataset)) != 0
    return mask.reshape(shape) if mask.ndim > 2 and mask.size == np.prod(shape) else mask


def _group(file: h5py.File, group: str) -> dict[str, object]:
    """Every dataset below ``group`` by its path there."""
    found: dict[str, object] = {}

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            is_text = h5py.check_string_dtype(item.dtype) is not None
            found[name] = item.asstr()[()] if is_text else whole(item)

    if isinstance(file.get(group), h5py.Group):
        file[group].visititems(add)
    return found
