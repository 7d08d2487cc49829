"""What a source of frames is: numbered frames, positions, the beginning and the end of a scan.

A source is a class with one method, `Source.events`. Other packages add sources by the entry point ``adorym.source``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np

from adorym.data.recording import NO_NUMBER

# Longest time in which a source has to give an event, or `None` to show that it is alive.
IDLE_S = 0.05


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of the detector.

    Attributes:
        number: Its number in the scan; gaps are lost frames.
        image: ``(y, x)`` real numbers as the detector sends them; ``None`` if what came cannot be decoded.
        time_s: When it was taken, by the detector's clock, seconds since 1970; NaN if unknown.
        position: (y, x), if it comes with the frame.
    """

    number: int
    image: np.ndarray | None
    time_s: float = np.nan
    position: tuple[float, float] | None = None


@dataclass(frozen=True)
class Position:
    """Where the beam met the object: for the frame of a number, or at a time.

    Attributes:
        position: (y, x) in the unit that the source names.
        number: Number of the frame, or `NO_NUMBER`.
        time_s: Time, by the same clock as that of the frames.
    """

    position: tuple[float, float]
    number: int = NO_NUMBER
    time_s: float = np.nan


@dataclass(frozen=True, eq=False)
class Begin:
    """The beginning of a scan.

    Attributes:
        about: What the source knows of the experiment, by the names of the fields of `adorym.data.dataset.Dataset`;
            also ``positions_unit``.
        first: Number of its first frame, if known.
        count: Number of its frames, if known.
    """

    about: Mapping[str, Any] = field(default_factory=dict)
    first: int | None = None
    count: int | None = None


@dataclass(frozen=True)
class End:
    """The end of a scan.

    Attributes:
        last: Number of the last frame that was published, if the source says it.
    """

    last: int | None = None


Event: TypeAlias = Frame | Position | Begin | End


class Source(ABC):
    """A source of frames; register it in the group ``source``.

    Attributes:
        address: What follows the kind in ``KIND:ADDRESS``.
    """

    kind: ClassVar[str]
    address: str

    @abstractmethod
    def events(self) -> Iterator[Event | None]:
        """The events of one scan as they come, `None` at least every `IDLE_S` while nothing comes.

        The iteration may be given up at any time; what the source has open is closed then, by ``finally``.

        Raises:
            InputError: The source cannot be opened.
        """
