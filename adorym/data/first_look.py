"""A look at an HDF5 file in a child process, before this one opens it.

A few damaged bytes can crash the HDF5 library, or keep it busy for ever, and then no handler of Python runs. Commands
therefore send a child first, which opens every group and every dataset, reads attributes and small arrays, and ends. If
it does not survive, the file is refused by name. What is merely wrong is left to the reader, who can say it better.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from adorym.errors import DataError

if TYPE_CHECKING:  # the module is loaded at the start of every command
    import h5py

CPU_S = 10  # of the child; a look takes milliseconds
# For a slow file system: after that the file is opened unseen, unless the child has computed so much of the time.
PATIENCE_S, COMPUTING = 30.0, 0.02
MEMORY = 4 << 30
OBJECTS = 3000
SMALL = 1 << 16  # bytes of arrays that are read
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)

_seen: set[tuple[str, int, int]] | None = None  # None: no looks are taken


@contextmanager
def first_looks(wanted: bool = True) -> Iterator[None]:
    """Inside the context `look_first` looks at every file once; elsewhere it does nothing."""
    global _seen
    before, _seen = _seen, set() if wanted else None
    try:
        yield
    finally:
        _seen = before


def look_first(path: Path) -> None:
    """Look at an HDF5 file before it is opened.

    Raises:
        DataError: The library does not survive it.
    """
    if _seen is None or sys.platform != "linux":  # elsewhere a child may die of the fork itself
        return
    status = path.stat()
    key = str(path.resolve()), status.st_size, status.st_mtime_ns
    if key in _seen:
        return
    _seen.add(key)
    end = _fate(path)
    if end is not None:
        raise DataError(
            str(path), "the HDF5 file is damaged", found=end,
            remedy="copy the file again from its origin, or write its arrays into a new file",
        )  # fmt: skip


def _fate(path: Path) -> str | None:
    """How a child died that looked at the file; ``None`` if it did not."""
    with warnings.catch_warnings():
        # JAX warns that its threads do not live on in the child, which has no use for them.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            child = os.fork()
        except OSError:  # no memory or no process left: no reason to refuse a file
            return None
    if child == 0:
        _look(path)
    until, wait, busy_s = time.monotonic() + PATIENCE_S, 1e-3, 0.0
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            before, busy_s = busy_s, _busy_s(child)
            if busy_s - before > COMPUTING * PATIENCE_S:  # other processes keep it from its end, which will come
                until += PATIENCE_S
                continue
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(wait)
        wait = min(2 * wait, 0.05)
    if not os.WIFSIGNALED(ended[1]):
        return None
    by = signal.Signals(os.WTERMSIG(ended[1]))
    if by == signal.SIGXCPU:
        return "the HDF5 library does not come to an end"
    return f"the HDF5 library crashes ({by.name})" if by in CRASHES else None


def _busy_s(process: int) -> float:
    """Processor time of a process in seconds, 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _look(path: Path) -> None:
    """In the child: all that the library may die of; never returns."""
    try:
        import h5py

        faulthandler.disable()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        space = _address_space() + MEMORY
        for limit, most in (
            (resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_AS, space),
        ):  # fmt: skip
            with suppress(OSError, ValueError):  # a limit that is lower already
                resource.setrlimit(limit, (most, resource.getrlimit(limit)[1]))
        with h5py.File(path, "r", locking="best-effort") as file:
            _walk(file)
    except BaseException:  # no danger for the parent, which will meet it again
        pass
    finally:
        os._exit(0)


def _address_space() -> int:
    """Bytes of address space in use, 0 where the system does not tell."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _walk(file: h5py.File) -> None:
    import h5py

    left, seen = [file["/"]], set[tuple[int, int]]()
    while left and len(seen) < OBJECTS:
        item = left.pop()
        with suppress(Exception):
            info = h5py.h5o.get_info(item.id)
            key = info.fileno, info.addr
            if key in seen:
                continue
            seen.add(key)
        for name in _names(item.attrs):
            with suppress(Exception):
                item.attrs[name]
        if isinstance(item, h5py.Dataset):
            with suppress(Exception):
                _touch(item)
        elif isinstance(item, h5py.Group):
            for name in _names(item):
                with suppress(Exception):
                    left.append(item[name])


def _names(of: h5py.Group | h5py.AttributeManager) -> list[str]:
    with suppress(Exception):
        return list(of)
    return []


def _touch(item: h5py.Dataset) -> None:
    """Read a small array, or one element; not what lies in other files, which is checked before it is read."""
    layout = item.id.get_create_plist()
    if item.is_virtual or layout.get_external_count():
        return
    if item.size is not None and item.size * item.dtype.itemsize <= SMALL:
        item[()]
    elif item.size:
        item[(0,) * item.ndim]
