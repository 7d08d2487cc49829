"""A real limit on the memory of processes, by a control group of Linux, where this user may make one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOTS = {"memory": (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), "": (Path("/sys/fs/cgroup"), "memory.max")}


def _own_group() -> tuple[Path, str] | None:
    """Folder of this process's memory group, and the name of the file that holds a limit: version 1 or 2."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ROOTS:
            root, limit = ROOTS[controllers]
            folder = root / path.lstrip("/")
            if (folder / limit).exists():
                return folder, limit
    return None


@contextmanager
def limited(n_bytes: int) -> Iterator[bool]:
    """What is started within is held to ``n_bytes`` in all, pages of files included; whether that could be done.

    The kernel drops pages of files before it kills.
    """
    own = _own_group()
    group = None if own is None else own[0] / f"adorym_{os.getpid()}"
    try:
        if group is not None and own is not None:
            group.mkdir()
            (group / own[1]).write_text(str(n_bytes), encoding="utf-8")
            (group / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")
    except OSError:
        group = None
    try:
        yield group is not None
    finally:
        if group is not None and own is not None:
            (own[0] / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")
            group.rmdir()
