"""EPICS PVAccess: frames of an area detector (NTNDArray) as a source, and frames and pictures published as PVs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from pydantic import Field

from adorym.registry import register
from adorym.stream.base import IDLE_S, Begin, End, Event, Frame, Source
from adorym.stream.dectris import decompressed
from adorym.stream.network import needed

LOG = logging.getLogger("adorym")
# The PV of the end may be faster than the last frames: so long none comes before it is believed.
SETTLED_S = 0.5
# Seconds from 1970 to the epoch that some servers count from, by which times of the year 1990 are recognized.
NO_TIME_S = 7e8
# The types of the elements before compression, by their codes in the NDArray's codec.
CODED = {1: "i1", 5: "u1", 2: "<i2", 6: "<u2", 3: "<i4", 7: "<u4", 9: "<f4", 10: "<f8"}


@register("source", "pva")
class Pva(Source):
    """The PV of an area detector, over PVAccess.

    The frame's number is ``uniqueId``. The server is asked to keep a queue: without one it drops frames at rates of
    some hundred per second, and does not count all of them.

    Attributes:
        address: Name of the PV.
        queue: Frames that the server keeps for this client.
        position: Names of two attributes of the frame that hold y and x, such as ``y,x``; none if empty.
        unit: Unit of these positions.
        trigger: PV of a number or an enumeration that is not zero while frames belong to the scan, which begins with
            it; ``!NAME`` for one that is zero then. Frames before it are not part of the scan. Every frame is if empty.
        end: PV that becomes other than zero, or zero with ``!NAME``, when the scan is over; what it was at the
            beginning does not count. Without it, silence is the end.
    """

    address: str
    queue: int = Field(1000, ge=1)
    position: str = ""
    unit: str = "m"
    trigger: str = ""
    end: str = ""

    def events(self) -> Iterator[Event | None]:
        client = needed("p4p.client.thread", "the source 'pva'")
        arrived: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        context = client.Context("pva", nt=False)
        request = f"record[queueSize={self.queue}]field()"
        opened = []
        try:
            for what, name in (("trigger", self.trigger), ("end", self.end), ("frame", self.address)):
                if name:
                    put = partial(_put, arrived, what)
                    pv = name.removeprefix("!")
                    opened.append(context.monitor(pv, put, request=request, notify_disconnect=True))
            yield from self._scan(arrived)
        finally:
            for monitor in opened:
                monitor.close()
            context.close()

    def _scan(self, arrived: SimpleQueue[tuple[str, Any]]) -> Iterator[Event | None]:
        """The events of a scan from what PVs say, which may be in another order than it happened."""
        begin = Begin({"positions_unit": self.unit} if self.position else {})
        begun, before, was_over, over_s, last = not self.trigger, 0, None, None, None
        if begun:
            yield begin
        while over_s is None or time.monotonic() - over_s < SETTLED_S:
            try:
                what, value = arrived.get(timeout=IDLE_S)
            except Empty:
                yield None
                continue
            if isinstance(value, Exception):  # not connected yet, or no longer
                yield None
            elif what == "trigger":
                if not begun and _is_on(value, self.trigger):
                    begun = True
                    yield begin
            elif what == "end":
                is_over = _is_on(value, self.end)
                if begun and is_over and was_over is False:
                    over_s = time.monotonic()
                was_over = is_over
            elif begun:
                event = self._of(value)
                last = event.number if isinstance(event, Frame) else last
                over_s = over_s and time.monotonic()
                yield event
            else:
                before += 1
                yield None
        if before:
            LOG.info("%d frames came before the trigger '%s', and are not part of the scan", before, self.trigger)
        yield End(last)

    def _of(self, value: Any) -> Event | None:
        """The event of one update; ``None`` of the empty one that a server has before its first frame."""
        attributes = {each["name"]: each["value"] for each in value.get("attribute", None) or ()}
        if attributes.get("adorym:end") is not None:
            return End(int(attributes["adorym:end"]))
        size = [int(each["size"]) for each in value["dimension"]]
        if not size or value["value"] is None or len(value["value"]) == 0:
            return None
        stamp = value.get("dataTimeStamp", None) or value["timeStamp"]
        time_s = float(stamp["secondsPastEpoch"]) + 1e-9 * float(stamp["nanoseconds"])
        names = [name for name in self.position.split(",") if name]
        at = None
        if len(names) == 2 and all(name in attributes for name in names):
            at = (float(attributes[names[0]]), float(attributes[names[1]]))
        return Frame(int(value["uniqueId"]), _image(value, size), time_s if time_s > NO_TIME_S else np.nan, at)


def _put(arrived: SimpleQueue[tuple[str, Any]], what: str, value: Any) -> None:
    arrived.put((what, value))


def _is_on(value: Any, name: str) -> bool:
    """Whether the PV of a number or an enumeration is other than zero, or zero if ``name`` begins with ``!``."""
    found = value["value"]
    number = found if isinstance(found, (bool, int, float)) else found["index"]
    return (float(number) != 0) != name.startswith("!")


def _image(value: Any, size: list[int]) -> np.ndarray | None:
    """``(y, x)`` counts; the first dimension of the PV is x."""
    data, codec = np.asarray(value["value"]), value["codec"]
    try:
        if codec["name"]:
            kind = np.dtype(CODED[int(codec["parameters"])])
            n = int(np.prod(size))
            data = np.frombuffer(_unpacked(data.tobytes(), codec["name"], kind, n), kind)
        return data.reshape(size[::-1]).squeeze()
    except (KeyError, ValueError, OSError, TypeError):
        return None


def _unpacked(packed: bytes, codec: str, kind: np.dtype, n: int) -> bytes:
    """The content of a block of the area detector's codecs, which state no size, unlike those of HDF5."""
    size = (n * kind.itemsize).to_bytes(8, "big")
    if codec == "lz4":
        block = min(n * kind.itemsize, 1 << 30).to_bytes(4, "big")
        return decompressed(size + block + len(packed).to_bytes(4, "big") + packed, "lz4", 1)
    if codec == "bslz4":
        return decompressed(size + (0).to_bytes(4, "big") + packed, "bslz4", kind.itemsize)
    raise ValueError(f"codec '{codec}' is not known")
