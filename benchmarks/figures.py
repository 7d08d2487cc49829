"""What every benchmark shares: figures with a bar, their verdict, and the machine that they were measured on."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

import adorym


@dataclass(frozen=True)
class Figure:
    """A measured value and the largest value that is good enough; no bar for a figure that is only told."""

    name: str
    value: float
    bar: float | None = None

    @property
    def verdict(self) -> str:
        """``ok``, ``MISSED``, or ``-`` without a bar."""
        return "-" if self.bar is None else "ok" if self.value <= self.bar else "MISSED"

    def __str__(self) -> str:
        bar = "-" if self.bar is None else f"{self.bar:g}"
        return f"{self.name:44s} {self.value:10.4g} {bar:>8s} {self.verdict}"


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "processor": _processor(),
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load before": f"{psutil.getloadavg()[1]:.1f}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "adorym": adorym.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _beside(path: Path, entries: list[dict[str, object]], order: list[str]) -> list[dict[str, object]]:
    """``entries`` and those of the other benchmarks in the file, in the order of the makers."""

    def maker(entry: dict[str, object]) -> str:
        return str(entry["name"]).partition(".")[0]

    made = {maker(entry) for entry in entries}
    before = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else []
    kept = [entry for entry in before if maker(entry) in order and maker(entry) not in made]
    return sorted(kept + entries, key=lambda entry: order.index(maker(entry)))


def main(description: str, makers: dict[str, Callable[[], Iterator[Figure]]]) -> int:
    """Measure and print the figures asked for; exit status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", action="append", choices=sorted(makers), help="make this one; may be repeated")
    parser.add_argument(
        "--json", type=Path, help="also write the figures and the machine; with --only, others in it stay"
    )
    arguments = parser.parse_args()
    measured, described = [], machine()
    for name in arguments.only or makers:
        for figure in makers[name]():
            print(figure, flush=True)
            measured.append(figure)
    if arguments.json:
        entries = [asdict(figure) | {"verdict": figure.verdict} for figure in measured]
        if arguments.only:
            entries = _beside(arguments.json, entries, list(makers))
        arguments.json.write_text(json.dumps({"machine": described, "figures": entries}, indent=2) + "\n")
    return 1 if any(figure.verdict == "MISSED" for figure in measured) else 0
