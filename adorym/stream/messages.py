"""The package's own messages: a JSON header, and the bytes of the arrays that it lists.

A message has several parts. The first one is a JSON object with ``"type"``: ``"begin"``, ``"frame"``, ``"position"``,
``"end"``, ``"picture"``. Its list ``"arrays"`` names the arrays of the other parts, in order, each with ``"name"``,
``"dtype"`` (as NumPy writes it, ``"<u2"``) and ``"shape"``; their bytes are in C order. All other keys are plain:

| type | keys | arrays |
|---|---|---|
| begin | ``first``, ``count`` (may be null), ``about``: plain values by name | ``mask``, ``start_probe``, ... |
| frame | ``number``, ``time_s`` (may be null), ``position`` (y, x; may be missing) | ``image`` |
| position | ``position`` (y, x), ``number`` or ``time_s`` | |
| end | ``last`` (may be null) | |
| picture | ``used``: frames in it, ``loss``, ``time_s``, ``origin_px`` | ``object`` (y, x, z) complex, ``probe`` |
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adorym.data.recording import NO_NUMBER
from adorym.errors import DataError
from adorym.stream.base import Begin, End, Event, Frame, Position


def packed(kind: str, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[bytes]:
    """The parts of a message."""
    listed = [{"name": n, "dtype": a.dtype.str, "shape": list(a.shape)} for n, a in arrays.items()]
    header = json.dumps({"type": kind, **plain, "arrays": listed})
    return [header.encode(), *(np.ascontiguousarray(a).tobytes() for a in arrays.values())]


def encoded(event: Event) -> list[bytes]:
    """The message of an event."""
    if isinstance(event, Frame):
        plain: dict[str, Any] = {"number": event.number, "time_s": _finite(event.time_s)}
        plain |= {} if event.position is None else {"position": list(event.position)}
        return packed("frame", plain, {} if event.image is None else {"image": event.image})
    if isinstance(event, Position):
        of = {"number": event.number} if event.number != NO_NUMBER else {"time_s": event.time_s}
        return packed("position", {"position": list(event.position), **of}, {})
    if isinstance(event, End):
        return packed("end", {"last": event.last}, {})
    arrays = {n: a for n, a in event.about.items() if isinstance(a, np.ndarray)}
    plain = {n: a for n, a in event.about.items() if n not in arrays}
    return packed("begin", {"first": event.first, "count": event.count, "about": plain}, arrays)


def decoded(parts: Sequence[bytes], place: str) -> Event:
    """The event of a message; of a frame that is damaged, one without an image.

    Raises:
        DataError: The message is none of this package.
    """
    try:
        header = json.loads(bytes(parts[0]))
        kind = header["type"]
        if kind == "frame":
            return _frame(header, parts)
        if kind == "position":
            number, time_s = header.get("number", NO_NUMBER), header.get("time_s")
            return Position(_pair(header["position"]), int(number), math.nan if time_s is None else float(time_s))
        if kind == "begin":
            return Begin(header.get("about", {}) | _arrays(header, parts), header.get("first"), header.get("count"))
        if kind == "end":
            return End(header.get("last"))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(place, "a message that cannot be read", found=f"{type(error).__name__}: {error}") from error
    raise DataError(place, "a message of unknown type", expected="begin, frame, position or end", found=kind)


def _frame(header: Mapping[str, Any], parts: Sequence[bytes]) -> Frame:
    time_s, position = header.get("time_s"), header.get("position")
    try:
        image = _arrays(header, parts)["image"]
    except (KeyError, ValueError, TypeError, IndexError):
        image = None
    at = None if position is None else _pair(position)
    return Frame(int(header["number"]), image, math.nan if time_s is None else float(time_s), at)


def _pair(position: Sequence[float]) -> tuple[float, float]:
    y, x = position
    return float(y), float(x)


def _arrays(header: Mapping[str, Any], parts: Sequence[bytes]) -> dict[str, np.ndarray]:
    made = {}
    for each, part in zip(header.get("arrays", ()), parts[1:], strict=True):
        made[each["name"]] = np.frombuffer(part, np.dtype(each["dtype"])).reshape(each["shape"])
    return made


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
