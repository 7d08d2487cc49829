"""How good a result is: named numbers, and how far it agrees with the truth or with another half of the data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from adorym.metrics import Region, RingCorrelation
from adorym.report.text import quantity


@dataclass(frozen=True)
class Figure:
    """One number of a score.

    Attributes:
        key: Name in the JSON output, with the unit as a suffix.
        name: Name for people.
        value: The number; not a number where it could not be found, for the reason in ``note``.
        unit: Empty for a pure number.
        note: How to read it.
    """

    key: str
    name: str
    value: float
    unit: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """The value with its unit."""
        return quantity(self.value, self.unit) if math.isfinite(self.value) else "unknown"


@dataclass(frozen=True, eq=False)
class Score:
    """Errors of a reconstruction, what the data cannot determine removed.

    Attributes:
        figures: The numbers.
        region: (y, x) slices of the object over which objects were compared.
        ring_correlation: Fourier ring or shell correlation over that region, frequencies in 1/m, or in 1/px where the
            pixel size is not known; ``None`` where there is none.
        reference: What the result was compared with.
    """

    figures: tuple[Figure, ...] = ()
    region: Region = (slice(0, 0), slice(0, 0))
    ring_correlation: RingCorrelation | None = None
    reference: str = "the truth"

    def as_dict(self) -> dict[str, object]:
        """Everything as plain data for JSON; a number that could not be found is ``None``."""
        values = {each.key: each.value if math.isfinite(each.value) else None for each in self.figures}
        return {**values, "region_px": [[s.start, s.stop] for s in self.region]}

    def render(self) -> Table:
        """The numbers as a table for a terminal."""
        return table_of([(each.name, each.text, each.note) for each in self.figures])

    def __getitem__(self, key: str) -> float:
        """Value of the figure ``key``."""
        return next(each.value for each in self.figures if each.key == key)


def table_of(rows: Iterable[tuple[str, ...]], remarks: Iterable[tuple[str, str]] = ()) -> Table:
    """Name, value and perhaps a note in each row, and plain remarks below, as a table for a terminal."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value, *note in rows:
        table.add_row(Text(name), Text(value, style="bold"), *(Text(each, style="dim") for each in note))
    for name, text in remarks:
        table.add_row(Text(name, style="yellow" if name == "warning" else ""), Text(text))
    return table
