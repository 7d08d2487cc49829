"""What a field of a component holds: its markers, its unit, and its type in words."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.dataclasses import is_pydantic_dataclass, rebuild_dataclass
from pydantic.fields import FieldInfo

from adorym.units import Unit

SEQUENCES = (list, tuple)
USER_MODULE = "adorym_user_"  # how the registry names modules that it loaded from a user's file
_WORDS = {
    int: "a whole number",
    float: "a number",
    complex: "a complex number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
    type(None): "nothing",
    Any: "anything",
}
_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True)
class ComponentOf:
    """Marks a field that holds a component of ``group``, named in a configuration by its ``kind``."""

    group: str

    @property
    def label(self) -> str:
        """The group in words, such as ``forward model``."""
        return self.group.replace("_", " ")


@dataclass(frozen=True)
class DeclaredBy:
    """Marks a mapping whose keys, and the class of each value, the component in a sibling field declares.

    Attributes:
        field: Name of the sibling field, such as ``forward_model``.
        entries: From the sibling's class to the allowed keys and the component class of each value.
        noun: What an entry is called in messages, such as ``parameter``.
        off: The settings that the value ``false`` stands for; ``true``, ``null`` and ``{}`` stand for the defaults.
    """

    field: str
    entries: Callable[[type], Mapping[str, type]]
    noun: str = "entry"
    off: Mapping[str, Any] | None = None


def fields_of(cls: type) -> dict[str, FieldInfo]:
    """Fields that the constructor of the component ``cls`` takes, in their order, with types resolved."""
    if not getattr(cls, "__pydantic_complete__", True):
        rebuild_dataclass(cls)
    return {name: field for name, field in cls.__pydantic_fields__.items() if field.init is not False}  # type: ignore[attr-defined]


def annotation_of(field: FieldInfo) -> Any:
    """Type of ``field`` together with its markers, as it was written."""
    if not field.metadata:
        return field.annotation
    return Annotated.__class_getitem__((field.annotation, *field.metadata))  # type: ignore[attr-defined]


def kind_of(cls: type) -> str | None:
    """The ``kind`` that finds ``cls`` again: its registered name, or ``path/to/file.py:ClassName``."""
    module = sys.modules.get(cls.__module__)
    if cls.__module__.startswith(USER_MODULE) and module is not None:
        return f"{module.__file__}:{cls.__name__}"
    return getattr(cls, "kind", None)


def split(annotation: Any) -> tuple[Any, tuple]:
    """The bare type of ``annotation`` and its markers."""
    if get_origin(annotation) is Annotated:
        bare, *markers = get_args(annotation)
        return bare, tuple(markers)
    return annotation, ()


def marker(annotation: Any, kind: type) -> Any:
    """The marker of class ``kind`` on ``annotation``, or ``None``."""
    return next((m for m in split(annotation)[1] if isinstance(m, kind)), None)


def find_marker(annotation: Any, kind: type) -> Any:
    """The marker of class ``kind`` on ``annotation``, or on an arm of it where it is ``X | Y``."""
    arms = get_args(split(annotation)[0]) if is_union(split(annotation)[0]) else ()
    return marker(annotation, kind) or next(filter(None, (find_marker(arm, kind) for arm in arms)), None)


def is_union(annotation: Any) -> bool:
    """Whether ``annotation`` is ``X | Y``."""
    return get_origin(annotation) in (Union, types.UnionType)


def is_section(annotation: Any) -> bool:
    """Whether ``annotation`` is a component class itself, without a choice of ``kind``."""
    return isinstance(annotation, type) and is_pydantic_dataclass(annotation)


def is_sequence(annotation: Any) -> bool:
    """Whether ``annotation`` is a list or a tuple."""
    return (get_origin(annotation) or annotation) in SEQUENCES


def is_mapping(annotation: Any) -> bool:
    """Whether ``annotation`` is a mapping with free keys."""
    return (get_origin(annotation) or annotation) in (dict, Mapping)


def item_type(annotation: Any, index: int) -> Any:
    """Type of entry ``index`` of a list or tuple type; ``Any`` where the type does not say."""
    args = get_args(annotation)
    if get_origin(annotation) is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return args[index] if index < len(args) else Any
    return args[0] if args else Any


def value_type(annotation: Any) -> Any:
    """Type of the values of a mapping type."""
    args = get_args(annotation)
    return args[1] if len(args) == 2 else Any


def unit_of(annotation: Any) -> str | None:
    """Unit of a quantity, also of an optional one: ``"m"`` for ``Length | None``; ``None`` where there is none."""
    found = find_marker(annotation, Unit)
    return None if found is None else found.name


def type_text(annotation: Any) -> str:
    """``annotation`` in words, bounds included: ``a whole number >= 1``, ``a quantity in m or nothing``."""
    bare, markers = split(annotation)
    component, unit = marker(annotation, ComponentOf), marker(annotation, Unit)
    if component is not None:
        optional = " or nothing" if is_union(bare) and type(None) in get_args(bare) else ""
        return f"{_article(component.label)} by its 'kind'{optional}"
    if unit is not None and unit.name:
        return f"a quantity in {unit.name}{_bounds(markers)}"
    if is_union(bare):
        arms = [type_text(arm) for arm in get_args(bare) if arm is not type(None)]
        optional = " or nothing" if len(arms) < len(get_args(bare)) else ""
        return " or ".join(arms) + _bounds(markers) + optional
    if get_origin(bare) is Literal:
        return choices_text(get_args(bare))
    if isinstance(bare, type) and issubclass(bare, Enum):
        return choices_text(member.value for member in bare)
    return _container_text(bare) + _bounds(markers)


def choices_text(choices: Iterable) -> str:
    """``one of 'a', 'b'``, or the only choice."""
    shown = [repr(choice) for choice in choices]
    return f"one of {', '.join(shown)}" if len(shown) > 1 else "".join(shown)


def _container_text(bare: Any) -> str:
    args = get_args(bare)
    if get_origin(bare) is tuple and args and args[-1] is not Ellipsis:
        items = [type_text(arg) for arg in args]
        return f"a list of {len(args)}: " + (f"each {items[0]}" if len(set(items)) == 1 else ", ".join(items))
    if is_sequence(bare) and args:
        return f"a list, each {type_text(args[0])}"
    if is_mapping(bare) and args:
        return f"a mapping, each value {type_text(value_type(bare))}"
    if is_section(bare):
        return "a mapping"
    return _WORDS.get(bare) or _article(getattr(bare, "__name__", str(bare)))


def _bounds(markers: Iterable) -> str:
    found = []
    for mark in markers:
        # Field(gt=0) inside an Annotated type keeps its bounds one level deeper.
        for bound in mark.metadata if isinstance(mark, FieldInfo) else (mark,):
            limits = {sign: getattr(bound, key, None) for key, sign in _BOUNDS.items()}
            found += [f"{sign} {limit:g}" for sign, limit in limits.items() if limit is not None]
    return f" {' and '.join(found)}" if found else ""


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in tuple("aeiou") else f"a {noun}"
