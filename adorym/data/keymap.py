"""Names of the arrays in a file of unknown layout, in a short form: ``patterns=data positions=scan``.

A `KeyMap` reads any container of arrays (HDF5, npz, npy, mat, tif, detectors' files; bz2 or gzip around it), or several
that belong together, as a data set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from adorym import units
from adorym.data.containers import Container, open_container
from adorym.data.dataset import Dataset
from adorym.data.flat_fields import mean_field
from adorym.data.hdf5 import factor
from adorym.data.lengths import LENGTHS, Lengths
from adorym.data.overrides import Overrides
from adorym.data.patterns import Orientation
from adorym.data.positions import Recorded
from adorym.data.readers.arrays import modes_of
from adorym.data.readers.base import Raw, assemble
from adorym.data.rows import rows_of
from adorym.data.stacks import matching, patterns_of
from adorym.data.tables import unit_in
from adorym.errors import ConfigError, DataError, suggestion
from adorym.registry import component


@component
class KeyMap:
    """Names of arrays in a file, and the conventions they follow.

    A quantity is a literal (``8.8 keV``), the name of an array, or a name and the unit its numbers are in
    (``meta/energy keV``). The unit in an array's attributes holds where the map names none. Leading axes of length 1
    are dropped from every array. A number in an attribute is ``group@attribute``.

    Attributes:
        patterns: Stack of patterns, ``(n, y, x)``; with more leading axes they are counted in C order. ``*`` stands for
            several arrays (``entry/data/data_*``), one after the other in natural order.
        positions: ``(n, 2)`` or ``(2, n)``, with z ``(n, 3)``, or two names ``rows,columns``, of as many numbers as
            there are patterns, or the two axes of a raster.
        probe: Start probe ``(..., y, x)``, with the beam in the middle of the window.
        mask: Detector mask; see ``mask_good``.
        dark: Dark counts ``(..., y, x)``, averaged.
        white: Flat field, counts without sample ``(..., y, x)``, averaged.
        theta: Rotation angles (radian unless the file or the map has a unit).
        energy: Photon energy.
        voltage: Acceleration voltage of electrons.
        wavelength: Wavelength, instead of the photon energy.
        pixel_size: Pixel size in the object plane, one or (y, x); of two arrays ``Y,X``.
        detector_pixel_size: Pixel pitch of the detector, likewise.
        reciprocal_pixel: Step of the spatial frequency from one detector pixel to the next (without 2 pi), or the
            frequencies of all pixels, likewise; instead of the pixel size in the object plane.
        distance: Sample to detector.
        source_distance: Focus to sample.
        propagation_distance: Effective near-field distances.
        positions_unit: Unit of the positions; recognized from names and numbers if absent.
        positions_order: Which of the two coordinates comes first.
        positions_sign: ``-`` where the positions are the sample's, which the probe moves against.
        zero_frequency: Place of the zero frequency in the patterns.
        measured: Intensities (counts) or amplitudes (their square root).
        frame_axis: Whether the patterns are counted along the first axes or the last; ``auto`` tells from the number of
            positions, else from a square window.
        mask_good: Value of the mask's good pixels; every other value is bad if it is 0, only 0 is bad if it is 1.
        transpose: Exchange rows and columns of the patterns.
        flip_y: Reverse the rows of the patterns.
        flip_x: Reverse the columns of the patterns.
    """

    patterns: str
    positions: str | None = None
    probe: str | None = None
    mask: str | None = None
    dark: str | None = None
    white: str | None = None
    theta: str | None = None
    energy: str | None = None
    wavelength: str | None = None
    voltage: str | None = None
    pixel_size: str | None = None
    detector_pixel_size: str | None = None
    reciprocal_pixel: str | None = None
    distance: str | None = None
    source_distance: str | None = None
    propagation_distance: str | None = None
    positions_unit: Literal["px", "m", "mm", "um", "nm", "pm", "angstrom"] | None = None
    positions_order: Literal["yx", "xy"] = "yx"
    positions_sign: Literal["+", "-"] = "+"
    zero_frequency: Literal["corner", "center"] = "center"
    measured: Literal["intensity", "amplitude"] = "intensity"
    frame_axis: Literal["auto", "first", "last"] = "auto"
    mask_good: Literal["0", "1"] = "1"
    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False

    @classmethod
    def parse(cls, entries: Iterable[str]) -> KeyMap:
        """Parse a map such as ``["patterns=data", "positions=scan"]``; an empty value counts as absent.

        Raises:
            ConfigError: An entry is not ``name=value``, a name is unknown or repeated, or a value is invalid.
        """
        given: dict[str, Any] = {}
        fields = cls.__dataclass_fields__
        for entry in entries:
            name, equals, value = (part.strip() for part in entry.partition("="))
            if not equals:
                raise ConfigError("map", "not an entry of a map", expected="name=value", found=f"'{entry}'")
            if name not in fields:
                raise ConfigError(f"map.{name}", "unknown name", remedy=suggestion(name, fields))
            if name in given:
                raise ConfigError(f"map.{name}", "given twice", found=f"'{given[name]}' and '{value}'")
            if value:
                given[name] = value
        if "patterns" not in given:
            raise ConfigError("map.patterns", "missing", remedy="name the array of patterns: patterns=NAME")
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"map.{first['loc'][0]}", first["msg"], found=repr(first["input"])) from None

    def read(self, source: str | Path | Container, overrides: Overrides | None = None) -> Dataset:
        """The data set in a file, which may be open already; counts are not checked.

        Raises:
            DataError: A named array is missing or has the wrong shape.
        """
        container = source if isinstance(source, Container) else open_container(source)
        raw = self.extract(container, (f"read with a map of its arrays: {self.describe()}",))
        raw_set = assemble(raw, overrides or Overrides(), str(container.path))
        return replace(raw_set, format=f"map of {container.kind}")

    def extract(self, container: Container, first_notes: tuple[str, ...] = ()) -> Raw:
        """What the named arrays say; ``first_notes`` come before the notes on them."""
        path, notes = container.path, list(first_notes)
        count = None if self.positions is None else len(self._positions(container, None))
        patterns = patterns_of(container, self.patterns, self.frame_axis, count, notes)
        n = patterns.shape[0]
        positions = None if self.positions is None else self._positions(container, n)
        unit = self._positions_unit(container)
        index, theta = self._angles(container, n, notes)
        lengths = self._lengths(container, patterns.shape[1:], notes)
        dark, flat = (None if key is None else mean_field(container.read(key)) for key in (self.dark, self.white))
        mask = None if self.mask is None else container.read(self.mask)
        return Raw(
            patterns=patterns,
            recorded=None if positions is None else Recorded(positions, unit, certain=self.positions_unit is not None),
            scan_shape=self._scan_shape(container, patterns.shape[1:]),
            angle_index=index,
            theta_rad=theta,
            measured=self.measured,
            lengths=lengths,
            mask=None if mask is None else self._mask(mask, patterns.shape),
            dark=dark,
            flat=flat if flat is None or dark is None else flat - dark,
            orientation=Orientation(
                from_corner=self.zero_frequency == "corner",
                transpose=self.transpose,
                flip_y=self.flip_y,
                flip_x=self.flip_x,
                keep_center=lengths.propagation_distance_m is None,
            ),
            start_probe=None if self.probe is None else modes_of(container.read(self.probe), f"{path}:{self.probe}"),
            notes=tuple(notes),
        )

    def describe(self) -> str:
        """The entries that differ from the defaults, as they would be parsed."""
        fields = self.__dataclass_fields__
        return " ".join(
            f"{name}={getattr(self, name)}" for name, f in fields.items() if getattr(self, name) != f.default
        )

    def _positions(self, container: Container, n: int | None) -> np.ndarray:
        """``(k, 2)`` (y, x) in the file's unit, of all files; a raster needs ``n``, the number of patterns."""
        assert self.positions is not None  # the caller looked
        place = f"{container.path}:{self.positions}"
        if "," in self.positions:
            y, x = (_every(container, name.strip(), ravel=True) for name in self.positions.split(",", 1))
            y, x = self._raster(container, n, y, x)
            if len(y) != len(x) and n is not None:
                raise DataError(place, "rows and columns differ in number", found=f"{len(y)} and {len(x)}")
            if len(y) != len(x):  # a raster, whose number alone is asked for
                return np.broadcast_to(np.zeros(2), (len(y) * len(x), 2))
            pairs = np.stack([y, x], axis=-1)
        else:
            array = _every(container, self.positions)
            pairs = _pairs(array, self.positions_order, max(array.shape) if n is None else n, place)
        return pairs.astype(np.float64) * (-1.0 if self.positions_sign == "-" else 1.0)

    def _raster(
        self, container: Container, n: int | None, y: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of every pattern, of the axes of a raster; an axis of two numbers has its start and step."""
        shape = container.arrays[matching(container, self.patterns)[0]].shape
        if n is None or len(y) == n == len(x):
            return y, x
        if len(shape) == 4 and n == shape[0] * shape[1]:
            y, x = (axis[0] + (axis[1] - axis[0]) * np.arange(size) if len(axis) == 2 else axis
                    for axis, size in ((y, shape[0]), (x, shape[1])))  # fmt: skip
        if len(y) * len(x) != n:
            return y, x
        rows, columns = np.meshgrid(y, x, indexing="ij")
        return rows.ravel(), columns.ravel()

    def _positions_unit(self, container: Container) -> str:
        """Unit that the map, the arrays or their names say; empty if none does."""
        if self.positions_unit is not None or self.positions is None:
            return self.positions_unit or ""
        names = [container.name_of(name.strip()) for name in self.positions.split(",", 1)]
        found = {container.arrays[name].unit or unit_in(name) for name in names}
        return found.pop() if len(found) == 1 else ""

    def _scan_shape(self, container: Container, window: tuple[int, ...]) -> tuple[int, ...] | None:
        """Rows and columns of a raster whose patterns, of size ``window``, lie in one array of four axes."""
        names = matching(container, self.patterns)
        shape = container.arrays[names[0]].shape
        if len(names) > 1 or len(shape) != 4:
            return None
        return shape[:2] if shape[2:] == window else shape[2:]

    def _angles(self, container: Container, n: int, notes: list[str]) -> tuple[np.ndarray | None, np.ndarray]:
        if self.theta is None:
            return None, np.zeros(1)
        theta = _quantity(container, self.theta, "rad", "theta", notes)
        if n % len(theta):
            raise DataError(f"{container.path}:{self.theta}", "the patterns do not divide among the rotation angles",
                            expected=f"a divisor of {n}", found=f"{len(theta)} angles")  # fmt: skip
        return np.repeat(np.arange(len(theta)), n // len(theta)), theta

    def _lengths(self, container: Container, window: tuple[int, int], notes: list[str]) -> Lengths:
        said = {q: text for q in LENGTHS if (text := getattr(self, q.key, None)) is not None}
        found = {q.field: q.of(_quantity(container, t, q.unit, q.key, notes)) for q, t in said.items()}
        if self.wavelength is not None and self.energy is None:
            length = _quantity(container, self.wavelength, "m", "wavelength", notes)
            _check_positive(length, f"{container.path}:{self.wavelength}", "no wavelength", "give data.energy")
            found["energy_ev"] = units.energy_ev(float(length[0]))
        if self.reciprocal_pixel is not None and self.pixel_size is None:
            parts = self.reciprocal_pixel.split(",")
            steps = [_step(_quantity(container, part.strip(), "1/m", "reciprocal_pixel", notes)) for part in parts]
            what, remedy = "no step of the spatial frequency", "give data.pixel_size or data.detector_pixel_size"
            _check_positive(np.array(steps), f"{container.path}:{self.reciprocal_pixel}", what, remedy)
            found["pixel_size_m"] = (1 / (window[0] * steps[0]), 1 / (window[1] * steps[-1]))
        return Lengths(**found)

    def _mask(self, mask: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        good = mask == 0 if self.mask_good == "0" else mask != 0
        return good.reshape(shape if good.size == np.prod(shape) else good.shape[-2:]) if good.ndim > 2 else good


def _check_positive(values: np.ndarray, place: str, what: str, remedy: str) -> None:
    if values.size == 0 or not (np.isfinite(values).all() and (values > 0).all()):
        raise DataError(place, what, expected="> 0", found=values.tolist(), remedy=remedy)


def _pairs(array: np.ndarray, order: str, n: int, place: str) -> np.ndarray:
    """``(k, 2)`` (y, x) from an array in ``order``; a third entry, z, may follow x and y only in this order."""
    first = next((axis for axis, size in enumerate(array.shape) if size > 1), 0)
    rows = rows_of(array if array.ndim - first < 2 else array.reshape(array.shape[first:]), n, place)
    if order == "xy":
        return rows[:, 1::-1]
    if rows.shape[1] == 3:
        remedy = "set positions_order=xy for (x, y, z), or name rows and columns apart: positions=ROWS,COLUMNS"
        raise DataError(place, "positions have three entries and no order", found=array.shape, remedy=remedy)
    return rows


def _step(axis: np.ndarray) -> float:
    """The step of an axis, or the one number that it is."""
    if axis.size == 0:
        return 0.0
    return float(axis[0]) if axis.size == 1 else float(abs(axis[1] - axis[0]))


def _every(container: Container, name: str, *, ravel: bool = False) -> np.ndarray:
    """The array ``name`` of every file that has it, one after the other."""
    name = container.name_of(name)
    arrays = [part.read(name) for part in container.parts or (container,) if name in part.arrays or not container.parts]
    arrays = [array.ravel() for array in arrays] if ravel or (len(arrays) > 1 and arrays[0].ndim < 2) else arrays
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _quantity(container: Container, text: str, target: str, field: str, notes: list[str]) -> np.ndarray:
    """Numbers in ``target`` that ``text`` stands for: an array or two, perhaps with their unit, or a literal."""
    if "," in text:
        return np.concatenate([_quantity(container, part.strip(), target, field, notes) for part in text.split(",")])
    name, _, unit = text.rpartition(" ")
    for key, stated in ((text, ""), (name, unit)):
        key = key.strip().strip("/")
        if key in container.arrays or key in container.attributes:
            written = container.arrays[key].unit if key in container.arrays else ""
            if not (stated or written):
                notes.append(f"{field}: '{key}' has no unit, taken as {target}")
            try:
                return np.ravel(container.read(key)).astype(np.float64) * factor(stated or written or target, target)
            except (ValueError, TypeError) as error:
                raise DataError(f"{container.path}:{key}", str(error)) from None
    try:
        return np.array([units.parse(text, target, bare=False)])
    except ValueError as error:
        remedy = suggestion(text, container.arrays)
        what = "neither an array of the file nor a quantity"
        raise ConfigError(f"map.{field}", what, expected=str(error), found=f"'{text}'", remedy=remedy) from None
