"""One run at a time in a folder: a file that names its owner while a run lasts.

The owner renews the file's time every few seconds. A second run refuses to start. What a killed run left behind is
recognized: on the same machine at once, since the process is gone; from another machine after half a minute, in which
the file has not been renewed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from adorym.errors import ConfigError

LOG = logging.getLogger("adorym")
LOCK_NAME = ".running"
RENEWED_EVERY_S = 5.0
SILENCE_S = 30.0  # after which an owner on another machine counts as dead


@contextmanager
def only_run_in(folder: Path, where: str) -> Iterator[None]:
    """Inside the context no other run may use ``folder``, which exists.

    Args:
        folder: The output folder of the run.
        where: Option or key that named it, for the message.

    Raises:
        ConfigError: Another run uses it.
    """
    path, mine, over = folder / LOCK_NAME, _this_process(), threading.Event()
    _take(path, mine, where)
    renewing = threading.Thread(target=_renew, args=(path, over), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        if _owner(path) == mine:
            path.unlink(missing_ok=True)


def _take(path: Path, mine: dict[str, Any], where: str) -> None:
    """Write the file, unless its owner is alive."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems of clusters have no locks; then only a race is not excluded
            fcntl.flock(folder, fcntl.LOCK_EX)
        owner = _owner(path)
        if owner is not None and _is_alive(owner, path):
            raise _used(path.parent, owner, where)
        if owner is not None:
            LOG.info("%s: its run, process %s on %s, is dead", path, owner.get("process"), owner.get("host"))
        path.write_text(json.dumps(mine), encoding="utf-8")
    finally:
        os.close(folder)


def need_free(folder: Path, where: str) -> None:
    """Refuse a folder that a run on this machine uses, before anything is read; `only_run_in` decides in the end.

    Raises:
        ConfigError: So it is.
    """
    path = folder / LOCK_NAME
    owner = _owner(path)
    if owner is not None and owner.get("host") == socket.gethostname() and _is_alive(owner, path):
        raise _used(folder, owner, where)


def _used(folder: Path, owner: dict[str, Any], where: str) -> ConfigError:
    return ConfigError(
        where,
        f"another run uses the folder '{folder}'",
        found=f"process {owner.get('process')} on {owner.get('host')}, since {owner.get('since')}",
        remedy="name another folder with '--output', or wait for its end",
    )


def _owner(path: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or one that was killed while it wrote
        return None
    return owner if isinstance(owner, dict) else None


def _is_alive(owner: dict[str, Any], path: Path) -> bool:
    if owner.get("host") == socket.gethostname():
        return owner.get("start") is not None and owner.get("start") == _start_of(owner.get("process"))
    LOG.warning("%s: waiting to see whether the run on %s is alive", path, owner.get("host"))
    renewed, until = _time_of(path), time.monotonic() + SILENCE_S
    while time.monotonic() < until:
        time.sleep(0.5)
        if (now := _time_of(path)) != renewed:
            return now is not None
    return False


def _time_of(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _renew(path: Path, over: threading.Event) -> None:
    while not over.wait(RENEWED_EVERY_S):
        with suppress(OSError):
            os.utime(path)


def _this_process() -> dict[str, Any]:
    number = os.getpid()
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"host": socket.gethostname(), "process": number, "start": _start_of(number), "since": since}


def _start_of(process: object) -> str | None:
    """When a process began, in clock ticks since the machine did: numbers of processes come again, these do not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
