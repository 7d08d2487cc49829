"""Configuration files: YAML 1.2, TOML or JSON to plain data, with the line of every key.

YAML is read by version 1.2 of its rules, so that ``1e-6`` is a number and ``no`` is text. Line numbers are kept under
the dotted path of their key; `at_lines` puts them into messages::

    parameters.probe_postions: unknown key; did you mean 'probe_positions'? (line 14)
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.scalarbool import ScalarBoolean

from adorym.errors import ConfigError, ConfigErrors, InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What is larger is no configuration.
MOST_ENTRIES, LONGEST_PATH = 100_000, 1000
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_SLICE = re.compile(r"-?\d*:-?\d*(:-?\d*)?")
_SET_PATH = re.compile(r"[^.\[\]]+(\[\d+\])*(\.[^.\[\]]+(\[\d+\])*)*")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TOML_LINE = re.compile(r"\s*(?:(\[\[?)\s*([\w.-]+)\s*\]|([\w.-]+)\s*=)")


class ConfigFile(NamedTuple):
    """What a configuration file says.

    Attributes:
        mapping: Its content as plain mappings, lists, text, numbers, booleans and ``None``.
        lines: Line number, from 1, of the entries, by dotted path: ``{"regularizers[0].weight": 14}``; 0 for an entry
            that an override gave.
    """

    mapping: dict[str, Any]
    lines: dict[str, int]


def load(path: str | Path, overrides: Iterable[str] = ()) -> ConfigFile:
    """Read the configuration file ``path`` and apply ``overrides``.

    Args:
        path: ``.yaml``, ``.yml``, ``.toml`` or ``.json``; with another extension the content decides.
        overrides: Assignments such as ``run.epochs=5`` or ``regularizers[0].weight=1e-3``, values in YAML.

    Raises:
        ConfigError: The file cannot be read, breaks its language's rules, repeats a key or is no mapping, or an
            override cannot be applied.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file in UTF-8"
        raise ConfigError(str(path), "cannot read the configuration", found=reason) from None
    value, lines = _reader(path.suffix.lower(), text)(text, str(path))
    mapping = {} if value is None else value
    if not isinstance(mapping, dict):
        raise ConfigError(str(path), "expected a mapping of sections such as 'data' and 'forward_model'")
    for override in overrides:
        _apply(mapping, lines, override)
    return ConfigFile(mapping, lines)


def assigned(assignments: Iterable[str]) -> dict[str, Any]:
    """The mapping that ``key.path=value`` assignments alone make, values in YAML: ``{"scan": {"step": "9 px"}}``.

    Raises:
        ConfigError: An assignment cannot be read, or does not fit those before it.
    """
    mapping: dict[str, Any] = {}
    for assignment in assignments:
        _apply(mapping, {}, assignment)
    return mapping


def dump_yaml(mapping: Mapping[str, Any]) -> str:
    """``mapping`` as YAML 1.2 that `load` reads back equal."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 4096
    yaml.allow_unicode = True
    yaml.Representer = _Representer
    stream = io.StringIO()
    yaml.dump(mapping, stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """Quotes text so that the line breaks of Unicode, which ruamel writes bare and reads as spaces, are escaped."""

    def represent_str(self, data: str) -> Any:
        style = '"' if set(data) & set("\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def at_lines(error: InputError, lines: Mapping[str, int]) -> InputError:
    """``error`` with `` (line 14)`` after the message, or each of several errors so, in the order of the file.

    Where the path itself is not in the file, as for a missing key, the line is that of what should hold it.
    """
    if isinstance(error, ConfigErrors):
        ordered = sorted(error.errors, key=lambda each: line_of(each.where, lines) or 0)
        return ConfigErrors(at_lines(each, lines) for each in ordered)
    line = line_of(error.where, lines)
    if line is None:
        return error
    last = [name for name in ("what", "expected", "found", "remedy") if getattr(error, name) is not None][-1]
    return error.with_(**{last: f"{getattr(error, last)} {f'(line {line})' if line else '(--set)'}"})


def line_of(where: str, lines: Mapping[str, int]) -> int | None:
    """Line of the dotted path ``where``, or of the first entry in it, or of the nearest entry around it."""
    within = [line for path, line in lines.items() if path.startswith((f"{where}.", f"{where}["))]
    if where and where not in lines and within:
        return min(within)
    while where:
        if where in lines:
            return lines[where]
        where = where[: max(where.rfind("."), where.rfind("["), 0)]
    return None


Reader = Callable[[str, str], tuple[Any, dict[str, int]]]


def _reader(suffix: str, text: str) -> Reader:
    """What reads ``text``: decided by the file's extension, else by its first line that says something."""
    known: dict[str, Reader] = {".yaml": _read_yaml, ".yml": _read_yaml, ".toml": _read_toml, ".json": _read_json}
    if suffix in known:
        return known[suffix]
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return _read_toml if _TOML_LINE.match(first) else _read_yaml


def _read_yaml(text: str, name: str) -> tuple[Any, dict[str, int]]:
    lines: dict[str, int] = {}
    try:
        return _tree(text, lines), lines
    except DuplicateKeyError as error:
        raise _twice(error, name) from None
    except RecursionError:
        raise ConfigError(name, "nested too deeply", expected="a configuration") from None
    except MarkedYAMLError as error:
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(_place(name, error), "not valid YAML", found=problem) from None
    except YAMLError as error:  # characters that YAML forbids
        raise ConfigError(name, "not valid YAML", found=str(error).splitlines()[0]) from None
    except ConfigError as error:
        line = line_of(error.where, lines)
        raise ConfigError(f"{name}:{line}" if line else name, f"{error.where}: {error.what}") from None


