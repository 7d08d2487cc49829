"""What the control system of a beamline wrote of a scan: readings of motors and the columns of the scan.

Three kinds of files are read: text of SPEC (``#S`` scans, ``#O`` and ``#P`` motors, ``#L`` columns), ``.fio`` files of
DESY (``%c``, ``%p``, ``%d``), and HDF5 of BLISS (``N.1/instrument/positioners``, ``N.1/measurement``). Counts are
elsewhere; here are only one-dimensional numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from adorym.data.hdf5 import open_hdf5
from adorym.errors import DataError, suggestion


@dataclass(frozen=True, eq=False)
class ScanRecord:
    """A scan as the control system wrote it.

    Attributes:
        name: File and number, for messages.
        title: The command.
        motors: Readings of the motors at the start of the scan.
        columns: Numbers of each point, ``(n,)``.
    """

    name: str
    title: str = ""
    motors: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def column(self, name: str) -> np.ndarray:
        """The column ``name``, whatever its capitals.

        Raises:
            DataError: There is none.
        """
        found = next((values for key, values in self.columns.items() if key.lower() == name.lower()), None)
        if found is None:
            raise DataError(self.name, f"no column '{name}' in the scan", remedy=suggestion(name, self.columns))
        return found


def read_scan(source: str | Path) -> ScanRecord:
    """The scan ``file:number``, or the only one of a file.

    Raises:
        DataError: No such file or scan, or not one of the known kinds.
    """
    file, _, number = str(source).rpartition(":")
    if not file or not number.isdigit():
        file, number = str(source), ""
    path = Path(file).expanduser()
    if not path.is_file():
        raise DataError(str(path), "no such file of scans", expected="FILE, or FILE:NUMBER of the scan")
    if h5py.is_hdf5(path):
        return _bliss(path, number)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if any(line.strip() == "%d" for line in lines):
        return _fio(path, lines)
    if any(re.match(r"#S\s+\S", line) for line in lines):
        return _spec(path, lines, number)
    expected = "SPEC ('#S' lines), fio ('%d' section) or BLISS HDF5"
    raise DataError(str(path), "not a known file of scans", expected=expected)


def scans_of(path: Path) -> dict[str, str]:
    """The commands of the scans in a text of SPEC or of DESY by number; empty if it is none."""
    with path.open("rb") as file:
        head = file.read(1 << 16).decode(errors="replace")
    if re.search(r"^%d\s*$", head, re.M) and re.search(r"^%c\s*$", head, re.M):
        return {"": read_scan(path).title}
    if not re.search(r"^#[FS]\s+\S", head, re.M):
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    titles = [line[3:].split(None, 1) for line in lines if re.match(r"#S\s+\S", line)]
    return {number: (more or [""])[0] for number, *more in titles}


def _chosen(path: Path, number: str, known: list[str]) -> str:
    """The number of the scan that is meant."""
    if number in known:
        return number
    if not number and len(known) == 1:
        return known[0]
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    what = f"no scan {number}" if number else "which scan?"
    raise DataError(str(path), what, expected=f"one of {shown}", remedy=f"such as {path.name}:{known[-1]}")


# -- SPEC ------------------------------------------------------------------------------------------------------------
def _spec(path: Path, lines: list[str], number: str) -> ScanRecord:
    starts = [i for i, line in enumerate(lines) if re.match(r"#S\s+\S", line)]
    titles = [lines[i][3:].split(None, 1) for i in starts]
    wanted = _chosen(path, number, [title[0] for title in titles])
    # A number that comes twice was measured again: the last one counts.
    which = max(i for i, title in enumerate(titles) if title[0] == wanted)
    names = {kind: _lines(lines[: starts[which]], kind) for kind in "oO"}  # short names, and those that are shown
    end = starts[which + 1] if which + 1 < len(starts) else len(lines)
    body = lines[starts[which] + 1 : end]
    motors: dict[str, float] = {}
    for row, text in _lines(body, "P").items():
        values = [_number(word) for word in text.split()]
        for kind in "oO":
            pairs = zip(_labels(names[kind].get(row, ""), len(values)), values, strict=False)
            motors |= {name: value for name, value in pairs if value is not None}
    label = next((line[2:] for line in body if line.startswith("#L")), "")
    rows = [line.split() for line in body if line.strip() and line[0] not in "#@"]
    title = titles[which][1] if len(titles[which]) > 1 else ""
    labels = _labels(label, max(map(len, rows), default=0))
    return ScanRecord(f"{path}:{wanted}", title, motors, _columns(labels, rows))


def _lines(lines: list[str], kind: str) -> dict[int, str]:
    """The texts of ``#O0``, ``#O1``, ... by number, of those that come twice the last."""
    found = (re.match(rf"#{kind}(\d+)\s+(.*)", line) for line in lines)
    return {int(match[1]): match[2].strip() for match in found if match}


def _labels(text: str, count: int) -> list[str]:
    """Names with two spaces between them, since they may hold one; or with one, if there are as many as numbers."""
    apart, words = [name for name in re.split(r"\s{2,}", text.strip()) if name], text.split()
    return words if len(apart) != count == len(words) else apart


# -- fio ---------------------------------------------------------------------------------------------------------------
def _fio(path: Path, lines: list[str]) -> ScanRecord:
    section, title, motors, labels, rows = "", "", {}, [], []
    for line in map(str.strip, lines):
        if line.startswith("%"):
            section = line[1:2]
        elif not line or line.startswith("!"):
            continue
        elif section == "c":
            title = title or line
        elif section == "p" and "=" in line:
            name, value = (part.strip() for part in line.split("=", 1))
            if (number := _number(value)) is not None:
                motors[name] = number
        elif section == "d" and (found := re.match(r"Col\s+\d+\s+(\S+)", line)):
            labels.append(found.group(1))
        elif section == "d":
            rows.append(line.split())
    return ScanRecord(str(path), title, motors, _columns(labels, rows))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _columns(labels: list[str], rows: list[list[str]]) -> dict[str, np.ndarray]:
    """Columns of numbers; points that were cut short, and columns of text, are left out."""
    whole = [row for row in rows if len(row) == len(labels)]
    found = {label: [_number(row[i]) for row in whole] for i, label in enumerate(labels)}
    return {label: np.array(values, float) for label, values in found.items() if None not in values}


# -- BLISS -------------------------------------------------------------------------------------------------------------
def _bliss(path: Path, number: str) -> ScanRecord:
    with open_hdf5(path) as file:
        known = [name[:-2] for name in file if name.endswith(".1")]
        if not known:
            raise DataError(str(path), "not a known file of scans", expected="groups 1.1, 2.1, ... of BLISS")
        entry = file[f"{_chosen(path, number, sorted(known, key=int))}.1"]
        positioners, measured = entry.get("instrument/positioners", {}), entry.get("measurement", {})
        motors = {name: float(np.ravel(item[()])[0]) for name, item in positioners.items() if _numeric(item, 1)}
        columns = {name: np.asarray(item[()], float) for name, item in measured.items() if _numeric(item, 1)}
        # A motor that was scanned has a reading for each point.
        columns |= {
            name: np.asarray(item[()], float)
            for name, item in positioners.items()
            if _numeric(item, 1) and item.ndim == 1 and name not in columns
        }
        title = entry["title"][()] if "title" in entry else b""
        columns = {name: values for name, values in columns.items() if values.ndim == 1}
        return ScanRecord(f"{path}:{entry.name}", _text(title), motors, columns)


def _numeric(item: object, most: int) -> bool:
    return isinstance(item, h5py.Dataset) and item.ndim <= most and item.dtype.kind in "iuf" and item.size > 0


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
