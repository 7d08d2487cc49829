"""Paths of files that a configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class FromFolder:
    """Marks a field with the path of a file: a relative one starts at the configuration file's folder.

    One that is typed on the command line starts at the working directory, one in Python where Python runs.
    """


InputPath = Annotated[str, FromFolder()]
