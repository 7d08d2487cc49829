"""Where frames of the simulated detector and pictures of a running reconstruction are sent: ZMQ sockets and PVs."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from adorym import registry
from adorym.errors import ConfigError, suggestion
from adorym.registry import register
from adorym.stream.base import Begin, End, Event, Frame
from adorym.stream.messages import encoded, packed
from adorym.stream.network import needed

SEND_S = 0.05  # time after which a sender that waits looks whether it should stop
FIELDS = {"u1": "ubyteValue", "u2": "ushortValue", "u4": "uintValue", "f4": "floatValue", "f8": "doubleValue",
          "i1": "byteValue", "i2": "shortValue", "i4": "intValue"}  # fmt: skip


class Target(ABC):
    """Takes the events of a detector, or pictures; register it in the group ``target``.

    Attributes:
        address: What follows the kind in ``KIND:ADDRESS``.
    """

    kind: ClassVar[str]
    address: str

    @abstractmethod
    def open(self) -> Sender:
        """A sender, open until it is closed.

        Raises:
            InputError: The address cannot be used.
        """


class Sender(ABC):
    """Sends to one target."""

    @abstractmethod
    def send(self, event: Event) -> bool:
        """Send an event of a detector; returns whether it was taken, waiting a short time for it."""

    @abstractmethod
    def show(self, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Send a picture; without effect if nobody looks at it."""

    @abstractmethod
    def close(self) -> None:
        """Send what is waiting, and close."""


@register("target", "zmq")
class ZmqTarget(Target):
    """A ZMQ socket: PUSH for frames, which waits for the receiver and loses none; PUB for pictures.

    Attributes:
        address: ``*:port`` or ``host:port`` of this machine.
        queue: Messages that may wait for the receiver.
    """

    address: str
    queue: int = 1000

    def open(self) -> Sender:
        return _Zmq(self)


class _Zmq(Sender):
    """The sockets of a `ZmqTarget`; only the one in use is opened."""

    def __init__(self, target: ZmqTarget) -> None:
        self._zmq = needed("zmq", "the target 'zmq'")
        self._target, self._context = target, self._zmq.Context()
        self._socket: Any = None

    def _opened(self, kind: str) -> Any:
        if self._socket is None:
            self._socket = self._context.socket(getattr(self._zmq, kind))
            self._socket.set_hwm(self._target.queue)
            try:
                self._socket.bind(f"tcp://{self._target.address}")
            except self._zmq.ZMQError as error:
                found, remedy = f"{self._target.address}: {error}", "write zmq://*:PORT with a free port"
                raise ConfigError("--to", "the address cannot be used", found=found, remedy=remedy) from None
        return self._socket

    def send(self, event: Event) -> bool:
        socket = self._opened("PUSH")
        if not socket.poll(int(1000 * SEND_S), self._zmq.POLLOUT):
            return False
        socket.send_multipart(encoded(event))
        return True

    def show(self, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._opened("PUB").send_multipart(packed("picture", plain, arrays))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=10000)
        self._context.term()


@register("target", "pva")
class PvaTarget(Target):
    """A PV over PVAccess, an NTNDArray: the frames of a detector, or the phase of the picture.

    Attributes:
        address: Name of the PV.
    """

    address: str

    def open(self) -> Sender:
        return _Pva(self.address)


class _Pva(Sender):
    """A server with one PV."""

    def __init__(self, name: str) -> None:
        server, pv = needed("p4p.server", "the target 'pva'"), needed("p4p.server.thread", "the target 'pva'")
        self._type = needed("p4p.nt", "the target 'pva'").NTNDArray.buildType()
        self._value = needed("p4p", "the target 'pva'").Value
        self._pv = pv.SharedPV(initial=self._value(self._type, {}))
        self._server, self._count = server.Server(providers=[{name: self._pv}]), 0

    def send(self, event: Event) -> bool:
        if isinstance(event, Frame) and event.image is not None:
            at = () if event.position is None else zip(("y", "x"), event.position, strict=True)
            self._post(event.image, event.number, event.time_s, dict(at))
        elif isinstance(event, Frame):
            self._post(np.zeros(0, np.uint8), event.number, event.time_s, {})
        elif isinstance(event, End) and event.last is not None:
            self._post(np.zeros(0, np.uint8), event.last, time.time(), {"adorym:end": event.last})
        elif isinstance(event, Begin):
            pass  # a PV has no place for it: the receiver's configuration says what the detector does not
        return True

    def show(self, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        obj = arrays["object"]
        picture = np.angle(obj[..., obj.shape[-1] // 2]).astype(np.float32)
        self._count += 1
        self._post(picture, self._count, time.time(), {})

    def _post(self, image: np.ndarray, number: int, time_s: float, attributes: Mapping[str, float]) -> None:
        seconds = time.time() if np.isnan(time_s) else time_s
        stamp = {"secondsPastEpoch": int(seconds), "nanoseconds": int(seconds % 1 * 1e9)}
        self._pv.post(self._value(self._type, {
            "value": (FIELDS[image.dtype.str[1:]], np.ascontiguousarray(image).reshape(-1)),
            "dimension": [{"size": n, "fullSize": n, "binning": 1} for n in image.shape[::-1]],
            "uniqueId": number,
            "timeStamp": stamp,
            "dataTimeStamp": stamp,
            "compressedSize": image.nbytes,
            "uncompressedSize": image.nbytes,
            "attribute": [{"name": name, "value": float(value)} for name, value in attributes.items()],
        }))  # fmt: skip

    def close(self) -> None:
        self._server.stop()


def target_of(text: str) -> Target:
    """The target that ``zmq://*:5555`` or ``pva://NAME`` names.

    Raises:
        InputError: There is no such kind.
    """
    kind, colon, rest = text.partition(":")
    known = registry.names("target")
    if not colon or kind not in known:
        expected = "KIND:ADDRESS, such as 'zmq://*:5555'"
        raise ConfigError("--to", f"'{text}' is no target", expected=expected, remedy=suggestion(kind, known))
    cls: Any = registry.lookup("target", kind, "--to")
    made: Target = cls(address=rest.removeprefix("//"))
    return made
