"""All sources, by the address that names one."""

from __future__ import annotations

from urllib.parse import parse_qsl

from adorym import registry
from adorym.errors import ConfigError, suggestion
from adorym.schema import build
from adorym.stream import growing, network, position_file, pva, replay
from adorym.stream.base import Source

REGISTERED = (growing, network, position_file, pva, replay)


def source_of(text: str) -> Source:
    """The source that ``KIND:ADDRESS?option=value&...`` names, such as ``zmq://localhost:5555``.

    Raises:
        InputError: No such kind, or an option is not one of it.
    """
    kind, colon, rest = text.partition(":")
    known = registry.names("source")
    if ".py:" in text:  # path/to/file.py:ClassName:address
        file, name, rest = (*text.split(":", 2), "")[:3]
        kind = f"{file}:{name}"
    elif not colon or kind not in known:
        expected = "KIND:ADDRESS, such as 'replay:scan.h5' or 'zmq://localhost:5555'"
        raise ConfigError("SOURCE", f"'{text}' is no source", expected=expected, remedy=suggestion(kind, known))
    address, _, options = rest.removeprefix("//").partition("?")
    cls = registry.lookup("source", kind, "SOURCE")
    given = {key: _value(value) for key, value in parse_qsl(options)}
    made: Source = build(cls, {"address": address, **given}, f"SOURCE '{text}'")
    return made


def _value(text: str) -> int | float | str:
    """A number, if the text is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
