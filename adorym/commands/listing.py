"""Everything that a configuration can name: sections, components, their fields, and what may be refined."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, get_args

from rich.console import Group
from rich.table import Table
from rich.text import Text

# Imported for what they register.
import adorym.data.open
import adorym.simulate.experiments
import adorym.stream.sources
import adorym.stream.targets  # noqa: F401
from adorym import registry
from adorym.commands.plan import columns
from adorym.config import Config
from adorym.errors import ConfigError, ExtensionError, suggestion
from adorym.forward.base import ForwardModel
from adorym.parameters import Parameter, ParameterSettings
from adorym.schema import FieldInfo, describe
from adorym.schema.fields import annotation_of, fields_of, is_section, is_union, split

LONGEST_DEFAULT = 40
_SYMBOLS = {
    "leftarrow": "←", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "lambda": "λ",
    "mu": "μ", "pi": "π", "psi": "ψ", "sigma": "σ", "Delta": "Δ", "sum": "Σ", "sqrt": "√", "partial": "∂", "le": "≤",
    "ge": "≥", "cdot": "·", "propto": "∝", "mathcal": "", "mathrm": "", "left": "", "right": "", ",": "", "!": "",
    ";": " ",
}  # fmt: skip


def listing(group: str | None = None) -> Group:
    """All sections and components with a line each, or those of one group with all their fields.

    Args:
        group: A section such as ``run``, or a group such as ``optimizer``; the plural means the same.

    Raises:
        ConfigError: There is no such section or group.
    """
    if group is None:
        return Group(*_overview())
    sections = _sections()
    wanted = _singular(group, [*sections, *registry.groups()])
    if wanted in sections:
        return Group(*_component(wanted, sections[wanted]))
    return Group(*(part for name in registry.names(wanted) for part in _registered(wanted, name)))


def _sections() -> dict[str, type]:
    """The parts of a configuration that are no choice of components."""
    found = {}
    for name, field in fields_of(Config).items():
        bare, markers = split(annotation_of(field))
        if is_section(bare) and not markers:
            found[name] = bare
    return found


def _singular(group: str, known: Iterable[str]) -> str:
    known = list(known)
    name = group.strip().lower().replace("-", "_").replace(" ", "_")
    for candidate in (name, name.removesuffix("s"), name.removesuffix("es")):
        if candidate in known:
            return candidate
    raise ConfigError("list", f"nothing is called '{group}'", remedy=suggestion(name, known))


def _overview() -> Iterator[Any]:
    lines = {"sections of a configuration": {name: _first_line(cls) for name, cls in _sections().items()}}
    lines |= {group: {name: _line(group, name) for name in registry.names(group)} for group in registry.groups()}
    for title, entries in lines.items():
        table = columns("", "")
        for name, line in entries.items():
            table.add_row(Text(f"  {name}"), Text(line))
        yield Text(title, style="bold")
        yield table
    yield Text("\n'adorym list NAME' shows the fields of a section or of a group's components.", style="dim")


def _line(group: str, name: str) -> str:
    """A component in one line: what it is, and which package it comes with; or why it cannot be imported."""
    try:
        line = _first_line(registry.lookup(group, name))
    except ExtensionError as error:
        return f"broken: {error}"
    brought = registry.distribution(group, name)
    return f"{line} ({brought})" if brought else line


def _registered(group: str, name: str) -> Iterator[Any]:
    brought = registry.distribution(group, name)
    try:
        cls = registry.lookup(group, name)
    except ExtensionError as error:
        yield Text(f"{name}: broken: {error}\n")
        return
    yield from _component(f"{name} ({brought})" if brought else name, cls)


def _component(name: str, cls: type) -> Iterator[Any]:
    yield Text(name, style="bold")
    yield Text(f"  {_prose(cls)}")
    rows = list(_rows(cls))
    if rows:
        yield _field_table(rows)
    if issubclass(cls, ForwardModel):
        yield from _refinable(cls)
    yield Text()


def _rows(cls: type, prefix: str = "") -> Iterator[FieldInfo]:
    """The fields of ``cls``, and below one that is a mapping of its own, that mapping's fields."""
    for row, field in zip(describe(cls), fields_of(cls).values(), strict=True):
        yield replace(row, name=f"{prefix}{row.name}")
        bare, _ = split(annotation_of(field))
        for arm in get_args(bare) if is_union(bare) else (bare,):
            if is_section(arm) and not inspect.isabstract(arm):
                yield from _rows(arm, f"{prefix}{row.name}.")


def _field_table(rows: Iterable[FieldInfo]) -> Table:
    table = columns("  key", "type", "unit", "default", "meaning")
    for row in rows:
        default = row.default if len(row.default) <= LONGEST_DEFAULT else "its own defaults"
        table.add_row(*map(Text, (f"  {row.name}", row.type, row.unit, default, _plain(row.help))))
    return table


def _refinable(model: type[ForwardModel]) -> Iterator[Any]:
    table = columns("  parameter", "unit", "refined", "optimizer", "learning rate", "meaning")
    for name, spec in model.refinable.items():
        cells = (f"  {name}", spec.unit, _by_default(spec), str(spec.optimizer["kind"]), _rate(spec), _plain(spec.help))
        table.add_row(*map(Text, cells))
    yield Text("\n  refinable parameters", style="bold")
    yield table
    yield Text("\n  keys of each of them", style="bold")
    common = describe(ParameterSettings)
    yield _field_table(common)
    for name, spec in model.refinable.items():
        own = [row for row in describe(spec.settings) if row not in common]
        if own:
            yield Text(f"\n  of '{name}' besides", style="bold")
            yield _field_table(own)


def _by_default(spec: Parameter) -> str:
    if spec.implied is not None:
        return "with its key"
    return "by default" if spec.refined else "if named" if spec.optional else "if asked for"


def _rate(spec: Parameter) -> str:
    optimizer = spec.default_optimizer()
    if optimizer.needs_curvature or not spec.relative:
        return str(optimizer.learning_rate)
    return f"{optimizer.learning_rate} of the largest value"


# -- docstrings for a terminal -----------------------------------------------------------------------------------------
def _prose(cls: type) -> str:
    """The first paragraph of the docstring."""
    return _plain(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0])


def _first_line(cls: type) -> str:
    """The first sentence of the docstring."""
    return re.split(r"(?<=[.:]) (?=[A-Z])", _prose(cls))[0].rstrip(":")


def _plain(text: str) -> str:
    """Docstring markup as plain text, the commonest formula symbols as characters."""
    text = re.sub(r":\w+:`([^`]+)`", lambda role: _formula(role[1]), text)
    return " ".join(text.replace("`", "").split())


def _formula(text: str) -> str:
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r" (\1)/(\2)", text)
    return re.sub(r"\\([A-Za-z]+|.)", lambda command: _SYMBOLS.get(command[1], command[1]), text)
