"""Faults of a transport, on request: lost, late, repeated, swapped or damaged frames, positions that jitter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from pydantic import Field

from adorym.registry import component
from adorym.stream.base import End, Event, Frame, Position


@component
class Faults:
    """How often a frame meets a fault; each is a fraction of the frames.

    Attributes:
        lost: Frames that are not sent.
        late: Frames that are sent after up to ``delay`` later ones.
        repeated: Frames that are sent twice.
        swapped: Frames that are sent after the next one.
        damaged: Frames whose image does not arrive.
        delay: Largest number of frames by which a late one is late.
        jitter: Standard deviation of a Gaussian error of the positions, in their unit.
        apart: Positions are sent as messages of their own, each before or after its frame.
        seed: Of the random generator.
    """

    lost: float = Field(0.0, ge=0, le=1)
    late: float = Field(0.0, ge=0, le=1)
    repeated: float = Field(0.0, ge=0, le=1)
    swapped: float = Field(0.0, ge=0, le=1)
    damaged: float = Field(0.0, ge=0, le=1)
    delay: int = Field(20, ge=1)
    jitter: float = Field(0.0, ge=0)
    apart: bool = False
    seed: int = 0

    def applied(self, events: Iterator[Event | None]) -> Iterator[Event | None]:
        """``events`` with faults; the beginning and the end arrive, and nothing comes after the end."""
        rng, held = np.random.default_rng(self.seed), list[tuple[int, Event]]()
        count = 0
        for event in events:
            if not isinstance(event, Frame):
                if isinstance(event, End):
                    yield from (each for _, each in sorted(held, key=lambda pair: pair[0]))
                    held = []
                yield event
                continue
            count += 1
            due = [pair for pair in held if pair[0] <= count]
            held = [pair for pair in held if pair[0] > count]
            yield from (each for _, each in due)
            for each in self._sent(event, rng):
                after = self._delay(rng) if isinstance(each, Frame) else 0
                if after:
                    held.append((count + after, each))
                else:
                    yield each

    def _delay(self, rng: np.random.Generator) -> int:
        if rng.random() < self.swapped:
            return 1
        return int(rng.integers(1, self.delay + 1)) if rng.random() < self.late else 0

    def _sent(self, frame: Frame, rng: np.random.Generator) -> list[Event]:
        """What is sent of one frame."""
        position = frame.position
        if position is not None and self.jitter:
            y, x = np.asarray(position) + rng.normal(0, self.jitter, 2)
            position = float(y), float(x)
        sent: list[Event] = []
        if self.apart and position is not None:
            sent.append(Position(position, frame.number))
            position = None
        if rng.random() >= self.lost:
            image = None if rng.random() < self.damaged else frame.image
            one = replace(frame, image=image, position=position)
            sent += [one, one] if rng.random() < self.repeated else [one]
        return sent if rng.random() < 0.5 else sent[::-1]
