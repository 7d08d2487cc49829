"""Settings that may change when a run is resumed, and those that contradict its checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from adorym.errors import ConfigError

# What says how steps are made, not what is solved or what the checkpoint holds.
FREE = re.compile(
    r"run\.(batch_size|batch_order|backoff|backend|device|checkpoint_slices)"
    r"|parameters\.\w+\.(start|stop|every|threshold|sigma|dilate)"
    r"|parameters\.\w+\.schedule(\..*)?"
    r"|parameters\.\w+\.optimizer\.(?!kind$).*"
    r"|(regularizers|constraints)(\[.*)?"
    r"|data\.(memory_limit_gib|strict_links)"
)
# The order in which patterns follow each other within an epoch.
OF_BATCHES = ("run.batch_size", "run.batch_order")
# Terms of the loss, and what acts on values beside it: losses before and after do not compare.
OF_LOSS = ("regularizers", "constraints")


def changes(stored: Mapping[str, Any], now: Mapping[str, Any], path: object) -> dict[str, str]:
    """``{key: "old -> new"}`` of the settings that differ from those of the checkpoint ``path``.

    Raises:
        ConfigError: Some of them contradict it.
    """
    differing = dict(_differences(stored, json.loads(json.dumps(now)), ""))
    wrong = sorted(key for key, (old, new) in differing.items() if not FREE.fullmatch(key) or _of_state(key, old, new))
    if wrong:
        raise ConfigError(
            "--resume",
            f"'{path}' belongs to a run with other settings",
            found=f"changed: {', '.join(wrong)}",
            remedy="restore them, or begin a new run from the result of this one: '--start-from' and its folder",
        )
    return {key: f"{_shown(old)} -> {_shown(new)}" for key, (old, new) in sorted(differing.items())}


def _of_state(key: str, old: Any, new: Any) -> bool:
    """Whether an optimizer keeps a state with one of two settings only."""
    return key.endswith(".optimizer.momentum") and bool(old) != bool(new)


def _differences(a: Any, b: Any, where: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from _differences(a.get(key), b.get(key), f"{where}.{key}" if where else str(key))
    elif a != b:
        yield where, (a, b)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
