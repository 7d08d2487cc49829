"""The plan of a run, as tables for a terminal and as plain data for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adorym.optics.geometry import Geometry
from adorym.report.text import quantity

PADDING = (0, 2, 0, 0)


def columns(*names: str) -> Table:
    """An empty table without lines, whose cells wrap on a narrow terminal."""
    table = Table(box=None, padding=PADDING, show_header=any(names))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


@dataclass(frozen=True)
class Fact:
    """One fact about a run.

    Attributes:
        key: Name for programs, with the unit as a suffix.
        name: Displayed name.
        value: Plain data.
        text: The value as displayed, with its unit.
    """

    key: str
    name: str
    value: Any
    text: str


@dataclass(frozen=True)
class Refinement:
    """The refinement of one parameter.

    Attributes:
        parameter: Its name.
        values: Number of real numbers in it.
        refined: Whether it is refined; if not, the other attributes have no meaning.
        start: First epoch, counted from 0.
        stop: First epoch in which it is no longer refined; ``None`` for the end of the run.
        every: Refined in every k-th epoch.
        epochs: Number of epochs in which it is refined.
        optimizer: Kind, and settings that differ from the defaults.
        learning_rate: Learning rate before the schedule.
        rate_unit: Unit of the learning rate; empty for a pure number.
        schedule: Kind, and settings that differ from the defaults.
    """

    parameter: str
    values: int
    refined: bool
    start: int = 0
    stop: int | None = None
    every: int = 1
    epochs: int = 0
    optimizer: str = ""
    learning_rate: float = 0.0
    rate_unit: str = ""
    schedule: str = ""

    @property
    def when(self) -> str:
        """The epochs in words."""
        if not self.refined:
            return "held fixed"
        until = "the end" if self.stop is None else f"epoch {self.stop}"
        words = "all epochs" if self.start == 0 and self.stop is None else f"epoch {self.start} to {until}"
        return words if self.every == 1 else f"{words}, every {self.every}"


@dataclass(frozen=True)
class MemoryItem:
    """Something in a rank's memory: its name, how its size is computed, and the size."""

    name: str
    formula: str
    n_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a run will do and need.

    Attributes:
        title: One line: technique and data.
        sections: Facts by subject: data, sampling, object, batches, fit, work.
        refinements: The parameters in use, the object first.
        memory: Estimated memory of one rank.
        notes: Decisions of the data reader.
        warnings: Suspicious findings, and settings without effect in this run.
    """

    title: str
    sections: Mapping[str, tuple[Fact, ...]]
    refinements: tuple[Refinement, ...]
    memory: tuple[MemoryItem, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def memory_bytes(self) -> int:
        """Sum over `memory`."""
        return sum(item.n_bytes for item in self.memory)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        made: dict[str, Any] = {name: {fact.key: fact.value for fact in facts} for name, facts in self.sections.items()}
        made["parameters"] = {each.parameter: _settings(each) for each in self.refinements}
        made["memory_bytes"] = {item.name: item.n_bytes for item in self.memory} | {"total": self.memory_bytes}
        return made | {"notes": list(self.notes), "warnings": list(self.warnings)}

    def render(self) -> Group:
        """Everything as tables for a terminal."""
        parts: list[Any] = [Text(self.title, style="bold")]
        for name, facts in self.sections.items():
            table = columns("", "")
            for fact in facts:
                table.add_row(Text(f"  {fact.name}"), Text(fact.text))
            parts += [_heading(name), table]
        parts += [_heading("parameters"), _refinement_table(self.refinements)]
        parts += [_heading("memory of each rank, about"), _memory_table(self.memory, self.memory_bytes)]
        for title, style, lines in (("notes", "dim", self.notes), ("warnings", "yellow", self.warnings)):
            if lines:
                parts += [_heading(title), *(Text(f"  {line}", style=style) for line in lines)]
        return Group(*parts)


def length_facts(geometry: Geometry, voltage_v: float | None = None) -> Iterator[Fact]:
    """Energy or voltage, pixel sizes and distances, those that are known."""
    if voltage_v is not None:
        yield Fact("voltage_v", "electrons", voltage_v, quantity(voltage_v, "V"))
    if geometry.energy_ev is not None:
        if voltage_v is None:
            yield Fact("energy_ev", "energy", geometry.energy_ev, quantity(geometry.energy_ev, "eV"))
        wavelength = geometry.wavelength_m
        yield Fact("wavelength_m", "wavelength", wavelength, quantity(wavelength, "m"))
    for key, name, size in (
        ("pixel_size_m", "pixel size", geometry.given_pixel_size_m),
        ("detector_pixel_size_m", "detector pixel size", geometry.detector_pixel_size_m),
    ):
        if size is not None:
            yield Fact(key, name, list(size), f"{quantity(size[0], 'm')} x {quantity(size[1], 'm')} (y, x)")
    for key, name, length in (
        ("distance_m", "sample to detector", geometry.distance_m),
        ("source_distance_m", "focus to sample", geometry.source_distance_m),
    ):
        if length is not None:
            yield Fact(key, name, length, quantity(length, "m"))


def size_text(n_bytes: float) -> str:
    """``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.4g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.4g} TiB"


def _settings(each: Refinement) -> dict[str, Any]:
    settings = asdict(each)
    del settings["parameter"]
    return settings if each.refined else {"values": each.values, "refined": False}


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _refinement_table(refinements: Iterable[Refinement]) -> Table:
    table = columns("  name", "values", "refined", "optimizer", "learning rate", "schedule")
    for each in refinements:
        rate = f"{each.learning_rate:.4g} {each.rate_unit}".rstrip() if each.refined else ""
        cells = (f"  {each.parameter}", str(each.values), each.when, each.optimizer, rate, each.schedule)
        table.add_row(*map(Text, cells))
    return table


def _memory_table(items: Iterable[MemoryItem], total: int) -> Table:
    table = columns("", "", "")
    for item in items:
        table.add_row(Text(f"  {item.name}"), Text(size_text(item.n_bytes), justify="right"), Text(item.formula))
    table.add_row(Text("  total"), Text(size_text(total), justify="right"), Text(""))
    return table
