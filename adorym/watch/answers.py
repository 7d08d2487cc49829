"""What there is to see of runs: the list, the state of one, and its pictures; the same for browser and notebook.

A picture is one line of JSON and the planes behind it: little-endian 16-bit numbers from ``low`` (1) to ``high``
(65535), and 0 where there is nothing to see. The viewer colors them, so that contrast needs no further request.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adorym.callbacks.save import LOG_NAME
from adorym.data.live import BOOKS, LIVE, SNAPSHOT, STATE, read_look, read_plain
from adorym.data.lock import LOCK_NAME, SILENCE_S
from adorym.data.looks import VOLUME, Look, curves_of, look_at
from adorym.data.planes import AXES, Plane, channels, plane
from adorym.data.result import RESULT_NAME, Result, read_result
from adorym.errors import DataError
from adorym.report.text import parameter_row
from adorym.watch.folders import Library, Run, check_self_contained, own_file, stamp

PLAIN, BYTES = "application/json", "application/octet-stream"
# Of the object of a finished run: pixels of a slice, and voxels.
PIXELS, VOXELS = 1 << 20, 1 << 23
SHOWN_POSITIONS, SHOWN_MODES, LOG_BYTES = 2000, 12, 20_000
FILES = (f"{LIVE}/{STATE}", f"{LIVE}/{SNAPSHOT}", f"{LIVE}/{BOOKS}", RESULT_NAME, LOG_NAME)
KEPT = 4  # looks in memory


# Files may be damaged, or no files of ours: such a run is not shown, and the others are.
UNREADABLE = (DataError, OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class Answer:
    """What an address yields; status 204 if nothing has changed, 404 if there is no such thing."""

    body: bytes = b""
    kind: str = PLAIN
    status: int = 200


@dataclass
class _Seen:
    """What is known of one version of a run."""

    version: str
    look: Look[Result] | None
    state: dict[str, Any]
    text: bytes = b""
    planes: dict[tuple[str, str, int], bytes] = field(default_factory=dict)


class Answers:
    """Answers to a viewer; may be asked from several threads.

    Args:
        library: The runs.
    """

    def __init__(self, library: Library) -> None:
        self._library, self._seen = library, OrderedDict[str, _Seen]()
        self._rows: dict[str, tuple[str, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._asked: dict[str, Callable[[Mapping[str, str]], Answer]] = {
            "runs": self._runs, "run": self._run, "picture": self._picture,
        }  # fmt: skip

    def __call__(self, what: str, query: Mapping[str, str]) -> Answer:
        """The answer to ``runs`` (``have``), ``run`` (``key``, ``have``), ``picture`` (``key``, ``name``, ...)."""
        asked = self._asked.get(what)
        if asked is None:
            return Answer(status=404)
        with self._lock:
            try:
                return asked(query)
            except UNREADABLE:
                return Answer(status=404)

    # -- the list --------------------------------------------------------------------------------------------------
    def _runs(self, query: Mapping[str, str]) -> Answer:
        rows = [self._row(run) for run in self._library.runs().values()]
        text = json.dumps(sorted(rows, key=lambda row: (row["state"] != "running", -row["updated_s"], row["name"])))
        return Answer(status=204) if query.get("have") == _digest(text) else Answer(_with_version(text))

    def _row(self, run: Run) -> dict[str, Any]:
        version = _version(run)
        kept = self._rows.get(run.key)
        if kept is None or kept[0] != version:
            try:
                row = _row(run)
            except UNREADABLE:
                row = {"key": run.key, "name": run.name, "state": "unreadable", "updated_s": 0.0}
            self._rows[run.key] = kept = version, row
        return kept[1] | {"state": _present(run, kept[1]["state"])}

    # -- one run ---------------------------------------------------------------------------------------------------
    def _run(self, query: Mapping[str, str]) -> Answer:
        run = self._library.runs()[query["key"]]
        seen = self._at(run)
        state = _present(run, seen.state.get("state", "finished"))
        version = f"{seen.version}.{state}"
        if query.get("have") == version:
            return Answer(status=204)
        described = seen.state | {
            "key": run.key, "name": run.name, "version": version, "state": state,
            "silent_s": max(0.0, time.time() - seen.state["updated_s"]),
        }  # fmt: skip
        return Answer(json.dumps(described, allow_nan=False).encode())

    def _at(self, run: Run) -> _Seen:
        """The present version of a run."""
        version, kept = _version(run), self._seen.get(run.key)
        if kept is None or kept.version != version:
            kept = self._seen[run.key] = _see(run, version)
            while len(self._seen) > KEPT:
                self._seen.popitem(last=False)
        self._seen.move_to_end(run.key)
        return kept

    def _picture(self, query: Mapping[str, str]) -> Answer:
        seen = self._at(self._library.runs()[query["key"]])
        name, axis, index = query["name"], query.get("axis", "z"), int(query.get("index", "0"))
        if seen.look is None or index < 0:
            return Answer(status=404)
        wanted = name, axis, index
        if wanted not in seen.planes:
            seen.planes[wanted] = _encoded(_planes(seen.look, name, axis, index))
        return Answer(seen.planes[wanted], BYTES)


def _version(run: Run) -> str:
    return _digest(str([stamp(run.root, run.folder / name) for name in FILES]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _with_version(text: str) -> bytes:
    return f'{{"version": "{_digest(text)}", "runs": {text}}}'.encode()


def _file(run: Run, name: str) -> Path | None:
    return own_file(run.root, run.folder / name)


def _plain(run: Run, name: str) -> dict[str, Any]:
    path = _file(run, f"{LIVE}/{name}")
    return {} if path is None else read_plain(path)


def _present(run: Run, state: str) -> str:
    """``silent`` in place of ``running`` where the run has given no sign of life for half a minute."""
    if state != "running":
        return state
    signs = [stamp(run.root, run.folder / name)[0] for name in (LOCK_NAME, f"{LIVE}/{STATE}")]
    return "running" if time.time() - max(signs) / 1e9 < SILENCE_S else "silent"


def _row(run: Run) -> dict[str, Any]:
    """A line of the list."""
    state = _plain(run, STATE)
    if not state:
        state = _finished_state(run)
    losses = [y for y in _losses(state) if y is not None]
    row = {name: state.get(name) for name in ("kind", "title", "epoch", "epochs")}
    row |= {"key": run.key, "name": run.name, "state": state.get("state", "finished")}
    return row | {"loss": losses[-1] if losses else None, "updated_s": float(state.get("updated_s") or 0.0)}


def _losses(state: Mapping[str, Any]) -> list[float | None]:
    return list(state.get("curves", {}).get("loss", {}).get("y", []))


def _finished_state(run: Run) -> dict[str, Any]:
    """The state of a run that left nothing but its result."""
    path = _file(run, RESULT_NAME)
    if path is None:
        raise DataError(run.name, "neither a snapshot nor a result can be read")
    check_self_contained(path)
    with h5py.File(path, "r") as file:
        history = {name: file[f"history/{name}"][()] for name in file.get("history", ())}
        units = {name: str(each.attrs.get("units", "")) for name, each in file.get("parameters", {}).items()}
    epochs = len(history.get("loss", ()))
    return {
        "kind": "run", "state": "finished", "title": run.name, "epoch": epochs, "epochs": epochs,
        "updated_s": path.stat().st_mtime, "curves": curves_of(history, units),
    }  # fmt: skip


def _see(run: Run, version: str) -> _Seen:
    """Everything there is to see of a run."""
    state, result = _plain(run, STATE), _file(run, RESULT_NAME)
    ended = state.get("state") != "running" and result is not None
    if not state:
        state = _finished_state(run)
    found: Look[Result] | None = None
    if ended and result is not None:
        check_self_contained(result)
        found = look_at(read_result(result, mapped=True), PIXELS, VOXELS)
    elif (path := _file(run, f"{LIVE}/{SNAPSHOT}")) is not None:
        found = read_look(path)
    state |= {
        "updated_s": float(state.get("updated_s") or 0.0),
        "books": _plain(run, BOOKS),
        "log": _tail(_file(run, LOG_NAME)),
        "pictures": [] if found is None else _pictures(found),
        "parameters": [] if found is None else [parameter_row(n, p) for n, p in found.result.parameters.items()],
        "positions": None if found is None else _positions(found),
        "full": ended,
    }
    return _Seen(version, found, state)


def _tail(path: Path | None) -> str:
    """The last lines of a text file."""
    if path is None:
        return ""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LOG_BYTES))
        text = file.read(LOG_BYTES).decode("utf-8", "replace")
    return text if size <= LOG_BYTES else text.partition("\n")[2]


def _pictures(seen: Look[Result]) -> list[dict[str, Any]]:
    """Name, sections and pixel size of every picture."""
    result = seen.result
    depth = result.object.shape[2]
    sections = {"z": depth} if depth <= VOLUME else {name: result.object.shape[AXES.index(name)] for name in "zyx"}
    pixel = None if result.pixel_size_m is None else result.pixel_m[1] * seen.step[1]
    shown: list[dict[str, Any]] = [
        {"name": name, "sections": sections, "colors": "phase" if name == "phase" else "gray", "pixel_m": pixel}
        for name in channels(seen)
    ]
    if result.probe is not None:
        power = (np.abs(result.probe) ** 2).sum((1, 2), dtype=float)
        parts = [round(float(p), 4) for p in (power / max(power.sum(), 1e-300))[:SHOWN_MODES]]
        shown.append({"name": "probe", "sections": {"z": len(parts)}, "colors": "wave", "parts": parts})
    return shown + [
        {"name": name, "sections": {"z": 1}, "colors": "gray"}
        for name in ("measured", "predicted")
        if name in result.fit
    ]


def _positions(seen: Look[Result]) -> dict[str, Any] | None:
    """Refined positions and their start, (y, x) in pixels, as many as can be told apart."""
    found = seen.result.parameters.get("probe_positions")
    if found is None or found.value.ndim != 2 or found.value.shape[1] != 2:
        return None
    every = -(-len(found.value) // SHOWN_POSITIONS)
    value = found.value[::every]
    start = value if found.start is None else found.start[::every]
    good = np.isfinite(value).all(1) & np.isfinite(start).all(1)
    return {
        "unit": found.unit, "count": len(found.value),
        "value": value[good].round(2).tolist(), "start": start[good].round(2).tolist(),
    }  # fmt: skip


def _planes(seen: Look[Result], name: str, axis: str, index: int) -> list[Plane]:
    result, probe = seen.result, seen.result.probe
    if name == "probe" and probe is not None:
        strongest = float(np.abs(probe).max())
        return [Plane(np.abs(probe[index]), 0.0, strongest), Plane(np.angle(probe[index]), -np.pi, np.pi)]
    if name in ("measured", "predicted"):
        counts = np.log10(1 + np.maximum(result.fit[name], 0))
        return [Plane(counts, 0.0, float(np.nanmax(counts, initial=1e-30)))]
    return [plane(seen, name, axis, index)]


def _encoded(planes: list[Plane]) -> bytes:
    """Header and numbers of planes of one shape."""
    about, numbers = [], []
    for each in planes:
        finite = each.values[np.isfinite(each.values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        high = high if high > low else low + 1.0
        scaled = 1 + np.rint((each.values.astype(np.float64) - low) * (65534 / (high - low)))
        numbers.append(np.nan_to_num(scaled, nan=0, posinf=0, neginf=0).astype("<u2"))
        about.append({"low": low, "high": high, "from": each.low, "to": each.high})
    header = json.dumps({"shape": planes[0].values.shape, "planes": about}, allow_nan=False).encode()
    header += b" " * (-(len(header) + 1) % 4) + b"\n"  # numbers begin at a multiple of their size
    return header + b"".join(each.tobytes() for each in numbers)
