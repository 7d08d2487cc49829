"""Names of the arrays in a file of unknown layout, in a short form: ``patterns=data positions=scan``.

A `KeyMap` reads any container of arrays (HDF5, npz, npy, mat, tif; bz2 or gzip around it) as a data set.
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
from adorym.data.dataset import ArrayPatterns, Dataset, Patterns
from adorym.data.hdf5 import factor
from adorym.data.lengths import LENGTHS, Lengths
from adorym.data.overrides import Overrides
from adorym.data.patterns import Hdf5Patterns, Orientation, check_stack
from adorym.data.positions import Recorded
from adorym.data.readers.base import Raw, assemble, mean_field, modes_of
from adorym.data.readers.motion import rows_of
from adorym.data.tables import unit_in
from adorym.errors import ConfigError, DataError, suggestion
from adorym.registry import component


@component
class KeyMap:
    """Names of arrays in a file, and the conventions they follow.

    A quantity is a literal (``8.8 keV``), the name of an array, or a name and the unit its numbers are in
    (``meta/energy keV``). Leading axes of length 1 are dropped from every array.

    Attributes:
        patterns: Stack of patterns, ``(n, y, x)``; with more leading axes they are counted in C order.
        positions: ``(n, 2)`` or ``(2, n)``, with z ``(n, 3)``, or two names ``rows,columns``.
        probe: Start probe ``(..., y, x)``, with the beam in the middle of the window.
        mask: Detector mask; see ``mask_good``.
        dark: Dark counts ``(..., y, x)``, averaged.
        white: Flat field, counts without sample ``(..., y, x)``, averaged.
        theta: Rotation angles (radian unless the file or the map has a unit).
        energy: Photon energy.
        voltage: Acceleration voltage of electrons.
        pixel_size: Pixel size in the object plane, one or (y, x).
        detector_pixel_size: Pixel pitch of the detector, one or (y, x).
        distance: Sample to detector.
        source_distance: Focus to sample.
        propagation_distance: Effective near-field distances.
        positions_unit: Unit of the positions; recognized from names and numbers if absent.
        positions_order: Which of the two coordinates comes first.
        positions_sign: ``-`` where the positions are the sample's, which the probe moves against.
        zero_frequency: Place of the zero frequency in the patterns.
        measured: Intensities (counts) or amplitudes (their square root).
        frame_axis: Whether the patterns are counted along the first axes or the last.
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
    voltage: str | None = None
    pixel_size: str | None = None
    detector_pixel_size: str | None = None
    distance: str | None = None
    source_distance: str | None = None
    propagation_distance: str | None = None
    positions_unit: Literal["px", "m", "mm", "um", "nm", "pm", "angstrom"] | None = None
    positions_order: Literal["yx", "xy"] = "yx"
    positions_sign: Literal["+", "-"] = "+"
    zero_frequency: Literal["corner", "center"] = "center"
    measured: Literal["intensity", "amplitude"] = "intensity"
    frame_axis: Literal["first", "last"] = "first"
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
        path, notes = container.path, [f"read with a map of its arrays: {self.describe()}"]
        patterns = self._patterns(container)
        positions = self._positions(container, patterns.shape[0])
        unit = self._positions_unit(container)
        index, theta = self._angles(container, patterns.shape[0], notes)
        lengths = self._lengths(container, notes)
        dark, flat = (None if key is None else mean_field(container.read(key)) for key in (self.dark, self.white))
        mask = None if self.mask is None else container.read(self.mask)
        raw = Raw(
            patterns=patterns,
            recorded=None if positions is None else Recorded(positions, unit, certain=self.positions_unit is not None),
            scan_shape=self._scan_shape(container),
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
        return replace(assemble(raw, overrides or Overrides(), str(path)), format=f"map of {container.kind}")

    def describe(self) -> str:
        """The entries that differ from the defaults, as they would be parsed."""
        fields = self.__dataclass_fields__
        return " ".join(
            f"{name}={getattr(self, name)}" for name, f in fields.items() if getattr(self, name) != f.default
        )

    def _patterns(self, container: Container) -> Patterns:
        name = container.name_of(self.patterns)
        if container.kind == "hdf5" and self.frame_axis == "first":
            return Hdf5Patterns(container.path, name)
        stack = container.read(name)
        check_stack(stack, f"{container.path}:{name}")
        if self.frame_axis == "last" and stack.ndim >= 3:
            stack = np.moveaxis(stack, (0, 1), (-2, -1))
        return ArrayPatterns(stack.reshape(-1, *stack.shape[-2:]))

    def _positions(self, container: Container, n: int) -> np.ndarray | None:
        """``(k, 2)`` (y, x) in the file's unit."""
        if self.positions is None:
            return None
        if "," in self.positions:
            y, x = (container.read(name.strip()).ravel() for name in self.positions.split(",", 1))
            if len(y) != len(x):
                place = f"{container.path}:{self.positions}"
                raise DataError(place, "rows and columns differ in number", found=f"{len(y)} and {len(x)}")
            pairs = np.stack([y, x], axis=-1)
        else:
            place = f"{container.path}:{self.positions}"
            pairs = _pairs(container.read(self.positions), self.positions_order, n, place)
        return pairs.astype(np.float64) * (-1.0 if self.positions_sign == "-" else 1.0)

    def _positions_unit(self, container: Container) -> str:
        """Unit that the map, the arrays or their names say; empty if none does."""
        if self.positions_unit is not None or self.positions is None:
            return self.positions_unit or ""
        names = [container.name_of(name.strip()) for name in self.positions.split(",", 1)]
        found = {container.arrays[name].unit or unit_in(name) for name in names}
        return found.pop() if len(found) == 1 else ""

    def _scan_shape(self, container: Container) -> tuple[int, ...]:
        shape = container.arrays[container.name_of(self.patterns)].shape
        return shape[:-2] if self.frame_axis == "first" else shape[2:]

    def _angles(self, container: Container, n: int, notes: list[str]) -> tuple[np.ndarray | None, np.ndarray]:
        if self.theta is None:
            return None, np.zeros(1)
        theta = _quantity(container, self.theta, "rad", "theta", notes)
        if n % len(theta):
            raise DataError(f"{container.path}:{self.theta}", "the patterns do not divide among the rotation angles",
                            expected=f"a divisor of {n}", found=f"{len(theta)} angles")  # fmt: skip
        return np.repeat(np.arange(len(theta)), n // len(theta)), theta

    def _lengths(self, container: Container, notes: list[str]) -> Lengths:
        said = {q: text for q in LENGTHS if (text := getattr(self, q.key, None)) is not None}
        return Lengths(**{q.field: q.of(_quantity(container, t, q.unit, q.key, notes)) for q, t in said.items()})

    def _mask(self, mask: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        good = mask == 0 if self.mask_good == "0" else mask != 0
        return good.reshape(shape if good.size == np.prod(shape) else good.shape[-2:]) if good.ndim > 2 else good


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


def _quantity(container: Container, text: str, target: str, field: str, notes: list[str]) -> np.ndarray:
    """Numbers in ``target`` that ``text`` stands for: an array, an array and its unit, or a literal."""
    name, _, unit = text.rpartition(" ")
    for key, stated in ((text, ""), (name, unit)):
        info = container.arrays.get(key.strip().strip("/"))
        if info is not None:
            used = stated or info.unit or target
            if not (stated or info.unit):
                notes.append(f"{field}: '{info.key}' has no unit, taken as {target}")
            try:
                return np.ravel(container.read(info.key)).astype(np.float64) * factor(used, target)
            except ValueError as error:
                raise DataError(f"{container.path}:{info.key}", str(error)) from None
    try:
        return np.array([units.parse(text, target, bare=False)])
    except ValueError as error:
        remedy = suggestion(text, container.arrays)
        what = "neither an array of the file nor a quantity"
        raise ConfigError(f"map.{field}", what, expected=str(error), found=f"'{text}'", remedy=remedy) from None
