"""Rotation angles: from files with and without units, from the user, for a stack of pictures; none is assumed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from adorym.data.containers import read_array
from adorym.data.dataset import Dataset
from adorym.data.hdf5 import factor
from adorym.data.overrides import Overrides
from adorym.errors import DataError

# Angles without a unit that cover half a turn or a whole one in radians, within this fraction, are radians.
NEARLY = 0.06
MOST_TURNS = 20
FEW = 8  # of so few angles a small span says nothing


def in_radians(values: np.ndarray, stated: str | None, wanted: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Angles in rad, and what is doubtful about their unit.

    Args:
        values: As they are in the file.
        stated: The unit in the file, if any.
        wanted: ``deg`` or ``rad``, the user's choice.
    """
    if wanted is not None or stated is not None:
        return values * factor(wanted or stated or "", "rad"), ()
    finite = values[np.isfinite(values)]
    span = float(np.ptp(finite)) if finite.size else 0.0
    step = span / max(finite.size - 1, 1)
    nearly = any(abs(span + part * step - turn) < NEARLY * turn for turn in (np.pi, 2 * np.pi) for part in (0, 1))
    if nearly and finite.size >= FEW:
        doubt = (
            f"theta: {finite.size} angles without a unit from {finite.min():.6g} to {finite.max():.6g}: "
            "taken as radians; set 'data.theta_unit: deg' if they are degrees"
        )
        return values, (doubt,)
    return np.deg2rad(values), ()


def read_angles(source: str | Path | np.ndarray, wanted: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Angles from a text file of numbers, or any file that holds one array; in degrees unless they look like radians.

    Raises:
        DataError: No such file, or no numbers.
    """
    path = Path(str(source)).expanduser()
    if isinstance(source, str | Path) and path.suffix.lower() in (".txt", ".csv", ".dat", ".rawtlt", ".tlt"):
        try:
            values = np.loadtxt(path, delimiter="," if path.suffix.lower() == ".csv" else None, ndmin=1)
        except (OSError, ValueError) as error:
            raise DataError(str(path), "no list of angles", expected="a number a line", found=str(error)) from error
    else:
        values = read_array(source, "list of angles")[0]
    return in_radians(np.ravel(values).astype(np.float64), None, wanted)


def chosen_angles(
    overrides: Overrides, n: int, known: int, *, scanned: bool
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]] | None:
    """The user's angles, of a stack of pictures at unknown angles one a picture; ``None`` if none are given.

    Args:
        overrides: The user's choices.
        n: Number of patterns.
        known: Number of angles in the file, 1 if there are none.
        scanned: Whether a probe was scanned: patterns are then not one an angle.

    Returns:
        Angles, the angle of each pattern if that follows, and what is doubtful about them.

    Raises:
        DataError: Their number does not fit.
    """
    given, doubts = overrides.theta, ()
    if isinstance(given, str | Path | np.ndarray):
        given, doubts = read_angles(given, overrides.theta_unit)  # type: ignore[assignment]
    if given is None and overrides.theta_range is None:
        return None
    stack = known == 1 and n > 1 and not scanned and (given is None or len(given) == n)
    number = n if stack else known
    if given is None:
        assert overrides.theta_range is not None  # checked above
        theta = np.linspace(*overrides.theta_range, number)
    else:
        theta = np.array(given, np.float64)
    if len(theta) != number:
        expected = n if known == 1 and not scanned else number
        what = "the number of rotation angles does not fit"
        raise DataError("data.theta", what, expected=expected, found=f"{len(theta)} in data.theta")
    return theta, np.arange(n) if stack else None, doubts


def check_angles(dataset: Dataset) -> None:
    """Refuse angles that are not finite where there are patterns at them, or whose unit cannot be right.

    Raises:
        DataError: With the number of the first.
    """
    used = np.unique(dataset.angle_index)
    theta = dataset.theta_rad[used]
    bad = dataset.angle_numbers[used[~np.isfinite(theta)]]
    if bad.size:
        verb = "is" if bad.size == 1 else f"and {bad.size - 1} more are"
        others = without(bad, int(dataset.angle_numbers.max()) + 1)
        remedy = "give all angles with 'data.theta'" + (f", or leave it out: data.angles: {others}" if others else "")
        raise DataError(dataset.path, f"rotation angle {bad[0]} {verb} not a finite number", remedy=remedy)
    turns = float(np.ptp(theta)) / (2 * np.pi) if len(theta) else 0.0
    if turns > MOST_TURNS:
        remedy = "say their unit: 'data.theta_unit: deg', or 'deg' behind the numbers of a configuration"
        what = f"the rotation angles cover {turns:.4g} turns"
        raise DataError(dataset.path, what, expected=f"at most {MOST_TURNS}", remedy=remedy)


def without(left_out: np.ndarray, n: int) -> str:
    """``0:5,6:91``: all of ``range(n)`` but some, as ``data.angles`` and ``data.frames`` take it."""
    edges = [-1, *sorted(int(i) for i in left_out), n]
    return ",".join(f"{a + 1}:{b}" for a, b in pairwise(edges) if b > a + 1)
