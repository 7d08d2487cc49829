"""Components found by name.

A component is a final class of a group (``optimizer``, ``forward_model``, ...) that a configuration names with
``kind``. `register` turns the class into a frozen pydantic dataclass: its fields are its configuration keys, its
documentation table and its validation. Other packages register through entry points called
``adorym.<group>``; a configuration may also name ``path/to/file.py:ClassName``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass, is_pydantic_dataclass
from typing_extensions import dataclass_transform

from adorym.errors import ConfigError, suggestion

C = TypeVar("C", bound=type)

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
_components: dict[str, dict[str, type]] = {}
_loaded_plugins: set[str] = set()


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
    _load_plugins(group)
    return sorted(_components.get(group, {}))


def groups() -> list[str]:
    """Groups that hold at least one component."""
    return sorted(_components)


def lookup(group: str, name: str, where: str = "") -> type:
    """The class registered as ``name`` in ``group``, or the class of ``path/to/file.py:ClassName``.

    Raises:
        ConfigError: The name is unknown, or the file or the class in it does not exist.
    """
    if isinstance(name, str) and ".py:" in name:
        return _from_file(group, name, where)
    _load_plugins(group)
    known = _components.get(group, {})
    if name not in known:
        label = group.replace("_", " ")
        raise ConfigError(where or group, f"no {label} named '{name}'", remedy=suggestion(name, known))
    return known[name]


def _load_plugins(group: str) -> None:
    if group in _loaded_plugins:
        return
    _loaded_plugins.add(group)
    for point in entry_points(group=f"adorym.{group}"):
        cls = point.load()
        if getattr(cls, "kind", None) != point.name:
            register(group, point.name)(cls)


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
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise ConfigError(where or group, f"'{file_name}' does not import", found=repr(error)) from error
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        known = [n for n, v in vars(module).items() if isinstance(v, type)]
        raise ConfigError(
            where or group, f"no class '{class_name}' in '{file_name}'", remedy=suggestion(class_name, known)
        )
    made = cls if is_pydantic_dataclass(cls) else component(cls)
    if "kind" not in vars(made):
        made.kind = class_name  # type: ignore[attr-defined]
    return made
