"""What a run is made of, as short texts: all ranks must have the same, and a resumed run says what has changed."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from adorym._version import __version__
from adorym.data.dataset import Dataset
from adorym.data.fingerprint import DIGITS, fingerprint
from adorym.errors import ConfigError
from adorym.extension import LOADED

LOG = logging.getLogger("adorym")
CONFIGURATION, DATA, VERSION = "configuration", "data", "version of adorym"


def origin(dataset: Dataset, configuration: str) -> dict[str, str]:
    """Fingerprints of the configuration, the data, this package, and the files of users' own components."""
    own = [getattr(sys.modules.get(name), "__file__", None) for name in LOADED]
    return {
        CONFIGURATION: hashlib.sha256(configuration.encode()).hexdigest()[:DIGITS],
        DATA: fingerprint(dataset),
        VERSION: __version__,
        "code of adorym": _code_of_the_package(),
        "own components": _digest(Path(file) for file in own if file),
    }


def compare(stored: Mapping[str, str], now: Mapping[str, str], path: object) -> None:
    """Name what differs between the origin in a checkpoint and the present one; settings are compared elsewhere.

    Args:
        stored: `origin` in the checkpoint ``path``; what is in one of the two only is not compared.

    Raises:
        ConfigError: The data have changed.
    """
    changed = [name for name in now if name in stored and stored[name] != now[name] and name != CONFIGURATION]
    if DATA in changed:
        raise ConfigError(
            "--resume",
            f"'{path}' belongs to a run of other data",
            found="the content of the data file, or of a file that belongs to it, has changed",
            remedy="restore the data, or begin a new run from the result of this one: '--start-from' and its folder",
        )
    if changed:
        told = [f"{name} {stored[name]} -> {now[name]}" if name == VERSION else name for name in changed]
        LOG.warning("--resume: since the checkpoint there is a change in the %s", ", ".join(told))


@cache
def _code_of_the_package() -> str:
    return _digest(Path(__file__).parents[1].rglob("*.py"))


def _digest(files: Iterable[Path]) -> str:
    """Of the names and contents of ``files``; those that cannot be read count by their name."""
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(file.name.encode())
        if file.is_file():
            found.update(file.read_bytes())
    return found.hexdigest()[:DIGITS]
