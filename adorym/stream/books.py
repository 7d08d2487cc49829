"""The books of a stream: where every frame went.

They balance at any moment::

    received  = recorded + repeated + damaged + other scan
    published = recorded + lost by name
    recorded  = used + waiting + refused by name

What was published is the range of numbers from the first to the last one that the source tells, or that were seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adorym.errors import RunError


@dataclass
class Books:
    """Counts of a stream, and the numbers of its frames.

    Attributes:
        received: Frames that arrived, in any state.
        recorded: Numbers of the frames in the recording.
        damaged: Numbers of frames that came and could not be decoded, or did not fit the others.
        repeated: Frames that came again.
        other_scan: Frames of a scan that began before this one had ended.
        late: Frames that came after one with a higher number.
        first: Number of the first frame of the scan, if the source tells it.
        last: Number of the last one, likewise.
        joined: Number of the frame that came first.
        used: Frames in the picture.
        waiting: Frames that are recorded, and neither used nor refused yet.
        refused: Frames that are not used, by the name of the reason.
    """

    received: int = 0
    recorded: set[int] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    damaged_count: int = 0
    repeated: int = 0
    other_scan: int = 0
    late: int = 0
    first: int | None = None
    last: int | None = None
    joined: int | None = None
    highest: int | None = None
    used: int = 0
    waiting: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def arrived(self, number: int, *, good: bool) -> bool:
        """Enter a frame that arrived; returns whether it is to be recorded."""
        self.received += 1
        if not good:
            self.damaged_count += 1
            self.damaged.add(number)
            return False
        if number in self.recorded:
            self.repeated += 1
            return False
        self._seen(number)
        self.recorded.add(number)
        self.waiting += 1
        return True

    def restored(self, numbers: Iterable[int]) -> None:
        """Enter the frames of a recording that is continued."""
        for number in numbers:
            self.arrived(number, good=True)

    def _seen(self, number: int) -> None:
        self.joined = number if self.joined is None else self.joined
        self.late += self.highest is not None and number < self.highest
        self.highest = number if self.highest is None else max(self.highest, number)

    def use(self, count: int) -> None:
        """``count`` waiting frames are in the picture."""
        self.used += count
        self.waiting -= count

    def refuse(self, reason: str, count: int) -> None:
        """``count`` waiting frames will not be used."""
        if count:
            self.refused[reason] += count
            self.waiting -= count

    def range(self) -> tuple[int, int]:
        """First number of the scan, and the one after its last."""
        seen = self.recorded | self.damaged
        low = [] if self.first is None else [self.first]
        high = [] if self.last is None else [self.last]
        low += [min(seen)] if seen else []
        high += [max(seen)] if seen else []
        return (min(low), max(high) + 1) if low and high else (0, 0)

    def lost(self) -> dict[str, np.ndarray]:
        """Numbers of the frames that were lost, by the reason: damaged, before the start, after the end, missing."""
        first, stop = self.range()
        there = np.zeros(stop - first, bool)
        if self.recorded:
            there[np.fromiter(self.recorded, np.int64, len(self.recorded)) - first] = True
        missing = np.flatnonzero(~there) + first
        damaged = np.isin(missing, np.fromiter(self.damaged, np.int64, len(self.damaged)))
        low = min(self.recorded, default=stop)
        high = max(self.recorded, default=low)
        before, after = (missing < low) & ~damaged, (missing > high) & ~damaged
        return {
            "damaged": missing[damaged],
            "before_start": missing[before],
            "after_end": missing[after],
            "missing": missing[~damaged & ~before & ~after],
        }

    def as_dict(self) -> dict[str, Any]:
        """All counts as plain data."""
        first, stop = self.range()
        return {
            "published": stop - first,
            "received": self.received,
            "recorded": len(self.recorded),
            "repeated": self.repeated,
            "damaged": self.damaged_count,
            "other_scan": self.other_scan,
            "late": self.late,
            "lost": {name: len(numbers) for name, numbers in self.lost().items()},
            "used": self.used,
            "waiting": self.waiting,
            "refused": dict(sorted(self.refused.items())),
        }

    def check(self) -> None:
        """Raise unless the books balance.

        Raises:
            RunError: They do not, which is an error of this package.
        """
        told = self.as_dict()
        sides = {
            "received": told["recorded"] + told["repeated"] + told["damaged"] + told["other_scan"],
            "published": told["recorded"] + sum(told["lost"].values()),
            "recorded": told["used"] + told["waiting"] + sum(told["refused"].values()),
        }
        wrong = {name: (told[name], found) for name, found in sides.items() if told[name] != found}
        if wrong:
            raise RunError("stream", "the books do not balance", found=wrong, remedy="please report it")
