"""The user's corrections to a data file.

Every key of the ``data`` section of a configuration, except ``path``, is a field of `Overrides`. A value given here
replaces that of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import numpy as np
from pydantic import AfterValidator, Field, ValidationError

from adorym.data.patterns import Orientation
from adorym.errors import ConfigError, ConfigErrors, suggestion
from adorym.paths import ComponentPath, InputPath
from adorym.registry import component
from adorym.units import (
    Angle,
    Energy,
    Length,
    LengthOrAngle,
    LengthOrPixels,
    Voltage,
    electron_wavelength_m,
    energy_ev,
    magnitude,
    parse,
)

Made = TypeVar("Made", bound="Overrides")
Positive = Annotated[float, Field(gt=0)]
Pair = tuple[float, float]
Pitch: TypeAlias = LengthOrAngle | tuple[LengthOrAngle, LengthOrAngle] | None
Lengths: TypeAlias = Annotated[tuple[Length, ...], Field(min_length=1)]
Files: TypeAlias = Annotated[tuple[InputPath, ...], Field(min_length=1)]
Propagation: TypeAlias = Length | Lengths | Literal["far_field", "near_field"] | None


def _position_unit(text: str) -> str:
    if text != "px":
        parse(f"1 {text}", "m")
    return text


@component
class ScanSettings:
    """The raster of a scan, and how it lies on the detector.

    Attributes:
        shape: Rows and columns of the raster; those of a four-dimensional array of patterns if absent.
        step: From one position to the next, one or (y, x).
        snake: Every second row runs backwards.
        rotation: Turns the scan's axes from x towards y, y downwards, onto the detector's.
    """

    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    step: LengthOrPixels | tuple[LengthOrPixels, LengthOrPixels] | None = None
    snake: bool = False
    rotation: Angle = 0.0


@component
class Overrides:
    """Corrections to a data file; every field may be left out.

    Attributes:
        format: Name of the reader, or ``path/to/file.py:ClassName``, instead of recognizing the file from its content.
        entry: Entry of a CXI or NeXus file (``entry_2``).
        map: Which array is which in a file of unknown layout: ``["patterns=data", "positions=scan", ...]``.
        energy: Photon energy.
        wavelength: Wavelength, in the medium, instead of the photon energy.
        voltage: Acceleration voltage of electrons, instead of the photon energy.
        white: Flat field, without the sample: array, file, several files, or a pattern of them (``flat_*.tif``),
            averaged. If absent, those that lie beside a series of pictures and are called so.
        dark: Dark field, without beam, likewise.
        hot_pixels: Mask pixels that differ from the median of their neighbors by more than this many standard
            deviations in the mean over all patterns; none if absent.
        pixel_size: Pixel size in the object plane, one or (y, x).
        detector_pixel_size: Pixel pitch of the detector, one or (y, x): a length, or the angle that a pixel subtends,
            for which the distance need not be known.
        distance: Sample to detector; for a series of holograms in a cone beam, one per hologram.
        source_distance: Focus to sample of a cone beam; likewise.
        propagation_distance: Effective near-field distance, one or several; ``near_field`` to compute it from
            ``distance`` and ``source_distance``; or ``far_field``.
        positions: Probe positions: array ``(n, 2)``, (y, x), or a file (HDF5, npy, npz, mat, CSV, text), with the names
            of what holds them if need be, y first: ``para.h5:/ppY,/ppX``.
        positions_unit: Unit of the positions: ``px`` or a length; recognized from names and numbers if absent.
        positions_order: Which of the two coordinates comes first, where no names tell.
        positions_sign: ``-`` if positions are those of the sample, which the probe moves against; two signs, ``+-``,
            for y and x.
        scan: Positions on a raster, from its step.
        rotation: Turns the axes of any scan from x towards y, y downwards, onto the detector's.
        measured: Whether the numbers are intensities (counts), amplitudes (their square root), or line integrals
            -log(I/I0).
        mask: Array, or file (.npy, .tif, or ``file.h5:/path/to/dataset``), non-zero where a pixel is good.
        invert_mask: The mask (of the file, or the one given here) is non-zero where a pixel is bad.
        weights: Weights of pixels or patterns in the loss: array or file, ``(y, x)`` in the frame of the patterns,
            ``(n,)``, one for each pattern that ``angles`` and ``frames`` choose, or ``(n, y, x)``.
        theta: Rotation angles of the data: a list, or a file (text, npy, ``file.h5:/path``) of degrees.
        theta_range: First and last of evenly spaced rotation angles, both included.
        theta_unit: Unit of rotation angles in a file that names none.
        sinograms: The pictures are sinograms ``(angle, x)``, one for each detector row, instead of projections.
        rows: Which rows of the detector to use: ``"100:116"``, before everything else.
        air: Divide each projection by its counts where there is no sample, against a beam that changes: ``auto`` for
            columns at both edges that are air in all projections, or first and last row, first and last column.
        monitor: Divide each projection by the reading of a monitor of the beam, ``(n,)``, over its mean: array or file.
        zingers: In full-field projections, replace counts that exceed those around them, and those of the same pixel
            in the projections before and after, by more than this fraction and by noise; 0.2 is a good value.
        angles: Which angles to use: ``"0:10"``, ``"::2"``, ``"0:5,6:90"`` or a list of numbers.
        frames: Which patterns to use, counted after the choice of angles, in the same way.
        drop_frames: Which patterns to leave out, by their numbers in the file; ``auto``: those of a scan that fall out
            (dark, empty, far too bright, unreadable); or ``none``.
        transpose: Exchange rows and columns of the patterns.
        flip_y: Reverse the rows of the patterns.
        flip_x: Reverse the columns of the patterns.
        crop: Size of the part of the detector that is used, one number or (y, x), in its pixels.
        center: (y, x) of the detector pixel in the middle of that part, where the direct beam is, after transpose and
            flips; ``auto`` to find the beam; the middle of the detector if absent. What is beyond its edge is masked.
        bin: Detector pixels, along each side, whose counts are summed.
        white_fields: How several flat fields are used: their ``mean``, interpolated between those from
            ``before_and_after`` the scan, or ``one_each``: each pattern is divided by its own, or by the mean of its
            own. If absent: interpolated between the angles ``exchange/theta_white`` if the file has them, one each if
            pictures of one angle come with as many flat fields, else the mean.
        bad_counts: What to do with counts that are not finite or negative: stop with an ``error``, ``mask_pixels``
            that have any, ``mask_values`` in the patterns that have them, or ``drop_patterns`` that have any (and
            patterns without a single count). In projections and holograms counts that are not finite are no error:
            they are interpolated, and that is said.
        saturation: Counts at and above which a pixel is only a lower bound, where the loss does not say so itself;
            ``auto`` to find it from counts that pile up at the largest; or ``none``.
        memory_limit_gib: Patterns that take more than this are read from the file batch by batch.
        strict_links: Refuse HDF5 files with any link that is broken, used or not, or that leads out of their folder.
    """

    format: ComponentPath | None = None
    entry: str | None = None
    map: tuple[str, ...] = ()
    energy: Annotated[Energy, Field(gt=0)] | None = None
    wavelength: Annotated[Length, Field(gt=0)] | None = None
    voltage: Annotated[Voltage, Field(gt=0)] | None = None
    white: InputPath | Files | Path | np.ndarray | None = None
    dark: InputPath | Files | Path | np.ndarray | None = None
    hot_pixels: Positive | None = None
    pixel_size: Annotated[Length, Field(gt=0)] | tuple[Length, Length] | None = None
    detector_pixel_size: Pitch = None
    distance: Annotated[Length, Field(gt=0)] | Lengths | None = None
    source_distance: Annotated[Length, Field(gt=0)] | Lengths | None = None
    propagation_distance: Propagation = None
    positions: InputPath | Path | np.ndarray | None = None
    positions_unit: Annotated[str, AfterValidator(_position_unit)] | None = None
    positions_order: Literal["yx", "xy"] | None = None
    positions_sign: Literal["+", "-", "+-", "-+"] | None = None
    scan: ScanSettings = ScanSettings()
    rotation: Angle | None = None
    measured: Literal["intensity", "amplitude", "line_integrals"] | None = None
    mask: InputPath | Path | np.ndarray | None = None
    invert_mask: bool = False
    weights: InputPath | Path | np.ndarray | None = None
    theta: tuple[Angle, ...] | InputPath | Path | np.ndarray | None = None
    theta_range: tuple[Angle, Angle] | None = None
    theta_unit: Literal["deg", "rad"] | None = None
    sinograms: bool = False
    rows: str | None = None
    air: Literal["auto"] | tuple[int, int, int, int] | None = None
    monitor: InputPath | Path | np.ndarray | None = None
    zingers: Positive | None = None
    angles: str | tuple[int, ...] | None = None
    frames: str | tuple[int, ...] | None = None
    drop_frames: str | int | tuple[int, ...] = "auto"
    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False
    crop: int | tuple[int, int] | None = None
    center: Literal["auto"] | tuple[float, float] | None = None
    bin: Annotated[int, Field(ge=1)] = 1
    white_fields: Literal["mean", "before_and_after", "one_each"] | None = None
    bad_counts: Literal["error", "mask_pixels", "mask_values", "drop_patterns"] = "error"
    saturation: Positive | Literal["auto", "none"] = "auto"
    memory_limit_gib: Positive = 2.0
    strict_links: bool = False

    @classmethod
    def of(cls: type[Made], values: Mapping[str, Any] | Overrides | None) -> Made:
        """Overrides from a mapping of field names.

        Raises:
            ConfigError: A key is unknown or a value is invalid; all such errors at once as `ConfigErrors`.
        """
        if isinstance(values, Overrides):
            return values  # type: ignore[return-value]
        try:
            return cls(**dict(values or {}))
        except ValidationError as error:
            raise _translated(error, cls) from None

    @property
    def photon_energy(self) -> float | None:
        """Energy in electronvolts of photons of the given wavelength, energy or electrons' voltage."""
        given = [name for name in ("energy", "wavelength", "voltage") if getattr(self, name) is not None]
        if len(given) > 1:
            what = f"has no effect beside 'data.{given[0]}'"
            raise ConfigError(f"data.{given[1]}", what, remedy="leave one of them out")
        if self.voltage is not None:
            return energy_ev(electron_wavelength_m(self.voltage))
        return self.energy if self.wavelength is None else energy_ev(self.wavelength)

    @property
    def detector_pixel(self) -> tuple[Pair | None, Pair | None]:
        """(y, x) pitch of the detector in meters, and in radian; the one that was given."""
        given = self.detector_pixel_size
        if given is None:
            return None, None
        (y, unit), (x, other) = (magnitude(each) for each in (given if isinstance(given, tuple) else (given, given)))
        if unit != other or min(y, x) <= 0:
            expected = "two lengths or two angles" if unit != other else "a size > 0"
            raise ConfigError("data.detector_pixel_size", "not the size of a pixel", expected=expected, found=given)
        return ((y, x), None) if unit == "m" else (None, (y, x))

    def given(self, key: str) -> Any:
        """The user's value of the length or energy ``key``, or ``None``."""
        if key == "detector_pixel_size":
            return self.detector_pixel[0]
        return self.photon_energy if key == "energy" else getattr(self, key, None)

    def orientation(self, keep_center: bool) -> Orientation:
        """The requested orientation of the patterns."""
        return Orientation(transpose=self.transpose, flip_y=self.flip_y, flip_x=self.flip_x, keep_center=keep_center)