def _tree(text: str, lines: dict[str, int]) -> Any:
    return _plain(YAML(typ="rt", pure=True).load(text), "", lines)


def _twice(error: DuplicateKeyError, name: str) -> ConfigError:
    key = re.search(r'duplicate key "(.*?)"', error.problem or "")
    what = f"key '{key[1]}' is there twice" if key else "a key is there twice"
    return ConfigError(_place(name, error), what, remedy="keep one of them")


def _place(name: str, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{name}:{mark.line + 1}" if mark else name


def _plain(value: Any, path: str, lines: dict[str, int]) -> Any:
    """``value`` without ruamel's own classes; the lines of its entries go into ``lines``."""
    if len(lines) > MOST_ENTRIES or len(path) > LONGEST_PATH:  # aliases may stand for any number of entries
        raise ConfigError(
            path[:40], f"more than {MOST_ENTRIES} entries, or nested too deeply", remedy="write it without aliases"
        )
    if isinstance(value, CommentedMap):
        made: dict[str, Any] = {}
        for key, entry in value.items():
            where = f"{path}.{key}" if path else str(key)
            if key in value.lc.data:  # a merged key has its line elsewhere
                lines[where] = value.lc.data[key][0] + 1
            made[str(key)] = _plain(entry, where, lines)
        return made
    if isinstance(value, CommentedSeq):
        items = []
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            lines[where] = value.lc.data[index][0] + 1
            items.append(_plain(item, where, lines))
        return items
    for kind in (str, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (bool, ScalarBoolean)):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if value is None or isinstance(value, date):  # YAML 1.2 has no dates: they are text
        return None if value is None else str(value)
    raise ConfigError(path, f"expected plain data, found {str(value)[:40]!r} with a YAML tag")


def _read_json(text: str, name: str) -> tuple[Any, dict[str, int]]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}:{error.lineno}", "not valid JSON", found=error.msg) from None
    lines: dict[str, int] = {}
    try:  # JSON is YAML, which knows lines and refuses repeated keys
        _tree(text.expandtabs(), lines)
    except DuplicateKeyError as error:
        raise _twice(error, name) from None
    except YAMLError:  # but for a few characters and lengths: the values are right, only the lines stay unknown
        return value, {}
    return value, lines


def _read_toml(text: str, name: str) -> tuple[Any, dict[str, int]]:
    try:
        return tomllib.loads(text), _toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = (place and place[1]) or text.rstrip().count("\n") + 1
        raise ConfigError(f"{name}:{line}", "not valid TOML", found=_TOML_PLACE.sub("", str(error))) from None


def _toml_lines(text: str) -> dict[str, int]:
    """Lines of tables and of bare keys; the parser itself keeps none."""
    lines: dict[str, int] = {}
    count: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        match = _TOML_LINE.match(line)
        if match is None:
            continue
        bracket, header, key = match.groups()
        if key:
            lines.setdefault(f"{table}.{key}" if table else key, number)
            continue
        for array, length in count.items():  # [regularizers.more] belongs to the last [[regularizers]]
            if header.startswith(f"{array}."):
                header = f"{array}[{length - 1}]{header[len(array) :]}"
        if bracket == "[[":
            count[header] = count.get(header, 0) + 1
            lines.setdefault(header, number)
            header = f"{header}[{count[header] - 1}]"
        table = header
        lines.setdefault(table, number)
    return lines


def _apply(mapping: dict[str, Any], lines: dict[str, int], override: str) -> None:
    """Put the value of ``key.path=value`` into ``mapping``; sections that are not there yet are made."""
    where, equals, text = override.partition("=")
    where, name = where.strip(), f"--set {override}"
    if not equals or not _SET_PATH.fullmatch(where):
        raise ConfigError(name, "cannot read the assignment", expected="key.path=value, such as run.epochs=5")
    steps = [int(index) if index else key for key, index in _STEP.findall(where)]
    value = text if _SLICE.fullmatch(text) else _read_yaml(text, name)[0]  # YAML takes "1:" for a mapping
    if len(steps) > 1 and steps[0] == "data" and isinstance(mapping.get("data"), str):
        mapping["data"] = {"path": mapping["data"]}  # the short form
    place: Any = mapping
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, str) and not isinstance(place, dict):
            raise ConfigError(name, f"'{step}' has no mapping to stand in", found=repr(place))
        if isinstance(step, int) and not (isinstance(place, list) and step <= len(place)):
            found = f"{len(place)} entries" if isinstance(place, list) else repr(place)
            raise ConfigError(name, f"there is no list with an entry [{step}]", found=found)
        if isinstance(place, list) and step == len(place):
            place.append(None)  # one past the end appends
        old = place.get(step) if isinstance(place, dict) else place[step]
        if following is None:
            place[step] = value
        elif old is None or old is True:  # ``probe_positions: true`` has the defaults, to which one is added
            place[step] = [] if isinstance(following, int) else {}
        place = place[step]
    for known in [each for each in lines if each == where or each.startswith((f"{where}.", f"{where}["))]:
        del lines[known]
    lines[where] = 0
