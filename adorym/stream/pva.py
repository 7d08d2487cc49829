"""EPICS PVAccess: frames of an area detector (NTNDArray) as a source, and frames and pictures published as PVs."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import Field

from adorym.registry import register
from adorym.stream.base import IDLE_S, Begin, End, Event, Frame, Source
from adorym.stream.dectris import decompressed
from adorym.stream.network import needed

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
    """

    address: str
    queue: int = Field(1000, ge=1)
    position: str = ""
    unit: str = "m"

    def events(self) -> Iterator[Event | None]:
        client = needed("p4p.client.thread", "the source 'pva'")
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        context = client.Context("pva", nt=False)
        monitor = context.monitor(
            self.address, arrived.put, request=f"record[queueSize={self.queue}]field()", notify_disconnect=True
        )
        try:
            yield Begin({"positions_unit": self.unit} if self.position else {})
            while True:
                try:
                    value = arrived.get(timeout=IDLE_S)
                except queue.Empty:
                    yield None
                    continue
                if isinstance(value, Exception):  # not connected yet, or no longer
                    yield None
                    continue
                event = self._of(value)
                yield event
        finally:
            monitor.close()
            context.close()

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
