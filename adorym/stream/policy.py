"""What happens when frames come faster than the picture takes them: named policies, all of them counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar

from pydantic import Field

from adorym import registry
from adorym.errors import ConfigError
from adorym.registry import register
from adorym.schema import build
from adorym.stream.books import Books
from adorym.stream.waiting import Ready


class Policy(ABC):
    """Decides about frames that are ready for the picture; the recording has all of them in any case.

    Attributes:
        room: Frames that may be ready.
    """

    kind: ClassVar[str]
    room: int

    @abstractmethod
    def admit(self, ready: deque[Ready], frame: Ready, books: Books) -> None:
        """Add ``frame`` to the ``ready`` ones, or refuse it or others."""

    def full(self, ready: deque[Ready]) -> bool:
        """Whether the recorder waits before it takes more."""
        return False


@register("policy", "block")
class Block(Policy):
    """The recorder waits for the picture, and the source for the recorder.

    Attributes:
        room: Frames that may be ready.
    """

    room: int = Field(1024, ge=1)

    def admit(self, ready: deque[Ready], frame: Ready, books: Books) -> None:
        ready.append(frame)

    def full(self, ready: deque[Ready]) -> bool:
        return len(ready) >= self.room


@register("policy", "newest")
class Newest(Policy):
    """The newest frames are used; older ones that the picture has not taken are left out of it.

    Attributes:
        room: Frames that may be ready.
    """

    room: int = Field(1024, ge=1)

    def admit(self, ready: deque[Ready], frame: Ready, books: Books) -> None:
        ready.append(frame)
        if len(ready) > self.room:
            ready.popleft()
            books.refuse("skipped", 1)


@register("policy", "every")
class Every(Newest):
    """One frame in ``n`` is used, by its number, and of these the newest.

    Attributes:
        n: Distance of the numbers.
        room: Frames that may be ready.
    """

    n: int = Field(2, ge=1)
    room: int = Field(1024, ge=1)

    def admit(self, ready: deque[Ready], frame: Ready, books: Books) -> None:
        if frame.number % self.n:
            books.refuse("thinned", 1)
        else:
            super().admit(ready, frame, books)


def policy_of(text: str) -> Policy:
    """The policy that ``block``, ``newest:500`` or ``every:4`` names.

    Raises:
        InputError: There is none of this name, or its number is wrong.
    """
    kind, _, number = text.partition(":")
    cls = registry.lookup("policy", kind, "--policy")
    key = "n" if kind == "every" else "room"
    if number and not number.isdigit():
        raise ConfigError("--policy", f"'{text}' has no whole number after the colon", expected=f"{kind}:100")
    made: Policy = build(cls, {key: int(number)} if number else {}, "--policy")
    return made
