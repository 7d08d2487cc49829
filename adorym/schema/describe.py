"""The fields of a component as rows of a table, for documentation and ``adorym list``."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from adorym.schema.dump import plain
from adorym.schema.fields import annotation_of, fields_of, type_text, unit_of

_SECTION = re.compile(r"^(\s*)(Args|Arguments|Attributes):\s*$")
_ENTRY = re.compile(r"^(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")
REQUIRED = "required"


@dataclass(frozen=True)
class FieldInfo:
    """One configuration key of a component.

    Attributes:
        name: The key.
        type: What it holds, in words.
        unit: Unit that a number has in the Python API; empty for text, counts and the like.
        default: The default as it would stand in a configuration, or ``required``.
        help: What it means, from the class's docstring.
    """

    name: str
    type: str
    unit: str
    default: str
    help: str


def describe(cls: type) -> list[FieldInfo]:
    """The fields of the component ``cls``, in their order."""
    helps = _docstring_entries(cls)
    rows = []
    for name, field in fields_of(cls).items():
        annotation = annotation_of(field)
        default = REQUIRED
        if not field.is_required():
            default = _inline(plain(annotation, field.get_default(call_default_factory=True), name))
        about = helps.get(name) or field.description or ""
        rows.append(FieldInfo(name, type_text(annotation), unit_of(annotation) or "", default, about))
    return rows


def _inline(value: Any) -> str:
    """Plain ``value`` in one line, as YAML: ``{kind: adam, learning_rate: 0.01}``."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_inline(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _docstring_entries(cls: type) -> dict[str, str]:
    """Field name to its help, from the ``Attributes:`` or ``Args:`` sections of the class and its bases."""
    entries: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        entries |= _sections(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
    return entries


def _sections(text: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    name = ""
    inside = outer = None
    for line in text.splitlines():
        stripped, depth = line.strip(), len(line) - len(line.lstrip())
        if heading := _SECTION.match(line):
            outer, inside, name = len(heading[1]), None, ""
        elif outer is None or not stripped:
            continue
        elif depth <= outer:
            outer = None  # the section is over
        elif (entry := _ENTRY.match(stripped)) and depth == (inside := inside or depth):
            name = entry[1]
            entries[name] = entry[2]
        elif name:
            entries[name] = f"{entries[name]} {stripped}".strip()
    return entries