@component
class DataFile(Overrides):
    """One of several scans of an object, with settings of its own, which win over the common ones.

    Attributes:
        path: Its file, or several files that hold parts of it.
    """

    path: InputPath | tuple[InputPath, ...]


def given(overrides: Overrides) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    plain = Overrides()
    found = {name: getattr(overrides, name) for name in Overrides.__dataclass_fields__}
    return {name: value for name, value in found.items()
            if isinstance(value, np.ndarray) or value != getattr(plain, name)}  # fmt: skip


def _translated(error: ValidationError, cls: type) -> ConfigError | ConfigErrors:
    """Pydantic's findings as this package's errors, one per key (a union reports every branch that failed)."""
    found: dict[str, ConfigError] = {}
    for entry in error.errors():
        key = str(entry["loc"][0])
        if entry["type"] == "unexpected_keyword_argument":
            fields = cls.__dataclass_fields__  # type: ignore[attr-defined]
            found[key] = ConfigError(f"data.{key}", "unknown key", remedy=suggestion(key, fields))
        elif key not in found:
            found[key] = ConfigError(f"data.{key}", entry["msg"].removeprefix("Value error, "))
    return next(iter(found.values())) if len(found) == 1 else ConfigErrors(found.values())


def pair(value: float | tuple[float, float] | None) -> tuple[float, float] | None:
    """(y, x) of a size given as one or two numbers."""
    if value is None:
        return None
    y, x = value if isinstance(value, tuple) else (value, value)
    return float(y), float(x)


