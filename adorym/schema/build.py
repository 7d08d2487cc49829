"""Plain data to components: every error of the whole tree, each with its dotted path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args

from pydantic import TypeAdapter, ValidationError

from adorym.errors import ConfigError, ConfigErrors, ExtensionError, InputError, suggestion
from adorym.extension import user_code
from adorym.paths import FromFolder
from adorym.registry import lookup, names
from adorym.schema.fields import (
    SEQUENCES,
    ComponentOf,
    DeclaredBy,
    annotation_of,
    choices_text,
    fields_of,
    find_marker,
    is_mapping,
    is_section,
    is_sequence,
    is_union,
    item_type,
    kind_of,
    marker,
    split,
    type_text,
    value_type,
)
from adorym.schema.messages import key_path, show, translate
from adorym.units import Unit

T = TypeVar("T")


Folder = Path | Callable[[str], Path] | None


class _Broken:
    """Stands for a value whose errors are already reported; no field type accepts it."""


_BROKEN = _Broken()


def build(
    cls: type[T],
    mapping: Mapping[str, Any] | None,
    path: str = "",
    errors: list[InputError] | None = None,
    folder: Folder = None,
) -> T:
    """The component ``cls`` whose fields are the keys of ``mapping``, its own components included.

    Args:
        cls: A component class (`adorym.registry.component` or `adorym.registry.register`).
        mapping: Plain data: mappings, lists, text, numbers, booleans, ``None``.
        path: Dotted path of ``mapping`` in the whole configuration, put before every error's place.
        errors: Takes the errors, if given; the result is then ``None`` where there are any.
        folder: Where relative paths start, those of files and of ``path/to/file.py:ClassName``; or a function that says
            so for the dotted path of a key. Left as they are by default.

    Raises:
        ConfigErrors: All that is wrong in the tree, unless ``errors`` takes it.
    """
    builder = _Builder(folder)
    made = builder.section(cls, mapping, path)
    if errors is None and builder.errors:
        raise ConfigErrors(builder.errors)
    if errors is not None:
        errors.extend(builder.errors)
    return cast(T, None if made is _BROKEN else made)


@cache
def _adapter(cls: type) -> TypeAdapter:
    return TypeAdapter(cls)


class _Builder:
    """Walks the types and the data together, from the leaves up, and gathers the errors."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.errors: list[InputError] = []

    def fail(self, where: str, what: str, expected: str | None = None, remedy: str | None = None) -> _Broken:
        self.errors.append(ConfigError(where, what, expected=expected, remedy=remedy))
        return _BROKEN

    def section(self, cls: type, value: Any, path: str) -> Any:
        """Component of the known class ``cls``; ``None``, an empty section of a file, is an empty mapping."""
        if is_section(type(value)):
            return value
        if value is not None and not isinstance(value, Mapping):
            return self.fail(path, f"expected a mapping, found {show(value)}")
        before = len(self.errors)
        mapping = self.known_keys(cls, value or {}, path)
        given: dict[str, Any] = {}
        for name, field in fields_of(cls).items():
            bare, _ = split(annotation_of(field))
            if name in mapping:
                given[name] = self.field(cls, name, mapping, path)
            elif field.is_required() and is_section(bare) and not marker(annotation_of(field), ComponentOf):
                given[name] = self.section(bare, {}, key_path(path, name))  # names what is missing in it
        made = self.validate(cls, given, path)
        return made if len(self.errors) == before else _BROKEN

    def known_keys(self, cls: type, value: Mapping, path: str) -> dict[str, Any]:
        """``value`` without the keys that ``cls`` does not have, each of them reported."""
        mapping = {str(key): entry for key, entry in value.items()}
        own = kind_of(cls)
        if own is not None and mapping.get("kind", own) != own:
            self.fail(key_path(path, "kind"), f"expected {show(own)}, found {show(mapping['kind'])}")
        fields = fields_of(cls)
        for key in mapping:
            if key not in fields and not (key == "kind" and own is not None):
                former = getattr(cls, "former", {})  # names that keys had in earlier versions
                remedy = f"did you mean '{former[key]}'?" if key in former else suggestion(key, fields)
                self.fail(key_path(path, key), "unknown key", remedy=remedy)
        return {key: entry for key, entry in mapping.items() if key in fields}

    def validate(self, cls: type, given: dict[str, Any], path: str) -> Any:
        """Run the checks of ``cls`` itself; of fields that are already reported nothing more is said."""
        if inspect.isabstract(cls):
            methods = ", ".join(sorted(cls.__abstractmethods__))  # type: ignore[attr-defined]
            return self.fail(path, f"class '{cls.__name__}' is unfinished", remedy=f"write its {methods}()")
        try:
            with user_code(cls):
                return _adapter(cls).validate_python(given, context={"config": True})
        except ExtensionError as error:
            self.errors.append(error)
            return _BROKEN
        except ValidationError as error:
            broken = {name for name, value in given.items() if value is _BROKEN}
            self.errors.extend(translate(error, cls, given, path, broken))
            return _BROKEN

    def field(self, cls: type, name: str, mapping: dict[str, Any], path: str) -> Any:
        annotation, where = annotation_of(fields_of(cls)[name]), key_path(path, name)
        declared = marker(annotation, DeclaredBy)
        if declared is None:
            return self.value(annotation, mapping[name], where)
        owner = self.chosen_class(cls, declared.field, mapping)
        if owner is None and mapping.get(declared.field) is None and not fields_of(cls)[declared.field].is_required():
            return self.fail(where, f"needs '{declared.field}', which says what may stand here")
        if owner is None:  # then the sibling is missing or misspelt, and is reported itself
            return _BROKEN
        return self.declared(declared, owner, mapping[name], where)

    def value(self, annotation: Any, value: Any, path: str) -> Any:
        """``value`` with every mapping that stands for a component replaced by the component."""
        bare, _ = split(annotation)
        if isinstance(value, str) and (mark := marker(annotation, FromFolder)):
            return value if mark.of_class and ".py:" not in value else self.from_folder(value, path)
        component = marker(annotation, ComponentOf)
        if component is not None:
            optional = is_union(bare) and type(None) in get_args(bare)
            return None if value is None and optional else self.component(component, value, path)
        if is_union(bare):
            return self.union(bare, value, path)
        if is_section(bare):
            return self.section(bare, value, path)
        if isinstance(value, bool) and bare in (int, float) and not marker(annotation, Unit):
            # Python counts true as 1; whoever writes ``epochs: true`` means something else.
            return self.fail(path, f"expected {type_text(bare)}, found {show(value)}")
        if is_sequence(bare) and isinstance(value, SEQUENCES):
            items = [self.value(item_type(bare, i), item, key_path(path, i)) for i, item in enumerate(value)]
            return _BROKEN if any(item is _BROKEN for item in items) else items
        if is_mapping(bare) and isinstance(value, Mapping):
            entries = {str(k): self.value(value_type(bare), entry, key_path(path, k)) for k, entry in value.items()}
            return _BROKEN if any(entry is _BROKEN for entry in entries.values()) else entries
        return value

    def union(self, annotation: Any, value: Any, path: str) -> Any:
        """Choose the arm that the shape of ``value`` points at; scalars are left to the field's own validation."""
        arms = get_args(annotation)
        bare = [split(arm)[0] for arm in arms]
        if isinstance(value, bool) and bool not in bare and {int, float} & set(bare):
            return self.fail(path, f"expected {type_text(annotation)}, found {show(value)}")
        only_component = len(arms) == 2 and type(None) in bare
        for arm, kind in zip(arms, bare, strict=True):
            component = marker(arm, ComponentOf)
            if isinstance(value, Mapping):
                fits = component is not None or is_section(kind) or is_mapping(kind)
            elif isinstance(value, str):
                named = component is not None and (".py:" in value or value in names(component.group))
                fits = named or (component is not None and only_component) or marker(arm, FromFolder) is not None
            else:
                fits = isinstance(value, SEQUENCES) and is_sequence(kind)
            if fits:
                return self.value(arm, value, path)
        return value

    def component(self, marked: ComponentOf, value: Any, path: str) -> Any:
        """Component that ``value``, a mapping with ``kind`` or the name alone, asks for."""
        if is_section(type(value)):
            return value
        if not isinstance(value, (str, Mapping)):
            return self.fail(path, f"expected {type_text(Annotated[Any, marked])}, found {show(value)}")
        kind, where = (value, path) if isinstance(value, str) else (value.get("kind"), key_path(path, "kind"))
        if kind is None:
            return self.fail(where, "missing", expected=choices_text(names(marked.group)))
        if not isinstance(kind, str):
            return self.fail(where, f"expected a name, found {show(kind)}")
        try:
            cls = self.lookup(marked.group, kind, where)
        except InputError as error:
            self.errors.append(error)
            return _BROKEN
        rest = {} if isinstance(value, str) else {key: entry for key, entry in value.items() if key != "kind"}
        return self.section(cls, rest, path)

    def declared(self, marked: DeclaredBy, owner: type, value: Any, path: str) -> Any:
        """Mapping whose keys and value classes ``owner`` declares."""
        if value is not None and not isinstance(value, Mapping):
            return self.fail(path, f"expected a mapping, found {show(value)}")
        allowed, made = marked.entries(owner), {}
        for key, entry in (value or {}).items():
            where = key_path(path, str(key))
            if key not in allowed:
                what = (
                    f"unknown {marked.noun} for {marked.field.replace('_', ' ')} '{kind_of(owner) or owner.__name__}'"
                )
                made[key] = self.fail(where, what, remedy=suggestion(str(key), allowed))
            elif isinstance(entry, bool):
                settings = {} if entry else marked.off
                made[key] = self.section(allowed[key], settings if settings is not None else entry, where)
            else:
                made[key] = self.section(allowed[key], entry, where)
        return _BROKEN if any(entry is _BROKEN for entry in made.values()) else made

    def chosen_class(self, cls: type, name: str, mapping: dict[str, Any]) -> type | None:
        """Class of the component in field ``name``, known even where its settings are wrong."""
        field = fields_of(cls)[name]
        value = mapping.get(name)
        if value is None and not field.is_required():
            value = field.get_default(call_default_factory=True)
        if is_section(type(value)):
            return type(value)
        component = find_marker(annotation_of(field), ComponentOf)
        kind = value.get("kind") if isinstance(value, Mapping) else value
        if component is None or not isinstance(kind, str):
            return None
        try:
            return self.lookup(component.group, kind, name)
        except InputError:  # reported where the component itself is built
            return None

    def lookup(self, group: str, kind: str, where: str) -> type:
        return lookup(group, self.from_folder(kind, where) if ".py:" in kind else kind, where)

    def from_folder(self, path: str, where: str) -> str:
        """``path``, which stands at ``where``, with the folder that it starts in put before it."""
        folder = self.folder(where) if callable(self.folder) else self.folder
        return path if folder is None else str(folder / Path(path).expanduser())
