"""Components to plain data, so that ``build(type(x), dump(x)) == x``."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import numpy as np

from adorym.errors import ConfigError
from adorym.schema.fields import (
    SEQUENCES,
    annotation_of,
    fields_of,
    is_mapping,
    is_section,
    is_sequence,
    is_union,
    item_type,
    kind_of,
    split,
    unit_of,
    value_type,
)
from adorym.schema.messages import key_path


def dump(instance: Any, path: str = "") -> dict[str, Any]:
    """``instance`` as mappings, lists, text, numbers, booleans and ``None``, defaults included.

    A chosen component carries its ``kind``; a quantity carries its unit: ``"7e-05 m"``. An array is described.

    Args:
        instance: A component.
        path: Its dotted path in the whole configuration, for error messages.

    Raises:
        ConfigError: A field holds what no configuration file can hold.
    """
    kind = kind_of(type(instance))
    head = {} if kind is None else {"kind": kind}
    return head | {
        name: plain(annotation_of(field), getattr(instance, name), key_path(path, name))
        for name, field in fields_of(type(instance)).items()
    }


def plain(annotation: Any, value: Any, path: str) -> Any:
    """``value`` of a field of type ``annotation`` as plain data; see `dump`."""
    bare, _ = split(annotation)
    if is_section(type(value)):
        return dump(value, path)
    if isinstance(value, SEQUENCES):
        return [plain(item_type(_arm(bare, is_sequence), i), item, key_path(path, i)) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        entry_type = value_type(_arm(bare, is_mapping))
        return {str(key): plain(entry_type, entry, key_path(path, key)) for key, entry in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (Path, complex)):
        return str(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and unit_of(annotation):
        return f"{float(value)!r} {unit_of(annotation)}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":  # a run that resumes has to know it again
        mark = zlib.crc32(value.tobytes())
        return f"array of {value.dtype} {value.shape}, CRC-32 {mark:08x}"
    raise ConfigError(path, "cannot be written to a configuration", found=type(value).__name__)


def _arm(bare: Any, wanted: Any) -> Any:
    """The arm of the union type ``bare`` that holds the container, or ``bare`` itself."""
    arms = [split(arm)[0] for arm in get_args(bare)] if is_union(bare) else [bare]
    return next(filter(wanted, arms), Any)
