"""Whether all ranks have been started with the same files, asked before anything slow is imported or read.

`adorym.data.fingerprint.agree` asks again for what has been made of the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from adorym.comm import communicator, launched
from adorym.config_file import load
from adorym.data.fingerprint import agree
from adorym.errors import InputError

BLOCKS, BLOCK_BYTES = 8, 2**16  # that are read of a data file, evenly spaced


def agree_on_files(path: str | Path, assignments: Iterable[str]) -> None:
    """Compare the configuration and samples of the data files that it names, on all ranks; collective.

    Files that cannot be read, folders and patterns are left to what reads them.

    Raises:
        ConfigError: A rank has others.
    """
    if (launched() or (1, 0))[0] == 1:
        return
    mapping: dict[str, Any] = {}
    with suppress(InputError):
        mapping = load(path, assignments).mapping
    section = mapping.get("data")
    named = list(_names(section.get("path"))) if isinstance(section, dict) else []
    samples = [_sample(next(filter(Path.is_file, (Path(path).parent / name, Path(name))), None)) for name in named]
    text = json.dumps(mapping, default=str, sort_keys=True)
    agree(communicator(), {"configuration": text, "data": "".join(samples)})


def _names(given: Any) -> Iterator[str]:
    """File names in ``data.path``: a name, a scan with settings of its own, or a list of them."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, dict):
        yield from _names(given.get("path"))
    elif isinstance(given, list):
        for each in given:
            yield from _names(each)


def _sample(file: Path | None) -> str:
    """The size of ``file``, and a digest of some of its blocks; nothing of one that cannot be read."""
    found = hashlib.sha256()
    with suppress(OSError):
        size = 0 if file is None else file.stat().st_size
        found.update(str(size).encode())
        if file is not None:
            with file.open("rb") as stream:
                for i in range(BLOCKS):
                    stream.seek(max(0, size - BLOCK_BYTES) * i // (BLOCKS - 1))
                    found.update(stream.read(BLOCK_BYTES))
    return found.hexdigest()
