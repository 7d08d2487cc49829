"""Components found by name.

A component is a final class of a group (``optimizer``, ``forward_model``, ...) that a configuration names with
``kind``. `register` turns the class into a frozen pydantic dataclass: its fields are its configuration keys, its
documentation table and its validation. Other packages register through entry points called
``adorym.<group>``, of which only those are imported that are asked for; a configuration may also name
``path/to/file.py:ClassName``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass, is_pydantic_dataclass
from typing_extensions import dataclass_transform

from adorym.errors import ConfigError, ExtensionError, suggestion
from adorym.extension import LOADED, user_code

C = TypeVar("C", bound=type)

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True, defer_build=True)
PREFIX = "adorym."  # of the groups of entry points
PLAIN_GROUPS = {"backend"}  # whose classes have a constructor of their own instead of fields
_components: dict[str, dict[str, type]] = {}


@dataclass_transform(kw_only_default=True, frozen_default=True)
def component(cls: C) -> C:
    """Make ``cls`` a frozen, keyword-only dataclass that refuses unknown keys."""
    return dataclass(frozen=True, kw_only=True, config=STRICT)(cls)  # type: ignore[return-value]


@dataclass_transform(kw_only_default=True, frozen_default=True)
def register(group: str, name: str) -> Callable[[C], C]:
    """Class decorator: file the class under ``name`` in ``group`` and make it a `component`."""

    def decorate(cls: C) -> C:
        made = component(cls)
        made.kind = name  # type: ignore[attr-defined]
        known = _components.setdefault(group, {})
        if name in known and known[name].__qualname__ != made.__qualname__:
            raise ConfigError(f"{group}.{name}", "this name is taken", found=known[name].__qualname__)
        known[name] = made
        return made

    return decorate


def names(group: str) -> list[str]:
    """Names registered in ``group``, plug-ins included, sorted."""
    return sorted({*_components.get(group, {}), *_plugins().get(group, {})})


def groups() -> list[str]:
    """Groups that hold at least one component, plug-ins included."""
    return sorted({*_components, *_plugins()})


def distribution(group: str, name: str) -> str:
    """The installed package that brings ``name``, such as ``my-models 1.2``; empty for what is not a plug-in."""
    point = _plugins().get(group, {}).get(name)
    return "" if point is None else _brought_by(point)


def lookup(group: str, name: str, where: str = "") -> type:
    """The class registered as ``name`` in ``group``, or the class of ``path/to/file.py:ClassName``.

    Raises:
        ConfigError: The name is unknown, or the file or the class in it does not exist.
        ExtensionError: The file, or the plug-in that brings the name, cannot be imported.
    """
    if isinstance(name, str) and ".py:" in name:
        return _from_file(group, name, where)
    if name not in _components.get(group, {}):
        point = _plugins().get(group, {}).get(name)
        if point is None:
            label, remedy = group.replace("_", " "), suggestion(name, names(group))
            raise ConfigError(where or group, f"no {label} named '{name}'", remedy=remedy)
        _components.setdefault(group, {})[name] = _from_plugin(group, point)
    return _components[group][name]


@cache
def _plugins() -> dict[str, dict[str, EntryPoint]]:
    """Entry points of installed packages by group and name; nothing is imported, but a file of each package is read."""
    every = entry_points()
    ours = [name for name in every.groups if name.startswith(PREFIX)]
    return {name.removeprefix(PREFIX): {p.name: p for p in every.select(group=name)} for name in ours}


def _brought_by(point: EntryPoint) -> str:
    return "an installed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _from_plugin(group: str, point: EntryPoint) -> type:
    place = f"'{point.name}', a plug-in of {_brought_by(point)}"
    LOADED.add(point.module)
    try:
        with user_code(point.module):
            cls = point.load()
    except (ExtensionError, ImportError, AttributeError) as error:
        remedy = "update or remove that package"
        raise ExtensionError(f"adorym.{group}", f"{place}, cannot be imported", found=error, remedy=remedy) from error
    if not isinstance(cls, type):
        raise ExtensionError(f"adorym.{group}", f"{place}, is no class", expected="package.module:ClassName", found=cls)
    made: Any = _as_component(group, cls, point.name)
    made.kind = point.name  # by which a configuration finds it again
    return made


def _from_file(group: str, name: str, where: str) -> type:
    file_name, class_name = name.rsplit(":", 1)
    path = Path(file_name).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(where or group, f"no such file '{file_name}'", expected="path/to/file.py:ClassName")
    module_name = f"adorym_user_{path.stem}_{abs(hash(str(path)))}"
    module: Any = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None  # a .py file always has both
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        LOADED.add(module_name)
        try:
            with user_code(module_name):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        known = [n for n, v in vars(module).items() if isinstance(v, type)]
        raise ConfigError(
            where or group, f"no class '{class_name}' in '{file_name}'", remedy=suggestion(class_name, known)
        )
    return _as_component(group, cls, class_name)


def _as_component(group: str, cls: Any, name: str) -> type:
    """``cls`` with a ``kind``, its fields configurable where its group's are."""
    with user_code(cls):
        made = cls if is_pydantic_dataclass(cls) or group in PLAIN_GROUPS else component(cls)
    if "kind" not in vars(made):
        made.kind = name
    return made
