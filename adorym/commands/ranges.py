"""Values that a key of a configuration may take in a study: a range of numbers or quantities, or choices."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adorym.errors import ConfigError, InputError
from adorym.units import parse

EXPECTED = "key=low:high, key=low:high:log, or key=a,b,c; with a unit where the key has one, key=100um:400um"
UNITS = ("", "m", "rad", "eV", "px", "s", "B")  # those of configurations
# A number or a quantity; text and mappings are choices.
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s.+-].*)?$")


@dataclass(frozen=True)
class Range:
    """Values that a key may take: from ``low`` to ``high``, evenly or by their logarithm, or ``choices``.

    Attributes:
        whole: Whole numbers only.
        unit: Unit of ``low`` and ``high``, one of `UNITS`.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    logarithmic: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Range:
        """From ``key=low:high``, ``key=low:high:log`` or ``key=a,b,c``.

        Raises:
            ConfigError: It is none of these.
        """
        key, _, values = text.partition("=")
        choices, parts = _split(values, ","), _split(values, ":")
        if key and len(choices) > 1:
            return cls(key, choices=tuple(_value(v) for v in choices))
        if not key or len(parts) not in (2, 3) or not all(map(_QUANTITY.match, parts[:2])):
            raise ConfigError("--vary", f"cannot read '{text}'", expected=EXPECTED)
        low, high, unit = _quantities(parts[0], parts[1], text)
        logarithmic = [part.strip() for part in parts[2:]] == ["log"]
        if (parts[2:] and not logarithmic) or not low < high or (logarithmic and low <= 0) or not math.isfinite(high):
            raise ConfigError("--vary", f"no range in '{text}'", expected=f"{EXPECTED}, with low < high")
        whole = all(part.strip().lstrip("+-").isdigit() for part in parts[:2])
        return cls(key, low, high, logarithmic, whole, unit=unit)

    def suggest(self, trial: Any) -> Any:
        """A value for an optuna trial.

        Raises:
            ConfigError: The study was begun with values of another kind.
        """
        try:
            if self.choices:
                return trial.suggest_categorical(self.key, self.choices)
            if self.whole:
                return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.logarithmic)
            return trial.suggest_float(self.key, self.low, self.high, log=self.logarithmic)
        except ValueError as error:
            what, remedy = (
                f"the study was begun with other values of '{self.key}'",
                "name another folder with '--output'",
            )
            raise ConfigError("--vary", what, found=str(error), remedy=remedy) from None

    def text(self, value: Any) -> Any:
        """``value`` as a configuration has it: with its unit."""
        return f"{value:.6g} {self.unit}" if self.unit and not self.choices else value

    def fitted(self, accepted: Callable[[str], InputError | None]) -> Range:
        """The same with the unit that the key needs, and whole numbers only where it takes no others.

        Args:
            accepted: The error of the assignment ``key=value``, if there is one.

        Raises:
            InputError: The key takes no value of the range in any unit.
        """
        if self.choices:
            faults = [accepted(assignment(self.key, value)) for value in self.choices]
            if all(faults):
                raise faults[0]  # type: ignore[misc]
            return self
        middle = math.sqrt(self.low * self.high) if self.logarithmic else 0.5 * (self.low + self.high)
        odd = middle + 0.25 if self.whole and middle.is_integer() else middle
        tried: Sequence[Range] = [self] if self.unit else [replace(self, unit=unit) for unit in UNITS]
        first = None
        for each in tried:
            for value, whole in ((odd, False), (self.low, self.whole), (self.high, self.whole)):
                value = int(value) if whole else value
                fault = accepted(assignment(self.key, each.text(value)))
                if fault is None:
                    return replace(each, whole=whole and not each.unit)
                first = first or fault
        assert first is not None  # at least one was tried
        raise first


def assignment(key: str, value: Any) -> str:
    """``key=value`` as ``--set`` takes it."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def _quantities(low: str, high: str, text: str) -> tuple[float, float, str]:
    """Both ends in one of the `UNITS`; a unit given to one of them holds for both."""
    (a, unit_a), (b, unit_b) = (_QUANTITY.match(part).groups() for part in (low, high))  # type: ignore[union-attr]
    given = (unit_a or unit_b or "").strip(), (unit_b or unit_a or "").strip()
    if not given[0]:
        return float(a), float(b), ""
    for unit in UNITS[1:]:
        try:
            ends = parse(f"{a} {given[0]}", unit), parse(f"{b} {given[1]}", unit)
            return float(f"{ends[0]:.12g}"), float(f"{ends[1]:.12g}"), unit
        except ValueError:
            continue
    expected = "a length, an angle, an energy, pixels, a time or a memory, the same for both ends"
    raise ConfigError("--vary", f"no unit of a configuration in '{text}'", expected=expected)


def _split(text: str, separator: str) -> list[str]:
    """Parts of ``text``; brackets and quotes are left whole."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        quote = "" if letter == quote else quote or (letter if letter in "\"'" else "")
        depth += 0 if quote else (letter in "[{(") - (letter in ")}]")
        if letter == separator and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _value(text: str) -> Any:
    """A number, a truth value or a text; a mapping or a list stays the text that a configuration reads."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return text.strip()
    return found if isinstance(found, (bool, int, float, str)) else text.strip()
