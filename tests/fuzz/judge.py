"""Work in a process of its own, which may crash, hang, or take memory, and what became of it."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from adorym.commands.faults import explained

CPU_S, MEMORY_BYTES = 30, 1 << 30
FINE, REFUSED, FAULT = 0, 2, 1


def _memory() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]
    return int(pages) * resource.getpagesize()


def _child(work: Callable[[], object], writing: int) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    limit = _memory() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except BaseException as error:
        told = explained(error) if isinstance(error, Exception) else None
        if told is None:
            os.write(writing, traceback.format_exc()[-4000:].encode("utf-8", "replace"))
            return FAULT
        text = told.message()
        if any(ord(letter) < 32 and letter not in "\n\t" for letter in text):
            os.write(writing, f"a control character in the message {text!r}".encode())
            return FAULT
        os.write(writing, text.encode("utf-8", "replace")[:4000])
        return REFUSED
    return FINE


def verdict(work: Callable[[], object]) -> tuple[str, str]:
    """``fine``, ``refused``, or what is wrong: ``fault``, ``hang``, ``crash``; and the message."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork beside threads, which the child does not use
        process = os.fork()
    if process == 0:
        status = FAULT
        try:
            os.close(reading)
            status = _child(work, writing)
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        kind = "hang" if number in (signal.SIGXCPU, signal.SIGKILL) else "crash"
        return kind, signal.Signals(number).name
    return {FINE: "fine", REFUSED: "refused", FAULT: "fault"}[os.WEXITSTATUS(status)], text
