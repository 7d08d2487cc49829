"""Small snapshots of a run that goes on: the folder ``live`` beside its result, which other programs may read.

``state.json`` says how far the run is, with its curves; ``snapshot.npz`` holds a `Look` at object, probe and
parameters; a stream adds ``books.json``. Each is replaced as a whole: a reader never sees half of one.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from adorym.data.looks import Look
from adorym.data.result import ParameterResult, Result
from adorym.errors import DataError

LIVE, STATE, SNAPSHOT, BOOKS = "live", "state.json", "snapshot.npz", "books.json"


def packed(seen: Look[Result]) -> bytes:
    """The content of ``snapshot.npz``."""
    result = seen.result
    about = {
        "representation": result.representation,
        "origin_px": result.origin_px,
        "pixel_size_m": result.pixel_size_m,
        "step": seen.step,
        "probe_step": seen.probe_step,
        "units": {name: each.unit for name, each in result.parameters.items()},
    }
    arrays = {"object": result.object} | ({} if result.probe is None else {"probe": result.probe})
    for name, each in result.parameters.items():
        arrays |= {f"value/{name}": each.value} | ({} if each.start is None else {f"start/{name}": each.start})
    file = io.BytesIO()
    np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def read_look(path: Path) -> Look[Result]:
    """The look in a ``snapshot.npz``.

    Raises:
        DataError: It is not one, or cannot be read.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            parameters = {
                name: ParameterResult(file[f"value/{name}"], unit, file.get(f"start/{name}"))
                for name, unit in about["units"].items()
            }
            size = about["pixel_size_m"]
            result = Result(
                object=file["object"],
                representation=about["representation"],
                origin_px=tuple(about["origin_px"]),
                pixel_size_m=None if size is None else tuple(size),
                probe=file.get("probe"),
                parameters=parameters,
            )
        return Look(result, tuple(about["step"]), int(about["probe_step"]))
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
        raise DataError(str(path), "not a snapshot of a run", found=error, remedy="it is made anew by a run") from error


def read_plain(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty if there is none, or it is no mapping."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
