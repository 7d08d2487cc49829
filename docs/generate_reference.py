"""Writes the reference of all components: fields with types, units, defaults and meaning; and refinable parameters.

The class is the schema, so the page is read from the classes: nothing here has to be kept in step by hand.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import adorym
from adorym import registry
from adorym.config import Config
from adorym.data.keymap import KeyMap
from adorym.forward.ptychography import Ptychography
from adorym.parameters import Parameter
from adorym.schema import describe, dump
from adorym.schema.fields import annotation_of, fields_of, is_section, split

INTRODUCTION = """\
# Configuration reference

All keys that a configuration may hold; one that is not listed is an error. Where a key holds a component, `kind` names
it and its fields stand beside: `{kind: adam, learning_rate: 0.05 px}`. Lengths, energies and angles carry their unit in
a configuration (`70 um`, `8.8 keV`, `0.5 deg`) and are plain numbers in the unit of the table in Python. `adorym list`
prints the same in a terminal, together with the components that installed plug-ins add.
"""
LONGEST_DEFAULT = 60  # a section whose keys are listed on their own
SECTIONS = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$", flags=re.MULTILINE)


def import_everything() -> None:
    """Import all modules, so that all components are registered, but those whose optional library is absent."""
    for module in pkgutil.walk_packages(adorym.__path__, "adorym."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("adorym"):
                raise


def markdown(text: str) -> str:
    """Docstring markup turned into Markdown: literals, inline and displayed formulas, cross-references."""
    display = re.compile(r"^\.\. math::[ \n]*((?: *\S.*\n)*(?:\n? {4}.*\n?)*)", flags=re.MULTILINE)
    text = display.sub(lambda match: f"$$\n{_unindented(match[1])}\n$$\n", text)
    text = re.sub(r":math:`([^`]+)`", lambda match: f"${' '.join(match[1].split())}$", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    parts = re.split(r"(`[^`]+`|\$\$.+?\$\$|\$[^$]+\$)", text, flags=re.DOTALL)
    return "".join(part if i % 2 else re.sub(r"([*<])", r"\\\1", part) for i, part in enumerate(parts))


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines() if line.strip())


def table(header: str, rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A Markdown table; ``header`` names the columns, separated by spaces; no rows, no table."""
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    columns = header.split()
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *lines, ""] if lines else []


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def literal(text: str) -> str:
    """``text`` in code style, nothing for nothing."""
    return f"`{text}`" if text else ""


def prose(cls: type) -> str:
    """What the docstring says before its sections."""
    return markdown(SECTIONS.split(inspect.cleandoc(cls.__doc__ or ""))[0].strip())


def field_table(cls: type) -> list[str]:
    """The keys of a component."""
    rows = [(literal(f.name), markdown(f.type), f.unit, _default(f.default), markdown(f.help)) for f in describe(cls)]
    return table("key type unit default meaning", rows)


def _default(text: str) -> str:
    return literal(text) if len(text) <= LONGEST_DEFAULT else "its own defaults"


def parameter_table(refinable: Mapping[str, Parameter]) -> list[str]:
    """The refinable parameters of a forward model."""
    rows = [
        (
            literal(name),
            spec.unit,
            spec.per,
            "yes" if spec.refined else "no",
            literal(str(spec.optimizer["kind"])),
            markdown(spec.help),
        )
        for name, spec in refinable.items()
    ]
    return ["Refinable parameters:", "", *table("parameter unit per refined optimizer meaning", rows)]


def component_section(name: str, cls: type) -> list[str]:
    """Heading, description and tables of one component."""
    refinable = vars(cls).get("refinable")
    parameters = parameter_table(refinable) if isinstance(refinable, Mapping) else []
    return [f"### `{name}`", "", prose(cls), "", *field_table(cls), *parameters]


def default_steps(refinable: Mapping[str, Parameter]) -> list[str]:
    """How the parameters move where the configuration does not say it: optimizer and schedule with their fields."""
    rows = [
        (literal(name), _fields_of(spec.default_optimizer()), _fields_of(spec.default_schedule()))
        for name, spec in refinable.items()
    ]
    return table("parameter optimizer schedule", rows)


def _fields_of(part: object) -> str:
    """``kind`` and the fields of a component that say something."""
    fields = {key: value for key, value in dump(part).items() if value not in (None, 0.0)}
    kind, listed = literal(str(fields.pop("kind"))), ", ".join(literal(f"{k}: {v}") for k, v in fields.items())
    return f"{kind}: {listed}" if listed else kind


def config_sections() -> list[str]:
    """The top level of a configuration, and its sections that are no choice of components."""
    lines = ["## Sections", "", prose(Config), "", *field_table(Config)]
    for name, field in fields_of(Config).items():
        cls, markers = split(annotation_of(field))
        if is_section(cls) and not markers:
            lines += [f"### {literal(name)}", "", prose(cls), "", *field_table(cls)]
    return lines


def parameter_sections() -> list[str]:
    """What the entries of ``parameters`` hold: the same keys for all, more for some."""
    models = [registry.lookup("forward_model", name) for name in registry.names("forward_model")]
    declared = [(name, spec) for model in models for name, spec in vars(model).get("refinable", {}).items()]
    names: dict[type, list[str]] = {}
    for name, spec in declared:
        names.setdefault(spec.settings, []).append(name)
    lines = ["## Parameters", "", "The entries of `parameters`, one a refinable parameter of the forward model.", ""]
    for cls in sorted(names, key=lambda cls: len(cls.__mro__)):
        called = ", ".join(literal(name) for name in dict.fromkeys(names[cls]))
        lines += [f"### {called}", "", prose(cls), "", *field_table(cls)]
    return lines


def reference() -> str:
    """The whole page."""
    lines = [INTRODUCTION, *config_sections(), *parameter_sections()]
    for group in registry.groups():
        lines += [f"## {group.replace('_', ' ').capitalize()}", ""]
        for name in registry.names(group):
            cls = registry.lookup(group, name)
            if cls.__module__.startswith("adorym."):
                lines += component_section(name, cls)
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Write ``reference.md``, ``map.md`` and ``steps.md`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    import_everything()
    scanning = ("object", "probe", "probe_positions")
    steps = default_steps({name: Ptychography.refinable[name] for name in scanning})
    (folder / "steps.md").write_text("\n".join(steps), encoding="utf-8")
    (folder / "map.md").write_text(f"{prose(KeyMap)}\n\n" + "\n".join(field_table(KeyMap)), encoding="utf-8")
    (folder / "reference.md").write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).resolve().parent / "_generated")
