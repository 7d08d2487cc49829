"""Errors that say where, what is wrong, what was expected, what was found, and what to do.

Every error that a user can cause derives from `InputError` (exit status 2 on the command line); a run that
fails although its input was well formed raises `RunError` (exit status 1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from typing_extensions import Self

# What moves the cursor, changes a terminal, or turns the direction of writing; tabs and ends of lines are harmless.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """``text`` with its control characters written out: names in files may hold any."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class AdorymError(Exception):
    """Base of all errors raised on purpose by this package.

    Args:
        where: Configuration key, argument or file at fault.
        what: The problem, in one clause.
        expected: A correct value.
        found: The actual value.
        remedy: What the user can do.
    """

    exit_status = 1

    def __init__(
        self,
        where: str,
        what: str,
        *,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
    ) -> None:
        self.where, self.what, self.expected, self.found, self.remedy = where, what, expected, found, remedy
        super().__init__(self.message())

    def message(self) -> str:
        """One line: ``where: what; expected X; found Y; remedy``."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.remedy:
            parts.append(self.remedy)
        return printable("; ".join(parts))

    def _parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("where", "what", "expected", "found", "remedy")}

    def with_(self, **changes: Any) -> Self:
        """The same error with some of its parts replaced."""
        return type(self)(**(self._parts() | changes))

    def __reduce__(self) -> tuple:
        # Exceptions with keyword-only arguments do not survive pickling (MPI, multiprocessing) without this.
        return partial(type(self), **self._parts()), ()


class InputError(AdorymError, ValueError):
    """The input is wrong: configuration, data, geometry or an argument."""

    exit_status = 2


class ConfigError(InputError):
    """A configuration value, or a combination of them, cannot be used."""


class DataError(InputError):
    """A data file or an array cannot be used."""


class GeometryError(InputError):
    """The experiment's geometry is incomplete, or a propagator does not sample it."""


class ConfigErrors(InputError):
    """Every error found in one configuration, reported together."""

    def __init__(self, errors: Iterable[InputError]) -> None:
        self.errors = list(errors)
        lines = [error.message() for error in self.errors]
        super().__init__("", "\n".join(lines))

    def __reduce__(self) -> tuple:
        return type(self), (self.errors,)


class BackendError(InputError):
    """The requested backend, device or precision is not available."""


class ExtensionError(InputError):
    """An error in the code of a user's component; ``where`` is the file and the line."""


class RunError(AdorymError):
    """A reconstruction failed (values that are not finite, divergence, lost file)."""


class WriteError(RunError):
    """A file cannot be written: the disk is full, or the folder is gone."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean 'probe_positions'?``, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + (", ".join(known) if known else "none")
