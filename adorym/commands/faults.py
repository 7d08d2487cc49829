"""What ends a command: errors from outside as messages of who, where, what and remedy; our own faults as a report."""

from __future__ import annotations

import errno
import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adorym._version import __version__
from adorym.errors import AdorymError, InputError, RunError, WriteError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LIBRARIES = ("numpy", "scipy", "h5py", "torch", "autograd", "jax", "numba", "mpi4py", "pydantic")
LARGEST_CONFIGURATION = 1 << 20


def explained(error: BaseException) -> AdorymError | None:
    """What the system, or a library in its name, raises, as a message; ``None`` for a fault of this package."""
    if isinstance(error, AdorymError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch has its own, of devices
        return RunError("", f"not enough memory: {error}", remedy="make the problem smaller; 'run.memory' limits a run")
    if isinstance(error, OSError):
        place = str(error.filename or "")
        text = error.strerror or str(error)
        if error.errno in NO_ROOM:
            return WriteError(place, "cannot be written", found=text, remedy="make room, or write to another folder")
        if place:
            return InputError(place, "cannot be used", found=text, remedy="check the path and its permissions")
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("adorym"):
        return InputError("", f"the package '{error.name}' is missing", remedy=f"pip install {error.name}")
    return None


def reported(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """A file about a fault of this package, to attach to a report; ``None`` where none can be written.

    It has the traceback, versions, the command, and the configuration that the command names.
    """
    trace = "".join(traceback.format_exception(error))
    parts = [f"adorym {shlex.join(arguments)}", _versions(), trace.rstrip(), *_configurations(arguments)]
    name = f"adorym-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (Path(), Path(tempfile.gettempdir())):
        with suppress(OSError):
            (folder / name).write_text("\n\n".join(parts) + "\n", encoding="utf-8", errors="replace")
            return folder / name
    return None


def _versions() -> str:
    found = [f"adorym {__version__}", f"Python {platform.python_version()} on {platform.platform()}"]
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}" + (" (loaded)" if name in sys.modules else ""))
    return "\n".join(found)


def _configurations(arguments: Sequence[str]) -> list[str]:
    found = []
    for path in map(Path, arguments):
        with suppress(OSError, ValueError):
            if path.suffix in (".yaml", ".yml", ".toml", ".json") and path.stat().st_size < LARGEST_CONFIGURATION:
                found.append(f"--- {path}\n{path.read_text(encoding='utf-8', errors='replace')}")
    return found