def _one_choice(text: str, n: int) -> np.ndarray:
    parts = [int(part) if part.strip() else None for part in text.split(":")]
    return np.arange(n)[slice(*parts)] if len(parts) in (2, 3) else np.array([int(text)])


def numbers_of(choice: str | int | tuple[int, ...], n: int, where: str) -> np.ndarray:
    """The indices out of ``range(n)`` that ``choice`` selects.

    Args:
        choice: ``"start:stop:step"`` with Python's meaning, one number, several of these with commas in between, or a
            tuple of numbers.
        n: Number of entries.
        where: Configuration key, for the error.

    Raises:
        ConfigError: Not a valid choice, out of range, or empty.
    """
    expected = f"'start:stop:step' or numbers from 0 to {n - 1}"
    if isinstance(choice, str | int):
        choice = str(choice)
        try:
            chosen = np.concatenate([_one_choice(part, n) for part in choice.split(",")])
        except ValueError:
            raise ConfigError(where, "not a choice", expected=expected, found=repr(choice)) from None
    else:
        chosen = np.asarray(choice, dtype=np.intp)
    outside = chosen[(chosen < 0) | (chosen >= n)]
    if outside.size or chosen.size == 0:
        found = f"number {outside[0]}" if outside.size else f"{choice!r}, which chooses nothing"
        raise ConfigError(where, "chooses what is not there", expected=expected, found=found)
    return chosen.astype(np.intp)
