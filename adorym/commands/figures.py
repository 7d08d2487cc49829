"""One number of a score."""

from __future__ import annotations

from dataclasses import dataclass


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
