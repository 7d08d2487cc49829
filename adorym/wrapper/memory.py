"""Memory of the process: how much it uses, and that glibc keeps what is freed."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from functools import lru_cache
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class HostMemory:
    """The memory of this process on the host, in bytes; 0 where the system does not tell."""

    @property
    def tells(self) -> bool:
        """Whether the system tells what is used, and the most that was used in a certain time."""
        return self.used() > 0 and self.peak() > 0 and _begin_peak()

    def used(self) -> int:
        """In use now."""
        return _resident("VmRSS")

    def peak(self) -> int:
        """The most that was in use since `restart`, or since the process began where that cannot be forgotten."""
        return max(_resident("VmHWM"), self.used())  # the system counts in pages, and updates one after the other

    def give_back(self) -> None:
        """Give memory that is free for later use back to the system: between blocks in use it grows."""
        if (trim := getattr(_c_library(), "malloc_trim", None)) is not None:
            trim(0)

    def restart(self) -> None:
        """Give back what is free, and begin a new peak."""
        gc.collect()
        self.give_back()
        _begin_peak()


def _begin_peak() -> bool:
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError:  # other systems have no such file, and some containers do not allow it
        return False
    return True


def _c_library() -> ctypes.CDLL | None:
    with contextlib.suppress(OSError, TypeError):  # Windows has none under this name
        return ctypes.CDLL(None)
    return None


def _resident(key: str) -> int:
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
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
