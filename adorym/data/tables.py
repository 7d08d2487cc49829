"""Tables of numbers in text files: CSV, tabs, semicolons or blanks, with or without a line of names.

Names and units are read from the last line of as many words as there are columns, commented out or not:
``x_um,y_um``, ``# y [mm]  x [mm]``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from adorym.data.containers import ArrayInfo, Container
from adorym.errors import DataError

COMMENT = re.compile(r"^\s*(#+|%+|//|!)")
UNITS = {"um": "um", "µm": "um", "μm": "um", "micron": "um", "microns": "um", "nm": "nm", "mm": "mm", "cm": "cm",
         "pm": "pm", "m": "m", "angstrom": "angstrom", "ang": "angstrom", "å": "angstrom",
         "px": "px", "pix": "px", "pixel": "px", "pixels": "px"}  # fmt: skip
_UNIT = re.compile(rf"(?:^|[\s_\-./(\[]+)({'|'.join(sorted(UNITS, key=len, reverse=True))})[)\]]?$", re.IGNORECASE)
# The stage under the zone plate of the LYNX (APS), whose tables say no unit.
STAGE_IN_MICROMETERS = "_st_fzp"
# Names of two columns or arrays that differ in one of these alone are rows and columns.
PAIRS = (("y", "x"), ("row", "col"), ("rows", "columns"), ("row", "column"), ("vertical", "horizontal"), ("ver", "hor"))


def read_table(path: Path) -> Container | None:
    """The columns of a text file by name (``1``, ``2``, ... where none are given); ``None`` if it is not text.

    Raises:
        DataError: Text without numbers, or lines of different length.
    """
    with open(path, "rb") as file:
        head = file.read(4096)
    if b"\0" in head or not head.strip():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return None
    above: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        values = None if COMMENT.match(line) else _numbers(line)
        if values is None and rows and not COMMENT.match(line):
            raise DataError(f"{path}, line {number}", "not numbers", expected=f"{len(rows[0])}", found=repr(line[:60]))
        if values is None:
            above += [] if rows else [COMMENT.sub("", line).strip()]
        elif rows and len(values) != len(rows[0]):
            where = f"{path}, line {number}"
            raise DataError(where, "as many numbers as in the lines before", expected=len(rows[0]), found=len(values))
        else:
            rows.append(values)
    if not rows:
        raise DataError(str(path), "no table of numbers", found=repr(lines[0][:60]), remedy="one line a position")
    table = np.array(rows)
    names = _names(above, table.shape[1]) or [str(i + 1) for i in range(table.shape[1])]
    common = next((unit for line in above if (unit := _said_unit(line))), "")
    found = {name: ArrayInfo(name, (len(table),), "float64", unit_in(name) or common) for name in names}
    columns = dict(zip(names, table.T, strict=True))
    return Container(path, "text", found, load=columns.__getitem__)


def unit_in(name: str) -> str:
    """The unit that a name ends in, ``x_um`` or ``y [mm]``; empty if it has none."""
    if name.endswith(STAGE_IN_MICROMETERS):
        return "um"
    found = _UNIT.search(name.strip())
    return UNITS[found.group(1).lower()] if found and found.start() > 0 else ""


def pair_in(names: list[str]) -> tuple[str, str] | None:
    """The first two of ``names`` that say rows and columns of one thing, rows first: ``ppY, ppX``."""
    bare = {name: _bare(name) for name in names}
    for rows, columns in PAIRS:
        for y in names:
            for at in (found.start() for found in re.finditer(rows, bare[y])):
                partner = bare[y][:at] + columns + bare[y][at + len(rows) :]
                for x in names:
                    if x != y and bare[x] == partner:
                        return y, x
    return None


def _bare(name: str) -> str:
    return _UNIT.sub("", name.strip()).lower()


def _words(line: str) -> list[str]:
    for separator in ("\t", ";", ","):
        if separator in line:
            return [word.strip().strip("\"'") for word in line.strip().strip(separator).split(separator)]
    return [word.strip("\"'") for word in re.sub(r"\s+([(\[])", r"\1", line).split()]


def _numbers(line: str) -> list[float] | None:
    words = _words(line)
    if ";" in line or "\t" in line:  # then a comma is a decimal point
        words = [word.replace(",", ".") for word in words]
    try:
        return [float(word) if word else np.nan for word in words]
    except ValueError:
        return None


def _names(above: list[str], n: int) -> list[str] | None:
    for line in reversed(above):
        words = _words(line)
        if len(words) == n and len(set(words)) == n and not any(char.isdigit() for char in words[0][:1]):
            return words
    return None


def _said_unit(line: str) -> str:
    """Unit in a line such as ``units: um`` or ``positions in micron``."""
    found = re.search(r"\b(?:units?|in)\b\W*(\S+)", line, re.IGNORECASE)
    return UNITS.get(found.group(1).strip(".,;:()[]").lower(), "") if found else ""
