"""Paths of files that a configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class FromFolder:
    """Marks a field with the path of a file: a relative one starts at the configuration file's folder.

    One that is typed on the command line starts at the working directory, one in Python where Python runs.

    Attributes:
        of_class: The field holds the name of a component, or ``path/to/file.py:ClassName``, whose path is meant.
    """

    of_class: bool = False


InputPath = Annotated[str, FromFolder()]
ComponentPath = Annotated[str, FromFolder(of_class=True)]
