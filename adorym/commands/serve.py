"""Play a data file as a detector."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from adorym.schema import build
from adorym.stream.base import End, Frame
from adorym.stream.faults import Faults
from adorym.stream.replay import Replay
from adorym.stream.targets import target_of


def serve(
    file: str,
    to: str,
    rate: str | None = None,
    faults: Mapping[str, Any] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Send the patterns of ``file`` to ``to``.

    Args:
        file: A data file of any readable format.
        to: ``zmq://*:PORT`` or ``pva://NAME``.
        rate: Frames per second, such as ``1 kHz``; as fast as they are taken if absent.
        faults: Faults of the transport, by the fields of `adorym.stream.faults.Faults`.
        stopped: Asked between two frames.

    Returns:
        Frames sent, and frames per second.

    Raises:
        InputError: The file cannot be read, or a setting is wrong.
    """
    source: Replay = build(Replay, {"address": file, "rate": rate}, "serve")
    wrong: Faults = build(Faults, dict(faults or {}), "--set")
    sender, sent, start = target_of(to).open(), 0, 0.0
    try:
        for event in wrong.applied(source.events()):
            if event is None:
                continue
            while not sender.send(event):
                if stopped():
                    return _told(sent, start)
            start = start or time.perf_counter()
            sent += isinstance(event, Frame)
            if stopped():
                return _told(sent, start)
            if isinstance(event, End):
                break
    finally:
        sender.close()
    return _told(sent, start)


def _told(sent: int, start: float) -> dict[str, float]:
    return {"frames": sent, "rate_hz": sent / max(time.perf_counter() - start, 1e-9) if start else 0.0}
