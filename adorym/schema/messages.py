"""Validation errors in our own sentences: where, what was expected, what was found."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from adorym.errors import ConfigError, ConfigErrors, ExtensionError, InputError, suggestion
from adorym.schema.fields import annotation_of, choices_text, fields_of, type_text

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "complex": "a complex number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "dataclass": "a mapping",
    "finite": "a finite number",
    "none": "nothing",
}
_BOUNDS = {
    "greater_than_equal": (">=", "ge"),
    "greater_than": (">", "gt"),
    "less_than_equal": ("<=", "le"),
    "less_than": ("<", "lt"),
}


def key_path(path: str, key: object) -> str:
    """Dotted path of ``key`` in ``path``; a whole number is an index: ``regularizers[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    key = str(key)
    return f"{path}{key}" if not path or not key or key.startswith("[") else f"{path}.{key}"


def show(value: object) -> str:
    """``value`` as it would stand in a configuration, cut to a readable length."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def prefixed(error: InputError, path: str) -> list[InputError]:
    """``error``, raised by a component about itself, with the component's ``path`` before its own."""
    if isinstance(error, ConfigErrors):
        return [inner for each in error.errors for inner in prefixed(each, path)]
    if isinstance(error, ExtensionError):  # its place is in a file of its own
        return [error]
    return [error.with_(where=key_path(path, error.where) if error.where else path)]


def translate(
    error: ValidationError, cls: type, mapping: Mapping[str, Any], path: str, skip: Container[str] = ()
) -> Iterator[InputError]:
    """Errors of one component in our words, one for each place, without those of the fields ``skip``.

    A union type gives several errors for the same value, one for each of its arms: they become one sentence.
    """
    places: dict[tuple, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        if detail["loc"] and detail["loc"][0] in skip:
            continue
        places.setdefault(_place(detail["loc"], mapping), []).append(detail)
    for place, details in places.items():
        where = path
        for key in place:
            where = key_path(where, key)
        if len(details) == 1:
            yield from _one(details[0], cls, where, place)
        else:
            yield _several(details, where)


def _place(loc: tuple, mapping: Any) -> tuple:
    """The part of ``loc`` that leads through the data; what follows are names of types."""
    place: list = []
    value = mapping
    for key in loc:
        inside_list = isinstance(value, (list, tuple)) and isinstance(key, int) and key < len(value)
        if inside_list or (isinstance(value, Mapping) and key in value):
            value = value[key]
            place.append(key)
        else:  # the name of a type, or, in the first place, of a missing field
            return tuple(place) or (key,)
    return tuple(place)


def _one(detail: ErrorDetails, cls: type, where: str, place: tuple) -> Iterator[InputError]:
    kind, found = detail["type"], show(detail["input"])
    raised = detail.get("ctx", {}).get("error")
    if isinstance(raised, InputError):
        yield from prefixed(raised, where)
    elif raised is not None:
        yield ConfigError(where, str(raised))
    elif kind == "missing" and len(detail["loc"]) == 1:
        yield ConfigError(where, "missing", expected=type_text(annotation_of(fields_of(cls)[place[0]])))
    elif kind == "missing":  # a list that is too short
        yield ConfigError(where, f"expected {type_text(annotation_of(fields_of(cls)[place[0]]))}, found {found}")
    else:
        yield ConfigError(where, f"expected {_expected(detail)}, found {found}", remedy=_did_you_mean(detail))


def _several(details: list[ErrorDetails], where: str) -> ConfigError:
    expected = " or ".join(dict.fromkeys(map(_expected, details)))
    remedy = next(filter(None, map(_did_you_mean, details)), None)
    return ConfigError(where, f"expected {expected}, found {show(details[0]['input'])}", remedy=remedy)


def _expected(detail: ErrorDetails) -> str:
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind in _BOUNDS:
        sign, key = _BOUNDS[kind]
        return f"{sign} {ctx[key]:g}"
    if kind in ("literal_error", "enum"):
        return choices_text(_choices(detail)) if _choices(detail) else ctx["expected"]
    if kind in ("too_short", "string_too_short"):
        least = ctx["min_length"]
        return "at least one entry" if least == 1 else f"at least {least} entries"
    if kind in ("too_long", "string_too_long"):
        return f"at most {ctx['max_length']} entries"
    if kind == "is_instance_of":
        return f"a component of class {ctx['class']}"
    if kind == "value_error":
        message = str(ctx["error"])
        phrase = re.search(r"expected (.+?), found|as (a quantity .+)$", message)
        return (phrase[1] or phrase[2]) if phrase else message
    words = _EXPECTED.get(kind.split("_")[0])
    return words or detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")


def _choices(detail: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", detail.get("ctx", {}).get("expected", ""))


def _did_you_mean(detail: ErrorDetails) -> str | None:
    if detail["type"] not in ("literal_error", "enum"):
        return None
    text = suggestion(str(detail["input"]), _choices(detail))
    return text if text.startswith("did you mean") else None
