r"""Where the beam meets the object: positions in any unit, order and direction, in object pixels.

Positions come with the patterns, from a file of their own, or from the numbers of a raster. Their unit is what is said:
in the configuration, by the file, or by a name (``x_um``). If nothing is said, or if it makes neighbors lie further
apart than some windows or closer than a small part of a pixel, the size of the numbers decides: the beam moves by a
part of its own width, and the units are a thousandfold of each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adorym import units
from adorym.data.containers import ArrayInfo, Container, open_container
from adorym.data.dataset import Dataset
from adorym.data.hdf5 import check_file, factor
from adorym.data.lengths import Lengths
from adorym.data.overrides import Overrides, ScanSettings
from adorym.data.rows import rows_of
from adorym.data.tables import pair_in, read_table, unit_in
from adorym.errors import ConfigError, DataError
from adorym.optics.windows import nearest_distances

POSITION_WORDS = ("pos", "scan", "transl", "coord", "stage", "motor", "encoder", "point")
# Where the stage should have been, and how it trembled; where it was is better.
SECOND_CHOICE = ("target", "setpoint", "nominal", "std")
LENGTH_UNITS = ("m", "mm", "um", "nm")
# Neighbors that are closer, in pixels, do not move the beam; a step of the beam is less than a window, and more than
# a few of them is no scan.
SMALLEST_STEP_PX, MOST_WINDOWS = 0.02, 4
USUAL_PX = 1.0, 5.0  # of a scan whose unit nobody says: at least, and mostly
DOUBTFUL_PX = 0.1
FIRST_PX = 2  # of positions in a length, along both axes
FEWEST_TELLING = 8  # positions, whose numbers tell their unit


@dataclass(frozen=True)
class Recorded:
    """Positions as they are recorded.

    Attributes:
        values: ``(k, 2)`` float64, (y, x).
        unit: Unit of the numbers; empty if nothing says it.
        origin: Where they were found.
        bare: The unit they are in if nothing says it.
        certain: The user names the unit.
    """

    values: np.ndarray
    unit: str = ""
    origin: str = "the file"
    bare: str = "px"
    certain: bool = False

    def step(self) -> float:
        """Mean distance of nearest neighbors, in the unit of the numbers; 0 without any."""
        distinct = np.unique(self.values[np.isfinite(self.values).all(1)], axis=0)
        return float(nearest_distances(distinct).mean()) if len(distinct) > 1 else 0.0


def recorded_in(px: np.ndarray | None, meters: np.ndarray | None) -> Recorded | None:
    """Positions of a file that calls them pixels or meters."""
    if meters is not None:
        return Recorded(meters, "m")
    return None if px is None else Recorded(np.asarray(px, dtype=np.float64), "px")


def read_positions(source: str | Path | np.ndarray, n: int) -> Recorded:
    """Positions of ``n`` patterns in an array or in a file of their own.

    Args:
        source: An array ``(n, 2)`` (y, x); a file; or ``file:y,x`` and ``file:yx`` with the names of what holds them.
        n: Number of patterns.

    Raises:
        DataError: No such file or array, or nothing in it that can be positions.
    """
    if isinstance(source, np.ndarray):
        return Recorded(_pairs(source, n, "data.positions"), origin="an array that was given", bare="m")
    path, _, keys = str(source).rpartition(":")
    if not path or Path(str(source)).expanduser().is_file():
        path, keys = str(source), ""
    file = check_file(path)
    container = read_table(file) or open_container(file)
    names = [container.name_of(key) for key in keys.split(",")] if keys else _guessed(container, n)
    return _read(container, names, n)


def _guessed(container: Container, n: int) -> list[str]:
    """Names of the arrays that are positions: a column of rows and one of columns, or one array of both."""
    known = {name: info for name, info in container.arrays.items() if info.is_real}

    def rank(name: str) -> tuple[bool, bool]:
        said = name.lower()
        return any(word in said for word in SECOND_CHOICE), not any(word in said for word in POSITION_WORDS)

    lists = sorted(
        (name for name, info in known.items() if _count(info) == n > 1 or container.kind == "text"), key=rank
    )
    if (found := pair_in(lists)) is not None:
        return list(found)
    if container.kind == "text":
        return _unnamed(container)
    pairs = sorted((name for name, info in known.items() if _count(info) in (2 * n, 3 * n)), key=rank)
    if not pairs and len(known) == 1:
        pairs = list(known)
    if not pairs:
        remedy = f"name them: '{container.path}:ROWS,COLUMNS', y first"
        raise DataError(str(container.path), "which arrays are the positions?", found=", ".join(known), remedy=remedy)
    return pairs[:1]


def _unnamed(table: Container) -> list[str]:
    """The two columns of a table without telling names; a first column that only counts is left out."""
    names = list(table.arrays)
    first = table.read(names[0])
    if len(names) == 3 and np.array_equal(first - first[0], np.arange(len(first))):
        names = names[1:]
    if len(names) != 2:
        remedy = f"name their columns: '{table.path}:Y,X', or give the file a first line of names, such as 'y_um,x_um'"
        raise DataError(str(table.path), "which columns are the positions?", found=", ".join(names), remedy=remedy)
    return names


def _read(container: Container, names: list[str], n: int) -> Recorded:
    """Positions in one array, or in two of rows and columns."""
    stated = [container.arrays[name].unit or unit_in(name) for name in names]
    place = f"{container.path}:{','.join(names)}"
    if len(names) == 1:
        array = np.asarray(container.read(names[0]), np.float64)
        return Recorded(_pairs(array, n, place), stated[0], place)
    if len(names) != 2:
        raise DataError(place, "positions have the wrong number of names", expected="rows,columns", found=len(names))
    y, x = (np.asarray(container.read(name), np.float64).ravel() for name in names)
    if len(y) != len(x):
        raise DataError(place, "rows and columns differ in number", found=f"{len(y)} and {len(x)}")
    if stated[0] != stated[1]:  # in meters, then; a unit for one of them holds for both
        stated = [stated[0] or stated[1], stated[1] or stated[0]]
        y, x = y * _factor(stated[0], place), x * _factor(stated[1], place)
        stated = ["m", "m"]
    return Recorded(np.stack([y, x], axis=-1), stated[0], place)


def _pairs(array: np.ndarray, n: int, place: str) -> np.ndarray:
    first = next((axis for axis, size in enumerate(array.shape) if size > 1), 0)
    return rows_of(array.reshape(array.shape[first:]), n, place)[:, :2].astype(np.float64)


def _count(info: ArrayInfo) -> int:
    return int(np.prod(info.shape))


def _factor(unit: str, place: str) -> float:
    try:
        return factor(unit, "m")
    except ValueError as error:
        raise DataError(place, "the unit of the positions is no length", found=f"'{unit}'", remedy=str(error)) from None


def own_positions(
    overrides: Overrides, stored: tuple[int, ...] | None, n: int, notes: list[str], path: str
) -> Recorded | None:
    """The positions that the user gives, in a file of their own or as a raster; ``None`` if the data have to know them.

    Args:
        overrides: Says where they are.
        stored: Leading axes of the array of ``n`` patterns.
        n: Number of patterns in the file.
        notes: Receives where they were found.
        path: Of the data, for errors.

    Raises:
        InputError: They cannot be read, or do not fit.
    """
    found = raster(overrides.scan, stored, n, path)
    if overrides.positions is not None:
        if found is not None:
            raise ConfigError("data.scan.step", "has no effect beside 'data.positions'", remedy="leave one of them out")
        found = read_positions(overrides.positions, n)
    if found is not None:
        notes.append(f"positions: {found.origin}" + (f" in {found.unit}" if found.unit else ""))
    return found


# -- a raster ----------------------------------------------------------------------------------------------------------
def raster(scan: ScanSettings, stored: tuple[int, ...] | None, n: int, path: str) -> Recorded | None:
    """Positions on a raster, its rows slow; ``None`` without a step.

    Raises:
        ConfigError: The shape is unknown, or does not hold ``n`` patterns.
    """
    if scan.step is None:
        return None
    while stored is not None and len(stored) > 2 and stored[0] == 1:
        stored = stored[1:]
    shape = scan.shape or (stored if stored is not None and len(stored) == 2 else None)
    if shape is None:
        remedy = "give it: 'data: {scan: {shape: [rows, columns], step: 0.4 angstrom}}'"
        raise ConfigError("data.scan.shape", f"absent, and the patterns in '{path}' are no raster", remedy=remedy)
    if shape[0] * shape[1] != n:
        raise ConfigError(
            "data.scan.shape", "not the number of patterns", expected=f"{n}", found=f"{shape[0]} x {shape[1]}"
        )
    steps = scan.step if isinstance(scan.step, tuple) else (scan.step, scan.step)
    (y_step, unit), (x_step, x_unit) = (units.magnitude(each) for each in steps)
    if unit != x_unit:
        raise ConfigError("data.scan.step", "two different kinds of units", found=f"{unit} and {x_unit}")
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    if scan.snake:
        columns[1::2] = columns[1::2, ::-1]
    values = np.stack([rows.ravel() * y_step, columns.ravel() * x_step], axis=-1).astype(np.float64)
    return Recorded(values, unit, f"a raster of {shape[0]} x {shape[1]}", certain=True)


# -- to object pixels --------------------------------------------------------------------------------------------------
def placed(
    recorded: Recorded,
    overrides: Overrides,
    lengths: Lengths,
    window: tuple[tuple[int, int], np.ndarray],
    told: tuple[list[str], list[str]],
    path: str,
) -> tuple[np.ndarray, bool, tuple[float, float]]:
    """``(k, 2)`` (y, x) in object pixels; whether they were computed from a length with the size of these; their zero.

    Positions in a length begin at `FIRST_PX`, the instrument's zero being arbitrary: an object with the usual margin
    around them begins at (0, 0).

    Args:
        recorded: The positions.
        overrides: Their order, sign, unit and rotation.
        lengths: Of the patterns as they are used.
        window: (y, x) size of these, and their object pixel over that of whole frames.
        told: Receive what is done, and what is doubtful.
        path: Of the data, for errors.

    Raises:
        DataError: Positions in a length cannot be turned into pixels.
    """
    values, notes = recorded.values, told[0]
    if values.ndim != 2 or values.shape[1] != 2:
        return values, False, (0.0, 0.0)  # the data set says what is wrong
    if overrides.positions_order == "xy":
        values = values[:, ::-1]
        notes.append("positions: (x, y) exchanged")
    if overrides.positions_sign is not None:
        signs = [-1.0 if sign == "-" else 1.0 for sign in overrides.positions_sign]
        values = values * np.array([signs[0], signs[-1]])
    unit = _decided(replace(recorded, values=values), overrides, (lengths, window[0]), *told)
    angle = overrides.scan.rotation if overrides.rotation is None else overrides.rotation
    if angle:
        notes.append(f"positions turned by {np.rad2deg(angle):.6g} deg, from x towards y")
    if unit == "px":
        return turned(values / window[1], angle, lengths.pixel_size_m), False, (0.0, 0.0)
    pixel = _known_pixel(lengths, unit, path)
    values = turned(values * _factor(unit, recorded.origin), angle)
    start = np.nanmin(values, axis=0)
    notes.append(f"positions begin at {FIRST_PX} px, their minimum, (y, x) = ({start[0]:.6g}, {start[1]:.6g}) m")
    zero = start / np.asarray(pixel) - FIRST_PX
    return (values - start) / np.asarray(pixel) + FIRST_PX, True, (float(zero[0]), float(zero[1]))


def first_px(dataset: Dataset) -> int:
    """Where positions begin along both axes, if they were computed from a length; else the zero of the file."""
    return FIRST_PX if "probe_positions_px" in dataset.computed else 0


def turned(positions: np.ndarray, angle_rad: float, pixel_m: tuple[float, float] | None = None) -> np.ndarray:
    r"""Positions whose axes are turned about their middle, from x towards y, on pixels of (y, x) size ``pixel_m``.

    .. math:: y' = y\cos\theta + x\sin\theta, \qquad x' = x\cos\theta - y\sin\theta
    """
    if angle_rad == 0:
        return positions
    middle, scale = np.nanmean(positions, axis=0), np.ones(2) if pixel_m is None else np.asarray(pixel_m) / pixel_m[0]
    y, x = ((positions - middle) * scale).T
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([y * c + x * s, x * c - y * s], axis=-1) / scale + middle


def _decided(
    recorded: Recorded,
    overrides: Overrides,
    known: tuple[Lengths, tuple[int, int]],
    notes: list[str],
    doubts: list[str],
) -> str:
    """Unit of the numbers; ``known``: lengths and (y, x) size of the patterns."""
    if overrides.positions_unit is not None:
        return overrides.positions_unit
    said, step, (lengths, window_px) = recorded.unit or recorded.bare, recorded.step(), known
    if recorded.certain or len(recorded.values) < FEWEST_TELLING or step == 0:
        return said
    pixel = None if lengths.pixel_size_m is None else float(np.mean(lengths.pixel_size_m))

    def in_px(unit: str) -> float:
        if unit == "px":
            return step
        return step * factor(unit, "m") / pixel if pixel else np.nan

    def fits(unit: str, least: float = USUAL_PX[0], windows: int = 1) -> bool:
        return least <= in_px(unit) <= windows * max(window_px)

    labeled = (SMALLEST_STEP_PX, MOST_WINDOWS) if recorded.unit else (USUAL_PX[0], 1)
    in_pixels = said == "px" and (pixel is None or (bool(recorded.unit) and step >= SMALLEST_STEP_PX))
    if in_pixels or fits(said, *labeled):
        return said
    if pixel is None:  # of the numbers alone, only one that is far too large for a length is known
        return "px" if not recorded.unit and step > 1e-3 else said
    others = [unit for unit in ("px", *LENGTH_UNITS) if unit != said and fits(unit)]
    if not others:
        return said
    unit = min(others, key=lambda each: abs(np.log(in_px(each) / USUAL_PX[1])))
    text = (
        f"positions: taken as {unit}, in which neighbors are {in_px(unit):.3g} px apart; in {said} it would be "
        f"{in_px(said):.3g} px. If this is wrong, give 'data.positions_unit'"
    )
    if recorded.unit:
        doubts.append(f"{text} (the file says {recorded.unit})")
    else:
        (doubts if DOUBTFUL_PX < in_px(said) < max(window_px) else notes).append(text)
    return unit


def _known_pixel(lengths: Lengths, unit: str, path: str) -> tuple[float, float]:
    if lengths.pixel_size_m is not None:
        return lengths.pixel_size_m
    needed = {
        "energy": lengths.energy_ev,
        "distance": lengths.distance_m,
        "detector_pixel_size": lengths.detector_pixel_size_m,
    }
    missing = ", ".join(f"data.{name}" for name, value in needed.items() if value is None)
    remedy = f"give data.pixel_size, or for far-field data what is missing of the geometry: {missing}"
    where = "meters" if unit == "m" else unit
    raise DataError(path, f"positions are in {where} and the pixel size of the object is unknown", remedy=remedy)
