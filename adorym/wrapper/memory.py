"""Memory of the process: how much it uses, how much is free for it, and that glibc keeps what is freed."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from functools import lru_cache
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30
STATUS, CLEAR, MACHINE = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")
# Limit and use of a group of processes, as batch systems and containers set them: cgroups of version 2 and 1.
GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


class HostMemory:
    """The memory of this process on the host, in bytes; 0 where the system does not tell."""

    @property
    def tells(self) -> bool:
        """Whether the system tells what is used."""
        return self.used() > 0

    def used(self) -> int:
        """In use now."""
        return _resident("VmRSS")

    def peak(self) -> int:
        """The most that was in use since `restart`, or since the process began where that cannot be forgotten."""
        return _resident("VmHWM")

    def give_back(self) -> None:
        """Give memory that is free for later use back to the system: between blocks in use it grows."""
        if (trim := getattr(_c_library(), "malloc_trim", None)) is not None:
            trim(0)

    def restart(self) -> None:
        """Give back what is free, and begin a new peak."""
        gc.collect()
        self.give_back()
        with contextlib.suppress(OSError):  # some containers do not allow it
            CLEAR.write_text("5", encoding="ascii")

    def sharing(self, local_size: int) -> int:
        """How many of ``local_size`` processes on this machine share the memory."""
        return local_size

    def free(self) -> int:
        """What this process may still take: of the machine, and of its group's limit."""
        free = [_entry(MACHINE, "MemAvailable")]
        for limit, used in GROUPS:
            with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
                free.append(max(0, int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))))
        return min(free)


def _c_library() -> ctypes.CDLL | None:
    with contextlib.suppress(OSError, TypeError):  # Windows has none under this name
        return ctypes.CDLL(None)
    return None


def _resident(key: str) -> int:
    return _entry(STATUS, key)


def _entry(path: Path, key: str) -> int:
    """The number of kB of a line ``key: number kB``, in bytes; 0 without the file or the line."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    line = next((line for line in lines if line.startswith(key)), "")
    return int(line.split()[1]) * 1024 if line else 0


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Raise malloc's mmap and trim thresholds to 1 GiB; returns whether that was possible.

    By default glibc hands a large block back to the kernel when it is freed, and the next allocation of the same size
    pays a page fault for every 4 KiB: measured here, that doubles the time of a batch of 64 x 64 transforms.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl and others have no mallopt; they only lose the speed
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES))
