"""Frames over ZMQ: the package's own messages, and the stream of Dectris detectors in its two versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from pydantic import Field

from adorym.errors import ConfigError, DataError
from adorym.registry import register
from adorym.stream.base import IDLE_S, Event, Source
from adorym.stream.dectris import Dectris, is_dectris
from adorym.stream.messages import decoded


def needed(module: str, what: str) -> Any:
    """The optional library ``module``.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        remedy = "install it: pip install 'adorym[live]'"
        raise ConfigError("SOURCE", f"{what} needs the package '{module}'", found=str(error), remedy=remedy) from None


@register("source", "zmq")
class Zmq(Source):
    """Messages from a PUSH socket: those of this package, or the stream of a Dectris detector (version 1 or 2).

    Attributes:
        address: ``host:port`` of the sender.
        queue: Messages that may wait in this process; the sender keeps further ones.
    """

    address: str
    queue: int = Field(1000, ge=1)

    def events(self) -> Iterator[Event | None]:
        zmq = needed("zmq", "the source 'zmq'")
        context = zmq.Context()
        socket = context.socket(zmq.PULL)
        try:
            socket.set_hwm(self.queue)
            try:
                socket.connect(f"tcp://{self.address}")
            except zmq.ZMQError as error:
                remedy = "write zmq://HOST:PORT"
                raise ConfigError("SOURCE", f"no address '{self.address}'", found=str(error), remedy=remedy) from None
            detector = Dectris()
            while True:
                if not socket.poll(int(1000 * IDLE_S)):
                    yield None
                    continue
                yield from self._of(socket.recv_multipart(), detector)
        finally:
            socket.close(linger=0)
            context.term()

    def _of(self, parts: Sequence[bytes], detector: Dectris) -> Iterator[Event]:
        place = f"zmq://{self.address}"
        try:
            if is_dectris(parts[0]):
                yield from detector.events(parts)
            else:
                yield decoded(parts, place)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            found = f"{type(error).__name__}: {error}"
            raise DataError(place, "a message that cannot be read", found=found) from error
