"""Where the time of a run goes: seconds by stage, beside the Fourier transforms that no run can do without.

While a run is profiled, the methods that do its stages are replaced, on this run's own objects, by methods that
look at the clock before and after. A stage's time excludes that of the stages within it: the transforms of a batch
count as ``propagate``, not as ``loss and adjoint``.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adorym.callbacks.base import Callback, RunInfo
from adorym.data.atomic import whole_file
from adorym.data.result import Result
from adorym.engine.gradients import CHUNK_PIXELS, chunk_size
from adorym.engine.loop import Reconstruction
from adorym.engine.problem import Problem

LOG = logging.getLogger("adorym.profile")
TRACE_NAME = "trace.json"
OTHER = "other"
# Events of the trace; later ones count in the sums only.
MAX_EVENTS = 200_000
TRANSFORMS = ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn")
COLLECTIVES = ("sum", "max", "barrier", "broadcast", "gather", "exchange")
ON_DEVICES = ("sum", "gather", "exchange")
REPEATS = 3


@dataclass
class Stages:
    """Seconds by stage, and the events of the trace.

    Attributes:
        seconds: By stage, without the stages within.
        calls: How often each began.
        events: ``(stage, start, duration, thread)`` with times in seconds.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    events: list[tuple[str, float, float, int]] = field(default_factory=list)
    _open: threading.local = field(default_factory=threading.local)

    def timed(self, stage: str, function: Callable[..., Any], wait: Callable[[], None]) -> Callable[..., Any]:
        """``function``, which counts as ``stage``; ``wait`` lets a device finish what it was told."""
        return _Timed(self, stage, wait)(function)

    def begin(self) -> None:
        """A stage begins, perhaps within another one."""
        self._stack.append([time.perf_counter(), 0.0])

    def end(self, stage: str) -> None:
        """The stage that began last is over."""
        start, inner = self._stack.pop()
        taken = time.perf_counter() - start
        if self._stack:
            self._stack[-1][1] += taken
        self.seconds[stage] = self.seconds.get(stage, 0.0) + taken - inner
        self.calls[stage] = self.calls.get(stage, 0) + 1
        if len(self.events) < MAX_EVENTS:
            self.events.append((stage, start, taken, threading.get_ident()))

    @property
    def _stack(self) -> list[list[float]]:
        """Start of each open stage of this thread, and the time of the stages within it so far."""
        return self._open.__dict__.setdefault("stack", [])


class _Timed(ContextDecorator):
    """A function that counts as a stage."""

    def __init__(self, stages: Stages, stage: str, wait: Callable[[], None]) -> None:
        self._stages, self._stage, self._wait = stages, stage, wait

    def __enter__(self) -> None:
        self._stages.begin()

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._wait()
        self._stages.end(self._stage)


def stage_methods(problem: Problem) -> Iterator[tuple[str, Any, str]]:
    """Stage, object and method name of all that is timed."""
    yield "read", problem.measurements, "batch"
    yield "loss and adjoint", problem.xp, "value_and_grad"
    for stage, method in (("gather", "gather"), ("scatter", "scatter_add"), ("step", "update")):
        yield stage, problem.store, method
    yield "regularizers", problem.store, "add_gradient"
    yield "constraints", problem.store, "apply"
    for method in TRANSFORMS:
        yield "propagate", problem.xp, method
    for method in COLLECTIVES if problem.comm.size > 1 else ():
        yield "exchange", problem.comm, method
    for method in ON_DEVICES if problem.comm.devices is not None else ():
        yield "exchange", problem.comm.devices, method


class Profile(Callback):
    """Times the stages of a run; at its end writes ``trace.json`` and logs a table.

    The trace is in Chrome's format: ``chrome://tracing`` and https://ui.perfetto.dev open it, with a process per rank.
    """

    def __init__(self, reconstruction: Reconstruction) -> None:
        self.stages, self._problem = Stages(), reconstruction.problem
        self._replaced: list[tuple[Any, str]] = []
        self._start = self._end = 0.0
        self._epochs = 0

    def on_start(self, run: RunInfo) -> None:
        wait = self._problem.xp.wait
        for stage, owner, name in stage_methods(self._problem):
            original = getattr(owner, name)
            if name == "value_and_grad":
                new = _around_gradient(self.stages, stage, original, wait)
            else:
                new = self.stages.timed(stage, original, wait)
            setattr(owner, name, new)
            self._replaced.append((owner, name))
        LOG.setLevel(logging.INFO)
        self._start = self._end = time.perf_counter()

    def on_epoch(self, run: RunInfo, record: object) -> None:
        self._end, self._epochs = time.perf_counter(), self._epochs + 1

    def on_end(self, run: RunInfo, result: Result | None) -> None:
        total = self._end - self._start
        for owner, name in self._replaced:
            delattr(owner, name)  # the class's own method is there again
        self._replaced.clear()
        own = json.dumps(self._events()).encode()
        if result is None or not self._epochs:  # other ranks may not come to a gathering
            return
        parts = self._problem.comm.gather(np.frombuffer(own, np.uint8), "gather the profile")
        if run.rank != 0:
            return
        floor = _floor_s(self._problem) * self._epochs
        for line in table(self.stages, total, floor):
            LOG.info(line)
        if run.output is not None:
            events = [event for part in parts for event in json.loads(bytes(part))]
            with whole_file(run.output / TRACE_NAME) as partial:
                partial.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")

    def _events(self) -> list[dict[str, Any]]:
        rank = self._problem.comm.rank
        return [
            {
                "name": stage,
                "ph": "X",
                "ts": 1e6 * (start - self._start),
                "dur": 1e6 * taken,
                "pid": rank,
                "tid": thread,
            }
            for stage, start, taken, thread in self.stages.events
        ]


def _around_gradient(
    stages: Stages, stage: str, original: Callable[..., Any], wait: Callable[[], None]
) -> Callable[..., Any]:
    """`Backend.value_and_grad` returns the function that does the work."""

    @functools.wraps(original)
    def made(f: Callable[..., Any]) -> Callable[..., Any]:
        return stages.timed(stage, original(f), wait)

    return made


def table(stages: Stages, total_s: float, floor_s: float) -> list[str]:
    """Lines with seconds and share of each stage, the largest first, and the Fourier transforms' least time."""
    other = total_s - sum(stages.seconds.values())
    lines = [f"profile: {total_s:.3g} s"]
    for stage, seconds in sorted({**stages.seconds, OTHER: other}.items(), key=lambda each: -each[1]):
        calls = f"  {stages.calls[stage]} calls" if stage in stages.calls else ""
        lines.append(f"  {stage:<18}{seconds:9.3f} s  {100 * seconds / total_s:5.1f} %{calls}")
    if floor_s > 0:
        ratio = f"; the run took {total_s / floor_s:.2g} times that"
        lines.append(f"  a Fourier transform and its inverse of every wave take {floor_s:.3g} s{ratio}")
    return lines


def _floor_s(problem: Problem) -> float:
    """Least seconds per epoch: a transform and its inverse of every wave, measured now, on this rank's share."""
    xp, patterns = problem.xp, -(-problem.dataset.n_patterns // problem.comm.size)
    one = problem.bound.waves, *problem.dataset.window_px
    n = max(1, min(patterns, chunk_size(problem), CHUNK_PIXELS // math.prod(one)))
    waves = xp.zeros((n, *one), complex_values=True)
    times = []
    for _ in range(REPEATS + 1):  # the first one plans
        start = time.perf_counter()
        xp.ifft2(xp.fft2(waves))
        xp.wait()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:])) * patterns / n
